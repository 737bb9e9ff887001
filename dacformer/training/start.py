"""Checks before a training starts or is resumed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from dacformer.checkpoint import CheckpointMetadata, list_checkpoints, remove_checkpoint
from dacformer.conditions.labels import Conditions
from dacformer.errors import UserError
from dacformer.training.metrics import METRICS_FILE


def prepare_run(run: Path, resume: bool, overwrite: bool) -> None:
    """Refuses to bury a training, and clears one away where that is wanted.

    Args:
        run: Its folder.
        resume: Go on from a checkpoint.
        overwrite: Remove checkpoints, samples, metrics and TensorBoard's files.

    Raises:
        UserError: A training is in the way, there is none to resume, or something else has the name of its files.
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
    """Refuses to go on with another model, codec or data of other classes or parameters.

    Args:
        saved: Of the checkpoint.
        metadata: Of the training that is to go on.

    Raises:
        UserError: It names what differs, or that no step is left.
    """
    changes = [*_changed_numbers(saved, metadata), *_changed_names(saved.conditions, metadata.conditions)]
    run = metadata.config.run
    if changes:
        raise UserError(f"Cannot resume {run}: {', '.join(changes)}. Start another run: run=runs/NAME")
    if saved.step >= metadata.config.training.steps and saved.metrics:  # without, it is still to be validated
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
