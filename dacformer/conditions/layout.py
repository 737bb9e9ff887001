"""Layout of a condition vector: named channels, their columns, and their known flags.

A condition is a vector `(C,)`. It holds one channel after the other; each channel has its values first and then its
known flags. All zeros is the null condition: nothing is known. Condition dropout trains with it, and guidance compares
with it. A new channel should be appended as the last one. Then weights that were trained without it can still be used,
with zeros appended to the projection of the condition.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from dacformer.arguments import unknown_name


class Channel(NamedTuple):
    """Part of a condition that is dropped in training, and guided, as a unit.

    Attributes:
        name: Name, such as `class`.
        width: Number of columns for values.
        flags: Number of columns for known flags, each 0 or 1. Use 0 if zero values already mean unknown, 1 for an
            embedding, and `width` if each value may be unknown separately.
    """

    name: str
    width: int
    flags: int = 0


class ConditionLayout:
    """The channels of a condition in their order."""

    def __init__(self, channels: Iterable[Channel]) -> None:
        channels = list(channels)
        self.channels = {channel.name: channel for channel in channels}
        if len(self.channels) < len(channels):
            raise ValueError(f"two channels have one name: {[channel.name for channel in channels]}")
        ends = np.cumsum([0, *(channel.width + channel.flags for channel in self.channels.values())]).tolist()
        self._starts = dict(zip(self.channels, ends, strict=False))
        self.dim: int = ends[-1]

    def pack(self, values: Mapping[str, np.ndarray], known: Mapping[str, np.ndarray]) -> np.ndarray:
        """Joins the values and flags of channels to conditions. Channels that are not given are all zeros.

        Args:
            values: For each channel its values, `(T, width)`; 0 where unknown.
            known: For each of these channels that has flags, the flags, `(T, flags)`; 1 where known.

        Returns:
            `(T, C)` float32.
        """
        num_frames = max((len(each) for each in values.values()), default=1)
        condition = np.zeros((num_frames, self.dim), np.float32)
        if not {name for name in values if self.channels[name].flags} <= known.keys() <= values.keys():
            raise ValueError(f"flags are given for {sorted(known)}, values for {sorted(values)}")
        for name, each in values.items():
            channel = self.channels[name]
            flags = known.get(name, np.zeros((len(each), 0)))
            if (each.shape[-1], flags.shape[-1]) != (channel.width, channel.flags):
                raise ValueError(f"channel {name} has {channel.width} values and {channel.flags} flags")
            condition[:, self.columns(name)] = np.concatenate([each, flags], axis=-1)
        return condition

    def columns(self, name: str) -> slice:
        """Returns the columns of a channel, values and flags.

        Raises:
            UserError: There is no channel of this name.
        """
        if name not in self.channels:
            raise unknown_name("channel", name, self.channels)
        channel = self.channels[name]
        return slice(self._starts[name], self._starts[name] + channel.width + channel.flags)

    def mask(self, names: Iterable[str]) -> np.ndarray:
        """Returns a mask `(C,)` bool, True in the columns of some channels. `condition * mask` keeps only these.

        Raises:
            UserError: There is no channel of one of the names.
        """
        kept = np.zeros(self.dim, bool)
        for name in names:
            kept[self.columns(name)] = True
        return kept
