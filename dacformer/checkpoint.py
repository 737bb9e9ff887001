"""Checkpoints: folders that are whole or not there.

    runs/<experiment>/checkpoints/step_0000500/
        config.yaml         settings, facts of the data, conditions, step, metrics
        model.safetensors   the weights to generate with (averaged, if the training averages)
        train_state.pt      what `--resume` needs besides (weights as trained, optimizer)

A folder is written under another name and renamed when it is complete, and renamed back before it is removed, so a name
`step_*` is always a whole checkpoint.
`metrics` are written into it afterwards: a model is saved before it is measured.

The last is the one with the highest step. The best is chosen as `training.select_best_by` says: by free running, or,
where that was not measured, by validation NLL. No pointer can go stale. Whatever else lies in the folder (copies,
links, files) is somebody's own: it is passed over and never removed.
"""

import hashlib
import math
import os
import re
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dacformer.conditions.labels import Conditions
from dacformer.config import Config, Settings, load_config, save_config
from dacformer.data.dataset import DatasetInfo
from dacformer.errors import UserError
from dacformer.files import new_file, read_training_state, sync, write_safetensors
from dacformer.model import DACFormer

CARD_FILE, WEIGHTS_FILE, STATE_FILE = "config.yaml", "model.safetensors", "train_state.pt"


class CheckpointMetadata(Settings):
    """What a checkpoint says of itself: all that is needed to rebuild and to steer its model."""

    step: int
    metrics: dict[str, float] = {}
    config: Config
    info: DatasetInfo
    conditions: Conditions

    def build_model(self) -> DACFormer:
        """A model of the right sizes, with fresh weights."""
        return DACFormer(self.config.model, self.info.num_codebooks, self.info.codebook_size, self.conditions.dim)


@dataclass(frozen=True)
class Checkpoint:
    """A model, and all that was known when it was trained.

    Attributes:
        metadata: Settings, facts, conditions, step, metrics.
        model: The model.
        identity: Run, step and the start of the weights' SHA-256; goes into what the model generates.
    """

    metadata: CheckpointMetadata
    model: DACFormer
    identity: str


def save_checkpoint(run: Path, metadata: CheckpointMetadata, weights: dict[str, Tensor], state: dict[str, Any]) -> Path:
    """Writes a checkpoint, whole or not at all; an older one of the same step is replaced last.

    Args:
        run: The run's folder.
        metadata: What it says of itself.
        weights: The weights to generate with.
        state: What resuming needs besides; tensors, numbers and containers of them.

    Returns:
        The checkpoint's folder.

    Raises:
        UserError: The disk is full or not writable; what was there before is untouched.
    """
    target = run / "checkpoints" / f"step_{metadata.step:07d}"
    part = target.with_name(f".{target.name}.part")
    try:
        for leftover in (*target.parent.glob(".step_*.part"), *target.parent.glob(".step_*.gone")):
            shutil.rmtree(leftover, ignore_errors=True)  # of a process that was killed
        part.mkdir(parents=True)
        save_config(metadata, part / CARD_FILE)
        write_safetensors(part / WEIGHTS_FILE, weights)
        torch.save(state, part / STATE_FILE)
        for file in part.iterdir():
            sync(file)
        gone = target.with_name(f".{target.name}.gone")
        if _step_of(target):
            os.replace(target, gone)
        elif os.path.lexists(target):  # a file or a link of somebody's own
            os.replace(target, new_file(target.with_name(f"{target.name}.moved_away")))
        os.replace(part, target)
        shutil.rmtree(gone, ignore_errors=True)
        sync(target.parent)
    # safetensors and torch wrap the system's error in exceptions of their own.
    except Exception as error:
        raise UserError(
            f"The checkpoint {target} could not be written ({' '.join(str(error).split())}). "
            f"Earlier checkpoints are untouched. Make room, then go on with --resume."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def save_metrics(path: Path, metrics: dict[str, float]) -> None:
    """Writes into a checkpoint what was measured of it; the old card stays if that fails.

    Raises:
        OSError: The disk is full or not writable.
    """
    save_config(read_metadata(path).model_copy(update={"metrics": metrics}), path / CARD_FILE)


def list_checkpoints(run: Path) -> list[Path]:
    """The run's whole checkpoints, oldest first."""
    steps = {path: _step_of(path) for path in (run / "checkpoints").glob("step_*")}
    return sorted((path for path, step in steps.items() if step is not None), key=lambda path: (steps[path], path))


def _step_of(path: Path) -> str | None:
    """A checkpoint's step as text that sorts like the number; None for what `save_checkpoint` does not make."""
    name = re.fullmatch(r"step_([0-9]{7}|[1-9][0-9]{7,18})", path.name)
    return name[1].zfill(19) if name and path.is_dir() and not path.is_symlink() else None


def remove_checkpoint(path: Path) -> None:
    """Removes a checkpoint: first its name, so that half of one is never taken for whole."""
    gone = path.with_name(f".{path.name}.gone")
    os.replace(path, gone)
    shutil.rmtree(gone)


def prune_checkpoints(run: Path, keep: int) -> None:
    """Removes checkpoints, but not the newest `keep`, not the best, and none that cannot be read."""
    found = list_checkpoints(run)
    metadata_by_path = _readable(found)
    kept = {*found[-keep:], _best(metadata_by_path)}
    for path in found:
        if path not in kept and path in metadata_by_path:
            remove_checkpoint(path)


def find_checkpoint(path: str | Path, which: str | int = "best") -> Path:
    """Finds a checkpoint.

    Args:
        path: A checkpoint's folder, or a run's.
        which: Of a run: `best` (as its `training.select_best_by` says), `last`, or a step's number.

    Returns:
        The checkpoint's folder.

    Raises:
        UserError: There is none.
    """
    path, which = Path(path), str(which)
    if (path / WEIGHTS_FILE).is_file():
        return path
    found = list_checkpoints(path)
    if not found:
        raise UserError(f"{path} is no run and no checkpoint. Train one: dacformer train params/params_sm.yaml")
    if which == "last":
        return found[-1]
    if which == "best":
        return _best(_readable(found)) or found[-1]
    known = {str(int(_step_of(each) or 0)): each for each in found}
    if re.fullmatch("[0-9]+", which) and (which.lstrip("0") or "0") in known:
        return known[which.lstrip("0") or "0"]
    raise UserError(f"{path} has no checkpoint '{which}'. It has: best, last, {', '.join(known)}.")


def _readable(checkpoints: list[Path]) -> "dict[Path, CheckpointMetadata]":
    """The cards of checkpoints; of one that cannot be read a warning tells."""
    metadata_by_path = {}
    for path in checkpoints:
        try:
            metadata_by_path[path] = read_metadata(path)
        except UserError as error:
            warnings.warn(f"A checkpoint is passed over: {error}", stacklevel=3)
    return metadata_by_path


def _best(metadata_by_path: "dict[Path, CheckpointMetadata]") -> Path | None:
    """The best checkpoint by its metrics, oldest first; the NLL decides between equals. None if there are no cards."""
    if not metadata_by_path:
        return None
    by_nll = list(metadata_by_path.values())[-1].config.training.select_best_by == "nll"

    def rank(path: Path) -> tuple[float, float]:
        metrics = metadata_by_path[path].metrics
        rollout_error, nll = (metrics.get(name, math.inf) for name in ("rollout_error", "val_nll"))
        nll = nll if math.isfinite(nll) else math.inf
        return (math.inf if by_nll or not math.isfinite(rollout_error) else round(rollout_error, 2)), nll

    return min(metadata_by_path, key=rank)


def read_metadata(path: Path) -> CheckpointMetadata:
    """Reads what a checkpoint says of itself."""
    return load_config(path / CARD_FILE, kind=CheckpointMetadata)


def load_checkpoint(path: str | Path, which: str | int = "best") -> Checkpoint:
    """Loads a model for generation, on the CPU.

    Args:
        path: A checkpoint's folder, or a run's.
        which: See `find_checkpoint`.

    Returns:
        The model in evaluation mode, and its card.

    Raises:
        UserError: No checkpoint, or a damaged one.
    """
    path = find_checkpoint(path, which)
    metadata = read_metadata(path)
    weights = _read_weights(path)
    with torch.device("meta"):  # sizes that the weights do not have are never allocated
        sizes = metadata.build_model().state_dict()
    if {name: each.shape for name, each in weights.items()} != {name: each.shape for name, each in sizes.items()}:
        raise UserError(f"{path / WEIGHTS_FILE} does not fit the sizes in {path / CARD_FILE}. Use another checkpoint.")
    model = metadata.build_model()
    model.load_state_dict(weights)
    digest = hashlib.sha256((path / WEIGHTS_FILE).read_bytes()).hexdigest()
    return Checkpoint(metadata, model.eval(), f"{metadata.config.run.name}/{path.name}-{digest[:12]}")


def load_state(path: Path) -> tuple[CheckpointMetadata, dict[str, Tensor], dict[str, Any]]:
    """Loads what resuming needs: the card, the weights to generate with, and the training's state.

    Raises:
        UserError: The checkpoint is damaged.
    """
    metadata, weights, file = read_metadata(path), _read_weights(path), path / STATE_FILE
    try:
        state = read_training_state(file, "cpu")
        return metadata, weights, {"model": state["model"], "optimizer": state["optimizer"]}
    except Exception as error:  # a hostile or cut-off pickle can fail in any way
        problem = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(
            f"{file} is damaged or cut off ({problem}). Delete {path} to resume from the checkpoint before it."
        ) from error


def _read_weights(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path / WEIGHTS_FILE)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path / WEIGHTS_FILE} is damaged or cut off ({error}). Use another checkpoint.") from error
