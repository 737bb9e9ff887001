"""`dacformer generate`."""

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacformer.cli.options import CheckpointOption, DeviceOption, GuidanceOption, sampling_changes
from dacformer.errors import UserError

if TYPE_CHECKING:
    from dacformer.codec import DacFile
    from dacformer.generation.synthesizer import Synthesizer
    from dacformer.generation.take import Take


def generate(
    run: Annotated[Path, typer.Argument(help="A run or a checkpoint.")],
    seconds: Annotated[float, typer.Option(help="Length.")] = 10.0,
    control: Annotated[
        list[str] | None, typer.Option(help="class=rain; class=rain:0.5,wind:0.5; strength=0.3; strength=0:0.1,10:0.9")
    ] = None,
    out: Annotated[
        list[str] | None,
        typer.Option(help="x.wav, x.flac, x.dac, or a folder; may be repeated. If none: a new take.wav."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture of spectrogram and controls to write.")] = None,
    prompt: Annotated[Path | None, typer.Option(help="A sound or .dac file to go on from.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Below 1 safer, above wilder.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw among the k likeliest codes; 0: all.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw among the likeliest codes of this probability.")] = None,
    guidance: GuidanceOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another take.")] = 0,
    checkpoint: CheckpointOption = "best",
    codec: Annotated[str | None, typer.Option(help="Where it is not the one that the run names.")] = None,
    device: DeviceOption = "cpu",
) -> None:
    """Generate sound from a trained run, steered over time."""
    from dacformer.files import new_file
    from dacformer.generation.control_words import parse_controls
    from dacformer.generation.synthesizer import load

    sampling = sampling_changes(guidance, temperature=temperature, top_k=top_k, top_p=top_p)
    words = out or [str(new_file(Path("take.wav")))]
    _check_outputs(words, plot, prompt)
    paths = [Path(word) for word in words]
    synth = load(run, checkpoint, codec, device)
    controls = parse_controls(control or [], synth.conditions)
    _check_room(paths, seconds, synth)
    if prompt is None:
        take = synth.generate(seconds, controls, seed, progress=True, **sampling)
    else:
        source = prompt if codec is None else _of_codec(prompt, synth.info.codec)
        take = synth.continue_from(source, seconds, controls, seed, progress=True, **sampling)
    _save(take, paths, run)
    if plot is not None:
        _draw(take, plot)


def _of_codec(prompt: Path, identity: str) -> "Path | DacFile":
    """Read a `.dac` file that states no codec as one of this codec; any other prompt stays a path."""
    from dacformer.codec import read_dac
    from dacformer.codec.dac_file import DAC_SUFFIX

    if prompt.suffix.lower() != DAC_SUFFIX:
        return prompt
    file = read_dac(prompt)
    return dataclasses.replace(file, codec=file.codec or identity)


def _check_outputs(sounds: Sequence[str], picture: Path | None, prompt: Path | None) -> None:
    """Check, before anything is generated, that all outputs can be written and overwrite nothing else."""
    from dacformer.generation.take_files import check_savable

    for number, word in enumerate(sounds):
        path = Path(word)
        if word == "-" or (path.suffix and word.endswith(("/", os.sep))):
            raise UserError(f"Cannot write '{word}'. Expected a file, such as x.wav, or a folder without a suffix.")
        check_savable(path)
        if path.resolve() in [Path(other).resolve() for other in sounds[:number]]:
            raise UserError(f"--out {word} is given twice. Give each file once.")
        if prompt is not None and path.resolve() == prompt.resolve():
            raise UserError(f"--out {word} is the prompt itself, and would take its place. Give another name.")
    if picture is not None:
        _check_picture(picture)


def _check_picture(picture: Path) -> None:
    from matplotlib.figure import Figure

    from dacformer.files import check_writable

    if picture.suffix.lstrip(".").lower() not in Figure().canvas.get_supported_filetypes():
        raise UserError(f"Cannot draw {picture}: '{picture.suffix}' is no picture format. Use .png, .svg or .pdf.")
    check_writable(picture)


def _draw(take: "Take", picture: Path) -> None:
    from dacformer.files import replacing

    with replacing(picture) as part:
        take.plot().savefig(part, dpi=100, format=picture.suffix.lstrip(".").lower())
    print(picture)


SAMPLE_BYTES = {"": 4, ".wav": 2, ".aiff": 2, ".aif": 2, ".au": 2}
"""Bytes per sample of uncompressed formats, by suffix. Others are small."""


def _check_room(paths: Sequence[Path], seconds: float, synth: "Synthesizer") -> None:
    """Check that memory and disk suffice for a take of this length."""
    num_samples = synth.num_frames(seconds) * synth.info.hop_length
    for path in paths:
        needed = SAMPLE_BYTES.get(path.suffix.lower(), 0) * num_samples
        folder = next(each for each in path.absolute().parents if each.exists())
        if needed > (free := shutil.disk_usage(folder).free):
            raise UserError(
                f"Cannot write {path}: it needs {needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free. "
                "Make room, or write .dac or .flac."
            )


def _save(take: "Take", paths: Sequence[Path], run: Path) -> None:
    """Write a take. If a file fails, the codes are saved elsewhere, so that the take is not lost."""
    problems: list[str] = []
    for path in paths:
        try:
            print(take.save(path))
        except (UserError, OSError) as error:
            problems.append(str(error))
    if problems:
        raise UserError(f"{' '.join(problems)} {_keep(take, run)}")


def _keep(take: "Take", run: Path) -> str:
    """Save the codes of a take in its run, or else in the system's temporary folder. Return a message with the path."""
    from dacformer.files import new_file

    takes = [run / "takes"] if (run / "checkpoints").is_dir() else []
    for folder in [*takes, Path(tempfile.gettempdir())]:
        try:
            kept = take.save(new_file(folder / "kept.dac"))
            return f"The take is kept in {kept}: dacformer decode {kept} x.wav"
        except (UserError, OSError):
            continue
    return "The take could not be kept anywhere."
