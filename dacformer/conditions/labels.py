"""Between names and numbers: which classes and parameters there are, and the vector that the model sees.

A condition is `(C,)`: class weights ++ normalised parameters ++ known-flags. All zeros means "nothing is known",
which is what condition dropout trains and what guidance compares with.
"""

from collections.abc import Collection, Mapping

import numpy as np
from pydantic import FiniteFloat

from dacformer.config import Settings
from dacformer.errors import UserError


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

    @property
    def dim(self) -> int:
        """Width of a condition, `C`."""
        return len(self.classes) + 2 * len(self.parameters)

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
        for given, known, what in ((weights, self.classes, "class"), (values, self.parameters, "parameter")):
            for name in given:
                if name not in known:
                    raise UserError(f"Unknown {what} '{name}'. Known: {', '.join(known) or 'none'}.")
        num_frames = max(np.size(value) for value in [1.0, *weights.values(), *values.values()])
        condition = np.zeros((num_frames, self.dim), np.float32)
        for name, weight in weights.items():
            condition[:, self.classes.index(name)] = weight
        for i, (name, scale) in enumerate(self.parameters.items()):
            if name in values:
                value = np.broadcast_to(np.asarray(values[name], dtype=float), num_frames)
                known = ~np.isnan(value)
                condition[known, len(self.classes) + i] = scale.normalize(value[known])
                condition[:, len(self.classes) + len(self.parameters) + i] = known
        return condition

    def drop_parameters(self, condition: np.ndarray, dropped: np.ndarray) -> np.ndarray:
        """Makes some parameters unknown.

        Args:
            condition: `(T, C)`.
            dropped: `(len(parameters),)` bool.

        Returns:
            A new `(T, C)`.
        """
        known = np.concatenate([np.ones(len(self.classes), bool), ~dropped, ~dropped])
        return condition * known
