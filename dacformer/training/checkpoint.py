"""Checkpoints: folders that are whole or not there.

    runs/<experiment>/checkpoints/step_0000500/
        config.yaml         settings, facts of the data, conditions, step, metrics
        model.safetensors   the weights to generate with (averaged, if the training averages)
        train_state.pt      what `--resume` needs besides (weights as trained, optimizer)

A folder is written under another name and renamed when it is complete, and renamed back before it is removed, so a name
`step_*` is always a whole checkpoint.
The last is the one with the highest step, the best the one that free running is judged best of, or, where
that was not judged, the one with the lowest validation NLL: no pointer can go stale.
"""

import hashlib
import math
import os
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dacformer.config import Config, Section, load_config, save_config
from dacformer.data.conditions import Conditions
from dacformer.data.dataset import Facts
from dacformer.errors import UserError
from dacformer.model import DACFormer

CARD_FILE, WEIGHTS_FILE, STATE_FILE = "config.yaml", "model.safetensors", "train_state.pt"


class Card(Section):
    """What a checkpoint says of itself: all that is needed to rebuild and to steer its model."""

    step: int
    metrics: dict[str, float] = {}
    config: Config
    facts: Facts
    conditions: Conditions

    def build_model(self) -> DACFormer:
        """A model of the right sizes, with fresh weights."""
        return DACFormer(self.config.model, self.facts.num_codebooks, self.facts.codebook_size, self.conditions.dim)


@dataclass(frozen=True)
class Checkpoint:
    """A model, and all that was known when it was trained.

    Attributes:
        card: Settings, facts, conditions, step, metrics.
        model: The model.
        identity: Run, step and the start of the weights' SHA-256; goes into what the model generates.
    """

    card: Card
    model: DACFormer
    identity: str


def save_checkpoint(run: Path, card: Card, weights: dict[str, Tensor], state: dict[str, Any]) -> Path:
    """Writes a checkpoint, whole or not at all; an older one of the same step is replaced last.

    Args:
        run: The run's folder.
        card: What it says of itself.
        weights: The weights to generate with.
        state: What resuming needs besides; tensors, numbers and containers of them.

    Returns:
        The checkpoint's folder.

    Raises:
        UserError: The disk is full or not writable; what was there before is untouched.
    """
    from safetensors.torch import save_file

    target = run / "checkpoints" / f"step_{card.step:07d}"
    part = target.with_name(f".{target.name}.part")
    try:
        for leftover in target.parent.glob(".step_*"):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        part.mkdir(parents=True)
        save_config(card, part / CARD_FILE)
        save_file({key: value.contiguous() for key, value in weights.items()}, part / WEIGHTS_FILE)
        torch.save(state, part / STATE_FILE)
        for file in part.iterdir():
            _sync(file)
        gone = target.with_name(f".{target.name}.gone")
        if target.exists():
            os.replace(target, gone)
        os.replace(part, target)
        shutil.rmtree(gone, ignore_errors=True)
        _sync(target.parent)
    # safetensors and torch wrap the system's error in exceptions of their own.
    except Exception as error:
        raise UserError(
            f"The checkpoint {target} could not be written ({error}). Earlier checkpoints are untouched. "
            f"Make room, then go on with --resume."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def list_checkpoints(run: Path) -> list[Path]:
    """The run's whole checkpoints, oldest first."""
    return sorted((run / "checkpoints").glob("step_*"))


def remove_checkpoint(path: Path) -> None:
    """Removes a checkpoint: first its name, so that half of one is never taken for whole."""
    gone = path.with_name(f".{path.name}.gone")
    os.replace(path, gone)
    shutil.rmtree(gone)


def prune_checkpoints(run: Path, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints and the best."""
    kept = {*list_checkpoints(run)[-keep:], find_checkpoint(run, "best")}
    for path in list_checkpoints(run):
        if path not in kept:
            remove_checkpoint(path)


def find_checkpoint(path: str | Path, which: str = "best") -> Path:
    """Finds a checkpoint.

    Args:
        path: A checkpoint's folder, or a run's.
        which: Of a run: `best` (by free running, else by validation NLL), `last`, or a step's number.

    Returns:
        The checkpoint's folder.

    Raises:
        UserError: There is none.
    """
    path = Path(path)
    if (path / WEIGHTS_FILE).is_file():
        return path
    found = list_checkpoints(path)
    if not found:
        raise UserError(f"{path} is no run and no checkpoint. Train one: dacformer train params/params_sm.yaml")
    if which == "last":
        return found[-1]
    if which == "best":
        return min(found, key=_rank)
    for each in found:
        if which.isdigit() and each.name == f"step_{int(which):07d}":
            return each
    known = ", ".join(str(int(each.name.removeprefix("step_"))) for each in found)
    raise UserError(f"{path} has no checkpoint '{which}'. It has: best, last, {known}.")


def _rank(path: Path) -> tuple[float, float]:
    """Sorts checkpoints, the best first: by free running, where that was judged; the NLL decides between equals."""
    metrics = read_card(path).metrics
    free_running = metrics.get("free_running", float("inf"))
    return round(free_running, 2) if math.isfinite(free_running) else free_running, metrics.get("val_nll", float("inf"))


def read_card(path: Path) -> Card:
    """Reads what a checkpoint says of itself."""
    return load_config(path / CARD_FILE, kind=Card)


def load_checkpoint(path: str | Path, which: str = "best") -> Checkpoint:
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
    card = read_card(path)
    model = card.build_model()
    try:
        model.load_state_dict(_read_weights(path))
    except RuntimeError as error:
        raise UserError(f"{path / WEIGHTS_FILE} does not fit {path / CARD_FILE}: {error}") from error
    digest = hashlib.sha256((path / WEIGHTS_FILE).read_bytes()).hexdigest()
    return Checkpoint(card, model.eval(), f"{card.config.run.name}/{path.name}-{digest[:12]}")


def load_state(path: Path) -> tuple[Card, dict[str, Tensor], dict[str, Any]]:
    """Loads what resuming needs: the card, the weights to generate with, and the training's state.

    Raises:
        UserError: The checkpoint is damaged.
    """
    card, weights, file = read_card(path), _read_weights(path), path / STATE_FILE
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        return card, weights, {"model": state["model"], "optimizer": state["optimizer"]}
    # A hostile or cut-off pickle can fail in any of these ways.
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is damaged or cut off ({error}). Delete {path} to resume from the checkpoint before it."
        ) from error


def _read_weights(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path / WEIGHTS_FILE)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path / WEIGHTS_FILE} is damaged or cut off ({error}). Use another checkpoint.") from error


def _sync(path: Path) -> None:
    """Makes a file or folder survive a power cut (Windows syncs no folders, and only files that may be written)."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
