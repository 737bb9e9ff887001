"""The procedural textures as a folder of sounds, or as a data set."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from dacformer.audio import write_audio
from dacformer.codec import Codec
from dacformer.config import load_config, save_config
from dacformer.data.dataset import FACTS_FILE, Facts
from dacformer.data.encode import encode_folder
from dacformer.errors import UserError
from dacformer.textures import TEXTURES, synthesize


def write_textures(
    folder: Path,
    names: Sequence[str] = (),
    values: int = 21,
    takes: int = 24,
    seconds: float = 5.0,
    seed: int = 0,
    sample_rate: int = 44_100,
) -> None:
    """Writes sounds `<class>/<class>--<parameter>-<value>--take<n>.flac`. Sounds that are there are left as they are.

    Args:
        folder: Where to.
        names: Which textures; all if empty.
        values: Values of the parameter, evenly from 0 to 1.
        takes: Takes of each value.
        seconds: Length of each.
        seed: Another seed, other takes.
        sample_rate: In Hz.

    Raises:
        UserError: An unknown texture.
    """
    for name in names:
        if name not in TEXTURES:
            raise UserError(f"Unknown texture '{name}'. Known: {', '.join(TEXTURES)}.")
    chosen = [TEXTURES[name] for name in names or TEXTURES]
    jobs = [
        (texture, value, take) for texture in chosen for value in np.linspace(0, 1, values) for take in range(takes)
    ]
    calls = []
    for i, (texture, value, take) in enumerate(jobs):
        path = folder / texture.name / f"{texture.name}--{texture.parameter}-{value:.3f}--take{take}.flac"
        if not path.is_file():
            calls.append(delayed(_write)(path, texture.name, float(value), seconds, sample_rate, seed * len(jobs) + i))
    written = Parallel(n_jobs=-1, return_as="generator_unordered")(calls)
    for _ in tqdm(written, desc="textures", unit="sound", initial=len(jobs) - len(calls), total=len(jobs)):
        pass


def _write(path: Path, name: str, value: float, seconds: float, sample_rate: int, seed: int) -> None:
    write_audio(path, synthesize(name, value, seconds, sample_rate, seed), sample_rate)


def make_texture_dataset(
    output: Path,
    codec: Codec,
    codec_name: str,
    names: Sequence[str] = (),
    values: int = 21,
    takes: int = 24,
    seconds: float = 5.0,
    seed: int = 0,
    validation: float = 0.15,
) -> None:
    """Writes textures and encodes them; the arguments are those of `write_textures` and `encode_folder`.

    The sounds lie in `<output>/.sounds` until all are encoded, so that interrupted work goes on.
    """
    sounds = output / ".sounds"
    write_textures(sounds, names, values, takes, seconds, seed, codec.sample_rate)
    encode_folder(sounds, output, codec, codec_name, validation=validation, seed=seed)
    shutil.rmtree(sounds)
    facts = load_config(output / FACTS_FILE, kind=Facts)
    command = f"dacformer textures {output} --values {values} --takes {takes} --seconds {seconds:g} --seed {seed}"
    command += f" --classes {','.join(names)}" if names else ""
    save_config(facts.model_copy(update={"made_by": command}), output / FACTS_FILE)
