"""A checkpoint is whole or not there, says what is wrong with it, and executes nothing."""

import os
import pickle
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from dacformer.errors import UserError
from dacformer.training import find_checkpoint, load_checkpoint, train
from dacformer.training.checkpoint import (
    list_checkpoints,
    load_state,
    prune_checkpoints,
    read_card,
    save_checkpoint,
)

FILES = ("config.yaml", "model.safetensors", "train_state.pt")


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes (the system's own limit; the disk is full from the writer's view)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@torch.no_grad()
def logits_of(model: torch.nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(1024, (2, 4, 40), generator=generator)
    return model(codes, torch.randn(2, 40, 6, generator=generator))


def test_saved_is_loaded(trained: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(trained)
    card, weights, state = load_state(find_checkpoint(trained))
    saved = save_checkpoint(tmp_path, card, checkpoint.model.state_dict(), state)
    again = load_checkpoint(saved)
    assert again.card == checkpoint.card and not again.model.training
    assert torch.equal(logits_of(again.model), logits_of(checkpoint.model))
    assert again.identity.rpartition("-")[2] == checkpoint.identity.rpartition("-")[2]
    reread = load_state(saved)[1]
    assert all(torch.equal(reread[name], value) for name, value in weights.items())


def test_the_weights_to_generate_with_are_the_averaged_ones(trained: Path) -> None:
    _, averaged, state = load_state(find_checkpoint(trained, "last"))
    assert averaged.keys() == state["model"].keys()
    assert any(not torch.equal(averaged[name], state["model"][name]) for name in averaged)


def test_best_last_and_a_step_are_found(trained: Path) -> None:
    checkpoints = list_checkpoints(trained)
    nll = {path: read_card(path).metrics["val_nll"] for path in checkpoints}
    assert find_checkpoint(trained) == min(checkpoints, key=nll.__getitem__)
    assert find_checkpoint(trained, "last").name == "step_0000080"
    assert find_checkpoint(trained, "80") == find_checkpoint(trained, "last") == find_checkpoint(checkpoints[-1])
    with pytest.raises(UserError, match=r"no checkpoint '7'. It has: best, last, .*80"):
        find_checkpoint(trained, "7")
    with pytest.raises(UserError, match="is no run and no checkpoint"):
        find_checkpoint(trained / "nowhere")


@pytest.mark.parametrize("size", [200, 100_000, 2_000_000])
def test_a_full_disk_is_a_clear_error_and_harms_nothing(run: Path, size: int) -> None:
    """At these sizes it is the settings, the weights, or the training's state that does not fit."""
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    card, weights, state = load_state(find_checkpoint(run, "last"))
    for step in (card.step, 999):  # in place of a checkpoint that is there, and beside it
        with largest_file(size), pytest.raises(UserError, match=rf"step_{step:07d} could not be written.*--resume"):
            save_checkpoint(run, card.model_copy(update={"step": step}), weights, state)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert not list((run / "checkpoints").glob(".*"))
    load_checkpoint(run, "last")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.99])
def test_a_file_that_was_cut_off_is_named(run: Path, name: str, share: float) -> None:
    damaged = find_checkpoint(run, "last") / name
    os.truncate(damaged, int(share * damaged.stat().st_size))
    with pytest.raises(UserError) as error:
        load_state(damaged.parent)
    assert str(damaged) in str(error.value)
    if name != "train_state.pt":
        with pytest.raises(UserError) as error:
            load_checkpoint(damaged.parent)
        assert str(damaged) in str(error.value)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_is_named(run: Path, name: str) -> None:
    damaged = find_checkpoint(run, "last") / name
    damaged.unlink()
    with pytest.raises(UserError) as error:
        load_state(damaged.parent)
    assert str(damaged) in str(error.value)


def test_weights_of_another_model_are_refused(run: Path) -> None:
    path = find_checkpoint(run, "last")
    text = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text(text.replace("num_layers: 2", "num_layers: 3"))
    with pytest.raises(UserError, match=r"model\.safetensors does not fit"):
        load_checkpoint(path)


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_malicious_state_is_refused_and_not_executed(run: Path, tmp_path: Path, form: str) -> None:
    path, witness = find_checkpoint(run, "last"), tmp_path / "executed"
    if form == "torch":
        torch.save({"model": Malicious(witness), "optimizer": {}}, path / "train_state.pt")
    else:
        (path / "train_state.pt").write_bytes(pickle.dumps(Malicious(witness), protocol=2))
    with pytest.raises(UserError, match=r"train_state\.pt"):
        train(read_card(path).config.model_copy(update={"run": run}), resume=True)
    assert not witness.exists()


def test_half_a_checkpoint_under_its_working_name_is_no_checkpoint(run: Path) -> None:
    whole = list_checkpoints(run)
    half = run / "checkpoints" / ".step_0000999.part"
    shutil.copytree(whole[-1], half)
    (half / "train_state.pt").unlink()
    assert list_checkpoints(run) == whole
    card, weights, state = load_state(whole[-1])
    save_checkpoint(run, card.model_copy(update={"step": 100}), weights, state)
    assert not half.exists()


def test_pruning_that_is_cut_off_leaves_no_half_checkpoint(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while it removes files: what is left has no checkpoint's name."""
    for step in (1, 2):
        shutil.copytree(find_checkpoint(run, "last"), run / "checkpoints" / f"step_{step:07d}")
    before = list_checkpoints(run)

    def killed(path: Path, *_: object, **__: object) -> None:
        next(Path(path).iterdir()).unlink()
        raise SystemExit

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(SystemExit):
        prune_checkpoints(run, keep=1)
    left = list_checkpoints(run)
    assert len(left) == len(before) - 1
    for path in left:
        load_checkpoint(path)


WRITER = """
import os, random, signal, sys, time
from pathlib import Path
from dacformer.training.checkpoint import list_checkpoints, load_state, prune_checkpoints, read_card, save_checkpoint
from dacformer.training import load_checkpoint

source, run, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)
card, weights, state = load_state(source)
started = time.monotonic()
save_checkpoint(run, card.model_copy(update={"step": 1}), weights, state)
one_save = time.monotonic() - started
for kill in range(1, 16):
    child = os.fork()
    if child == 0:
        for step in range(1_000_000):
            save_checkpoint(run, card.model_copy(update={"step": 100 * kill + step % 100}), weights, state)
            prune_checkpoints(run, 2)
    time.sleep(chance.uniform(0.0, 3 * one_save))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for path in list_checkpoints(run):
        load_checkpoint(path)
        load_state(path)
    assert list_checkpoints(run)
print(max(read_card(path).step for path in list_checkpoints(run)))
"""


@pytest.mark.heavy
def test_killed_while_writing_never_leaves_half_a_checkpoint(trained: Path, tmp_path: Path) -> None:
    """15 times `kill -9`, at a random moment of writing and pruning, on top of what the one before left."""
    command = [sys.executable, "-c", WRITER, str(find_checkpoint(trained)), str(tmp_path), str(random.randrange(10**6))]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1, "no checkpoint was ever completed by a process that was killed later"
