"""The command line: parse, call, print."""

import contextlib
import json
import os
import sys
import warnings
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from dacformer.errors import UserError
from dacformer.signals import ending_cleanly

app = typer.Typer(
    help="From a folder of recordings to a sound that never stops.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

CodecOption = Annotated[str, typer.Option(help="small, 44khz, 24khz, 16khz, or a weight file.")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, mps.")]
CheckpointOption = Annotated[str, typer.Option(help="Of a run: best, last, or a step's number.")]


class Which(str, Enum):
    """What a set of textures is written as."""

    dataset = "dataset"
    audio = "audio"


@app.command()
def encode(
    sounds: Annotated[Path, typer.Argument(help="A folder of recordings; nested folders are searched.")],
    dataset: Annotated[Path, typer.Argument(help="The data set to make, or to go on with.")],
    codec: Annotated[
        str | None, typer.Option(help="small (the default), 44khz, 24khz, 16khz, or a weight file.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Table of classes and parameters, .csv or .xlsx.")] = None,
    validation: Annotated[float, typer.Option(min=0, max=0.9, help="Share of recordings for validation.")] = 0.15,
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

    if find_codes(sounds):
        taken = import_folder(sounds, dataset, codec, labels, validation, seed, strict, device)
        print(f"{dataset}: {taken.taken} .dac files taken as they are, {len(taken.skipped)} skipped.")
        _print_dataset(dataset)
        return
    codec = codec or "small"
    loaded = load_codec(codec).to(device)
    report = encode_folder(sounds, dataset, loaded, codec, labels, validation, seed, trim, strict, shifts)
    print(f"{dataset}: {report.encoded} encoded, {report.reused} already there, {len(report.skipped)} skipped.")
    for line in report.remarks():
        print(line)
    _print_dataset(dataset)


@app.command()
def decode(
    file: Annotated[Path, typer.Argument(help="A .dac file.")],
    out: Annotated[Path, typer.Argument(help="The sound to write, such as x.wav.")],
    codec: CodecOption = "small",
) -> None:
    """Turn a .dac file back into sound, at its original level and rate."""
    from dacformer.audio import write_audio
    from dacformer.codec import load_codec, read_dac

    contents = read_dac(file)
    print(write_audio(out, load_codec(codec, None).decode_file(contents), contents.sample_rate))


@app.command()
def textures(
    output: Annotated[Path, typer.Argument(help="The folder to make.")],
    kind: Annotated[Which, typer.Option("--as", help="A data set, ready to train on, or sound files.")] = Which.dataset,
    classes: Annotated[str, typer.Option(help="Which, separated by commas; all if empty.")] = "",
    values: Annotated[int, typer.Option(min=2, help="Values of the parameter, from 0 to 1.")] = 21,
    takes: Annotated[int, typer.Option(min=1, help="Takes of each value.")] = 24,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each.")] = 5.0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other takes.")] = 0,
    codec: CodecOption = "small",
    validation: Annotated[float, typer.Option(min=0, max=0.9, help="Share of takes for validation.")] = 0.15,
    device: DeviceOption = "cpu",
) -> None:
    """Make procedural sounds, each class with one parameter: the ground truth of control."""
    from dacformer.codec import load_codec
    from dacformer.data.make_textures import make_texture_dataset, write_textures

    names = _words(classes)
    if kind is Which.audio:
        write_textures(output, names, values, takes, seconds, seed)
        print(f"Sounds are in {output}")
        return
    loaded = load_codec(codec).to(device)
    make_texture_dataset(output, loaded, codec, names, values, takes, seconds, seed, validation)
    _print_dataset(output)


@app.command()
def train(
    params: Annotated[Path, typer.Argument(help="Settings, such as params/params_med.yaml.")],
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


@app.command()
def generate(
    run: Annotated[Path, typer.Argument(help="A run or a checkpoint.")],
    seconds: Annotated[float, typer.Option(help="Length.")] = 10.0,
    control: Annotated[list[str] | None, typer.Option(help="class=rain; strength=0.3; strength=0:0.1,10:0.9")] = None,
    out: Annotated[
        list[Path] | None, typer.Option(help="x.wav, x.flac, x.dac; may be repeated. If none: a new take.wav.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture of spectrogram and controls to write.")] = None,
    prompt: Annotated[Path | None, typer.Option(help="A sound or .dac file to go on from.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Below 1 safer, above wilder.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw among the k likeliest codes; 0: all.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw among the likeliest codes of this probability.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Above 1 follows the controls more strictly.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another take.")] = 0,
    checkpoint: CheckpointOption = "best",
    codec: Annotated[str | None, typer.Option(help="Where it is not the one that the run names.")] = None,
    device: DeviceOption = "cpu",
) -> None:
    """Generate sound from a trained run, steered over time."""
    from dacformer.files import new_file
    from dacformer.generation import load
    from dacformer.generation.controls import parse_control

    controls = dict(parse_control(word) for word in control or [])
    asked = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance": guidance}
    sampling = {name: value for name, value in asked.items() if value is not None}
    paths = out or [new_file(Path("take.wav"))]
    _check_outputs(paths, plot)
    synth = load(run, checkpoint, codec, device)
    if prompt is None:
        take = synth.generate(seconds, controls, seed, progress=True, **sampling)
    else:
        take = synth.continue_from(prompt, seconds, controls, seed, progress=True, **sampling)
    for path in paths:
        print(take.save(path))
    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        take.plot().savefig(plot, dpi=100)
        print(plot)


@app.command()
def evaluate(
    subject: Annotated[Path, typer.Argument(help="A run or a checkpoint; with --codec, a folder of recordings.")],
    only: Annotated[
        str, typer.Option(help="Parts of the report, separated by commas: control,likeness,...; all that fit if empty.")
    ] = "",
    data: Annotated[Path | None, typer.Option(help="The run's data set, where it is not where it was.")] = None,
    recordings: Annotated[
        Path | None, typer.Option(help="What the data set was encoded from, to hear what the codec takes, too.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.5, help="Of free running, to measure stability.")] = 10.0,
    again: Annotated[bool, typer.Option("--again", help="Measure also what was measured before.")] = False,
    codec: Annotated[
        str | None, typer.Option(help="Measure this codec, on recordings: small, or a weight file.")
    ] = None,
    held_out: Annotated[
        float | None, typer.Option(min=0, max=1, help="With --codec: only this share, which its training holds out.")
    ] = None,
    exclude: Annotated[str, typer.Option(help="With --codec: leave out paths with one of these words.")] = "",
    opus: Annotated[str, typer.Option(help="With --codec: Opus beside it at these kbit/s, such as 6,12,24.")] = "",
    report: Annotated[
        Path | None, typer.Option(help="Where to write; RUN/evaluation, or runs/codec_report, if not given.")
    ] = None,
    classes: Annotated[str, typer.Option(help="Which, separated by commas; all if empty.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Takes of each value.")] = 3,
    values: Annotated[int, typer.Option(min=3, help="Values of each parameter.")] = 11,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each take.")] = 4.0,
    guidance: Annotated[float | None, typer.Option(help="In place of the run's own.")] = None,
    temperature: Annotated[float | None, typer.Option(help="In place of the run's own.")] = None,
    top_p: Annotated[float | None, typer.Option(help="In place of the run's own.")] = None,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = "cpu",
) -> None:
    """Measure a run in free running (is a parameter asked for a parameter heard? like the real thing?), or a codec."""
    if codec is not None:
        _evaluate_codec(codec, subject, held_out, exclude, opus, report or Path("runs/codec_report"), device)
        return
    from dacformer.evaluation.report import Questions, write_report
    from dacformer.generation import load

    given = {"guidance": guidance, "temperature": temperature, "top_p": top_p}
    asked = Questions(
        load(subject, checkpoint, device=device),
        data,
        recordings,
        _words(classes),
        values,
        seeds,
        seconds,
        minutes,
        {name: value for name, value in given.items() if value is not None},
    )
    for path in write_report(asked, report or subject / "evaluation", _words(only), again):
        print(path)


@app.command()
def info(path: Annotated[Path, typer.Argument(help="A .dac file, data set, run or checkpoint.")]) -> None:
    """Say what something is."""
    from dacformer.data.dataset import MANIFEST_FILE

    if path.suffix == ".dac":
        _print_dac(path)
    elif (path / MANIFEST_FILE).is_file():
        _print_dataset(path)
    elif path.suffix and not path.is_dir():
        _print_sound(path)
    else:
        _print_run(path)


def _words(text: str) -> list[str]:
    """What stands between commas."""
    return [word for word in text.split(",") if word]


def _print_report(text: str, written: list[Path]) -> None:
    """Prints what was measured, and where it was written."""
    print(text, *written, sep="\n")


def _evaluate_codec(
    name: str, sounds: Path, held_out: float | None, exclude: str, opus: str, report: Path, device: str
) -> None:
    from dacformer.codec import load_codec
    from dacformer.evaluation.codec_report import measure_codec, write_codec_report

    try:
        rates = [float(rate) for rate in _words(opus)]
    except ValueError:
        raise UserError(f"--opus '{opus}' is no list of bit rates. Expected kbit/s, such as 6,12,24.") from None
    figures = measure_codec(load_codec(name).to(device), sounds, held_out, _words(exclude), opus=rates)
    _print_report(figures.to_text(), write_codec_report(figures, report))


def _check_outputs(sounds: list[Path], picture: Path | None) -> None:
    """Refuses what could not be written before anything is generated."""
    from matplotlib.figure import Figure

    from dacformer.audio import format_of

    for path in sounds:
        if path.suffix != ".dac":
            format_of(path)
    kinds = Figure().canvas.get_supported_filetypes()
    if picture is not None and picture.suffix.lstrip(".") not in kinds:
        raise UserError(f"Cannot draw {picture}: '{picture.suffix}' is no picture format. Use .png, .svg or .pdf.")


def _print_dac(path: Path) -> None:
    from dacformer.codec.file import read_dac

    file = read_dac(path)
    print(
        f"{path}: {file.num_frames} frames, {file.original_length / file.sample_rate:.2f} s at {file.sample_rate} Hz, "
        f"{file.channels} channel(s), {file.num_codebooks} codebooks, {file.input_db:.1f} LUFS, "
        f"codec {file.codec or 'not stated'}"
    )
    if file.recipe:
        _print_recipe(file.recipe)


def _print_sound(path: Path) -> None:
    from dacformer.audio import describe_file, read_comment

    print(f"{path}: {describe_file(path)}")
    if comment := read_comment(path):
        _print_recipe(comment)


def _print_recipe(text: str) -> None:
    """Prints a take's recipe, which is JSON, or whatever another program wrote in its place."""
    with contextlib.suppress(json.JSONDecodeError):
        text = json.dumps(json.loads(text), indent=2)
    print(text)


def _print_dataset(path: Path) -> None:
    from dacformer.data import load_dataset

    dataset = load_dataset(path)
    facts = dataset.facts
    print(f"{path}: {len(dataset.rows)} files, codec {facts.codec}, K={facts.num_codebooks}, V={facts.codebook_size}")
    seconds = dataset.frames_of(dataset.rows) / facts.frame_rate
    for split, rows in dataset.rows.groupby("split"):
        print(f"  {split}: {len(rows)} files, {seconds[rows.index].sum():.1f} s")
    for name in dataset.conditions.classes:
        print(f"  class {name}: {int((dataset.rows['class'] == name).sum())} files")
    for name, scale in dataset.conditions.parameters.items():
        print(f"  parameter {name}: {scale.low:g} to {scale.high:g} ({', '.join(scale.classes)})")


def _print_run(path: Path) -> None:
    from dacformer.training.checkpoint import WEIGHTS_FILE, find_checkpoint, list_checkpoints, read_card

    best = find_checkpoint(path)
    card = read_card(best)
    for each in list_checkpoints(path):
        metrics = read_card(each).metrics
        print(f"{each.name}{' (best)' if each == best else ''}: " + _figures(metrics))
    size = (best / WEIGHTS_FILE).stat().st_size / 1e6
    print(f"{best}: step {card.step}, {size:.1f} MB of weights, codec {card.facts.codec}; {_figures(card.metrics)}")
    model = card.config.model
    print(f"  model: D={model.dim} L={model.num_layers} H={model.num_heads} W={model.window_frames}, head {model.head}")
    print(f"  classes: {', '.join(card.conditions.classes)}")
    for name, scale in card.conditions.parameters.items():
        print(f"  parameter {name}: {scale.low:g} to {scale.high:g} ({', '.join(scale.classes)})")


def _figures(metrics: dict[str, float]) -> str:
    return (
        f"validation NLL {metrics['val_nll']:.3f}, unigram {metrics['unigram_nll']:.3f}" if metrics else "not validated"
    )


def main() -> None:
    """Runs the command line; a mistake of the user's is one clear line and exit code 2."""
    warnings.showwarning = lambda message, *rest, **more: print(f"warning: {message}", file=sys.stderr)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    try:
        with ending_cleanly():
            app()
    except (UserError, OSError) as error:  # what cannot be written, where that is not said better
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
