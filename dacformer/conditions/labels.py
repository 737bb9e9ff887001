"""Classes and parameters: the names that a data set has, and their part of the condition that the model sees.

They are two channels of a condition (`conditions.layout`): `class`, a weight for each class, and `parameters`, a value
in [-1, 1] and a known-flag for each.
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
        """Maps the range to [-1, 1]; values outside go on linearly."""
        return 2.0 * (value - self.low) / ((self.high - self.low) or 1.0) - 1.0


class Conditions(Settings):
    """All classes and parameters of a data set, in the order that the model knows them by."""

    classes: tuple[str, ...]
    parameters: dict[str, ParameterRange] = {}

    @cached_property
    def layout(self) -> ConditionLayout:
        """Where classes and parameters lie in a condition."""
        count = len(self.parameters)
        return ConditionLayout([Channel(CLASS_CHANNEL, len(self.classes)), Channel(PARAMETER_CHANNEL, count, count)])

    @property
    def dim(self) -> int:
        """Width of a condition, `C`."""
        return self.layout.dim

    def parameters_for(self, classes: Collection[str]) -> list[str]:
        """The parameters that any of these classes has; all there are, where no class is named."""
        return [name for name, scale in self.parameters.items() if not classes or set(classes) & set(scale.classes)]

    def encode(self, weights: Mapping[str, float | np.ndarray], values: Mapping[str, float | np.ndarray]) -> np.ndarray:
        """Makes conditions.

        Args:
            weights: For each class, its weight (1 for a pure class), a number or one number per frame `(T,)`.
            values: For each known parameter, its value in its own units, a number or `(T,)`; NaN is unknown.

        Returns:
            `(T, C)` float32; `T` is 1 where everything is a plain number.

        Raises:
            UserError: A class or parameter that the data did not have.
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
        """Makes some parameters unknown.

        Args:
            condition: `(T, C)`.
            dropped: `(len(parameters),)` bool.

        Returns:
            A new `(T, C)`.
        """
        kept = np.ones(self.dim, bool)
        kept[self.layout.columns(PARAMETER_CHANNEL)] = np.tile(~dropped, 2)
        return condition * kept
