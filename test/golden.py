"""Writes the codes, losses and sound that a refactoring must leave bit for bit as they are: `make golden` compares.

    python test/golden.py write FOLDER      the results of this commit, one array in `FOLDER/NAME.npy`
    python test/golden.py compare OLD NEW   the names whose arrays differ

Each commit trains the tiny model itself, so the losses and the file formats are compared too. Floating-point results
depend on the processor: both folders must come from one machine, and none is committed.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dacformer.codec import load_codec, read_dac
from dacformer.config import parse_config
from dacformer.data.make_textures import make_texture_dataset
from dacformer.generation.curves import Curve
from dacformer.generation.synthesizer import Synthesizer, load
from dacformer.live.performance import ControlState, Performance
from dacformer.training.metrics import read_metrics
from dacformer.training.trainer import train

MOVING = {
    "class": {"pistons": Curve([(0, 1), (1, 0)]), "wind": Curve([(0, 0), (1, 1)])},
    "rate": Curve([(0, 0.2), (0.5, None), (0.8, 0.9)]),
    "strength": Curve([(0, 0.1), (0.6, 0.9)], step=True),
}


def results(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Everything that is compared, by name."""
    codec = load_codec("small")
    make_texture_dataset(folder / "data", codec, "small", ["pistons", "wind"], values=2, takes=2, seconds=2.0)
    sizes = {"dim": 32, "num_layers": 2, "num_heads": 2, "window_frames": 16, "film_dim": 16, "dropout": 0.1}
    loop = {"steps": 20, "warmup_steps": 3, "validate_every": 10, "sample_every": 0, "precision": "float32"}
    data = {"path": folder / "data", "segment_frames": 48, "batch_size": 4}
    run = train(parse_config({"run": folder / "run", "data": data, "model": sizes, "training": loop}, "golden"))
    lines = read_metrics(run)
    yield "losses", np.array([line["loss"] for line in lines if "loss" in line])
    yield "validation_nll", np.array([line["val_nll"] for line in lines if "val_nll" in line])
    files = sorted((folder / "data").rglob("*.dac"))
    for file in files:
        yield f"encoded_{file.stem}", read_dac(file).codes
    synth = load(run, "last")
    yield from takes(synth, files[0])
    chunks = synth.stream(MOVING, chunk_seconds=0.1, seed=3, temperature=0.9)
    yield "stream_audio", np.concatenate([next(chunks) for _ in range(8)])
    yield from performance(synth)


def takes(synth: Synthesizer, prompt: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Codes and sound of each way to a take."""
    first = synth.generate(1.5, MOVING, seed=1, temperature=Curve([(0, 0.7), (1, 1.1)]), top_k=50, top_p=0.9)
    plain = synth.generate(0.5, {"class": "wind"}, seed=2, guidance=1.0, precision="float32")
    longer = first.extend(0.7, {"class": "wind", "strength": Curve([(0, 0), (0.5, 1)])}, seed=5)
    again = first.cut(0.8).extend(0.5)
    batch = synth.generate_batch(0.6, [{"class": "wind"}, {"class": "pistons", "rate": 0.3}], seed=4)
    made = {
        "generate": first,
        "unguided": plain,
        "extend": longer,
        "extend_guidance": longer.extend(0.3, guidance=2.0, top_k=[1, 5, 20, 0]),
        "cut_extend": again,
        "branch_0": (branches := first.branch(2, 0.5, seed=6))[0],
        "branch_1": branches[1],
        "batch_0": batch[0],
        "batch_1": batch[1],
        "loop": longer.loop(0.5),
        "generated_loop": synth.loop(0.4, {"class": "wind"}, seed=8),
        "prompt": synth.continue_from(prompt, 0.6, {"class": "wind"}, seed=7),
    }
    for name, take in made.items():
        yield f"{name}_codes", take.codes
        yield f"{name}_audio", take.audio


def performance(synth: Synthesizer) -> Iterator[tuple[str, np.ndarray]]:
    """A recorded live performance: what was sent to the listener, and its take."""
    played = Performance(synth, seed=9)
    control_states = [
        ControlState({"wind": 1.0}, {"strength": 0.5}, 1.0, 1.3),
        ControlState({"wind": 0.5, "pistons": 0.5}, {"rate": 0.5}, 0.8, 2.0),
        ControlState({"pistons": 1.0}, {}, 1.0, 1.0),
    ]
    yield (
        "performance_audio",
        np.concatenate([played.play(control_state) for control_state in control_states for _ in range(5)]),
    )
    yield "performance_codes", played.take.codes
    yield "performance_take_audio", played.take.audio


def write(folder: Path) -> None:
    """Writes the results of this commit."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, array in results(Path(scratch)):
            np.save(folder / f"{name}.npy", array)
            print(f"{name}: {array.dtype} {array.shape}")


def compare(old: Path, new: Path) -> None:
    """Exits with the names of the arrays that differ in any bit, or are in one folder only."""
    names = sorted({path.name for folder in (old, new) for path in folder.glob("*.npy")})
    differing = [name for name in names if not _equal(old / name, new / name)]
    if differing or not names:
        sys.exit(f"{len(differing)} of {len(names)} results differ: {', '.join(differing)}")
    print(f"All {len(names)} results are equal bit for bit.")


def _equal(old: Path, new: Path) -> bool:
    if not (old.is_file() and new.is_file()):
        return False
    before, after = np.load(old), np.load(new)
    return before.shape == after.shape and before.dtype == after.dtype and before.tobytes() == after.tobytes()


if __name__ == "__main__":
    command, *folders = sys.argv[1:]
    {"write": write, "compare": compare}[command](*map(Path, folders))
