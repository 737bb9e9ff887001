"""KV cache as a ring: keys and values of the last frames, in constant memory."""

import torch
from torch import Tensor


class RingCache:
    """KV cache of one attention layer; new frames overwrite the oldest.

    It holds `window_frames + max_chunk - 1` frames, so that writing a chunk of up to `max_chunk` frames
    overwrites no key that the chunk's first frame still sees.

    Shapes: `B` batch, `H` heads, `S` slots of the ring, `t` frames of a chunk, `E` width of a head.
    """

    def __init__(self, batch_size: int, num_heads: int, head_dim: int, slots: int, like: Tensor) -> None:
        """Makes an empty ring of `slots` frames, with the dtype and device of `like`."""
        self.keys = like.new_zeros(batch_size, num_heads, slots, head_dim)
        self.values = torch.zeros_like(self.keys)

    def update(self, slots: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Writes a chunk.

        Args:
            slots: `(t,)` int64, the slot of each frame: its position modulo `S`.
            keys: `(B, H, t, E)`.
            values: `(B, H, t, E)`.

        Returns:
            All keys and all values, each `(B, H, S, E)`, in the order of the slots.
        """
        self.keys.index_copy_(2, slots, keys.to(self.keys.dtype))
        self.values.index_copy_(2, slots, values.to(self.values.dtype))
        return self.keys, self.values
