"""What a training promises: stopped and resumed is uninterrupted, it learns, and it buries nothing."""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dacformer.checkpoint import (
    Checkpoint,
    find_checkpoint,
    list_checkpoints,
    load_checkpoint,
    read_metadata,
    save_metrics,
)
from dacformer.config import Config, load_config, save_config
from dacformer.errors import UserError
from dacformer.training import trainer
from dacformer.training.metrics import read_metrics
from dacformer.training.optimizers import learning_rate
from dacformer.training.trainer import train

Configure = Callable[..., Config]
PARAMS = Path(__file__).parents[2] / "params"


def lines_of(run: Path) -> list[dict[str, float]]:
    """The lines of `metrics.jsonl` without the one figure that is a matter of time."""
    return [{name: v for name, v in line.items() if name != "frames_per_second"} for line in read_metrics(run)]


def assert_same_training(one: Path, other: Path) -> None:
    """Losses, and the final weights, averaged and as trained, are equal bit for bit."""
    assert lines_of(one) == lines_of(other)
    last = find_checkpoint(one, "last").name
    assert last == find_checkpoint(other, "last").name
    weights, others = (load_file(run / "checkpoints" / last / "model.safetensors") for run in (one, other))
    states = [torch.load(run / "checkpoints" / last / "train_state.pt", weights_only=True) for run in (one, other)]
    for left, right in ((weights, others), (states[0]["model"], states[1]["model"])):
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)


def stop_at(step: int, error: BaseException) -> Callable[[dict[str, float]], None]:
    """Raises when the loss of a step is logged."""

    def on_metrics(line: dict[str, float]) -> None:
        if line["step"] == step and "loss" in line:
            raise error

    return on_metrics


@pytest.fixture(scope="module")
def uninterrupted(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training with everything random in it: dropout, dropped conditions, corrupted codes."""
    return train(configure(tmp_path_factory.mktemp("runs") / "whole", model={"dropout": 0.1}))


@pytest.mark.parametrize("lost_after", [6, 11])
def test_resumed_is_uninterrupted(
    configure: Configure, tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch, lost_after: int
) -> None:
    """The process dies at some step after the checkpoint of step 6; lines of steps to be trained again go."""
    monkeypatch.setattr("dacformer.training.trainer.FLUSH_EVERY", 1)
    config = configure(tmp_path / "run", model={"dropout": 0.1})
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, on_metrics=stop_at(lost_after + 1, RuntimeError("power cut")))
    assert [path.name for path in list_checkpoints(config.run)] == ["step_0000006"]
    train(config, resume=True)
    assert_same_training(config.run, uninterrupted)


def test_the_stop_button_keeps_what_was_learned(configure: Configure, tmp_path: Path, uninterrupted: Path) -> None:
    config = configure(tmp_path / "run", model={"dropout": 0.1}, validate_every=4)
    train(config, on_metrics=stop_at(3, KeyboardInterrupt()))  # raised when the steps so far are logged
    stopped = find_checkpoint(config.run, "last")
    assert read_metadata(stopped).step == 4
    assert [line["step"] for line in lines_of(config.run) if "loss" in line] == [1, 2, 3, 4]
    assert "val_nll" in read_metadata(stopped).metrics
    train(config, resume=True)
    losses, expected = (
        [line["loss"] for line in lines_of(run) if "loss" in line] for run in (config.run, uninterrupted)
    )
    assert losses == expected


def test_a_step_that_was_interrupted_is_not_counted(
    configure: Configure, tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(tmp_path / "run", model={"dropout": 0.1})

    original, calls = trainer.nll_per_code, 0

    def interrupted(*arguments: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:  # in the middle of step 4
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(trainer, "nll_per_code", interrupted)
    train(config)
    assert read_metadata(find_checkpoint(config.run, "last")).step == 3
    train(config, resume=True)
    losses, expected = (
        [line["loss"] for line in lines_of(run) if "loss" in line] for run in (config.run, uninterrupted)
    )
    assert losses == expected


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def start_training(params: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dacformer.cli", "train", str(params), *words]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.heavy
def test_killed_at_a_random_moment_and_resumed_is_uninterrupted(configure: Configure, tmp_path: Path) -> None:
    """`kill -9` of `dacformer train`, with a checkpoint every two steps, so that it often hits the writing of one."""
    steps = {"steps": 30, "validate_every": 2, "keep_checkpoints": 1, "validation_batches": 1}
    seed = random.getrandbits(32)
    print(f"The moment is that of seed {seed}.")  # pytest shows it if the test fails
    moment = random.Random(seed)
    config = configure(tmp_path / "killed", **steps)
    save_config(config, tmp_path / "params.yaml")
    process = start_training(tmp_path / "params.yaml")
    deadline = time.monotonic() + 120
    begun = config.run / "checkpoints" / f"step_{moment.randrange(2, 24, 2):07d}"
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(moment.uniform(0.0, 0.1))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    for checkpoint in list_checkpoints(config.run):
        load_checkpoint(checkpoint)
    # In processes like the killed one: another number of threads adds up in another order.
    assert start_training(tmp_path / "params.yaml", "--resume").wait() == 0
    whole = tmp_path / "whole"
    assert start_training(tmp_path / "params.yaml", f"run={whole}").wait() == 0
    assert_same_training(config.run, whole)
    assert not list((config.run / "checkpoints").glob(".*"))


def test_it_learns_more_than_how_often_each_code_comes(trained: Path) -> None:
    lines = read_metrics(trained)
    validations = [line for line in lines if "val_nll" in line]
    losses = [line["loss"] for line in lines if "loss" in line]
    # Of what it was trained on: six files are too few to learn anything of the two of validation.
    assert np.mean(losses[-10:]) < validations[-1]["unigram_nll"] - 1.0


def test_validation_stands_beside_the_unigram_for_every_codebook(trained: Path) -> None:
    validations = [line for line in read_metrics(trained) if "val_nll" in line]
    assert [line["step"] for line in validations] == [20, 40, 60, 80]
    for line in validations:
        for name in ("val_nll", "unigram_nll"):
            each = [line[f"{name}_{k}"] for k in (1, 2, 3, 4)]
            assert all(0.0 < value < 2 * math.log(1024) for value in each)
            assert line[name] == pytest.approx(np.mean(each))


def test_every_step_is_logged_with_its_own_learning_rate(trained: Path) -> None:
    config = read_metadata(find_checkpoint(trained)).config.training
    losses = [line for line in read_metrics(trained) if "loss" in line]
    assert [line["step"] for line in losses] == list(range(1, 81))
    for line in losses:
        assert line["learning_rate"] == learning_rate(config, int(line["step"]))
        assert line["gradient_norm"] > 0 and line["frames_per_second"] > 0


def test_tensorboard_has_the_same_figures(trained: Path) -> None:
    board = EventAccumulator(str(trained))
    board.Reload()
    for name in ("loss", "val_nll", "learning_rate"):
        lines = [line for line in read_metrics(trained) if name in line]
        events = board.Scalars(name)
        assert [event.step for event in events] == [line["step"] for line in lines]
        np.testing.assert_allclose([event.value for event in events], [line[name] for line in lines], rtol=1e-6)


def test_on_metrics_gets_every_line(configure: Configure, tmp_path: Path) -> None:
    lines: list[dict[str, float]] = []
    run = train(configure(tmp_path / "run", steps=3), on_metrics=lines.append)
    assert lines == read_metrics(run)
    assert [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] == lines


def test_samples_are_of_the_averaged_weights(configure: Configure, tmp_path: Path) -> None:
    samples: list[tuple[int, Checkpoint, Path]] = []

    def on_sample(checkpoint: Checkpoint, run: Path) -> None:
        samples.append((checkpoint.metadata.step, checkpoint, run))

    config = configure(tmp_path / "run", steps=6, sample_every=3)
    run = train(config, on_sample=on_sample)
    assert [(step, where) for step, _, where in samples] == [(3, run), (6, run)]
    saved = load_file(find_checkpoint(run, "6") / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in samples[-1][1].model.state_dict().items())
    assert not samples[-1][1].model.training


def test_the_newest_checkpoints_and_the_best_are_kept(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nll = iter([5.0, 3.0, 4.0, 6.0, 7.0])
    monkeypatch.setattr("dacformer.training.trainer.validate", lambda *_: torch.full((4,), next(nll)))
    run = train(configure(tmp_path / "run", steps=10, validate_every=2, keep_checkpoints=2))
    assert [read_metadata(path).step for path in list_checkpoints(run)] == [4, 8, 10]
    assert read_metadata(find_checkpoint(run, "best")).step == 4
    assert read_metadata(find_checkpoint(run, "last")).step == 10
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [p.name for p in list_checkpoints(run)]


def test_a_training_in_the_way_is_refused_unless_told_to_overwrite(configure: Configure, tmp_path: Path) -> None:
    config = configure(tmp_path / "run", steps=3)
    train(config)
    before = read_metrics(config.run)
    with pytest.raises(UserError, match=r"already holds a training.*--resume.*--overwrite"):
        train(config)
    assert read_metrics(config.run) == before
    train(configure(config.run, steps=2), overwrite=True)
    assert [line["step"] for line in read_metrics(config.run)] == [1, 2, 2]
    assert [path.name for path in list_checkpoints(config.run)] == ["step_0000002"]


@pytest.mark.parametrize("path", sorted(PARAMS.glob("params*.yaml")), ids=lambda path: path.stem)
def test_shipped_settings_train_one_step(path: Path, dataset_path: Path, tmp_path: Path) -> None:
    """The model and the optimizers as they are, on a small batch of other data."""
    small = ["steps=1", "validation_batches=1", "sample_every=0", "select_best_by=nll"]
    words = [f"run={tmp_path / 'run'}", f"data.path={dataset_path}", "data.batch_size=1", "data.segment_frames=48"]
    run = train(load_config(path, words + [f"training.{word}" for word in small]))
    assert [line["step"] for line in read_metrics(run) if "loss" in line] == [1]
    assert load_checkpoint(run).model.config.dim == load_config(path).model.dim


def test_nothing_to_resume(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to resume"):
        train(configure(tmp_path / "run"), resume=True)


def test_nothing_left_to_train(configure: Configure, tmp_path: Path) -> None:
    config = configure(tmp_path / "run", steps=2)
    train(config)
    with pytest.raises(UserError, match=r"step 2 of 2.*training\.steps=4"):
        train(config, resume=True)


def test_a_model_of_other_sizes_cannot_be_resumed(configure: Configure, tmp_path: Path) -> None:
    train(configure(tmp_path / "run", steps=2))
    with pytest.raises(UserError, match=r"model\.num_layers was 2, is now 1\. Start another run"):
        train(configure(tmp_path / "run", model={"num_layers": 1}, steps=4), resume=True)


def test_a_loss_that_is_no_number_is_a_clear_error_and_no_checkpoint(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    original, calls = trainer.nll_per_code, 0

    def comes_apart(*arguments: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return original(*arguments) * (math.nan if calls == 5 else 1.0)

    monkeypatch.setattr(trainer, "nll_per_code", comes_apart)
    config = configure(tmp_path / "run", validate_every=6)
    with pytest.raises(UserError, match=r"nan.* at step 5: training has come apart.*learning_rate"):
        train(config)
    assert list_checkpoints(config.run) == []


def test_a_disk_that_fills_up_leaves_a_run_that_can_be_resumed(configure: Configure, tmp_path: Path) -> None:
    """A real one: a file system of 10 MB, on which the second checkpoint does not fit."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can make a tiny file system")
    try:
        config = configure(disk / "run")
        with pytest.raises(UserError, match=r"(?s)could not be written.*--resume"):
            train(config)
        assert [path.name for path in (config.run / "checkpoints").iterdir()] == ["step_0000006"]
        load_checkpoint(config.run)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        train(config, resume=True)
        assert_same_training(config.run, train(configure(tmp_path / "whole")))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_resume_validates_a_last_checkpoint_that_was_not_measured(configure: Configure, tmp_path: Path) -> None:
    config = configure(tmp_path / "run")
    train(config)
    last, log = find_checkpoint(config.run, "last"), config.run / "metrics.jsonl"
    whole, measured = read_metrics(config.run), read_metadata(last).metrics
    save_metrics(last, {})
    log.write_text("".join(f"{json.dumps(line)}\n" for line in whole if "val_nll" not in line or line["step"] < 12))
    train(config, resume=True)
    assert read_metrics(config.run) == whole and read_metadata(last).metrics == measured
    with pytest.raises(UserError, match="nothing is left to train"):
        train(config, resume=True)
