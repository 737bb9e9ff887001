"""Options that several commands have."""

import math
from typing import Annotated, Any

import typer

CodecOption = Annotated[str, typer.Option(help="small, 44khz, 24khz, 16khz, or a weight file.")]
AnyCodecOption = Annotated[str | None, typer.Option(help="small (the default), 44khz, 24khz, 16khz, or a weight file.")]
GuidanceOption = Annotated[
    str | None, typer.Option(help="Above 1 follows the controls more strictly: 1.5, or class=1.5,parameters=1.1.")
]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, mps.")]
CheckpointOption = Annotated[str, typer.Option(help="Of a run: best, last, or a step's number.")]


def sampling_changes(guidance: str | None, **others: float | None) -> dict[str, Any]:
    """Collects the sampling settings that were given, and checks them before anything is loaded.

    Args:
        guidance: As it is written on the command line, see `parse_guidance`.
        **others: Other settings by name; None where one was not given.

    Raises:
        UserError: A setting has a value that it cannot have.
    """
    from dacformer.config import SamplingConfig
    from dacformer.generation.control_words import parse_guidance
    from dacformer.generation.sampling import parse_sampling

    given = {"guidance": None if guidance is None else parse_guidance(guidance), **others}
    changes = {name: value for name, value in given.items() if value is not None}
    parse_sampling(SamplingConfig(), changes)
    return changes


def finite(number: float | None) -> float | None:
    """Check that an option is finite. Typer accepts NaN in every range, and infinity in a range without an end.

    Raises:
        typer.BadParameter: The number is not finite.
    """
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is no finite number.")
    return number
