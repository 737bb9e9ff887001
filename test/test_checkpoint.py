"""A checkpoint is whole or not there, says what is wrong with it, and executes nothing."""

import math
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
from typing import Any

import numpy as np
import pytest
import torch

from dacformer.checkpoint import (
    find_checkpoint,
    list_checkpoints,
    load_checkpoint,
    load_state,
    prune_checkpoints,
    read_metadata,
    save_checkpoint,
    save_metrics,
)
from dacformer.config import Config, save_config
from dacformer.errors import UserError
from dacformer.training.trainer import train

Configure = Callable[..., Config]
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
    metadata, weights, state = load_state(find_checkpoint(trained))
    saved = save_checkpoint(tmp_path, metadata, checkpoint.model.state_dict(), state)
    again = load_checkpoint(saved)
    assert again.metadata == checkpoint.metadata and not again.model.training
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
    nll = {path: read_metadata(path).metrics["val_nll"] for path in checkpoints}
    assert find_checkpoint(trained) == min(checkpoints, key=nll.__getitem__)
    assert find_checkpoint(trained, "last").name == "step_0000080"
    assert find_checkpoint(trained, "80") == find_checkpoint(trained, "last") == find_checkpoint(checkpoints[-1])
    with pytest.raises(UserError, match=r"no checkpoint '7'. It has: best, last, .*80"):
        find_checkpoint(trained, "7")
    with pytest.raises(UserError, match="is no run and no checkpoint"):
        find_checkpoint(trained / "nowhere")


@pytest.mark.parametrize("which", [80, "80", "080", np.int64(80), np.uint8(80)])
def test_a_step_is_a_number_of_any_kind(trained: Path, which: str | int) -> None:
    assert find_checkpoint(trained, which).name == "step_0000080"
    assert load_checkpoint(trained, which).metadata.step == 80


@pytest.mark.parametrize("which", [7, -80, 80.5, None, True, "", "²", "٨٠", "9" * 5000, "step_0000080", "../80"])
def test_what_is_no_step_is_refused_in_one_line(trained: Path, which: Any) -> None:
    with pytest.raises(UserError, match=r"^[^\n]* has no checkpoint '[^\n]*It has: best, last, .*80\.$"):
        find_checkpoint(trained, which)


def test_what_a_person_puts_beside_checkpoints_is_passed_over_and_stays(run: Path) -> None:
    ours, folder = list_checkpoints(run), run / "checkpoints"
    names = [
        "step_backup",
        "step_0000020 (copy)",
        "step_-1",
        "step_٢٠",
        "step_20",
        "step_00000020",
        "step_",
        "step_0000020~",
    ]
    for name in names:
        shutil.copytree(ours[-1], folder / name)
    (folder / "step_0000099").write_text("a file")
    (folder / "step_0000098").symlink_to(ours[-1], target_is_directory=True)
    (folder / ".step_mine").mkdir()
    theirs = {*folder.iterdir()} - {*ours}
    assert list_checkpoints(run) == ours and find_checkpoint(run, "last") == ours[-1]
    for which in ("20x", "backup", "99", "98"):
        with pytest.raises(UserError, match="has no checkpoint"):
            find_checkpoint(run, which)
    metadata, weights, state = load_state(ours[-1])
    save_checkpoint(run, metadata.model_copy(update={"step": 81}), weights, state)
    save_checkpoint(run, metadata.model_copy(update={"step": 99}), weights, state)
    prune_checkpoints(run, keep=1)
    assert theirs - {folder / "step_0000099"} <= {*folder.iterdir()}
    assert (folder / "step_0000099.moved_away").read_text() == "a file"
    assert read_metadata(folder / "step_0000099").step == 99


def with_metrics(run: Path, *metrics: dict[str, float], select: str = "rollout") -> Path:
    """A run whose checkpoints 1, 2, ... have these figures."""
    source = find_checkpoint(run, "last")
    for path in list_checkpoints(run)[:-1]:
        shutil.rmtree(path)
    config = read_metadata(source).config
    training = config.training.model_copy(update={"select_best_by": select})
    metadata = read_metadata(source).model_copy(update={"config": config.model_copy(update={"training": training})})
    for step, result in enumerate(metrics, start=1):
        target = shutil.copytree(source, run / "checkpoints" / f"step_{step:07d}")
        save_config(metadata.model_copy(update={"step": step, "metrics": result}), target / "config.yaml")
    shutil.rmtree(source)
    return run


GOOD, BAD, NAN, UNMEASURED = (
    {"rollout_error": 0.5, "val_nll": 6.0},
    {"rollout_error": 0.9, "val_nll": 5.0},
    {"rollout_error": float("nan"), "val_nll": float("nan")},
    {},
)


@pytest.mark.parametrize(
    ("metrics", "select", "best"),
    [
        ([BAD, GOOD], "rollout", 2),
        ([BAD, GOOD], "nll", 1),
        ([NAN, BAD, UNMEASURED], "rollout", 2),
        ([UNMEASURED, NAN, GOOD], "nll", 3),
        ([{"val_nll": 6.0}, {"val_nll": 5.0}], "rollout", 2),  # never played
        ([{"rollout_error": 0.501, "val_nll": 6.0}, {"rollout_error": 0.499, "val_nll": 7.0}], "rollout", 1),
        ([{"rollout_error": float("inf"), "val_nll": 5.0}, GOOD], "rollout", 2),
    ],
)
def test_the_best_is_what_the_setting_says_and_survives_pruning(
    run: Path, metrics: list[dict[str, float]], select: str, best: int
) -> None:
    run = with_metrics(run, *metrics, select=select)
    assert find_checkpoint(run).name == f"step_{best:07d}"
    prune_checkpoints(run, keep=1)
    assert find_checkpoint(run).name == f"step_{best:07d}"


@pytest.mark.parametrize("text", [None, "", "[1]", "step: x", "a: 1\na: 2"])
def test_a_card_that_cannot_be_read_hides_no_other_checkpoint_and_is_not_removed(run: Path, text: str | None) -> None:
    run = with_metrics(run, GOOD, BAD, BAD)
    metadata = run / "checkpoints" / "step_0000001" / "config.yaml"
    metadata.unlink() if text is None else metadata.write_text(text)
    with pytest.warns(UserWarning, match=r"A checkpoint is passed over: .*step_0000001"):
        assert find_checkpoint(run).name == "step_0000002"
    with pytest.warns(UserWarning, match=r"passed over"):
        prune_checkpoints(run, keep=1)
    assert [path.name for path in list_checkpoints(run)] == ["step_0000001", "step_0000002", "step_0000003"]


def test_figures_are_written_into_a_checkpoint_whole_or_not_at_all(run: Path) -> None:
    last = find_checkpoint(run, "last")
    before = (last / "config.yaml").read_bytes()
    with largest_file(200), pytest.raises(OSError, match="File too large"):
        save_metrics(last, GOOD)
    assert (last / "config.yaml").read_bytes() == before
    save_metrics(last, NAN | {"x": 1e-300, "y": float("-inf")})
    metrics = read_metadata(last).metrics
    assert math.isnan(metrics["val_nll"]) and (metrics["x"], metrics["y"]) == (1e-300, float("-inf"))
    assert sorted(path.name for path in last.iterdir()) == sorted(FILES)


def test_checkpoints_are_readable_for_whom_the_umask_lets(run: Path) -> None:
    metadata, weights, state = load_state(find_checkpoint(run, "last"))
    before = os.umask(0o027)
    try:
        saved = save_checkpoint(run, metadata.model_copy(update={"step": 90}), weights, state)
    finally:
        os.umask(before)
    assert saved.stat().st_mode & 0o777 == 0o750
    assert {path.stat().st_mode & 0o777 for path in saved.iterdir()} == {0o640}


@pytest.mark.parametrize("size", [200, 100_000, 2_000_000])
def test_a_full_disk_is_a_clear_error_and_harms_nothing(run: Path, size: int) -> None:
    """At these sizes it is the settings, the weights, or the training's state that does not fit."""
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    metadata, weights, state = load_state(find_checkpoint(run, "last"))
    for step in (metadata.step, 999):  # in place of a checkpoint that is there, and beside it
        with largest_file(size), pytest.raises(UserError, match=rf"step_{step:07d} could not be written.*--resume"):
            save_checkpoint(run, metadata.model_copy(update={"step": step}), weights, state)
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


def test_a_state_of_other_names_is_refused(configure: Configure, tmp_path: Path) -> None:
    config = configure(tmp_path / "run", steps=2)
    train(config)
    file = find_checkpoint(config.run, "last") / "train_state.pt"
    state = torch.load(file, weights_only=True)
    state["model"]["another"] = state["model"].pop(next(iter(state["model"])))
    torch.save(state, file)
    with pytest.raises(UserError, match="its state is damaged, or of another version"):
        train(configure(tmp_path / "run", steps=4), resume=True)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_malicious_state_is_refused_and_not_executed(run: Path, tmp_path: Path, form: str) -> None:
    path, witness = find_checkpoint(run, "last"), tmp_path / "executed"
    if form == "torch":
        torch.save({"model": Malicious(witness), "optimizer": {}}, path / "train_state.pt")
    else:
        (path / "train_state.pt").write_bytes(pickle.dumps(Malicious(witness), protocol=2))
    with pytest.raises(UserError, match=r"train_state\.pt"):
        train(read_metadata(path).config.model_copy(update={"run": run}), resume=True)
    assert not witness.exists()


def test_half_a_checkpoint_under_its_working_name_is_no_checkpoint(run: Path) -> None:
    whole = list_checkpoints(run)
    half = run / "checkpoints" / ".step_0000999.part"
    shutil.copytree(whole[-1], half)
    (half / "train_state.pt").unlink()
    assert list_checkpoints(run) == whole
    metadata, weights, state = load_state(whole[-1])
    save_checkpoint(run, metadata.model_copy(update={"step": 100}), weights, state)
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
from dacformer.checkpoint import list_checkpoints, load_state, prune_checkpoints, read_metadata, save_checkpoint
from dacformer.checkpoint import load_checkpoint

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
print(max(read_metadata(path).step for path in list_checkpoints(run)))
"""


@pytest.mark.heavy
def test_killed_while_writing_never_leaves_half_a_checkpoint(trained: Path, tmp_path: Path) -> None:
    """15 times `kill -9`, at a random moment of writing and pruning, on top of what the one before left."""
    command = [sys.executable, "-c", WRITER, str(find_checkpoint(trained)), str(tmp_path), str(random.randrange(10**6))]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1, "no checkpoint was ever completed by a process that was killed later"
