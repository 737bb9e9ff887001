"""What a person moves over time, in seconds and in names, and the conditions that it becomes."""

import difflib
import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dacformer.data.conditions import Conditions
from dacformer.errors import UserError


class Curve:
    """A value that moves: points in seconds, joined by lines or held in steps.

    Before the first point and after the last it stays where these are. Two points at the same time make a jump. From a
    point without a value on, a parameter is left open to the model, until the next point.
    """

    def __init__(self, points: Sequence[tuple[float, float | None]], step: bool = False) -> None:
        """Makes a curve.

        Args:
            points: `(seconds, value)`, at least one, in order of time; a value of None leaves a parameter open.
            step: Hold each value until the next point instead of moving to it in a line.

        Raises:
            UserError: No points, not in order, or not numbers.
        """
        try:
            self.points = [(float(time), None if value is None else float(value)) for time, value in points]
        except (TypeError, ValueError) as error:
            raise UserError(f"A curve is a list of (seconds, value), got {points!r}: {error}") from None
        times = [time for time, _ in self.points]
        values = [value for _, value in self.points if value is not None]
        if not times or times != sorted(times) or not np.isfinite([*times, *values]).all():
            raise UserError(f"A curve needs finite points in order of time, got {self.points}.")
        self.step = step
        self._times = np.array(times)
        self._values = np.array([np.nan if value is None else value for _, value in self.points])

    def __call__(self, seconds: float) -> float:
        """The value at a time; NaN where it is open."""
        return float(self.at(np.array([seconds]))[0])

    def at(self, times: np.ndarray) -> np.ndarray:
        """The values at many times.

        Args:
            times: `(T,)` seconds.

        Returns:
            `(T,)`, NaN where the curve is open.
        """
        after = np.searchsorted(self._times, times, side="right")
        before, after = np.maximum(after - 1, 0), np.minimum(after, len(self._times) - 1)
        v0, v1 = self._values[before], self._values[after]
        if self.step:
            return v0
        t0, t1 = self._times[before], self._times[after]
        share = (times - t0) / np.where(t1 > t0, t1 - t0, np.inf)
        return v0 + np.where(np.isnan(v1), 0.0, v1 - v0) * share

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Curve) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((tuple(self.points), self.step))

    def __repr__(self) -> str:
        return f"Curve({self.points}{', step=True' if self.step else ''})"

    def to_json(self) -> dict[str, Any]:
        """A plain form for recipes."""
        return {"points": [list(point) for point in self.points], "step": self.step}


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
    if not isinstance(controls, Mapping):
        raise UserError(f"Controls are {controls!r}. Expected {{'class': NAME, PARAMETER: value, ...}}.")
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
            if (_number(f"class {name}", value) or 0.0) < 0.0:
                raise UserError(f"The weight of class '{name}' is {value}. Expected 0 or more.")


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


def delayed(controls: Controls, seconds: float) -> dict[str, Any]:
    """Controls that begin later; until then they are what they are at 0.

    Args:
        controls: See `Controls`.
        seconds: Where their own time starts, at least 0.

    Returns:
        Controls of the longer time.
    """
    weights = {name: _delayed(weight, seconds) for name, weight in class_controls(controls).items()}
    values = {name: _delayed(control, seconds) for name, control in controls.items() if name != "class"}
    return ({"class": weights} if weights else {}) | values


def from_second(controls: Controls, seconds: float) -> dict[str, Any]:
    """Controls as they are from a moment on, which is their new 0."""
    shifted = {name: _shifted(control, seconds) for name, control in controls.items() if name != "class"}
    if isinstance(controls.get("class"), Mapping):
        return shifted | {"class": {name: _shifted(weight, seconds) for name, weight in controls["class"].items()}}
    return shifted | {name: controls[name] for name in controls if name == "class"}


def _shifted(control: Control, seconds: float) -> Control:
    if not isinstance(control, Curve):
        return control
    return Curve([(time - seconds, value) for time, value in control.points], control.step)


def joined(before: Controls, after: Controls, seconds: float) -> dict[str, Any]:
    """One controls until a moment, and others from then on.

    Args:
        before: See `Controls`. What only `after` names is until then open, a class's weight 0; and the other way round.
        after: Their own time starts at the moment.
        seconds: The moment, above 0.

    Returns:
        Controls of the whole time.
    """
    old, new = class_controls(before), class_controls(delayed(after, seconds))
    weights = {name: _joined(old.get(name, 0.0), new.get(name, 0.0), seconds) for name in old | new}
    old = {name: control for name, control in before.items() if name != "class"}
    new = {name: control for name, control in delayed(after, seconds).items() if name != "class"}
    values = {name: _joined(old.get(name), new.get(name), seconds) for name in old | new}
    return ({"class": weights} if weights else {}) | values


def _delayed(control: Control, seconds: float) -> Control:
    if not isinstance(control, Curve):
        return control
    later = [(time + seconds, value) for time, value in _line(control) if time > 0.0]
    return Curve([(seconds, _open(control(0.0))), *later])


def _joined(before: Control | None, after: Control | None, seconds: float) -> Control:
    """`None` is open; `after` is delayed already."""
    if before == after and before is not None and not isinstance(before, Curve):
        return before
    then = after.points if isinstance(after, Curve) else [(seconds, after)]
    if not isinstance(before, Curve):
        return Curve([(seconds, before), *then])
    kept = [point for point in _line(before) if point[0] < seconds]
    following = [point for point in _line(before) if point[0] >= seconds][:1]
    end = Curve([*kept[-1:], *following])(seconds)
    return Curve([*kept, (seconds, _open(end)), *then])


def _line(curve: Curve) -> list[tuple[float, float | None]]:
    """The points of a curve; steps become lines that jump."""
    if not curve.step:
        return curve.points
    held = [(after[0], before[1]) for before, after in itertools.pairwise(curve.points)]
    return [curve.points[0], *(point for pair in zip(held, curve.points[1:], strict=True) for point in pair)]


def _open(value: float) -> float | None:
    return None if math.isnan(value) else value


def from_json(tree: Mapping[str, Any]) -> dict[str, Any]:
    """What `to_json` was given: controls of a recipe, or its sampling."""
    return {name: _lively(value) for name, value in tree.items()}


def _lively(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return Curve(**value) if isinstance(value.get("points"), list | tuple) else from_json(value)


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
