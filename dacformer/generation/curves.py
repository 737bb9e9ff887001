"""Values over time: a `Curve` has points in seconds; a `Signal` is a curve or a constant number."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dacformer.arguments import finite_number
from dacformer.errors import UserError, shown

Points = list[tuple[float, float | None]]
"""`(seconds, value)` in order of time; the value None means unset."""


class Curve:
    """Value over time, given by points: interpolated linearly, or held in steps.

    Before the first point the curve has the first value, after the last point the last value. Two points at the same
    time make a jump. A point with the value None makes the curve unset from there to the next point.
    """

    def __init__(self, points: Sequence[tuple[float, float | None]], step: bool = False) -> None:
        """Checks the points and makes a curve of them.

        Args:
            points: One or more `(seconds, value)` in order of time. The value None means unset.
            step: Hold each value until the next point, instead of interpolating.

        Raises:
            UserError: There are no points, they are not in order, or a number is not finite.
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
        """Returns the value at a time in seconds; NaN where unset."""
        return float(self.at(np.array([seconds]))[0])

    def at(self, times: np.ndarray) -> np.ndarray:
        """Samples the curve.

        Args:
            times: `(T,)` seconds.

        Returns:
            Values `(T,)`; NaN where the curve is unset.
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
        """Returns points that give the same curve by linear interpolation: a step becomes two points at one time."""
        if not self.step:
            return self.points
        held = [(after[0], before[1]) for before, after in itertools.pairwise(self.points)]
        return [self.points[0], *(point for pair in zip(held, self.points[1:], strict=True) for point in pair)]

    def delayed(self, seconds: float) -> "Curve":
        """Returns the curve shifted later by `seconds`. Before that it has its value at 0."""
        later = [(time + seconds, value) for time, value in self.as_lines() if time > 0.0]
        return Curve([(seconds, nan_to_none(self(0.0))), *later])

    def from_second(self, seconds: float) -> "Curve":
        """Returns the curve shifted earlier: what was at `seconds` is at 0."""
        return Curve([(time - seconds, value) for time, value in self.points], self.step)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Curve) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((tuple(self.points), self.step))

    def __repr__(self) -> str:
        return f"Curve({self.points}{', step=True' if self.step else ''})"

    def to_json(self) -> dict[str, Any]:
        """Returns the form that recipes hold: `{"points": [[seconds, value], ...], "step": bool}`."""
        return {"points": [list(point) for point in self.points], "step": self.step}


Signal = float | Curve
"""A constant number, or a curve."""


def sample(signal: Signal, times: np.ndarray) -> np.ndarray:
    """Samples a signal at times `(T,)` in seconds: values `(T,)`, NaN where a curve is unset."""
    return signal.at(times) if isinstance(signal, Curve) else np.full(len(times), float(signal))


def delayed(signal: Signal, seconds: float) -> Signal:
    """Shifts a signal later, see `Curve.delayed`."""
    return signal.delayed(seconds) if isinstance(signal, Curve) else signal


def from_second(signal: Signal, seconds: float) -> Signal:
    """Shifts a signal earlier, see `Curve.from_second`."""
    return signal.from_second(seconds) if isinstance(signal, Curve) else signal


def then(before: Signal | None, after: Signal | None, seconds: float) -> Signal:
    """Joins two signals in time: `before` until `seconds`, `after` from there on.

    Args:
        before: The first signal; None means unset.
        after: The second signal, already shifted by `delayed`; None means unset.
        seconds: Where the second one begins, above 0.

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
    """Returns the values of all points of a signal; None means unset."""
    return [value for _, value in signal.points] if isinstance(signal, Curve) else [signal]


def signal_to_json(signal: Signal) -> Any:
    """Returns the form that recipes hold: a number, or that of `Curve.to_json`."""
    return signal.to_json() if isinstance(signal, Curve) else signal


def signal_from_json(value: Any) -> Any:
    """Reads the form that `signal_to_json` returns.

    Only mappings are checked. Any other value is returned as it is; `Controls` or `parse_sampling` check it.

    Raises:
        UserError: A mapping is not a curve.
    """
    if not isinstance(value, Mapping):
        return value
    if not {"points"} <= value.keys() <= {"points", "step"}:
        raise UserError(f"{shown(value)} is no curve. Expected 'points' and 'step'.")
    return Curve(**value)


def nan_to_none(value: float) -> float | None:
    """Converts a sampled value to the value of a point: NaN to None."""
    return None if math.isnan(value) else value


def _finite(value: Any) -> float:
    number = finite_number(value)
    if number is None:
        raise UserError(f"A curve has a point at or of {shown(value)}. Expected finite numbers: (seconds, value).")
    return number
