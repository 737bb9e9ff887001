"""`dacformer evaluate` and `dacformer evaluate-codec`."""

import math
from pathlib import Path
from typing import Annotated

import typer

from dacformer.cli.options import (
    CheckpointOption,
    CodecOption,
    DeviceOption,
    GuidanceOption,
    finite,
    sampling_changes,
)
from dacformer.errors import UserError


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run or a checkpoint.")],
    only: Annotated[
        str, typer.Option(help="Parts of the report, separated by commas: control,likeness,...; all that fit if empty.")
    ] = "",
    data: Annotated[Path | None, typer.Option(help="The run's data set, where it is not where it was.")] = None,
    recordings: Annotated[
        Path | None, typer.Option(help="What the data set was encoded from, to hear what the codec takes, too.")
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.5, max=1440, callback=finite, help="Of free running, to measure stability.")
    ] = 10.0,
    again: Annotated[bool, typer.Option("--again", help="Measure also what was measured before.")] = False,
    report: Annotated[Path | None, typer.Option(help="Where to write; RUN/evaluation if not given.")] = None,
    classes: Annotated[str, typer.Option(help="Which, separated by commas; all if empty.")] = "",
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Takes of each value.")] = 3,
    values: Annotated[int, typer.Option(min=3, max=1001, help="Values of each parameter.")] = 11,
    seconds: Annotated[float, typer.Option(min=1, max=3600, callback=finite, help="Length of each take.")] = 4.0,
    guidance: GuidanceOption = None,
    temperature: Annotated[float | None, typer.Option(help="In place of the run's own.")] = None,
    top_p: Annotated[float | None, typer.Option(help="In place of the run's own.")] = None,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = "cpu",
) -> None:
    """Measure a run in free running: do its controls work, is it like the recordings, does it stay so?"""
    from dacformer.arguments import parse_names
    from dacformer.extras import require_extra
    from dacformer.files import check_writable
    from dacformer.generation.synthesizer import load

    with require_extra("eval"):
        from dacformer.evaluation.report import EvaluationConfig, write_report

    folder = report or run / "evaluation"
    check_writable(folder / "report.json")
    sampling = sampling_changes(guidance, temperature=temperature, top_p=top_p)
    config = EvaluationConfig(
        synth=load(run, checkpoint, device=device),
        data=data,
        recordings=recordings,
        classes=parse_names(classes),
        values=values,
        seeds=seeds,
        seconds=seconds,
        minutes=minutes,
        sampling=sampling,
    )
    for path in write_report(config, folder, parse_names(only), again):
        print(path)


def evaluate_codec(
    sounds: Annotated[Path, typer.Argument(help="A folder of recordings; nested folders are searched.")],
    codec: CodecOption = "small",
    held_out: Annotated[
        float | None,
        typer.Option(min=0, max=1, callback=finite, help="Only this share, which the codec's training holds out."),
    ] = None,
    exclude: Annotated[str, typer.Option(help="Leave out paths with one of these words, separated by commas.")] = "",
    opus: Annotated[str, typer.Option(help="Opus beside it at these kbit/s, such as 6,12,24.")] = "",
    report: Annotated[Path, typer.Option(help="Where to write.")] = Path("runs/codec_report"),
    device: DeviceOption = "cpu",
) -> None:
    """Measure a codec on recordings: distances, level, use of the codebooks, speed, and Opus beside it."""
    from dacformer.arguments import parse_names
    from dacformer.codec import load_codec
    from dacformer.evaluation.codec_report import measure_codec, write_codec_report
    from dacformer.files import check_writable

    check_writable(report / "report.json")
    rates = _parse_bit_rates(opus)
    result = measure_codec(load_codec(codec).to(device), sounds, held_out, parse_names(exclude), opus=rates)
    print(result.to_text(), *write_codec_report(result, report), sep="\n")


def _parse_bit_rates(text: str) -> list[float]:
    from dacformer.arguments import parse_names

    try:
        rates = [float(rate) for rate in parse_names(text)]
    except ValueError:
        rates = [math.nan]
    if not all(0.0 < rate < math.inf for rate in rates):
        raise UserError(f"--opus '{text}' is no list of bit rates. Expected kbit/s, such as 6,12,24.")
    return rates
