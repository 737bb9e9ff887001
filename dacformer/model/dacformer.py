"""DACFormer: a causal transformer over stacked codec codes, one step per frame of `K` codes.

Shapes: `B` batch, `K` codebooks, `V` codebook size, `T` frames, `C` width of a condition, `D` model dimension.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dacformer.config import ModelConfig
from dacformer.model.cache import RingCache
from dacformer.model.heads import HEADS, Sampler
from dacformer.model.rope import rope_angles
from dacformer.model.transformer import Block, Frames, band, block_bands


@dataclass
class State:
    """Everything a stream remembers. `model.init_state` makes one; every call with it advances it.

    Attributes:
        position: Number of frames so far.
        previous: `(B, K, 1)` int64, the codes of the last frame; `V` before the first.
        key_positions: `(S,)` int64, the position of the frame in each slot of the rings; -1 in an
            empty slot.
        caches: The KV caches, one ring per layer.
    """

    position: int
    previous: Tensor
    key_positions: Tensor
    caches: list[RingCache]


class DACFormer(nn.Module):
    """Predicts each frame's codes from the frames before it and the condition.

    Logits and codes are aligned: `logits[:, :, t]` predict `codes[:, :, t]`. They depend on codes
    before `t`, on conditions up to `t` and, with the `depth` head, on the codebooks before it in
    frame `t`.
    """

    def __init__(self, config: ModelConfig, num_codebooks: int, codebook_size: int, condition_dim: int) -> None:
        """Makes a model with fresh weights.

        Args:
            config: Sizes of the transformer.
            num_codebooks: `K`.
            codebook_size: `V`.
            condition_dim: Width of a condition, `C`.
        """
        super().__init__()
        self.config = config
        self.num_codebooks = num_codebooks
        self.codebook_size = codebook_size
        self.condition_dim = condition_dim
        # Row V of each table is a learned start token: the input before the first frame.
        embeddings = [nn.Embedding(codebook_size + 1, config.dim) for _ in range(num_codebooks)]
        for embedding in embeddings:
            nn.init.normal_(embedding.weight, std=0.5)
        self.embeddings = nn.ModuleList(embeddings)
        self.embed_condition = nn.Sequential(
            nn.Linear(condition_dim, config.film_dim), nn.SiLU(), nn.Linear(config.film_dim, config.film_dim), nn.SiLU()
        )
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.head = HEADS[config.head](config, num_codebooks, codebook_size)

    def forward(
        self, codes: Tensor, condition: Tensor, state: State | None = None, input_codes: Tensor | None = None
    ) -> Tensor:
        """Computes the logits of every code of a segment, or of the next frames of a stream.

        Args:
            codes: `(B, K, T)` int64 in `[0, V)`.
            condition: `(B, T or 1, C)`.
            state: State of a stream, advanced by `T` frames. None: `codes` are a whole segment.
            input_codes: `(B, K, T)`, fed to the trunk; `codes` if None. Training passes a corrupted copy;
                the head and the loss always use `codes`.

        Returns:
            Logits `(B, K, T, V)`.

        Raises:
            ValueError: `codes` have no frames, or more than the state was made for.
        """
        if codes.shape[-1] == 0:
            raise ValueError("codes have no frames: feed at least one")
        input_codes = codes if input_codes is None else input_codes
        first = codes.new_full((*codes.shape[:2], 1), self.codebook_size) if state is None else state.previous
        hidden = self._trunk(torch.cat([first, input_codes[..., :-1]], dim=-1), condition, state)
        if state is not None:
            state.previous = input_codes[..., -1:].clone()
        return self.head(hidden, codes)

    @torch.inference_mode()
    def step(self, condition: Tensor, state: State, choose: Sampler) -> Tensor:
        """Draws the next frame of a stream.

        Args:
            condition: `(B, 1, C)`, the condition of that frame.
            state: State of the stream, advanced by one frame.
            choose: Draws a code from logits, see `heads.Sampler`.

        Returns:
            The codes of the frame, `(B, K, 1)` int64.
        """
        hidden = self._trunk(state.previous, condition, state)[:, 0]
        state.previous = self.head.sample(hidden, choose)[..., None]
        return state.previous

    def init_state(self, batch_size: int, max_chunk: int = 1) -> State:
        """Makes the state of a stream before its first frame.

        Args:
            batch_size: Streams side by side, `B`.
            max_chunk: The most frames that one call of the model will get.

        Returns:
            An empty state, with the device and dtype of the weights.
        """
        weight = next(self.parameters())
        slots = self.config.window_frames + max_chunk - 1
        heads = self.config.num_heads
        return State(
            position=0,
            previous=torch.full((batch_size, self.num_codebooks, 1), self.codebook_size, device=weight.device),
            key_positions=torch.full((slots,), -1, device=weight.device),
            caches=[
                RingCache(batch_size, heads, self.config.dim // heads, slots, like=weight.detach()) for _ in self.blocks
            ],
        )

    def _trunk(self, codes: Tensor, condition: Tensor, state: State | None) -> Tensor:
        """Embeds input codes `(B, K, T)` and runs the blocks: `(B, T, D)`."""
        x = torch.stack([embed(codes[:, k]) for k, embed in enumerate(self.embeddings)]).sum(dim=0)  # (B, T, D)
        film = self.embed_condition(condition)  # (B, T or 1, F)
        frames = self._frames(codes.shape[-1], codes.device, state)
        for i, block in enumerate(self.blocks):
            x = block(x, film, frames, None if state is None else state.caches[i])
        if state is not None:  # only now: a call that fails must not advance the stream
            assert frames.key_positions is not None
            state.key_positions = frames.key_positions
            state.position += codes.shape[-1]
        return x

    def _frames(self, count: int, device: torch.device, state: State | None) -> Frames:
        """Computes angles, mask and slots of the next `count` frames."""
        start = 0 if state is None else state.position
        positions = torch.arange(start, start + count)
        cos, sin = rope_angles(positions, self.config.dim // self.config.num_heads)
        angles, positions = (cos.to(device), sin.to(device)), positions.to(device)
        window = self.config.window_frames
        if state is None:
            return Frames(angles, block_bands(positions, window))
        slots = len(state.key_positions)
        if count > slots - window + 1:
            raise ValueError(
                f"A chunk of {count} frames, but this state was made for at most {slots - window + 1}: "
                f"pass max_chunk={count} to init_state, or feed smaller chunks."
            )
        where = positions % slots
        key_positions = state.key_positions.index_copy(0, where, positions)
        return Frames(angles, band(positions, key_positions, window), where, key_positions)
