"""What a person moves over time, in seconds and in names, and the conditions that it becomes."""

import difflib
import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dacformer.arguments import finite_number, quoted
from dacformer.conditions.labels import Conditions
from dacformer.errors import UserError, shown

MOST_WEIGHT = 1e6
"""The largest weight of a class, and how many times its trained range a parameter may leave it: beyond that the model
computes infinities."""


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
            given = [(time, value) for time, value in points]
        except (TypeError, ValueError):
            raise UserError(f"A curve is a list of (seconds, value), got {shown(points)}.") from None
        self.points = [(_finite(time), None if value is None else _finite(value)) for time, value in given]
        times = [time for time, _ in self.points]
        if not times or times != sorted(times):
            raise UserError(f"A curve needs at least one point, in order of time, got {shown(given)}.")
        if not isinstance(step, bool | np.bool_):
            raise UserError(f"The step of a curve is {shown(step)}. Expected True or False.")
        self.step = bool(step)
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


def check_controls(controls: Controls, conditions: Conditions) -> None:
    """Refuses what the model does not know, and warns of what it was never trained on.

    Args:
        controls: See `Controls`.
        conditions: What the model knows.

    Raises:
        UserError: An unknown class or parameter (the known ones are listed), or as in `check_values`.
    """
    check_values(controls)
    weights = class_controls(controls)
    for name in weights:
        if name not in conditions.classes:
            raise UserError(f"Unknown class {shown(name)}. {_did_you_mean(name, conditions.classes)}")
    for name, control in controls.items():
        if name == "class":
            continue
        if name not in conditions.parameters:
            raise UserError(f"Unknown parameter {shown(name)}. {_did_you_mean(name, tuple(conditions.parameters))}")
        trained = conditions.parameters[name]
        for value in _values(name, control):
            if value is not None and abs(trained.normalize(value)) > MOST_WEIGHT:
                raise UserError(
                    f"'{name}' is {value:g}, far from what was trained. Expected {trained.low:g} to {trained.high:g}."
                )
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


def check_values(controls: Controls) -> None:
    """Refuses what no model could follow.

    Args:
        controls: See `Controls`.

    Raises:
        UserError: Not a mapping, a value that is no number, a class left open, or a weight below 0.
    """
    if not isinstance(controls, Mapping):
        raise UserError(f"Controls are {shown(controls)}. Expected {{'class': NAME, PARAMETER: value, ...}}.")
    for name, weight in class_controls(controls).items():
        for value in _values(f"class {name}", weight):
            if not 0.0 <= _number(f"class {name}", value) <= MOST_WEIGHT:
                raise UserError(
                    f"The weight of class '{name}' is {value}. Expected 0 or more, at most {MOST_WEIGHT:g}."
                )
    for name, control in controls.items():
        if name != "class":
            _values(name, control)


def _values(name: str, control: Control) -> list[float | None]:
    """All values that a control takes; None where it is open."""
    return [value for _, value in control.points] if isinstance(control, Curve) else [_number(name, control)]


def class_controls(controls: Controls) -> dict[str, Control]:
    """The classes asked for and their weights: a bare name is the whole of one."""
    asked = controls.get("class", {})
    if isinstance(asked, str):
        return {asked: 1.0}
    if not isinstance(asked, Mapping):
        raise UserError(f"'class' is {shown(asked)}. Expected a name, or {{name: weight, ...}}.")
    return dict(asked)


@dataclass(frozen=True)
class SampledControls:
    """Controls at moments, each `(T,)` in its own units; a class and a parameter may have the same name.

    Attributes:
        weights: Of each class that is asked for.
        parameters: The value of each parameter that is asked for; NaN where it is open.
    """

    weights: dict[str, np.ndarray]
    parameters: dict[str, np.ndarray]

    def labelled(self) -> dict[str, np.ndarray]:
        """All of them by a label for a picture: the name, of a parameter with a class's name `NAME (parameter)`."""
        taken = set(self.weights)
        named = {f"{name} (parameter)" if name in taken else name: each for name, each in self.parameters.items()}
        return self.weights | named


def curves_at(controls: Controls, times: np.ndarray) -> SampledControls:
    """Samples controls at moments, each in its own units.

    Args:
        controls: See `Controls`; checked before.
        times: `(T,)` seconds.

    Returns:
        The weights and the values.
    """
    return SampledControls(
        weights={name: _sample(control, times) for name, control in class_controls(controls).items()},
        parameters={name: _sample(control, times) for name, control in controls.items() if name != "class"},
    )


def conditions_at(controls: Controls, conditions: Conditions, times: np.ndarray) -> np.ndarray:
    """Samples controls at moments, as the model sees them.

    Args:
        controls: See `Controls`; checked before.
        conditions: What the model knows.
        times: `(T,)` seconds.

    Returns:
        `(T, C)` float32. Class weights are used as given: those of a morph add up to 1 if the person made them so.
    """
    sampled = curves_at(controls, times)
    condition = conditions.encode(sampled.weights, sampled.parameters)
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
    """What `to_json` was given: controls of a recipe, or its sampling.

    Raises:
        UserError: A curve that is none. Names and numbers are for `check_controls` and `parse_sampling`.
    """
    return {name: _lively(value) for name, value in tree.items()}


def _lively(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if not isinstance(value.get("points"), list | tuple):
        return {name: _curve(weight) for name, weight in value.items()}  # the weights of classes
    return _curve(value)


def _curve(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if not {"points"} <= value.keys() <= {"points", "step"}:
        raise UserError(f"{shown(value)} is no curve. Expected 'points' and 'step'.")
    return Curve(**value)


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
    number = finite_number(value)
    if number is None:
        raise UserError(f"'{name}' is {shown(value)}. Expected a finite number or a Curve.")
    return number


def _finite(value: Any) -> float:
    number = finite_number(value)
    if number is None:
        raise UserError(f"A curve has a point at or of {shown(value)}. Expected finite numbers: (seconds, value).")
    return number


def _did_you_mean(name: object, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    listed = ", ".join(quoted([each]) for each in known) or "none"
    return (f"Did you mean '{near[0]}'? " if near else "") + f"Known: {listed}."
