"""Describe files, data sets, runs and checkpoints as text, for `dacformer info`."""

import contextlib
import json
from pathlib import Path

from dacformer.arguments import quoted
from dacformer.audio import AUDIO_SUFFIXES, describe_file, read_comment
from dacformer.codec.dac_file import DAC_SUFFIX, read_dac
from dacformer.conditions.labels import Conditions
from dacformer.data.dataset import INFO_FILE, MANIFEST_FILE, load_dataset
from dacformer.errors import UserError, first_line

# Checkpoints and takes are imported where they are needed: they bring torch's whole training.


def describe(path: Path) -> str:
    """Describe what a file or a folder is.

    Args:
        path: A `.dac` file, a sound, a data set, a take's folder, a run or a checkpoint.

    Returns:
        Lines to print.

    Raises:
        UserError: It is none of these, is not there, or is damaged.
    """
    if path.is_dir():
        return _describe_folder(path)
    if not path.exists():
        raise UserError(f"There is no file and no folder {path}.")
    if not path.is_file():
        raise UserError(f"{path} is a device, not a file. Give a file or a folder.")
    if path.suffix.lower() == DAC_SUFFIX:
        return _describe_dac(path)
    try:
        return "\n".join([f"{path}: {describe_file(path)}", *_readable(read_comment(path))])
    except UserError:
        if path.suffix.lower() in AUDIO_SUFFIXES:
            raise
        raise UserError(f"{path} is nothing that dacformer knows. {_EXPECTED}") from None


_EXPECTED = "Expected a sound, a .dac file, a data set, a take, a run or a checkpoint."


def describe_dataset(path: Path) -> str:
    """Describe a data set: its codec, and how much there is of each split, class and parameter.

    Raises:
        UserError: It is no whole data set.
    """
    dataset = load_dataset(path)
    rows, info, conditions = dataset.rows, dataset.info, dataset.conditions
    seconds = dataset.frames_of(rows) / info.frame_rate
    return "\n".join(
        [
            f"{path}: {len(rows)} files, codec {info.codec}, K={info.num_codebooks}, V={info.codebook_size}",
            *(
                f"  {split}: {len(part)} files, {seconds[part.index].sum():.1f} s"
                for split, part in rows.groupby("split")
            ),
            *(f"  class {name}: {int((rows['class'] == name).sum())} files" for name in conditions.classes),
            *_describe_parameters(conditions),
        ]
    )


def describe_metrics(metrics: dict[str, float]) -> str:
    """Name what a checkpoint's validation found."""
    found = [f"{name} {metrics[key]:.3f}" for name, key in _METRICS.items() if key in metrics]
    return ", ".join(found) or "not validated"


_METRICS = {"validation NLL": "val_nll", "unigram": "unigram_nll"}


def _describe_parameters(conditions: Conditions) -> list[str]:
    return [
        f"  parameter {name}: {scale.low:g} to {scale.high:g} ({', '.join(scale.classes)})"
        for name, scale in conditions.parameters.items()
    ]


def _describe_folder(path: Path) -> str:
    from dacformer.checkpoint import WEIGHTS_FILE, list_checkpoints
    from dacformer.generation.take_files import RECIPE_FILE

    if (path / MANIFEST_FILE).is_file():
        return describe_dataset(path)
    if (path / INFO_FILE).is_file():
        raise UserError(f"{path} is a data set that is not finished. Give the command that makes it once more.")
    if (path / RECIPE_FILE).is_file():
        return f"{path}: a take\n{(path / RECIPE_FILE).read_text(encoding='utf-8', errors='replace').rstrip()}"
    if not any(path.iterdir()):
        raise UserError(f"{path} is an empty folder. {_EXPECTED}")
    if not list_checkpoints(path) and not (path / WEIGHTS_FILE).is_file():
        raise UserError(f"{path} is a folder, but no run and no checkpoint. {_EXPECTED}")
    return _describe_run(path)


def _describe_dac(path: Path) -> str:
    file = read_dac(path)
    about = (
        f"{path}: {file.num_frames} frames, {file.original_length / file.sample_rate:.2f} s at {file.sample_rate} Hz, "
        f"{file.channels} channel(s), {file.num_codebooks} codebooks, {file.input_db:.1f} LUFS, "
        f"codec {file.codec or 'not stated'}"
    )
    return "\n".join([about, *_readable(file.recipe)])


def _readable(text: str) -> list[str]:
    """Indent a recipe, which is JSON; show any other comment as it is, and an empty one not at all."""
    with contextlib.suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text), indent=2)
    # A file of somebody else's may hold what a terminal obeys.
    shown = "".join(letter if letter.isprintable() or letter in "\n\t" else "�" for letter in text)
    return [shown] if shown else []


def _describe_run(path: Path) -> str:
    from dacformer.checkpoint import WEIGHTS_FILE, find_checkpoint, list_checkpoints, read_metadata

    best = find_checkpoint(path)
    lines = []
    for each in list_checkpoints(path):
        try:
            told = describe_metrics(read_metadata(each).metrics)
        except UserError:
            told = "damaged"
        lines.append(f"{each.name}{' (best)' if each == best else ''}: {told}")
    try:
        metadata = read_metadata(best)
    except UserError as error:
        raise UserError(f"{best} is no whole checkpoint. {error}") from None
    size, model = _weights_size(best / WEIGHTS_FILE) / 1e6, metadata.config.model
    return "\n".join(
        [
            *lines,
            f"{best}: step {metadata.step}, {size:.1f} MB of weights, codec {metadata.info.codec}; "
            f"{describe_metrics(metadata.metrics)}",
            f"  model: D={model.dim} L={model.num_layers} H={model.num_heads} W={model.window_frames}, "
            f"head {model.head}",
            f"  classes: {', '.join(quoted([name]) for name in metadata.conditions.classes)}",
            *_describe_parameters(metadata.conditions),
        ]
    )


def _weights_size(path: Path) -> int:
    """Return the size in bytes of a file of weights, after its header's lengths were checked."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            return path.stat().st_size
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged or cut off ({first_line(error)}). Use another checkpoint.") from error
