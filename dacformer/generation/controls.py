"""Controls: the classes and parameters that steer a take over time, by name and in seconds."""

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
    """Controls at moments, each `(T,)` in its own units; a class and a parameter may have the same name.

    Attributes:
        classes: The weight of each class that is named.
        parameters: The value of each parameter that is named; NaN where it is unset.
    """

    classes: dict[str, np.ndarray]
    parameters: dict[str, np.ndarray]

    def unset_before(self, frame: int) -> "SampledControls":
        """The same with all frames before this one unset."""

        def later(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: np.where(np.arange(len(each)) < frame, np.nan, each) for name, each in values.items()}

        return SampledControls(later(self.classes), later(self.parameters))

    def labelled(self) -> dict[str, np.ndarray]:
        """All of them by a label for a picture: the name, of a parameter with a class's name `NAME (parameter)`."""
        taken = set(self.classes)
        named = {f"{name} (parameter)" if name in taken else name: each for name, each in self.parameters.items()}
        return self.classes | named


@dataclass(frozen=True)
class Controls:
    """What steers a take. Times are seconds of the take; a class or parameter that is not named is unset.

    Numbers of any kind become floats, and every value is checked here, when controls are made. Whether a model knows
    the names is for `check`. Without a class the model plays whatever it has learned.

    Attributes:
        classes: The weight of each class, 0 or more; the weights of a morph add up to 1 if the caller makes them so.
        parameters: The value of each parameter, in its own units. A `Curve` may unset it for a while.

    Raises:
        UserError: A value that is no number, a class that is unset, or a weight below 0 or above `MOST_WEIGHT`.
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
        """Reads controls as people write them; the one place that knows this form.

        Args:
            given: `{"class": NAME or {NAME: weight or Curve, ...}, PARAMETER: value or Curve, ...}`. A bare name is
                the whole of one class. None and controls pass.

        Returns:
            The controls.

        Raises:
            UserError: Not of this form, or as in `Controls`.
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
        """Refuses what a model does not know, and warns of what it was never trained on.

        Args:
            conditions: What the model knows.

        Raises:
            UserError: An unknown class or parameter, or a value far outside the trained range.
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
                    # The value stays out of the message: Python keeps each new one, and a stream has no end of them.
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
        """Samples the controls as the model sees them.

        Args:
            times: `(T,)` seconds.
            conditions: What the model knows.

        Returns:
            `(T, C)` float32.
        """
        sampled = self.at(times)
        condition = conditions.encode(sampled.classes, sampled.parameters)
        return np.broadcast_to(condition, (len(times), conditions.dim)).copy()

    def delayed(self, seconds: float) -> "Controls":
        """The controls begun later: until `seconds`, at least 0, they are what they were at 0."""
        return self._each(lambda signal: curves.delayed(signal, seconds))

    def from_second(self, seconds: float) -> "Controls":
        """The controls from a moment on, which is their new 0."""
        return self._each(lambda signal: curves.from_second(signal, seconds))

    def then(self, after: "Controls", seconds: float) -> "Controls":
        """These controls until a moment, and others from then on.

        Args:
            after: Their own time starts at the moment. What only one of the two names is unset in the other's time; a
                class has the weight 0 there.
            seconds: The moment, above 0.

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
        """The plain form that recipes hold: `{"classes": {...}, "parameters": {...}}`."""
        return {
            kind: {name: curves.signal_to_json(signal) for name, signal in signals.items()}
            for kind, signals in (("classes", self.classes), ("parameters", self.parameters))
        }

    @classmethod
    def from_json(cls, tree: Any) -> "Controls":
        """Reads the plain form.

        Raises:
            UserError: Not what `to_json` writes.
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
"""Controls, or what `Controls.of` reads."""
MovingControls = AnyControls | Callable[[float], AnyControls]
"""Controls, or a function of the time in seconds that gives them (each a plain value then)."""
JsonControls = Annotated[Controls, PlainValidator(Controls.from_json), PlainSerializer(Controls.to_json)]
"""Controls in a file."""


def _signal(name: str, value: object) -> Signal:
    return value if isinstance(value, Curve) else _number(name, value)


def _number(name: str, value: object) -> float:
    number = finite_number(value)
    if number is None:
        raise UserError(f"'{name}' is {shown(value)}. Expected a finite number or a Curve.")
    return number
