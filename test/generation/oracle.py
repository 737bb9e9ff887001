"""The slow, obvious sampler: no cache, no state. What the fast one is tested and measured against."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dacformer.config import SamplingConfig
from dacformer.generation.sampling import frame_seed, guidance_weights, guided, make_sampler
from dacformer.model import DACFormer


@torch.inference_mode()
def generate_slowly(
    model: DACFormer,
    conditions: Tensor,
    sampling: SamplingConfig,
    seed: int,
    prompt: Tensor | None = None,
    masks: Sequence[Tensor] = (),
) -> Tensor:
    """Draws every code from one banded forward over all frames so far.

    Args:
        model: In evaluation mode.
        conditions: `(B, T, C)`, of the prompt's frames too.
        sampling: As for the synthesizer.
        seed: As for the synthesizer.
        prompt: `(B, K, P)` int64, frames that are there already, `P <= T`.
        masks: `(C,)` each, what the terms of a guidance chain know, but for the last, which knows everything.

    Returns:
        `(B, K, T)` int64, the prompt included.
    """
    batch_size, num_frames, _ = conditions.shape
    generator = torch.Generator(conditions.device)
    choose = make_sampler(sampling, model.num_codebooks, generator)
    if sampling.guidance != 1.0:
        choose = guided(choose, guidance_weights(sampling.guidance, len(masks) + 1))
        partly = [conditions * mask for mask in reversed(masks)]
        conditions = torch.cat([conditions, *partly, torch.zeros_like(conditions)])
    codes = conditions.new_zeros((len(conditions), model.num_codebooks, 0), dtype=torch.int64)
    if prompt is not None:
        codes = prompt.repeat(len(conditions) // batch_size, 1, 1)
    for t in range(codes.shape[-1], num_frames):
        generator.manual_seed(frame_seed(seed, t))
        codes = torch.nn.functional.pad(codes, (0, 1))  # the frame to be drawn; each codebook sees those before it
        for k in range(model.num_codebooks):
            logits = model(codes, conditions[:, : t + 1])  # (B, K, t + 1, V)
            codes[:, k, t] = choose(logits[:, k, t], k)
    return codes[:batch_size]
