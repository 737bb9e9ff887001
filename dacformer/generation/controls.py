"""Controls: classes and parameters that steer a take, by name. Each is a number, or a curve over seconds."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import PlainSerializer, PlainValidator

from dacformer.arguments import finite_number, unknown_name
from dacformer.conditions.labels import Conditions
from dacformer.errors import UserError, shown
from dacformer.generation import curves
from dacformer.generation.curves import Curve, Signal

MOST_WEIGHT = 1e6
"""The largest weight of a class, and how many times its trained range a parameter may leave it: beyond that the model
computes infinities."""


@dataclass(frozen=True)
class SampledControls:
    """Controls sampled at `T` times. A class and a parameter may have the same name.

    Attributes:
        classes: For each named class its weight, `(T,)`.
        parameters: For each named parameter its value, `(T,)` in its own units; NaN where unset.
    """

    classes: dict[str, np.ndarray]
    parameters: dict[str, np.ndarray]

    def unset_before(self, frame: int) -> "SampledControls":
        """Returns a copy in which all frames before `frame` are NaN (unset)."""

        def later(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: np.where(np.arange(len(each)) < frame, np.nan, each) for name, each in values.items()}

        return SampledControls(later(self.classes), later(self.parameters))

    def labelled(self) -> dict[str, np.ndarray]:
        """Returns all curves by label, for plots. A label is the name; a name of both kinds gets ` (parameter)`."""
        taken = set(self.classes)
        named = {f"{name} (parameter)" if name in taken else name: each for name, each in self.parameters.items()}
        return self.classes | named


@dataclass(frozen=True)
class Controls:
    """Class weights and parameter values that steer a take. Times are seconds of the take.

    A class that is not named has weight 0, and a parameter that is not named is unset: the model chooses. Every value
    is checked when controls are made, and numbers of any type become floats. Names are checked by `check`, because
    only a model knows them.

    Attributes:
        classes: Weight of each class, 0 to `MOST_WEIGHT`. Several classes are a morph; weights are not normalised.
        parameters: Value of each parameter, in its own units. A `Curve` may have points of value None (unset).

    Raises:
        UserError: A value is not a number, or a weight is None, below 0 or above `MOST_WEIGHT`.
    """

    classes: Mapping[str, Signal] = field(default_factory=dict)
    parameters: Mapping[str, Signal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        classes = {name: _signal(f"class {name}", weight) for name, weight in self.classes.items()}
        for name, signal in classes.items():
            for value in curves.values_of(signal):
                if _number(f"class {name}", value) < 0.0 or _number(f"class {name}", value) > MOST_WEIGHT:
                    raise UserError(
                        f"The weight of class '{name}' is {value}. Expected 0 or more, at most {MOST_WEIGHT:g}."
                    )
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "parameters", {name: _signal(name, value) for name, value in self.parameters.items()})

    @classmethod
    def of(cls, given: "Controls | Mapping[str, Any] | None") -> "Controls":
        """Converts the dict form of controls. This is the only place that knows the form.

        Args:
            given: `{"class": NAME or {NAME: weight or Curve, ...}, PARAMETER: value or Curve, ...}`. A class name
                alone has weight 1. None gives empty controls; `Controls` are returned as they are.

        Returns:
            The controls.

        Raises:
            UserError: The form is wrong, or as in `Controls`.
        """
        if isinstance(given, Controls):
            return given
        given = {} if given is None else given
        if not isinstance(given, Mapping):
            raise UserError(f"Controls are {shown(given)}. Expected {{'class': NAME, PARAMETER: value, ...}}.")
        classes = given.get("class", {})
        if isinstance(classes, str):
            classes = {classes: 1.0}
        if not isinstance(classes, Mapping):
            raise UserError(f"'class' is {shown(classes)}. Expected a name, or {{name: weight, ...}}.")
        return cls(classes, {name: value for name, value in given.items() if name != "class"})

    def check(self, conditions: Conditions) -> None:
        """Raises an error for names that a model does not know, and warns of values that it was not trained on.

        Args:
            conditions: Classes and parameters of the model.

        Raises:
            UserError: A class or parameter is unknown, or a value is far outside the trained range.
        """
        for name in self.classes:
            if name not in conditions.classes:
                raise unknown_name("class", name, conditions.classes)
        for name, signal in self.parameters.items():
            if name not in conditions.parameters:
                raise unknown_name("parameter", name, conditions.parameters)
            trained = conditions.parameters[name]
            for value in (value for value in curves.values_of(signal) if value is not None):
                limits = f"{trained.low:g} to {trained.high:g}"
                if abs(trained.normalize(value)) > MOST_WEIGHT:
                    raise UserError(f"'{name}' is {value:g}, far from what was trained. Expected {limits}.")
                if not trained.low <= value <= trained.high:
                    # Without the value: Python keeps each distinct message, and an endless stream would fill memory.
                    warnings.warn(f"'{name}' leaves what was trained, {limits}: expect surprises", stacklevel=2)
            if self.classes and trained.classes and not set(self.classes) & set(trained.classes):
                warnings.warn(
                    f"'{name}' was never trained with {', '.join(self.classes)}, only with "
                    f"{', '.join(trained.classes)}: it will do little",
                    stacklevel=2,
                )

    def at(self, times: np.ndarray) -> SampledControls:
        """Samples the controls at times `(T,)` in seconds, each in its own units."""
        return SampledControls(
            {name: curves.sample(weight, times) for name, weight in self.classes.items()},
            {name: curves.sample(value, times) for name, value in self.parameters.items()},
        )

    def condition_at(self, times: np.ndarray, conditions: Conditions) -> np.ndarray:
        """Samples the controls and encodes them as condition vectors.

        Args:
            times: `(T,)` seconds.
            conditions: Classes and parameters of the model.

        Returns:
            `(T, C)` float32.
        """
        sampled = self.at(times)
        condition = conditions.encode(sampled.classes, sampled.parameters)
        return np.broadcast_to(condition, (len(times), conditions.dim)).copy()

    def delayed(self, seconds: float) -> "Controls":
        """Returns the controls shifted later by `seconds` (0 or more). Before that they have their values at 0."""
        return self._each(lambda signal: curves.delayed(signal, seconds))

    def from_second(self, seconds: float) -> "Controls":
        """Returns the controls shifted earlier: what was at `seconds` is at 0."""
        return self._each(lambda signal: curves.from_second(signal, seconds))

    def then(self, after: "Controls", seconds: float) -> "Controls":
        """Joins two controls in time: these before `seconds`, and `after` from there on.

        A name that only one of the two has is unset (parameter) or has weight 0 (class) in the time of the other.

        Args:
            after: Controls from `seconds` on; their time 0 is at `seconds`.
            seconds: Where they begin, above 0.

        Returns:
            Controls of the whole time.
        """
        after = after.delayed(seconds)
        classes, values = self.classes, self.parameters
        return Controls(
            {
                name: curves.then(classes.get(name, 0.0), after.classes.get(name, 0.0), seconds)
                for name in {**classes, **after.classes}
            },
            {
                name: curves.then(values.get(name), after.parameters.get(name), seconds)
                for name in {**values, **after.parameters}
            },
        )

    def _each(self, change: Callable[[Signal], Signal]) -> "Controls":
        return Controls(
            {name: change(weight) for name, weight in self.classes.items()},
            {name: change(value) for name, value in self.parameters.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the form that recipes hold: `{"classes": {...}, "parameters": {...}}`."""
        return {
            kind: {name: curves.signal_to_json(signal) for name, signal in signals.items()}
            for kind, signals in (("classes", self.classes), ("parameters", self.parameters))
        }

    @classmethod
    def from_json(cls, tree: Any) -> "Controls":
        """Reads the form that `to_json` returns; `Controls` are returned as they are.

        Raises:
            UserError: The form is wrong.
        """
        if isinstance(tree, Controls):
            return tree
        if not isinstance(tree, Mapping) or not tree.keys() <= {"classes", "parameters"}:
            raise UserError(f"Controls in a recipe are {shown(tree)}. Expected 'classes' and 'parameters'.")
        for kind, signals in tree.items():
            if not isinstance(signals, Mapping) or not all(isinstance(name, str) for name in signals):
                raise UserError(f"The {kind} of controls are {shown(signals)}. Expected names and values.")
        return cls(
            *(
                {name: curves.signal_from_json(value) for name, value in tree.get(kind, {}).items()}
                for kind in ("classes", "parameters")
            )
        )

    def __repr__(self) -> str:
        parts = [f"class={dict(self.classes)}"] if self.classes else []
        return f"Controls({', '.join([*parts, *(f'{name}={value}' for name, value in self.parameters.items())])})"


AnyControls = Controls | Mapping[str, Any]
"""`Controls`, or the dict form that `Controls.of` reads."""
MovingControls = AnyControls | Callable[[float], AnyControls]
"""Controls, or a function that returns controls for a time in seconds. The values of these must be numbers."""
JsonControls = Annotated[Controls, PlainValidator(Controls.from_json), PlainSerializer(Controls.to_json)]
"""Controls as a field of a recipe."""


def _signal(name: str, value: object) -> Signal:
    return value if isinstance(value, Curve) else _number(name, value)


def _number(name: str, value: object) -> float:
    number = finite_number(value)
    if number is None:
        raise UserError(f"'{name}' is {shown(value)}. Expected a finite number or a Curve.")
    return number
