"""Two processes go through the losses of one: the same global batch, shared, and (FSDP) the weights sharded too."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dacformer.checkpoint import find_checkpoint, load_checkpoint
from dacformer.config import Config, save_config
from dacformer.errors import UserError
from dacformer.training.metrics import read_metrics
from dacformer.training.trainer import train

Configure = Callable[..., Config]

SCRIPT = Path(__file__).with_name("two_processes.py")
STEPS = {"steps": 8, "learning_rate": 1e-3, "validate_every": 3, "sample_every": 4, "validation_batches": 1}


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}


def torchrun() -> list[str]:
    """The command that starts two processes on the CPU.

    Not `accelerate launch`: with `--cpu` it starts one process, however many are asked for.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]


def launch(*words: str) -> str:
    """Runs the script in two processes; gives what they said."""
    done = subprocess.run(
        [*torchrun(), SCRIPT, *words],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout + done.stderr


def remove_last(run: Path) -> None:
    last = find_checkpoint(run, "last")
    assert last.name == "step_0000008"
    shutil.rmtree(last)


def assert_close_training(one: Path, other: Path) -> None:
    """All figures and the final weights are equal to rounding: Muon computes its steps in bfloat16."""
    lines, others = read_metrics(one), read_metrics(other)
    assert [sorted(line) for line in lines] == [sorted(line) for line in others]
    for line, expected in zip(lines, others, strict=True):
        for name in set(line) - {"frames_per_second"}:
            assert line[name] == pytest.approx(expected[name], abs=3e-4), (name, line["step"])
    weights, expected = (load_file(find_checkpoint(run, "last") / "model.safetensors") for run in (one, other))
    assert weights.keys() == expected.keys()
    for key, value in weights.items():
        # A few steps' tenths: optimizers divide a small gradient by itself, so rounding shows in a weight seldom used.
        torch.testing.assert_close(value, expected[key], atol=1e-3, rtol=0)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_two_processes_give_the_losses_of_one(configure: Configure, tmp_path: Path, kind: str) -> None:
    """Validation, samples and checkpoints included; either goes on with what the other began."""
    alone = train(configure(tmp_path / "alone", **STEPS))
    begun_by_two, begun_by_one = configure(tmp_path / "two", **STEPS), configure(tmp_path / "one", **STEPS)
    shutil.copytree(alone, begun_by_one.run)
    remove_last(begun_by_one.run)
    for config in (begun_by_two, begun_by_one):
        save_config(config, config.run.with_suffix(".yaml"))
    said = launch(kind, str(tmp_path / "two.yaml"), str(tmp_path / "one.yaml"))
    assert said.count("step 3: validation") == 1, "one process speaks, the other is quiet"
    assert_close_training(begun_by_two.run, alone)
    assert_close_training(begun_by_one.run, alone)
    played = torch.load(begun_by_two.run / "sample_8.pt")
    with torch.no_grad():
        model = load_checkpoint(alone, "last").model
        expected = model(torch.zeros(1, 4, 3, dtype=torch.int64), torch.zeros(1, 1, model.condition_dim))
    torch.testing.assert_close(played, expected, atol=1e-3, rtol=0)
    remove_last(begun_by_two.run)
    train(begun_by_two, resume=True)
    assert_close_training(begun_by_two.run, alone)


@pytest.mark.heavy
def test_processes_agree_on_the_step_at_which_a_signal_stops_them(configure: Configure, tmp_path: Path) -> None:
    """SIGTERM to the launcher, which hands it to both at different moments."""
    config = configure(tmp_path / "run", **(STEPS | {"steps": 10_000, "validate_every": 10_000}), select_best_by="nll")
    save_config(config, tmp_path / "params.yaml")
    log = config.run / "metrics.jsonl"
    with subprocess.Popen(
        [*torchrun(), "-m", "dacformer.cli", "train", str(tmp_path / "params.yaml"), "training.sample_every=0"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as launcher:
        deadline = time.monotonic() + 200
        while not (log.is_file() and log.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.05)
        launcher.terminate()
        said, _ = launcher.communicate(timeout=100)
    step = load_checkpoint(config.run, "last").metadata.step
    assert step % 10 == 0 and said.count(f"Stopped at step {step}; go on with --resume.") == 1
    assert [line["step"] for line in read_metrics(config.run) if "loss" in line] == list(range(1, step + 1))


def test_a_batch_that_cannot_be_shared_is_refused(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelerate.Accelerator.num_processes", 3)
    with pytest.raises(UserError, match=r"batch_size=4 cannot be shared by 3 processes"):
        train(configure(tmp_path / "run"))
