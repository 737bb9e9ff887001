"""Codebooks that follow the latents by moving averages, in place of a codebook loss.

`B` batch, `K` codebooks, `V` codebook size, `T` frames.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from dac.model.dac import DAC


class EmaCodebooks:
    """Updates codebooks from the latents that are quantised, and restarts dead codes.

    Every entry is the moving average of the latents that chose it (van den Oord et al., arXiv:1711.00937, appendix
    A.1). An entry that is hardly ever chosen, a dead code, is moved onto a latent of the batch (Dhariwal et al.,
    arXiv:2005.00341, section 3).

    Attributes:
        codebooks: Of each quantiser, the entries `(V, codebook_dim)`.
        counts: `(K, V)`, moving average of how often an entry is chosen in a step.
        sums: `(K, V, codebook_dim)`, moving average of the sum of the latents that choose an entry in a step.
    """

    def __init__(self, model: "DAC", decay: float, restart_below: float) -> None:
        """Excludes the codebooks from gradient descent.

        Args:
            model: A `dac.DAC`.
            decay: Of the averages, per step.
            restart_below: Entries used less than this share of an even use are dead.
        """
        self.codebooks = [quantizer.codebook.weight.requires_grad_(False) for quantizer in model.quantizer.quantizers]
        self.decay = decay
        self.restart_below = restart_below
        first = self.codebooks[0]
        self.counts = first.new_zeros(len(self.codebooks), len(first))
        self.sums = first.new_zeros(len(self.codebooks), *first.shape)

    @torch.no_grad()
    def update(self, codes: Tensor, latents: Tensor) -> int:
        """Updates averages and codebooks from one step.

        Args:
            codes: `(B, K, T)` integers.
            latents: `(B, K * codebook_dim, T)`, what the quantisers were given.

        Returns:
            Number of dead codes that were moved.
        """
        moved = 0
        for k, latent in enumerate(latents.chunk(len(self.codebooks), dim=1)):
            vectors = latent.transpose(1, 2).flatten(0, 1)  # (B * T, codebook_dim)
            chosen = codes[:, k].flatten()
            counts = torch.bincount(chosen, minlength=self.counts.shape[1]).to(vectors.dtype)
            sums = torch.zeros_like(self.sums[k]).index_add_(0, chosen, vectors)
            self.counts[k].lerp_(counts, 1.0 - self.decay)
            self.sums[k].lerp_(sums, 1.0 - self.decay)
            even = self.counts[k].sum() / self.counts.shape[1]
            dead = (self.counts[k] < self.restart_below * even).nonzero()[:, 0]
            at = torch.randint(len(vectors), (len(dead),), device=vectors.device)
            self.counts[k, dead] = even
            self.sums[k, dead] = vectors[at] * even
            self.codebooks[k].copy_(self.sums[k] / self.counts[k, :, None].clamp_min(1e-12))
            moved += len(dead)
        return moved
