"""What a person would do with a file that came from elsewhere.

Every `try_*` takes a file that holds the input, in a folder of its own; what it raises beside `UserError` and `OSError`
is a finding, and so is an `AssertionError` of a check of its own.
"""

import ctypes
import functools
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

from dacformer import audio as sound
from dacformer.checkpoint import load_checkpoint, load_state
from dacformer.cli.commands import info
from dacformer.codec import load_codec, read_dac, write_dac
from dacformer.codec.training.config import CodecTrainingConfig
from dacformer.config import Config, TrainingConfig, load_config, save_config
from dacformer.data.batches import TrainingCrops, ValidationSegments
from dacformer.data.check import check_sounds
from dacformer.data.dataset import load_dataset
from dacformer.data.encode import encode_file
from dacformer.data.labels import label_files, write_label_table
from dacformer.generation.control_words import parse_controls
from dacformer.generation.controls import Controls
from dacformer.live.midi_osc import load_mapping
from dacformer.training.metrics import read_metrics
from dacformer.training.trainer import train
from torture.workshop import SOUNDS, Workshop


def try_settings(path: Path, workshop: Workshop, kind: type[Config] | type[CodecTrainingConfig] = Config) -> None:
    """Loads settings, and saves them again."""
    config = load_config(path, kind=kind)
    again = path.with_name("again.yaml")
    save_config(config, again)
    assert load_config(again, kind=kind) == config, "saved and loaded, it is another"


def try_codec_settings(path: Path, workshop: Workshop) -> None:
    """The same of a codec's training."""
    try_settings(path, workshop, CodecTrainingConfig)


def try_mapping(path: Path, workshop: Workshop) -> None:
    """Loads a mapping of MIDI and OSC."""
    load_mapping(path, workshop.synth.conditions)


def try_dac(path: Path, workshop: Workshop) -> None:
    """Tells of a `.dac` file, decodes it, writes it again."""
    info(path)
    file = read_dac(path)
    assert file.codes.min() >= 0, "a negative code"
    again = read_dac(write_dac(path.with_name("again.dac"), file))
    assert np.array_equal(again.codes, file.codes), "written again, it has other codes"
    audio = workshop.codec.decode_file(file)
    assert np.isfinite(audio).all(), "decoded to NaN"
    sound.write_audio(path.with_name("decoded.wav"), audio, file.sample_rate)


def try_sound(path: Path, workshop: Workshop) -> None:
    """Tells of a sound, reads it twice, with other rubbish in fresh memory each time, checks and encodes it."""
    _perturb(0x55)
    first = sound.read_audio(path, 44100)
    _perturb(0xAA)
    second = sound.read_audio(path, 44100)
    _perturb(0)
    assert np.array_equal(first, second), "read twice, it is not the same sound: memory that nobody wrote"
    assert np.isfinite(first).all(), "NaN or infinity came through"
    info(path)
    check_sounds(path)
    encode_file(path, workshop.codec)


def try_labels(path: Path, workshop: Workshop) -> None:
    """Labels the workshop's sounds by a table, and writes a table of that."""
    root = workshop.folder / "sounds"
    paths = [root / f"{name}.wav" for name in SOUNDS]
    labels = label_files(paths, root, path)
    for label in labels:
        assert all(np.isfinite(value) for value in label.parameters.values()), f"a parameter is not finite: {label}"
        assert label.class_name.strip(), "a class without a name"
    again = path.with_name("again.csv")
    write_label_table(again, {file.name: label for file, label in zip(paths, labels, strict=True)})
    assert label_files(paths, root, again) == labels, f"written again, the labels are others: {labels[0]}"
    shutil.rmtree(path.parent, ignore_errors=True)  # tables that were replaced are kept beside the new one
    path.parent.mkdir()


def try_dataset(path: Path, workshop: Workshop) -> None:
    """Tells of a data set, and draws from it."""
    folder = path.parent
    info(folder)
    dataset = load_dataset(folder)
    crops = TrainingCrops(dataset, 8, TrainingConfig(), 4)
    segments = ValidationSegments(dataset, 8, 4)
    for item in [*(crops[i] for i in range(4)), segments[0]]:
        assert torch.isfinite(item["condition"]).all(), "a condition is not finite"
        assert item["mask"].any(), "an excerpt without a frame"
        assert item["codes"].numel(), "an excerpt without a codebook"
        assert item["codes"].min() >= 0 and item["codes"].max() < dataset.info.codebook_size, "a code out of range"


def try_checkpoint(path: Path, workshop: Workshop) -> None:
    """Tells of a run, and loads its model."""
    run = path.parents[2]
    info(run)
    load_checkpoint(run, "last")


def try_resume(path: Path, workshop: Workshop) -> None:
    """Loads a training's state, and, of one file in sixteen, goes on from it."""
    load_state(path.parent)
    if path.read_bytes()[-1000] % 16:
        return
    run = path.parents[2]
    before = {each: each.read_bytes() for each in run.rglob("*") if each.is_file()}
    training = workshop.config.training.model_copy(update={"steps": workshop.config.training.steps + 1})
    config = workshop.config.model_copy(update={"run": run, "training": training})
    try:
        train(config, resume=True)
    finally:  # the folder serves the next input
        for each in [each for each in run.rglob("*") if each.is_file() and each not in before]:
            each.unlink()
        for each in sorted((run / "checkpoints").iterdir()):
            if not any(each.iterdir()):
                each.rmdir()
        for each, data in before.items():
            each.parent.mkdir(parents=True, exist_ok=True)
            each.write_bytes(data)


def try_codec(path: Path, workshop: Workshop) -> None:
    """Loads a codec's weights, and decodes with them."""
    codec = load_codec(path)
    codec.decode(torch.zeros(1, codec.num_codebooks, 2, dtype=torch.int64))


def try_metrics(path: Path, workshop: Workshop) -> None:
    """Reads the figures of a run."""
    for line in read_metrics(path.parent):
        assert isinstance(line, dict), "a line that is no figures"
        float(line["step"])


def try_take(path: Path, workshop: Workshop) -> None:
    """Opens a take, shows it, goes on with it, cuts it, saves it again."""
    if path.suffix == ".wav":
        info(path)
        return
    place = path if path.suffix == ".dac" else path.parent
    if path.suffix == ".dac":
        info(path)
    take = workshop.synth.load_take(place)
    repr(take)
    take.history._repr_html_()
    longer = take.extend(0.03)
    longer.cut(longer.seconds / 2)
    again = workshop.synth.load_take(longer.save(path.parent / "again.dac"))
    assert np.array_equal(again.codes, longer.codes), "opened again, it has other codes"


def try_words(path: Path, workshop: Workshop) -> None:
    """Reads what stands on the command line: a control, and a setting."""
    for word in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        if word.startswith("set "):
            load_config(workshop.folder / "params.yaml", [word[4:]])
            continue
        controls = parse_controls([word], workshop.synth.conditions)
        Controls.of(controls).check(workshop.synth.conditions)
        workshop.synth.generate_codes(0.02, [controls])


def _perturb(byte: int) -> None:
    """Makes glibc fill memory with a byte as it hands it out, so that what nobody wrote is seen."""
    if sys.platform == "linux" and hasattr(libc := _libc(), "mallopt"):
        libc.mallopt(-6, byte)  # M_PERTURB of glibc's malloc.h


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
