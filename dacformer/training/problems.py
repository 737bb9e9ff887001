"""Errors of a training as one-line messages."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

from dacformer.config import TrainingConfig
from dacformer.errors import UserError


def came_apart(what: str, step: int, training: TrainingConfig) -> UserError:
    """Makes the error for a training that has diverged: a figure is not finite.

    Args:
        what: The figure and its value, as the beginning of the message.
        step: The step at which it was found.
        training: Settings of the training; the message suggests a lower learning rate.
    """
    return UserError(
        f"{what} at step {step}: training has come apart. "
        f"Lower training.learning_rate (now {training.learning_rate:g}) or gradient_clip."
    )


@contextlib.contextmanager
def explaining_foreign_state(checkpoint: Path) -> Iterator[None]:
    """Turns errors of loading a state that does not fit model or optimizers into a `UserError`."""
    try:
        yield
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise UserError(
            f"{checkpoint} cannot be gone on with: its state is damaged, or of another version of dacformer. "
            f"It plays, but start anew to train: run=runs/NAME"
        ) from error


@contextlib.contextmanager
def explaining_lack_of_memory() -> Iterator[None]:
    """Turns errors of allocating memory into a `UserError`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise UserError(
            "There is not enough memory. Lower data.batch_size, data.segment_frames or model.dim, "
            "then start anew, or go on with --resume."
        ) from error
