"""Streams of codes: drawn frame by frame under conditions, side by side, in constant memory."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from dacformer.config import SamplingConfig
from dacformer.generation.sampling import Sampling, frame_seed, guidance_weights, guided, make_sampler
from dacformer.model import DACFormer, State
from dacformer.model.heads import Sampler

Step = Callable[[Tensor, State, Sampler], Tensor]
"""`(conditions (B, 1, C), state, draw) -> codes (B, K, 1)`; moves the state on by a frame."""


class CodeStream:
    """Streams side by side. Where guidance asks for it, each runs several times, under ever less of its condition.

    Attributes:
        sampling: How codes are drawn.
        seed: Of all streams together.
        batch_size: Streams, `B`.
    """

    def __init__(
        self, model: DACFormer, step: Step, masks: Sequence[np.ndarray], sampling: Sampling, seed: int, batch_size: int
    ) -> None:
        """Starts from the beginning, before the first frame.

        Args:
            model: What draws.
            step: Its step, or a compiled one.
            masks: Of the guidance chain, see `sampling.guidance_masks`; none without guidance.
            sampling: How codes are drawn; the number of guidance weights stays.
            seed: The same seed draws the same codes.
            batch_size: Streams, `B`.
        """
        self.sampling, self.seed, self.batch_size = sampling, seed, batch_size
        self._model, self._step = model, step
        self._generator = torch.Generator(next(model.parameters()).device)
        # The last mask knows everything, and what knows nothing needs none.
        self._masks = [torch.from_numpy(mask).to(self._generator.device) for mask in reversed(masks[:-1])]
        self._copies = len(masks) + 1
        self.state: State = model.init_state(batch_size * self._copies)

    def step(self, condition: Tensor, sampling: SamplingConfig) -> Tensor:
        """Draws a frame under conditions `(B, C)`: codes `(B, K, 1)`."""
        self._generator.manual_seed(frame_seed(self.seed, self.state.position))
        sampler = make_sampler(sampling, self._model.num_codebooks, self._generator)
        if self._copies > 1:
            sampler = guided(sampler, guidance_weights(sampling.guidance, self._copies - 1))
        return self._step(self._with_copies(condition), self.state, sampler)[: self.batch_size]

    def draw(self, conditions: Tensor, settings: Sequence[SamplingConfig], progress: bool = False) -> Tensor:
        """Draws many frames.

        Args:
            conditions: `(B, T, C)`.
            settings: How each frame is drawn.
            progress: Show a bar.

        Returns:
            Codes `(B, K, T)`.
        """
        frames = tqdm(settings, desc="generating", unit="frame", disable=not progress)
        return torch.cat([self.step(conditions[:, t], each) for t, each in enumerate(frames)], dim=-1)

    def prefill(self, codes: Tensor, conditions: Tensor) -> None:
        """Moves every stream to the end of a take, as if it had drawn it.

        Args:
            codes: `(K, T)`.
            conditions: `(t, C)`, of its last frames: as far back as the model looks, or all of them.
        """
        streams, end = self.batch_size * self._copies, codes.shape[-1]
        self.state.position = end - len(conditions)
        if self.state.position > 0:
            before = codes[:, self.state.position - 1 : self.state.position]
            self.state.previous = before.expand(streams, -1, -1).clone()
        for t, condition in zip(range(self.state.position, end), conditions, strict=True):
            condition = self._with_copies(condition.expand(self.batch_size, -1))
            self._step(condition, self.state, _forced(codes[:, t], streams))

    def _with_copies(self, condition: Tensor) -> Tensor:
        if self._copies == 1:
            return condition[:, None]
        partly = [condition * mask for mask in self._masks]
        return torch.cat([condition, *partly, torch.zeros_like(condition)])[:, None]  # (copies * B, 1, C)


def _forced(frame: Tensor, streams: int) -> Sampler:
    """Draws a frame `(K,)` that is known, in every stream."""
    return lambda _, k: frame[k].repeat(streams)
