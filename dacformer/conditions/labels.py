"""Classes and parameters of a data set, and how they are encoded as conditions for the model.

A condition has two channels (`conditions.layout`). `class` has a weight for each class. `parameters` has a value for
each parameter, scaled to [-1, 1] over the trained range, and then a known flag for each.
"""

from collections.abc import Collection, Mapping
from functools import cached_property

import numpy as np
from pydantic import FiniteFloat

from dacformer.arguments import unknown_name
from dacformer.conditions.layout import Channel, ConditionLayout
from dacformer.config import Settings

CLASS_CHANNEL, PARAMETER_CHANNEL = "class", "parameters"


class ParameterRange(Settings):
    """A parameter's range in the training data, in its own units, and the classes that have it."""

    low: FiniteFloat
    high: FiniteFloat
    classes: tuple[str, ...] = ()

    def normalize(self, value: float | np.ndarray) -> float | np.ndarray:
        """Maps the range linearly to [-1, 1]; values outside of it are extrapolated."""
        return 2.0 * (value - self.low) / ((self.high - self.low) or 1.0) - 1.0


class Conditions(Settings):
    """All classes and parameters of a data set, in the order of the condition's columns."""

    classes: tuple[str, ...]
    parameters: dict[str, ParameterRange] = {}

    @cached_property
    def layout(self) -> ConditionLayout:
        """The channels of a condition: `class` and `parameters`."""
        count = len(self.parameters)
        return ConditionLayout([Channel(CLASS_CHANNEL, len(self.classes)), Channel(PARAMETER_CHANNEL, count, count)])

    @property
    def dim(self) -> int:
        """Width of a condition, `C`."""
        return self.layout.dim

    def parameters_for(self, classes: Collection[str]) -> list[str]:
        """Lists the parameters that at least one of these classes has; all parameters if no class is given."""
        return [name for name, scale in self.parameters.items() if not classes or set(classes) & set(scale.classes)]

    def encode(self, weights: Mapping[str, float | np.ndarray], values: Mapping[str, float | np.ndarray]) -> np.ndarray:
        """Encodes class weights and parameter values as conditions.

        Args:
            weights: Weight of each class (1 for a pure class): a number, or one per frame, `(T,)`. Others are 0.
            values: Value of each known parameter, in its own units: a number, or `(T,)`; NaN is unknown.

        Returns:
            `(T, C)` float32; `T` is 1 if everything is a number.

        Raises:
            UserError: A class or parameter is unknown.
        """
        num_frames = max(np.size(value) for value in [1.0, *weights.values(), *values.values()])
        classes, places = np.zeros((num_frames, len(self.classes))), {name: i for i, name in enumerate(self.parameters)}
        for name, weight in weights.items():
            if name not in self.classes:
                raise unknown_name("class", name, self.classes)
            classes[:, self.classes.index(name)] = weight
        normalized, known = np.zeros((2, num_frames, len(places)))
        for name, value in values.items():
            if name not in places:
                raise unknown_name("parameter", name, self.parameters)
            value = np.broadcast_to(np.asarray(value, dtype=float), num_frames)
            given = ~np.isnan(value)
            normalized[given, places[name]] = self.parameters[name].normalize(value[given])
            known[:, places[name]] = given
        return self.layout.pack({CLASS_CHANNEL: classes, PARAMETER_CHANNEL: normalized}, {PARAMETER_CHANNEL: known})

    def drop_parameters(self, condition: np.ndarray, dropped: np.ndarray) -> np.ndarray:
        """Sets some parameters to unknown: value and known flag are 0.

        Args:
            condition: `(T, C)`.
            dropped: `(len(parameters),)` bool, True for those to set.

        Returns:
            A changed copy, `(T, C)`.
        """
        kept = np.ones(self.dim, bool)
        kept[self.layout.columns(PARAMETER_CHANNEL)] = np.tile(~dropped, 2)
        return condition * kept
