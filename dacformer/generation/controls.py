"""What a person moves over time, in seconds and in names, and the conditions that it becomes."""

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

    def __init__(self, points: Sequence[tuple[float, float | None]], step: bool = False) -> None:
        """Makes a curve.

        Args:
            points: `(seconds, value)`, at least one, in order of time. In a step curve of a parameter the value may be
                None: from there on it is left to the model.
            step: Hold each value until the next point instead of moving to it in a line.

        Raises:
            UserError: No points, not in order, or not numbers.
        """
        try:
            self.points = [(float(time), None if value is None else float(value)) for time, value in points]
        except (TypeError, ValueError) as error:
            raise UserError(f"A curve is a list of (seconds, value), got {points!r}: {error}") from None
        times = [time for time, _ in self.points]
        numbers = [*times, *(value for _, value in self.points if value is not None)]
        if not times or times != sorted(times) or not np.isfinite(numbers).all():
            raise UserError(f"A curve needs finite points in order of time, got {self.points}.")
        if not step and len(numbers) < 2 * len(times):
            raise UserError(f"A curve is left open (None) in steps only, with step=True; got {self.points}.")
        self.step = step

    def at(self, seconds: np.ndarray) -> np.ndarray:
        """The values at times `(T,)`; NaN where it is left open."""
        times, values = np.array(self.points, dtype=float).T  # None becomes NaN
        after = np.searchsorted(times, seconds, side="right")
        before = np.clip(after - 1, 0, None)
        if self.step:
            return values[before]
        after = np.clip(after, None, len(times) - 1)
        span = times[after] - times[before]  # 0 beyond either end
        share = (seconds - times[before]) / np.where(span > 0.0, span, 1.0)
        return values[before] + np.where(span > 0.0, (values[after] - values[before]) * share, 0.0)

    def __call__(self, seconds: float) -> float:
        """The value at a time; NaN where it is left open."""
        return float(self.at(np.array([seconds]))[0])

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
        values = [value for _, value in control.points] if isinstance(control, Curve) else [_number(name, control)]
        for value in values:
            if value is not None and not trained.low <= value <= trained.high:
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
        for value in [value for _, value in weight.points] if isinstance(weight, Curve) else [weight]:
            _number(f"class {name}", value)


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


def from_json(tree: Mapping[str, Any]) -> dict[str, Any]:
    """What `to_json` was given: controls of a recipe, or its sampling."""
    return {name: _lively(value) for name, value in tree.items()}


def _lively(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return Curve(**value) if value.keys() == {"points", "step"} else from_json(value)


def _plain(control: Any) -> Any:
    if isinstance(control, Mapping):
        return to_json(control)
    if isinstance(control, Curve):
        return control.to_json()
    return control if isinstance(control, str) else float(control)


def _sample(control: Control, times: np.ndarray) -> np.ndarray:
    if isinstance(control, Curve):
        return control.at(times)
    return np.full(len(times), float(control))


def _number(name: str, value: Any) -> float:
    numeric = isinstance(value, int | float | np.floating | np.integer) and not isinstance(value, bool)
    if not numeric or not np.isfinite(value):
        raise UserError(f"'{name}' is {value!r}. Expected a finite number or a Curve.")
    return float(value)


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return (f"Did you mean '{near[0]}'? " if near else "") + f"Known: {', '.join(known) or 'none'}."
