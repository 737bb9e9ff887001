"""Named channels in a condition vector: where each lies, and which of its columns say that a value is known.

A condition is `(C,)`, one channel after the other, each its values and then its known-flags. All zeros means "nothing
is known": what dropout trains and what guidance compares with. A further channel appends columns, so weights of a
narrower layout are kept by appending zeros to the condition's projection.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from dacformer.arguments import unknown_name


class Channel(NamedTuple):
    """A part of a condition that is dropped and guided as one.

    Attributes:
        name: Of the channel, such as `class`.
        width: Columns that hold values.
        flags: Columns that say whether values are known, 0 or 1 each: none where zeros already mean unknown, one for
            an embedding, one for each of several numbers.
    """

    name: str
    width: int
    flags: int = 0


class ConditionLayout:
    """The channels of a condition in their order."""

    def __init__(self, channels: Iterable[Channel]) -> None:
        self.channels = {channel.name: channel for channel in channels}
        ends = np.cumsum([0, *(channel.width + channel.flags for channel in self.channels.values())]).tolist()
        self._starts = dict(zip(self.channels, ends, strict=False))
        self.dim: int = ends[-1]

    def pack(self, values: Mapping[str, np.ndarray], known: Mapping[str, np.ndarray]) -> np.ndarray:
        """Joins channels.

        Args:
            values: `(T, width)` of each channel that is known at all; 0 where a value is not.
            known: `(T, flags)` of each of these that has flags.

        Returns:
            `(T, C)` float32.
        """
        num_frames = max((len(each) for each in values.values()), default=1)
        condition = np.zeros((num_frames, self.dim), np.float32)
        for name, each in values.items():
            width = self.channels[name].width
            condition[:, self.columns(name)][:, :width] = each
            if name in known:
                condition[:, self.columns(name)][:, width:] = known[name]
        return condition

    def columns(self, name: str) -> slice:
        """Where a channel lies.

        Raises:
            UserError: There is no channel of this name.
        """
        if name not in self.channels:
            raise unknown_name("channel", name, self.channels)
        channel = self.channels[name]
        return slice(self._starts[name], self._starts[name] + channel.width + channel.flags)

    def mask(self, names: Iterable[str]) -> np.ndarray:
        """The columns of some channels, `(C,)` bool: a condition times it knows only these.

        Raises:
            UserError: There is no channel of one of the names.
        """
        kept = np.zeros(self.dim, bool)
        for name in names:
            kept[self.columns(name)] = True
        return kept
