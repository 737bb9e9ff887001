"""Values that move over time: a `Curve` of points in seconds, and a `Signal`, which is a curve or a number."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dacformer.arguments import finite_number
from dacformer.errors import UserError, shown

Points = list[tuple[float, float | None]]
"""`(seconds, value)` in order of time; a value of None is unset."""


class Curve:
    """A value that moves: points in seconds, joined by lines or held in steps.

    The value before the first point is the first one's, and after the last point the last one's. Two points at the
    same time make a jump. A point whose value is None unsets a parameter from there to the next point.
    """

    def __init__(self, points: Sequence[tuple[float, float | None]], step: bool = False) -> None:
        """Makes a curve.

        Args:
            points: `(seconds, value)`, at least one, in order of time; a value of None leaves a parameter unset.
            step: Hold each value until the next point instead of moving to it in a line.

        Raises:
            UserError: No points, not in order, or not numbers.
        """
        try:
            given = [(time, value) for time, value in points]
        except (TypeError, ValueError):
            raise UserError(f"A curve is a list of (seconds, value), got {shown(points)}.") from None
        self.points: Points = [(_finite(time), None if value is None else _finite(value)) for time, value in given]
        times = [time for time, _ in self.points]
        if not times or times != sorted(times):
            raise UserError(f"A curve needs at least one point, in order of time, got {shown(given)}.")
        if not isinstance(step, bool | np.bool_):
            raise UserError(f"The step of a curve is {shown(step)}. Expected True or False.")
        self.step = bool(step)
        self._times = np.array(times)
        self._values = np.array([np.nan if value is None else value for _, value in self.points])

    def __call__(self, seconds: float) -> float:
        """The value at a time; NaN where it is unset."""
        return float(self.at(np.array([seconds]))[0])

    def at(self, times: np.ndarray) -> np.ndarray:
        """Samples the curve.

        Args:
            times: `(T,)` seconds.

        Returns:
            `(T,)`, NaN where the curve is unset.
        """
        after = np.searchsorted(self._times, times, side="right")
        before, after = np.maximum(after - 1, 0), np.minimum(after, len(self._times) - 1)
        v0, v1 = self._values[before], self._values[after]
        if self.step:
            return v0
        t0, t1 = self._times[before], self._times[after]
        share = (times - t0) / np.where(t1 > t0, t1 - t0, np.inf)
        return v0 + np.where(np.isnan(v1), 0.0, v1 - v0) * share

    def as_lines(self) -> Points:
        """The points of the same curve joined by lines: a step becomes two points at one time."""
        if not self.step:
            return self.points
        held = [(after[0], before[1]) for before, after in itertools.pairwise(self.points)]
        return [self.points[0], *(point for pair in zip(held, self.points[1:], strict=True) for point in pair)]

    def delayed(self, seconds: float) -> "Curve":
        """The curve begun later: until `seconds` it stays at its value at 0."""
        later = [(time + seconds, value) for time, value in self.as_lines() if time > 0.0]
        return Curve([(seconds, nan_to_none(self(0.0))), *later])

    def from_second(self, seconds: float) -> "Curve":
        """The curve with its time moved: what was at `seconds` is at 0."""
        return Curve([(time - seconds, value) for time, value in self.points], self.step)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Curve) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((tuple(self.points), self.step))

    def __repr__(self) -> str:
        return f"Curve({self.points}{', step=True' if self.step else ''})"

    def to_json(self) -> dict[str, Any]:
        """The plain form that recipes hold."""
        return {"points": [list(point) for point in self.points], "step": self.step}


Signal = float | Curve
"""A value that stays or moves."""


def sample(signal: Signal, times: np.ndarray) -> np.ndarray:
    """Values `(T,)` at times `(T,)` in seconds; NaN where a curve is unset."""
    return signal.at(times) if isinstance(signal, Curve) else np.full(len(times), float(signal))


def delayed(signal: Signal, seconds: float) -> Signal:
    """The signal begun later, see `Curve.delayed`."""
    return signal.delayed(seconds) if isinstance(signal, Curve) else signal


def from_second(signal: Signal, seconds: float) -> Signal:
    """The signal with `seconds` as its new 0."""
    return signal.from_second(seconds) if isinstance(signal, Curve) else signal


def then(before: Signal | None, after: Signal | None, seconds: float) -> Signal:
    """One signal until a moment and another from then on.

    Args:
        before: None is unset.
        after: In the time of the whole, as `delayed` makes it; None is unset.
        seconds: The moment, above 0.

    Returns:
        The signal of the whole time.
    """
    if before == after and before is not None and not isinstance(before, Curve):
        return before
    following = after.points if isinstance(after, Curve) else [(seconds, after)]
    if not isinstance(before, Curve):
        return Curve([(seconds, before), *following])
    lines = before.as_lines()
    kept = [point for point in lines if point[0] < seconds]
    next_point = [point for point in lines if point[0] >= seconds][:1]
    end = Curve([*kept[-1:], *next_point])(seconds)
    return Curve([*kept, (seconds, nan_to_none(end)), *following])


def values_of(signal: Signal) -> list[float | None]:
    """All values that a signal takes; None where it is unset."""
    return [value for _, value in signal.points] if isinstance(signal, Curve) else [signal]


def signal_to_json(signal: Signal) -> Any:
    """The plain form that recipes hold: a number, or points."""
    return signal.to_json() if isinstance(signal, Curve) else signal


def signal_from_json(value: Any) -> Any:
    """What `signal_to_json` was given; anything else but a mapping passes, for the next check to refuse.

    Raises:
        UserError: A mapping that is no curve.
    """
    if not isinstance(value, Mapping):
        return value
    if not {"points"} <= value.keys() <= {"points", "step"}:
        raise UserError(f"{shown(value)} is no curve. Expected 'points' and 'step'.")
    return Curve(**value)


def nan_to_none(value: float) -> float | None:
    """A sampled value as a point has it: None where it is unset."""
    return None if math.isnan(value) else value


def _finite(value: Any) -> float:
    number = finite_number(value)
    if number is None:
        raise UserError(f"A curve has a point at or of {shown(value)}. Expected finite numbers: (seconds, value).")
    return number
