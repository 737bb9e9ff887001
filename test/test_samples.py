"""Samples that a training leaves behind."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dacformer.audio import read_audio
from dacformer.checkpoint import load_checkpoint
from dacformer.codec import Codec
from dacformer.config import Config
from dacformer.evaluation.samples import SampleWriter
from dacformer.training.trainer import train

Configure = Callable[..., Config]


def test_a_training_writes_a_sound_per_class_and_a_picture(configure: Configure, codec: Codec, tmp_path: Path) -> None:
    writer = SampleWriter(codec)
    config = configure(tmp_path / "run", steps=4, sample_every=2, sample_seconds=0.3)
    run = train(config, on_sample=writer)
    assert sorted(path.name for path in (run / "samples").iterdir()) == ["step_0000002", "step_0000004"]
    folder = run / "samples" / "step_0000004"
    assert sorted(path.name for path in folder.iterdir()) == ["pistons.wav", "spectrograms.png", "wind.wav"]
    assert (folder / "spectrograms.png").read_bytes().startswith(b"\x89PNG")
    assert list(writer.latest) == ["pistons", "wind"]
    for name, take in writer.latest.items():
        assert take.seconds == pytest.approx(0.3, abs=0.01)
        np.testing.assert_allclose(read_audio(folder / f"{name}.wav", 44100), take.audio, atol=1e-4)
    steps = []
    for file in run.glob("events.*"):  # one by one: files of the same second have no order, and a later start clears
        board = EventAccumulator(str(file), {"audio": 0})
        board.Reload()
        steps += [event.step for event in board.Audio("sample/wind")] if board.Tags()["audio"] else []
    assert sorted(steps) == [2, 4]


def test_samples_do_not_move_the_training(configure: Configure, codec: Codec, tmp_path: Path) -> None:
    heard: list[list[dict[str, float]]] = []
    for name, on_sample in (("with", SampleWriter(codec)), ("without", None)):
        lines: list[dict[str, float]] = []
        config = configure(tmp_path / name, model={"dropout": 0.1}, steps=4, sample_every=2, sample_seconds=0.1)
        train(config, on_metrics=lines.append, on_sample=on_sample)
        heard.append([{key: value for key, value in line.items() if key != "frames_per_second"} for line in lines])
    assert heard[0] == heard[1]


def test_only_so_many_classes_are_heard_and_the_codec_is_found(trained: Path, tmp_path: Path) -> None:
    writer = SampleWriter(max_classes=1)
    checkpoint = load_checkpoint(trained)
    training = checkpoint.metadata.config.training.model_copy(update={"sample_seconds": 0.1})
    config = checkpoint.metadata.config.model_copy(update={"training": training})
    object.__setattr__(checkpoint, "metadata", checkpoint.metadata.model_copy(update={"config": config}))
    writer(checkpoint, tmp_path)
    assert list(writer.latest) == ["pistons"]


def test_samples_of_any_class_stay_in_the_run(trained: Path, codec: Codec, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(trained, "last")
    config = checkpoint.metadata.config
    config = config.model_copy(update={"training": config.training.model_copy(update={"sample_seconds": 0.05})})
    conditions = checkpoint.metadata.conditions.model_copy(update={"classes": ("../../../escaped", "$\\frac$")})
    metadata = checkpoint.metadata.model_copy(update={"config": config, "conditions": conditions})
    SampleWriter(codec)(dataclasses.replace(checkpoint, metadata=metadata), tmp_path / "runs" / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["x"]
    files = [path.name for path in (tmp_path / "runs" / "x" / "samples" / "step_0000080").iterdir()]
    assert sorted(files) == ["$_frac$.wav", "_._.._.._escaped.wav", "spectrograms.png"]
