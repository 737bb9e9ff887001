"""Checks before a training starts or is resumed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from dacformer.checkpoint import CheckpointMetadata, list_checkpoints, remove_checkpoint
from dacformer.conditions.labels import Conditions
from dacformer.errors import UserError
from dacformer.training.metrics import METRICS_FILE


def prepare_run(run: Path, resume: bool, overwrite: bool) -> None:
    """Prepares a run's folder. An existing training is never overwritten unless `overwrite` is set.

    Args:
        run: The run's folder; it must exist.
        resume: The training continues from a checkpoint, so nothing is removed.
        overwrite: Remove checkpoints, samples, metrics and TensorBoard's files of an existing training.

    Raises:
        UserError: The folder has a training and neither flag is set, there is no checkpoint to resume, or a file or
            folder has a name that the training needs.
    """
    checkpoints = list_checkpoints(run)
    if checkpoints and not resume and not overwrite:
        raise UserError(f"{run} already holds a training. Use --resume, --overwrite, or another folder: run=runs/NAME")
    if resume and not checkpoints:
        raise UserError(f"There is nothing to resume in {run}: it has no whole checkpoint. Leave --resume out.")
    if (run / METRICS_FILE).is_dir() or (run / "config.yaml").is_dir():
        raise UserError(f"{run} holds folders with the names of a training's files. Use another folder: run=runs/NAME")
    try:
        (run / "checkpoints").mkdir(exist_ok=True)
    except FileExistsError:
        raise UserError(f"{run / 'checkpoints'} is no folder. Move it away, or use another: run=runs/NAME") from None
    if checkpoints and not resume:
        for old in checkpoints:
            remove_checkpoint(old)
        shutil.rmtree(run / "samples", ignore_errors=True)
        for old in [run / METRICS_FILE, *run.glob("events.out.*")]:
            old.unlink(missing_ok=True)


def check_resumable(saved: CheckpointMetadata, metadata: CheckpointMetadata) -> None:
    """Checks that a training can be resumed: model, codec, classes and parameters must be the same.

    Args:
        saved: Metadata of the checkpoint.
        metadata: Metadata of the training as it is configured now.

    Raises:
        UserError: Something differs (the message lists it), or no step is left to train.
    """
    changes = [*_changed_numbers(saved, metadata), *_changed_names(saved.conditions, metadata.conditions)]
    run = metadata.config.run
    if changes:
        raise UserError(f"Cannot resume {run}: {', '.join(changes)}. Start another run: run=runs/NAME")
    if saved.step >= metadata.config.training.steps and saved.metrics:  # else the last step is not validated
        raise UserError(
            f"{run} is at step {saved.step} of {metadata.config.training.steps}: nothing is left to train. "
            f"Ask for more: training.steps={2 * saved.step}"
        )


def _changed_numbers(saved: CheckpointMetadata, metadata: CheckpointMetadata) -> Iterator[str]:
    sizes = {"codec", "num_codebooks", "codebook_size"}
    for prefix, was, now in (
        ("model.", saved.config.model.model_dump(), metadata.config.model.model_dump()),
        ("", saved.info.model_dump(include=sizes), metadata.info.model_dump(include=sizes)),
    ):
        yield from (f"{prefix}{name} was {was[name]}, is now {now[name]}" for name in was if was[name] != now[name])


def _changed_names(was: Conditions, now: Conditions) -> Iterator[str]:
    for kind, before, after in (("class", was.classes, now.classes), ("parameter", was.parameters, now.parameters)):
        yield from (f"{kind} '{name}' is new" for name in after if name not in before)
        yield from (f"{kind} '{name}' is gone" for name in before if name not in after)
    for name, old in was.parameters.items():
        new = now.parameters.get(name, old)
        if (new.low, new.high) != (old.low, old.high):
            yield f"parameter '{name}' went from {old.low:g} to {old.high:g}, goes now from {new.low:g} to {new.high:g}"
        elif new.classes != old.classes:
            yield f"parameter '{name}' was of {', '.join(old.classes)}, is now of {', '.join(new.classes)}"
