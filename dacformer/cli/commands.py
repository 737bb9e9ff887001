"""Commands that make data sets, decode, train, and describe files and folders.

Each command imports what it needs when it is called, so that `--help` does not wait for torch.
"""

import dataclasses
import os
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from dacformer.cli.options import AnyCodecOption, CodecOption, DeviceOption, finite
from dacformer.errors import UserError


def encode(
    sounds: Annotated[Path, typer.Argument(help="A folder of recordings; nested folders are searched.")],
    dataset: Annotated[Path, typer.Argument(help="The data set to make, or to go on with.")],
    codec: AnyCodecOption = None,
    labels: Annotated[Path | None, typer.Option(help="Table of classes and parameters, .csv or .xlsx.")] = None,
    validation: Annotated[
        float, typer.Option(min=0, max=0.9, callback=finite, help="Share of recordings for validation.")
    ] = 0.15,
    seed: Annotated[int, typer.Option(min=0, help="Chooses them.")] = 0,
    trim: Annotated[bool, typer.Option(help="Cut the digital silence at the sounds' ends.")] = True,
    strict: Annotated[bool, typer.Option(help="Stop at a broken file instead of skipping it.")] = False,
    shifts: Annotated[
        int, typer.Option(min=1, help="Encode so many times, fractions of a frame apart: for small collections.")
    ] = 1,
    device: DeviceOption = "cpu",
) -> None:
    """Turn a folder of recordings, or of .dac files, into a data set. Run it again to go on after an interruption."""
    from dacformer.codec import load_codec
    from dacformer.data.encode import encode_folder
    from dacformer.data.import_dac import find_codes, import_folder
    from dacformer.describe import describe_dataset

    if find_codes(sounds):
        taken = import_folder(sounds, dataset, codec, labels, validation, seed, strict, device)
        print(f"{dataset}: {taken.taken} .dac files taken as they are, {len(taken.skipped)} skipped.")
        print(describe_dataset(dataset))
        return
    codec = codec or "small"
    loaded = load_codec(codec).to(device)
    report = encode_folder(sounds, dataset, loaded, codec, labels, validation, seed, trim, strict, shifts)
    print(f"{dataset}: {report.encoded} encoded, {report.reused} already there, {len(report.skipped)} skipped.")
    for line in report.remarks():
        print(line)
    print(describe_dataset(dataset))


def decode(
    file: Annotated[Path, typer.Argument(help="A .dac file.")],
    out: Annotated[Path, typer.Argument(help="The sound to write, such as x.wav.")],
    codec: AnyCodecOption = None,
) -> None:
    """Turn a .dac file back into sound, at its original level and rate."""
    from dacformer.audio import format_of, write_audio
    from dacformer.codec import load_codec, read_dac
    from dacformer.codec.codec import describe_origin
    from dacformer.files import check_writable

    contents = read_dac(file)
    if codec is None and not contents.codec:
        raise UserError(
            f"{file}: {describe_origin(contents)} Name it: --codec 44khz where it is the one of `python -m dac`, "
            "--codec small where it is ours."
        )
    format_of(out)
    check_writable(out)
    loaded = load_codec(codec or "small", None)
    stated = dataclasses.replace(contents, codec=contents.codec or loaded.identity)
    print(write_audio(out, loaded.decode_file(stated), contents.sample_rate))


class Which(str, Enum):
    """Kind of output of `textures`."""

    dataset = "dataset"
    audio = "audio"


def textures(
    output: Annotated[Path, typer.Argument(help="The folder to make.")],
    kind: Annotated[Which, typer.Option("--as", help="A data set, ready to train on, or sound files.")] = Which.dataset,
    classes: Annotated[str, typer.Option(help="Which, separated by commas; all if empty.")] = "",
    values: Annotated[int, typer.Option(min=2, max=1001, help="Values of the parameter, from 0 to 1.")] = 21,
    takes: Annotated[int, typer.Option(min=1, max=10_000, help="Takes of each value.")] = 24,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, callback=finite, help="Length of each.")] = 5.0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other takes.")] = 0,
    codec: CodecOption = "small",
    validation: Annotated[
        float, typer.Option(min=0, max=0.9, callback=finite, help="Share of takes for validation.")
    ] = 0.15,
    device: DeviceOption = "cpu",
) -> None:
    """Make procedural sounds, each class with one parameter: the ground truth of control."""
    from dacformer.arguments import parse_names
    from dacformer.codec import load_codec
    from dacformer.data.make_textures import make_texture_dataset, write_textures
    from dacformer.describe import describe_dataset

    names = parse_names(classes)
    if kind is Which.audio:
        write_textures(output, names, values, takes, seconds, seed)
        print(f"Sounds are in {output}")
        return
    loaded = load_codec(codec).to(device)
    make_texture_dataset(output, loaded, codec, names, values, takes, seconds, seed, validation)
    print(describe_dataset(output))


def train(
    params: Annotated[Path, typer.Argument(help="Settings: sm, med, or a file, such as params/params_med.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, such as training.steps=200.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew where a training lies already.")] = False,
) -> None:
    """Train a model. The same command under `accelerate launch -m dacformer.cli` uses many devices."""
    from dacformer.config import load_config
    from dacformer.evaluation.training import train as run_training

    run = run_training(load_config(params, overrides), resume, overwrite)
    if int(os.environ.get("RANK", 0)) == 0:
        print(f"The run is {run}. Hear it: dacformer generate {run} --seconds 10 --out x.wav")


def init(folder: Annotated[Path, typer.Argument(help="Where to work; made if missing.")]) -> None:
    """Write the notebooks and the settings into a folder, to work in without a clone. Overwrites nothing."""
    from dacformer.workspace import write_workspace

    for path in write_workspace(folder):
        print(path)


def info(
    path: Annotated[Path, typer.Argument(help="A sound, .dac file, take, data set, run or checkpoint.")],
) -> None:
    """Say what something is."""
    from dacformer.describe import describe

    print(describe(path))
