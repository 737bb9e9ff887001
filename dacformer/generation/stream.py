"""Code streams: codes are drawn frame by frame under conditions, for several streams at once, in constant memory."""

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
"""`(conditions (B, 1, C), state, sampler) -> codes (B, K, 1)`; advances the state by one frame."""


class CodeStream:
    """A batch of `B` code streams at the same position.

    With guidance, the model runs each stream several times per frame: under the whole condition, under fewer and
    fewer of its channels, and under the null condition. One code is drawn for all of these copies.

    Attributes:
        sampling: How codes are drawn.
        seed: One seed for all streams.
        batch_size: Number of streams, `B`.
    """

    def __init__(
        self, model: DACFormer, step: Step, masks: Sequence[np.ndarray], sampling: Sampling, seed: int, batch_size: int
    ) -> None:
        """Starts the streams before their first frame.

        Args:
            model: The model.
            step: `model.step`, or a compiled one.
            masks: Masks of the guidance chain, see `sampling.guidance_masks`; empty without guidance.
            sampling: How codes are drawn. The number of guidance weights must not change later.
            seed: One seed for all streams. The same seed draws the same codes.
            batch_size: Number of streams, `B`.
        """
        self.sampling, self.seed, self.batch_size = sampling, seed, batch_size
        self._model, self._step = model, step
        self._generator = torch.Generator(next(model.parameters()).device)
        # The last mask is all True, so it is not needed. Neither is one for the null condition.
        self._masks = [torch.from_numpy(mask).to(self._generator.device) for mask in reversed(masks[:-1])]
        self._copies = len(masks) + 1
        self.state: State = model.init_state(batch_size * self._copies)

    def step(self, condition: Tensor, sampling: SamplingConfig) -> Tensor:
        """Draws one frame under conditions `(B, C)` and returns its codes `(B, K, 1)`."""
        self._generator.manual_seed(frame_seed(self.seed, self.state.position))
        sampler = make_sampler(sampling, self._model.num_codebooks, self._generator)
        if self._copies > 1:
            sampler = guided(sampler, guidance_weights(sampling.guidance, self._copies - 1))
        return self._step(self._with_copies(condition), self.state, sampler)[: self.batch_size]

    def draw(self, conditions: Tensor, settings: Sequence[SamplingConfig], progress: bool = False) -> Tensor:
        """Draws many frames.

        Args:
            conditions: `(B, T, C)`.
            settings: `T` settings, one for each frame.
            progress: Show a progress bar.

        Returns:
            Codes `(B, K, T)`.
        """
        frames = tqdm(settings, desc="generating", unit="frame", disable=not progress)
        pairs = zip(conditions.unbind(1), frames, strict=True)
        return torch.cat([self.step(condition, each) for condition, each in pairs], dim=-1)

    def prefill(self, codes: Tensor, conditions: Tensor) -> None:
        """Brings every stream to the state that it would have after drawing these codes.

        Must be called before any frame is drawn.

        Args:
            codes: Codes of a whole take, `(K, T)`.
            conditions: Conditions of its last `t` frames, `(t, C)`. Only these frames are fed to the model. `t` must
                be the model's context (`Instrument.context_frames`) or all `T`.
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
    """Makes a sampler that returns the codes of a known frame `(K,)`, in every stream."""
    return lambda _, k: frame[k].repeat(streams)
