"""Parser of controls on the command line, such as `class=rain` and `strength=0:0.1,10:0.9`."""

from collections.abc import Iterable
from typing import Any

from dacformer.arguments import parse_names
from dacformer.conditions.labels import Conditions
from dacformer.errors import UserError, shown
from dacformer.generation.curves import Curve


def parse_control(word: str, conditions: Conditions) -> tuple[str, Any]:
    """Parses one control of the command line.

    `class=rain`; `class=rain:0.5,wind:0.5` (weights); `strength=0.3`; `strength=0:0.1,10:0.9` (seconds:value, joined by
    lines); `strength=step:0:0.1,5:0.9` (held in steps).

    A weight is the text after the last colon. A class name that contains a comma or begins with a double quote is
    quoted as in a CSV file: `class="rain, heavy":0.5,wind:0.5`.

    Args:
        word: `name=value`.
        conditions: Classes and parameters of the model. A value that equals a class name always means that class,
            even if it contains colons or commas.

    Returns:
        Name and value, as `Controls.of` reads them.

    Raises:
        UserError: The form is wrong.
    """
    known = [name for name in ("class", *conditions.parameters) if word.startswith(f"{name}=")]
    name = max(known, key=len) if known else word.partition("=")[0]
    value = word.removeprefix(f"{name}=")
    try:
        if value == word or not value:
            raise ValueError
        return name, _parse_classes(value, conditions) if name == "class" else _parse_parameter(value)
    except UserError:  # the message of a curve is more precise
        raise
    except ValueError:
        raise UserError(
            f"--control {shown(word)} is not understood. Expected class=NAME, class=NAME:WEIGHT,NAME:WEIGHT, "
            f"PARAMETER=VALUE, or PARAMETER=SECONDS:VALUE,SECONDS:VALUE,... (step: in front holds each value)."
        ) from None


def _parse_classes(value: str, conditions: Conditions) -> str | dict[str, float]:
    if value in conditions.classes:
        return value
    items = parse_names(value)
    if not items:
        raise ValueError
    if len(items) == 1 and (items[0] in conditions.classes or ":" not in items[0]):
        return items[0]
    weights: dict[str, float] = {}
    for name, colon, weight in (item.rpartition(":") for item in items):
        if not colon:
            raise ValueError
        if name in weights:
            raise UserError(f"--control class={value} names '{name}' twice. Give each class one weight.")
        weights[name] = float(weight)
    return weights


def _parse_parameter(value: str) -> float | Curve:
    points = [item.split(":") for item in value.removeprefix("step:").split(",")]
    if len(points) == 1 and len(points[0]) == 1:
        return float(value)
    return Curve([(float(time), float(level)) for time, level in points], step=value.startswith("step:"))


def parse_guidance(word: str) -> float | dict[str, float]:
    """Reads guidance as it is written on the command line: `1.5`, or `class=1.5,parameters=1.1` by channel.

    Raises:
        UserError: Not of this form.
    """
    try:
        if "=" not in word:
            return float(word)
        pairs = [item.rpartition("=") for item in word.split(",")]
        weights = {name: float(weight) for name, _, weight in pairs}
        if len(weights) < len(pairs) or "" in weights:
            raise ValueError
        return weights
    except ValueError:
        raise UserError(
            f"--guidance {shown(word)} is not understood. Expected a number, or CHANNEL=NUMBER,CHANNEL=NUMBER, "
            "such as class=1.5,parameters=1.1."
        ) from None


def parse_controls(words: Iterable[str], conditions: Conditions) -> dict[str, Any]:
    """Parses all controls of a command line, see `parse_control`.

    Raises:
        UserError: The form of one is wrong, or a control is given twice.
    """
    controls: dict[str, Any] = {}
    for name, value in (parse_control(word, conditions) for word in words):
        if name in controls:
            several = "class=rain:0.5,wind:0.5 plays two" if name == "class" else f"{name}=0:0.1,10:0.9 is a curve"
            raise UserError(f"--control {name}=... is given twice. Give it once: {several}.")
        controls[name] = value
    return controls
