"""A training that is stopped, broken off or shared: nothing that was learned is lost."""

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from safetensors.torch import load_file

from dacformer.checkpoint import Checkpoint, find_checkpoint, list_checkpoints, load_checkpoint, read_metadata
from dacformer.config import Config, save_config
from dacformer.errors import UserError
from dacformer.signals import ending_cleanly
from dacformer.training.metrics import read_metrics
from dacformer.training.trainer import train

Configure = Callable[..., Config]
STEPS = {"steps": 4, "validate_every": 2, "validation_batches": 1}


def lines_of(run: Path) -> list[dict[str, float]]:
    return [{name: v for name, v in line.items() if name != "frames_per_second"} for line in read_metrics(run)]


def selection_metric(checkpoint: Checkpoint) -> float:
    """As good as any: a number that only the weights decide."""
    return next(checkpoint.model.parameters()).abs().mean().item()


class At:
    """Does something the first time that a step is reported."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self.step, self.act, self.done = step, act, False

    def __call__(self, line: dict[str, float] | Checkpoint, _: Path | None = None) -> float:
        step = line.metadata.step if isinstance(line, Checkpoint) else line["step"]
        if step == self.step and not self.done:
            self.done = True
            self.act()
        return selection_metric(line) if isinstance(line, Checkpoint) else 0.0


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def _usual_signals() -> Iterator[None]:
    """Python's own handlers, also where the tests run under `nohup` or in the background, which ignore signals."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def whole(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(configure(tmp_path_factory.mktemp("runs") / "whole", **STEPS), selection_metric=selection_metric)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_exits_with_its_number(
    configure: Configure, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr("dacformer.training.metrics.FLUSH_EVERY", 1)
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    config = configure(tmp_path / "run", **STEPS)
    with pytest.raises(SystemExit) as stopped, ending_cleanly():
        train(config, on_metrics=At(1, send(number)), selection_metric=selection_metric)
    assert stopped.value.code == 128 + number
    assert {each: signal.getsignal(each) for each in before} == before
    assert [path.name for path in list_checkpoints(config.run)] == ["step_0000001"]
    assert "rollout_error" in read_metadata(find_checkpoint(config.run)).metrics
    train(config, resume=True, selection_metric=selection_metric)
    assert [line for line in lines_of(config.run) if line["step"] > 1] == lines_of(whole)[1:]
    saved, expected = (load_file(find_checkpoint(run, 4) / "model.safetensors") for run in (config.run, whole))
    assert all((saved[name] == value).all() for name, value in expected.items())


def test_a_signal_in_a_notebook_lets_the_caller_go_on(configure: Configure, tmp_path: Path) -> None:
    """There, SIGINT raises `KeyboardInterrupt`, which the training has answered."""
    config = configure(tmp_path / "run", **STEPS)
    assert train(config, on_metrics=At(2, send(signal.SIGINT))) == config.run
    assert [read_metadata(path).step for path in list_checkpoints(config.run)] == [2]


def test_a_second_signal_while_saving_is_harmless(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dacformer import checkpoint

    original = checkpoint.write_safetensors

    def interrupted(*arguments: Any) -> None:
        send(signal.SIGINT)()
        original(*arguments)
        send(signal.SIGTERM)()

    monkeypatch.setattr(checkpoint, "write_safetensors", interrupted)
    config = configure(tmp_path / "run", **STEPS)
    with pytest.raises(SystemExit) as stopped, ending_cleanly():
        train(config)
    assert stopped.value.code == 130
    assert load_checkpoint(config.run).metadata.step == 2


@pytest.mark.parametrize(
    ("act", "ends"),
    [
        (send(signal.SIGTERM), SystemExit),
        (lambda: (_ for _ in ()).throw(KeyboardInterrupt), None),
        (lambda: (_ for _ in ()).throw(GeneratorExit("killed")), GeneratorExit),
    ],
    ids=["signal", "stop button", "killed"],
)
def test_judging_that_is_broken_off_costs_no_checkpoint_and_is_made_up_for(
    configure: Configure, tmp_path: Path, whole: Path, act: Callable[[], object], ends: type[BaseException] | None
) -> None:
    config = configure(tmp_path / "run", **STEPS)
    interrupting = At(2, act)
    if ends is None:
        train(config, selection_metric=interrupting)
    else:
        with pytest.raises(ends), ending_cleanly():
            train(config, selection_metric=interrupting)
    if read_metadata(find_checkpoint(config.run, "last")).step < 4:
        assert read_metadata(find_checkpoint(config.run, 2)).metrics == {}
        train(config, resume=True, selection_metric=selection_metric)
    assert lines_of(config.run) == lines_of(whole)
    assert read_metadata(find_checkpoint(config.run, 2)).metrics == read_metadata(find_checkpoint(whole, 2)).metrics


@pytest.mark.parametrize("what", ["selection_metric", "on_sample"])
@pytest.mark.parametrize("error", [UserError("no codec"), OSError(errno.ENOSPC, "full"), ValueError("two\nlines")])
def test_what_fails_beside_the_training_is_a_warning(
    configure: Configure, tmp_path: Path, whole: Path, what: str, error: Exception
) -> None:
    def fail(*_: object) -> float:
        raise error

    config = configure(tmp_path / "run", **STEPS, sample_every=1)
    failing: dict[str, Any] = {what: fail}
    with pytest.warns(UserWarning, match=r"^fail failed at step \d \(\w+Error: [^\n]*\)\.$"):
        train(config, **failing)
    assert [read_metadata(path).step for path in list_checkpoints(config.run)] == [2, 4]
    assert [line["loss"] for line in lines_of(config.run) if "loss" in line] == [
        line["loss"] for line in lines_of(whole) if "loss" in line
    ]


def test_tensorboard_that_cannot_be_written_is_a_warning(
    configure: Configure, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("torch.utils.tensorboard.writer.FileWriter.add_summary", full)
    config = configure(tmp_path / "run", **STEPS)
    with pytest.warns(UserWarning, match="TensorBoard's file cannot be written"):
        train(config, selection_metric=selection_metric)
    assert lines_of(config.run) == lines_of(whole)


def test_a_log_that_cannot_be_written_is_said_after_saving(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dacformer.training import metrics

    original = metrics.MetricsLog.write

    def full(self: metrics.MetricsLog, step: int, result: dict[str, float]) -> None:
        if step == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(self, step, result)

    monkeypatch.setattr(metrics, "FLUSH_EVERY", 1)
    monkeypatch.setattr(metrics.MetricsLog, "write", full)
    config = configure(tmp_path / "run", **STEPS)
    with pytest.raises(UserError, match=r"\(No space left on device\).*--resume"):
        train(config)
    assert load_checkpoint(config.run, "last").metadata.step == 3


def test_signals_to_data_workers_are_the_parents_affair(configure: Configure, tmp_path: Path, whole: Path) -> None:
    """A terminal's Ctrl-C and SLURM's SIGTERM reach every process of a job."""

    def to_workers() -> None:
        workers = multiprocessing.active_children()
        assert workers
        for each in workers:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(each.pid or 0, number)

    config = configure(tmp_path / "run", data={"num_workers": 1}, **STEPS)
    train(config, on_metrics=At(1, to_workers), selection_metric=selection_metric)
    assert lines_of(config.run) == lines_of(whole)


def test_a_second_training_in_the_same_folder_is_refused(configure: Configure, tmp_path: Path) -> None:
    config = configure(tmp_path / "run", **STEPS)
    refused = []

    def second() -> None:
        with pytest.raises(UserError, match=r"Another training is writing to .*run"):
            train(config)
        refused.append(True)

    train(config, on_metrics=At(1, second))
    assert refused and len(lines_of(config.run)) == 6
    train(config, overwrite=True)


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_command_line_saves_on_a_signal(configure: Configure, tmp_path: Path, number: int) -> None:
    config = configure(tmp_path / "run", steps=10_000, validate_every=10_000, select_best_by="nll")
    save_config(config, tmp_path / "params.yaml")
    command = [sys.executable, "-m", "dacformer.cli", "train", str(tmp_path / "params.yaml")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        log = config.run / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while not (log.is_file() and log.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number and "Traceback" not in err
    step = load_checkpoint(config.run, "last").metadata.step
    assert f"Stopped at step {step}; go on with --resume." in out + err


# What resuming finds


def test_lines_of_others_in_the_log_are_passed_over(configure: Configure, tmp_path: Path, whole: Path) -> None:
    config = configure(tmp_path / "run", **STEPS)
    with pytest.raises(GeneratorExit):
        train(config, on_metrics=At(3, lambda: (_ for _ in ()).throw(GeneratorExit)), selection_metric=selection_metric)
    log = config.run / "metrics.jsonl"
    others = ["null", "[1]", "7", '"x"', "{}", '{"step": null}', '{"step": "1"}', '{"step": NaN, "loss": 1}', "{",
              '{"step": 1e400}', '{"step": ' + "9" * 5000 + "}", '{"step": -1}', '{"step": 1.5}', '{"step": true}',
              '{"step": 1, "loss": null}', '{"step": 1, "loss": [1]}', "[" * 100_000, ""]  # fmt: skip
    log.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*others, log.read_text()]).encode() + b"\xff\xfe\x00\n")
    assert lines_of(config.run)[:3] == lines_of(whole)[:3]
    train(config, resume=True, selection_metric=selection_metric)
    assert lines_of(config.run) == lines_of(whole)
    assert len(log.read_text().splitlines()) == len(lines_of(whole))


def with_row(dataset: Path, target: Path, **row: Any) -> Path:
    """A copy of a data set with a copy of its first file, under other labels."""
    shutil.copytree(dataset, target)
    rows = pd.read_csv(target / "manifest.csv")
    shutil.copy(target / rows["file"][0], target / "more.dac")
    more = {**rows.iloc[0].to_dict(), "file": "more.dac", "split": "train", **row}
    pd.concat([rows, pd.DataFrame([more])]).to_csv(target / "manifest.csv", index=False)
    return target


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"class": "creek", "rate": None}, "class 'creek' is new"),
        ({"depth": 3}, "parameter 'depth' is new"),
        ({"rate": 9}, "parameter 'rate' went from 0 to 1, goes now from 0 to 9"),
        ({"strength": 0.5}, "parameter 'strength' was of wind, is now of pistons, wind"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, dict) else None,
)
def test_resuming_with_other_labels_names_only_what_differs(
    configure: Configure, tmp_path: Path, dataset_path: Path, row: dict[str, Any], said: str
) -> None:
    run = train(configure(tmp_path / "run", steps=1))
    other = with_row(dataset_path, tmp_path / "set", **row)
    with pytest.raises(UserError) as error:
        train(configure(run, steps=2, data={"path": other}), resume=True)
    assert str(error.value) == f"Cannot resume {run}: {said}. Start another run: run=runs/NAME"


def test_resuming_with_more_of_the_same_goes_on(configure: Configure, tmp_path: Path, dataset_path: Path) -> None:
    run = train(configure(tmp_path / "run", steps=1))
    other = with_row(dataset_path, tmp_path / "set")
    train(configure(run, steps=2, data={"path": other}), resume=True)
    assert [path.name for path in list_checkpoints(run)] == ["step_0000001", "step_0000002"]


@pytest.mark.parametrize("name", ["checkpoints", "metrics.jsonl", "config.yaml"])
def test_what_has_the_name_of_a_trainings_file_is_refused_before_the_first_step(
    configure: Configure, tmp_path: Path, name: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / name).touch() if name == "checkpoints" else (run / name).mkdir()
    with pytest.raises(UserError, match=f"(?i){name}|names of a training's files"):
        train(configure(run, steps=1), on_metrics=lambda line: pytest.fail(f"a step was taken: {line}"))


@pytest.mark.parametrize("rate", [1e15, 1e30])
def test_a_learning_rate_that_is_far_too_high_leaves_no_checkpoint(
    configure: Configure, tmp_path: Path, rate: float
) -> None:
    config = configure(tmp_path / "run", **(STEPS | {"validate_every": 1}), learning_rate=rate, warmup_steps=0)
    with pytest.raises(UserError, match=r"training has come apart\. Lower training\.learning_rate"):
        train(config, selection_metric=selection_metric)
    assert all(np.isfinite(read_metadata(path).metrics["val_nll"]) for path in list_checkpoints(config.run))


@pytest.mark.skipif(sys.platform != "linux", reason="the address space can be limited on Linux")
def test_more_memory_than_there_is_is_one_line(configure: Configure, tmp_path: Path) -> None:
    """A process that may grow by half a gigabyte, and a layer of 0.8 GB."""
    import resource

    before, size = resource.getrlimit(resource.RLIMIT_AS), psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (size + 2**29, before[1]))
    try:
        with pytest.raises(UserError, match=r"not enough memory\. Lower data\.batch_size"):
            train(configure(tmp_path / "run", model={"dim": 8192}))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert not list_checkpoints(tmp_path / "run")


@pytest.mark.parametrize("part", ["model", "optimizer"])
@pytest.mark.parametrize("state", [{}, {"a": 1}, [], None])
def test_a_state_of_something_else_is_one_line(
    configure: Configure, tmp_path: Path, whole: Path, part: str, state: object
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    file = find_checkpoint(run, "last") / "train_state.pt"
    torch.save(torch.load(file, weights_only=True) | {part: state}, file)
    with pytest.raises(UserError, match=r"step_0000004.* cannot be gone on with: its state is damaged[^\n]*$"):
        train(configure(run, **(STEPS | {"steps": 6})), resume=True)
