"""Options that several commands have."""

import math
from typing import Annotated

import typer

CodecOption = Annotated[str, typer.Option(help="small, 44khz, 24khz, 16khz, or a weight file.")]
AnyCodecOption = Annotated[str | None, typer.Option(help="small (the default), 44khz, 24khz, 16khz, or a weight file.")]
GuidanceOption = Annotated[
    str | None, typer.Option(help="Above 1 follows the controls more strictly: 1.5, or class=1.5,parameters=1.1.")
]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, mps.")]
CheckpointOption = Annotated[str, typer.Option(help="Of a run: best, last, or a step's number.")]


def finite(number: float | None) -> float | None:
    """Check that an option is finite. Typer accepts NaN in every range, and infinity in a range without an end.

    Raises:
        typer.BadParameter: The number is not finite.
    """
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is no finite number.")
    return number
