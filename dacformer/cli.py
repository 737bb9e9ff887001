"""The command line: parse, call, print."""

import dataclasses
import io
import math
import os
import platform
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Sequence
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from dacformer import __version__
from dacformer.errors import UserError
from dacformer.signals import ending_cleanly
from dacformer.terminal import show_log

if TYPE_CHECKING:
    from dacformer.generation.synthesizer import Synthesizer
    from dacformer.generation.take import Take

GOES_ON = ("encode", "textures", "evaluate")
"""Commands that go on where they were stopped, when they are given once more."""
CTRL_C = 128 + signal.SIGINT
"""What shells give a command that Ctrl-C has ended."""


class _Commands(TyperGroup):
    """The commands; Ctrl-C ends each of them in one line, with the exit code that shells give it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SystemExit as end:
            if end.code != CTRL_C:
                raise
            stopped = "Stopped." + (" The same command goes on from here." if ctx.invoked_subcommand in GOES_ON else "")
        print(stopped, file=sys.stderr)  # now that the error and its frames are gone, progress bars have ended
        raise SystemExit(CTRL_C)


app = typer.Typer(
    cls=_Commands,
    help="From a folder of recordings to a sound that never stops.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

CodecOption = Annotated[str, typer.Option(help="small, 44khz, 24khz, 16khz, or a weight file.")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, mps.")]
CheckpointOption = Annotated[str, typer.Option(help="Of a run: best, last, or a step's number.")]


def _finite(number: float | None) -> float | None:
    """NaN is within every range for typer, and infinity within those without an end."""
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is no finite number.")
    return number


def _print_version(asked: bool) -> None:
    if asked:
        print(f"dacformer {__version__} (Python {platform.python_version()}, torch {version('torch')})")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, for reports.")
    ] = False,
) -> None:
    """From a folder of recordings to a sound that never stops."""


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
    validation: Annotated[
        float, typer.Option(min=0, max=0.9, callback=_finite, help="Share of recordings for validation.")
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
    codec: Annotated[
        str | None, typer.Option(help="small (the default), 44khz, 24khz, 16khz, or a weight file.")
    ] = None,
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


@app.command()
def textures(
    output: Annotated[Path, typer.Argument(help="The folder to make.")],
    kind: Annotated[Which, typer.Option("--as", help="A data set, ready to train on, or sound files.")] = Which.dataset,
    classes: Annotated[str, typer.Option(help="Which, separated by commas; all if empty.")] = "",
    values: Annotated[int, typer.Option(min=2, max=1001, help="Values of the parameter, from 0 to 1.")] = 21,
    takes: Annotated[int, typer.Option(min=1, max=10_000, help="Takes of each value.")] = 24,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, callback=_finite, help="Length of each.")] = 5.0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other takes.")] = 0,
    codec: CodecOption = "small",
    validation: Annotated[
        float, typer.Option(min=0, max=0.9, callback=_finite, help="Share of takes for validation.")
    ] = 0.15,
    device: DeviceOption = "cpu",
) -> None:
    """Make procedural sounds, each class with one parameter: the ground truth of control."""
    from dacformer.arguments import parse_names
    from dacformer.codec import load_codec
    from dacformer.data.make_textures import make_texture_dataset, write_textures

    names = parse_names(classes)
    if kind is Which.audio:
        write_textures(output, names, values, takes, seconds, seed)
        print(f"Sounds are in {output}")
        return
    loaded = load_codec(codec).to(device)
    make_texture_dataset(output, loaded, codec, names, values, takes, seconds, seed, validation)
    _print_dataset(output)


@app.command()
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


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where to work; made if missing.")]) -> None:
    """Write the notebooks and the settings into a folder, to work in without a clone. Overwrites nothing."""
    from dacformer.workspace import write_workspace

    for path in write_workspace(folder):
        print(path)


@app.command()
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
    guidance: Annotated[float | None, typer.Option(help="Above 1 follows the controls more strictly.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another take.")] = 0,
    checkpoint: CheckpointOption = "best",
    codec: Annotated[str | None, typer.Option(help="Where it is not the one that the run names.")] = None,
    device: DeviceOption = "cpu",
) -> None:
    """Generate sound from a trained run, steered over time."""
    from dacformer.codec import read_dac
    from dacformer.codec.dac_file import DAC_SUFFIX
    from dacformer.config import SamplingConfig
    from dacformer.files import new_file
    from dacformer.generation.control_words import parse_controls
    from dacformer.generation.sampling import parse_sampling
    from dacformer.generation.synthesizer import load

    asked = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance": guidance}
    sampling = {name: value for name, value in asked.items() if value is not None}
    parse_sampling(SamplingConfig(), sampling)
    words = out or [str(new_file(Path("take.wav")))]
    _check_outputs(words, plot, prompt)
    paths = [Path(word) for word in words]
    synth = load(run, checkpoint, codec, device)
    controls = parse_controls(control or [], synth.conditions)
    _check_room(paths, seconds, synth)
    if prompt is None:
        take = synth.generate(seconds, controls, seed, progress=True, **sampling)
    else:
        heard = prompt
        if codec is not None and prompt.suffix.lower() == DAC_SUFFIX:  # named, so what states no codec is of this one
            file = read_dac(prompt)
            heard = dataclasses.replace(file, codec=file.codec or synth.info.codec)
        take = synth.continue_from(heard, seconds, controls, seed, progress=True, **sampling)
    _save(take, paths, run)
    if plot is not None:
        from dacformer.files import replacing

        with replacing(plot) as part:
            take.plot().savefig(part, dpi=100, format=plot.suffix.lstrip(".").lower())
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
    minutes: Annotated[
        float, typer.Option(min=0.5, max=1440, callback=_finite, help="Of free running, to measure stability.")
    ] = 10.0,
    again: Annotated[bool, typer.Option("--again", help="Measure also what was measured before.")] = False,
    codec: Annotated[
        str | None, typer.Option(help="Measure this codec, on recordings: small, or a weight file.")
    ] = None,
    held_out: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, callback=_finite, help="With --codec: only this share, which its training holds out."
        ),
    ] = None,
    exclude: Annotated[str, typer.Option(help="With --codec: leave out paths with one of these words.")] = "",
    opus: Annotated[str, typer.Option(help="With --codec: Opus beside it at these kbit/s, such as 6,12,24.")] = "",
    report: Annotated[
        Path | None, typer.Option(help="Where to write; RUN/evaluation, or runs/codec_report, if not given.")
    ] = None,
    classes: Annotated[str, typer.Option(help="Which, separated by commas; all if empty.")] = "",
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Takes of each value.")] = 3,
    values: Annotated[int, typer.Option(min=3, max=1001, help="Values of each parameter.")] = 11,
    seconds: Annotated[float, typer.Option(min=1, max=3600, callback=_finite, help="Length of each take.")] = 4.0,
    guidance: Annotated[float | None, typer.Option(help="In place of the run's own.")] = None,
    temperature: Annotated[float | None, typer.Option(help="In place of the run's own.")] = None,
    top_p: Annotated[float | None, typer.Option(help="In place of the run's own.")] = None,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = "cpu",
) -> None:
    """Measure a run in free running (is a parameter asked for a parameter heard? like the real thing?), or a codec."""
    from dacformer.files import check_writable

    folder = report or (subject / "evaluation" if codec is None else Path("runs/codec_report"))
    check_writable(folder / "report.json")
    if codec is not None:
        _evaluate_codec(codec, subject, held_out, exclude, opus, folder, device)
        return
    from dacformer.arguments import parse_names
    from dacformer.config import SamplingConfig
    from dacformer.extras import require_extra
    from dacformer.generation.sampling import parse_sampling
    from dacformer.generation.synthesizer import load

    with require_extra("eval"):
        from dacformer.evaluation.report import EvaluationConfig, write_report

    given = {"guidance": guidance, "temperature": temperature, "top_p": top_p}
    sampling = {name: value for name, value in given.items() if value is not None}
    parse_sampling(SamplingConfig(), sampling)
    asked = EvaluationConfig(
        load(subject, checkpoint, device=device),
        data,
        recordings,
        parse_names(classes),
        values,
        seeds,
        seconds,
        minutes,
        sampling,
    )
    for path in write_report(asked, folder, parse_names(only), again):
        print(path)


@app.command()
def info(
    path: Annotated[Path, typer.Argument(help="A sound, .dac file, take, data set, run or checkpoint.")],
) -> None:
    """Say what something is."""
    from dacformer.data.dataset import MANIFEST_FILE
    from dacformer.describe import describe

    if (path / MANIFEST_FILE).is_file():
        _print_dataset(path)
    else:
        print(describe(path))


def _print_report(text: str, written: list[Path]) -> None:
    """Prints what was measured, and where it was written."""
    print(text, *written, sep="\n")


def _evaluate_codec(
    name: str, sounds: Path, held_out: float | None, exclude: str, opus: str, report: Path, device: str
) -> None:
    from dacformer.arguments import parse_names
    from dacformer.codec import load_codec
    from dacformer.evaluation.codec_report import measure_codec, write_codec_report

    try:
        rates = [float(rate) for rate in parse_names(opus)]
    except ValueError:
        rates = [math.nan]
    if not all(0.0 < rate < math.inf for rate in rates):
        raise UserError(f"--opus '{opus}' is no list of bit rates. Expected kbit/s, such as 6,12,24.")
    result = measure_codec(load_codec(name).to(device), sounds, held_out, parse_names(exclude), opus=rates)
    _print_report(result.to_text(), write_codec_report(result, report))


def _check_outputs(sounds: Sequence[str], picture: Path | None, prompt: Path | None) -> None:
    """Refuses what could not be written, or would take the place of something else, before anything is generated."""
    from matplotlib.figure import Figure

    from dacformer.files import check_writable
    from dacformer.generation.take import check_savable

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
        if picture.suffix.lstrip(".").lower() not in Figure().canvas.get_supported_filetypes():
            raise UserError(f"Cannot draw {picture}: '{picture.suffix}' is no picture format. Use .png, .svg or .pdf.")
        check_writable(picture)


SAMPLE_BYTES = {"": 4, ".wav": 2, ".aiff": 2, ".aif": 2, ".au": 2}
"""Of what is written without compression; the rest is small."""


def _check_room(paths: Sequence[Path], seconds: float, synth: "Synthesizer") -> None:
    """Refuses what the memory does not hold, or the disk has no room for."""
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
    """Writes a take; where that fails its codes are kept elsewhere, so that nothing that was made is lost."""
    problems: list[str] = []
    for path in paths:
        try:
            print(take.save(path))
        except (UserError, OSError) as error:
            problems.append(str(error))
    if problems:
        raise UserError(f"{' '.join(problems)} {_keep(take, run)}")


def _keep(take: "Take", run: Path) -> str:
    """Saves the codes of a take in its run, or else among the system's temporary files; says where."""
    from dacformer.files import new_file

    takes = [run / "takes"] if (run / "checkpoints").is_dir() else []
    for folder in [*takes, Path(tempfile.gettempdir())]:
        try:
            kept = take.save(new_file(folder / "kept.dac"))
            return f"The take is kept in {kept}: dacformer decode {kept} x.wav"
        except (UserError, OSError):
            continue
    return "The take could not be kept anywhere."


def _print_dataset(path: Path) -> None:
    from dacformer.data.dataset import load_dataset

    dataset = load_dataset(path)
    info = dataset.info
    print(f"{path}: {len(dataset.rows)} files, codec {info.codec}, K={info.num_codebooks}, V={info.codebook_size}")
    seconds = dataset.frames_of(dataset.rows) / info.frame_rate
    for split, rows in dataset.rows.groupby("split"):
        print(f"  {split}: {len(rows)} files, {seconds[rows.index].sum():.1f} s")
    for name in dataset.conditions.classes:
        print(f"  class {name}: {int((dataset.rows['class'] == name).sum())} files")
    for name, scale in dataset.conditions.parameters.items():
        print(f"  parameter {name}: {scale.low:g} to {scale.high:g} ({', '.join(scale.classes)})")


def main() -> None:
    """Runs the command line; a mistake of the user's is one clear line and exit code 2."""
    show_log()
    warnings.showwarning = lambda message, *rest, **more: print(f"warning: {message}", file=sys.stderr)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message="Glyph .* missing")  # of matplotlib's font, in a class's name
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # it may be closed, and a name may hold what it cannot encode
            stream.reconfigure(errors="replace")
    try:
        try:
            with ending_cleanly():
                app(prog_name="dacformer")
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:  # whoever read has had enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(1) from None
    except MemoryError:
        print("error: There is not enough memory for this.", file=sys.stderr)
        raise SystemExit(2) from None
    except (UserError, OSError) as error:  # what cannot be written, where that is not said better
        print(f"error: {' '.join(str(error).split(chr(10)))}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
