"""What a person moves over time, in seconds and in names, and the conditions that it becomes."""

import bisect
import difflib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dacformer.data.conditions import Conditions
from dacformer.errors import UserError


class Curve:
    """A value that moves: points in seconds, joined by lines or held in steps.

    Before the first point and after the last it stays where these are. Two points at the same time make a jump.
    """

    def __init__(self, points: Sequence[tuple[float, float]], step: bool = False) -> None:
        """Makes a curve.

        Args:
            points: `(seconds, value)`, at least one, in order of time.
            step: Hold each value until the next point instead of moving to it in a line.

        Raises:
            UserError: No points, not in order, or not numbers.
        """
        try:
            self.points = [(float(time), float(value)) for time, value in points]
        except (TypeError, ValueError) as error:
            raise UserError(f"A curve is a list of (seconds, value), got {points!r}: {error}") from None
        times = [time for time, _ in self.points]
        if not times or times != sorted(times) or not np.isfinite(self.points).all():
            raise UserError(f"A curve needs finite points in order of time, got {self.points}.")
        self.step = step

    def __call__(self, seconds: float) -> float:
        """The value at a time."""
        times = [time for time, _ in self.points]
        after = bisect.bisect_right(times, seconds)
        if after == 0:
            return self.points[0][1]
        if after == len(times) or self.step:
            return self.points[after - 1][1]
        (t0, v0), (t1, v1) = self.points[after - 1 : after + 1]
        return v0 + (v1 - v0) * (seconds - t0) / (t1 - t0)

    def __repr__(self) -> str:
        return f"Curve({self.points}{', step=True' if self.step else ''})"

    def to_json(self) -> dict[str, Any]:
        """A plain form for recipes."""
        return {"points": self.points, "step": self.step}


Control = float | int | Curve
Controls = Mapping[str, Any]
"""`{"class": NAME or {NAME: weight or Curve, ...}, PARAMETER: value or Curve, ...}`. A parameter that is not named is
unknown to the model; without `"class"` it plays whatever it has learned."""


def parse_control(word: str) -> tuple[str, Any]:
    """Reads a control as it is written on the command line.

    `class=rain`; `class=rain:0.5,wind:0.5` (weights); `strength=0.3`; `strength=0:0.1,10:0.9` (seconds:value, joined by
    lines); `strength=step:0:0.1,5:0.9` (held in steps).

    Args:
        word: `name=value`.

    Returns:
        Name and value, as `Controls` holds them.

    Raises:
        UserError: Not of this form.
    """
    name, equals, value = word.partition("=")
    try:
        if not equals or not value:
            raise ValueError
        if name == "class":
            if ":" not in value:
                return name, value
            return name, {item.split(":")[0]: float(item.split(":")[1]) for item in value.split(",")}
        steps = value.startswith("step:")
        points = [item.split(":") for item in value.removeprefix("step:").split(",")]
        if len(points) == 1 and len(points[0]) == 1:
            return name, float(value)
        return name, Curve([(float(time), float(level)) for time, level in points], step=steps)
    except UserError:  # a curve's own complaint says more
        raise
    except (ValueError, IndexError):
        raise UserError(
            f"--control '{word}' is not understood. Expected class=NAME, class=NAME:WEIGHT,NAME:WEIGHT, "
            f"PARAMETER=VALUE, or PARAMETER=SECONDS:VALUE,SECONDS:VALUE,... (step: in front holds each value)."
        ) from None


def check_controls(controls: Controls, conditions: Conditions) -> None:
    """Refuses what the model does not know, and warns of what it was never trained on.

    Args:
        controls: See `Controls`.
        conditions: What the model knows.

    Raises:
        UserError: An unknown class or parameter (the known ones are listed), or a value that is no number.
    """
    weights = class_controls(controls)
    for name in weights:
        if name not in conditions.classes:
            raise UserError(f"Unknown class '{name}'. {_did_you_mean(name, conditions.classes)}")
    for name, control in controls.items():
        if name == "class":
            continue
        if name not in conditions.parameters:
            raise UserError(f"Unknown parameter '{name}'. {_did_you_mean(name, tuple(conditions.parameters))}")
        trained = conditions.parameters[name]
        for value in [v for _, v in control.points] if isinstance(control, Curve) else [_number(name, control)]:
            if not trained.low <= value <= trained.high:
                # The value stays out of the message: Python keeps each new one, and a stream would have no end of them.
                limits = f"{trained.low:g} to {trained.high:g}"
                warnings.warn(f"'{name}' leaves what was trained, {limits}: expect surprises", stacklevel=2)
        if weights and trained.classes and not set(weights) & set(trained.classes):
            warnings.warn(
                f"'{name}' was never heard with {', '.join(weights)}, only with {', '.join(trained.classes)}: "
                "it will do little",
                stacklevel=2,
            )
    for name, weight in weights.items():
        if not isinstance(weight, Curve):
            _number(f"class {name}", weight)


def class_controls(controls: Controls) -> dict[str, Control]:
    """The classes asked for and their weights: a bare name is the whole of one."""
    asked = controls.get("class", {})
    if isinstance(asked, str):
        return {asked: 1.0}
    if not isinstance(asked, Mapping):
        raise UserError(f"'class' is {asked!r}. Expected a name, or {{name: weight, ...}}.")
    return dict(asked)


def curves_at(controls: Controls, times: np.ndarray) -> dict[str, np.ndarray]:
    """Samples controls at moments, each in its own units.

    Args:
        controls: See `Controls`.
        times: `(T,)` seconds.

    Returns:
        `(T,)` for each class that is asked for (its weight) and each parameter.
    """
    named = class_controls(controls) | {name: control for name, control in controls.items() if name != "class"}
    return {name: _sample(control, times) for name, control in named.items()}


def conditions_at(controls: Controls, conditions: Conditions, times: np.ndarray) -> np.ndarray:
    """Samples controls at moments, as the model sees them.

    Args:
        controls: See `Controls`; checked before.
        conditions: What the model knows.
        times: `(T,)` seconds.

    Returns:
        `(T, C)` float32. Class weights are used as given: those of a morph add up to 1 if the person made them so.
    """
    weights = {name: _sample(control, times) for name, control in class_controls(controls).items()}
    values = {name: _sample(control, times) for name, control in controls.items() if name != "class"}
    condition = conditions.encode(weights, values)
    return np.broadcast_to(condition, (len(times), conditions.dim)).copy()


def to_json(controls: Controls) -> dict[str, Any]:
    """Controls in a plain form, for the recipe in a file's metadata."""
    return {name: _plain(control) for name, control in controls.items()}


def _plain(control: Any) -> Any:
    if isinstance(control, Mapping):
        return to_json(control)
    if isinstance(control, Curve):
        return control.to_json()
    return control if isinstance(control, str) else float(control)


def _sample(control: Control, times: np.ndarray) -> np.ndarray:
    if isinstance(control, Curve):
        return np.array([control(time) for time in times])
    return np.full(len(times), float(control))


def _number(name: str, value: Any) -> float:
    numeric = isinstance(value, int | float | np.floating | np.integer) and not isinstance(value, bool)
    if not numeric or not np.isfinite(value):
        raise UserError(f"'{name}' is {value!r}. Expected a finite number or a Curve.")
    return float(value)


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return (f"Did you mean '{near[0]}'? " if near else "") + f"Known: {', '.join(known) or 'none'}."
