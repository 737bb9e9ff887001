"""Heads: turn the trunk's output into logits of a frame's `K` codebooks, or draw its codes.

Shapes: `B` batch, `T` frames, `D` model dimension, `K` codebooks, `V` codebook size. In training a
head gets the codes that it predicts; in generation it draws them.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dacformer.config import ModelConfig

Sampler = Callable[[Tensor, int], Tensor]
"""Function that draws a code: `(logits (B, V), codebook k) -> codes (B,)` int64."""


class ParallelHead(nn.Module):
    """Predicts all codebooks of a frame at once, as if they were independent.

    The baseline that `DepthHead` is compared with.
    """

    def __init__(self, config: ModelConfig, num_codebooks: int, codebook_size: int) -> None:
        super().__init__()
        self.num_codebooks = num_codebooks
        self.norm = nn.LayerNorm(config.dim)
        self.logits = nn.Linear(config.dim, num_codebooks * codebook_size)

    def forward(self, hidden: Tensor, codes: Tensor) -> Tensor:
        """Computes the logits of every code.

        Args:
            hidden: `(B, T, D)`, the trunk's output.
            codes: `(B, K, T)`; not used.

        Returns:
            Logits `(B, K, T, V)`.
        """
        return self.logits(self.norm(hidden)).unflatten(-1, (self.num_codebooks, -1)).transpose(1, 2)

    def sample(self, hidden: Tensor, choose: Sampler) -> Tensor:
        """Draws one frame: `hidden (B, D)` to codes `(B, K)`."""
        logits = self.logits(self.norm(hidden)).unflatten(-1, (self.num_codebooks, -1))  # (B, K, V)
        return torch.stack([choose(logits[:, k], k) for k in range(self.num_codebooks)], dim=1)


class DepthHead(nn.Module):
    """Predicts the codebooks of a frame one after the other, each given those before it.

    An RVQ frame is the sum of its codebooks' vectors. So the input for codebook `k` is a sum, too: the
    trunk's output plus an embedding of each code so far. One MLP per codebook reads it. This follows the
    RQ-Transformer (Lee et al., arXiv:2203.01941, section 3.2.2), with a sum in place of attention over
    depth.
    """

    def __init__(self, config: ModelConfig, num_codebooks: int, codebook_size: int) -> None:
        super().__init__()
        dim, hidden = config.dim, int(config.head_mlp_ratio * config.dim)
        self.num_codebooks = num_codebooks
        # No codebook follows the last one, so it needs no embedding.
        embeddings = [nn.Embedding(codebook_size, dim) for _ in range(num_codebooks - 1)]
        for embedding in embeddings:
            nn.init.normal_(embedding.weight, std=0.5)
        self.embeddings = nn.ModuleList(embeddings)
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
            for _ in range(num_codebooks)
        )
        self.logits = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, codebook_size)) for _ in range(num_codebooks)
        )

    def forward(self, hidden: Tensor, codes: Tensor) -> Tensor:
        """Computes the logits of every code, given the frame's codes before it.

        Args:
            hidden: `(B, T, D)`, the trunk's output.
            codes: `(B, K, T)` int64.

        Returns:
            Logits `(B, K, T, V)`; those of codebook `k` depend on `codes[:, :k]` only.
        """
        known, logits = hidden, []
        for k in range(self.num_codebooks):
            logits.append(self._predict(known, k))
            if k < self.num_codebooks - 1:
                known = known + self.embeddings[k](codes[:, k])
        return torch.stack(logits, dim=1)

    def sample(self, hidden: Tensor, choose: Sampler) -> Tensor:
        """Draws one frame: `hidden (B, D)` to codes `(B, K)`."""
        known, codes = hidden, []
        for k in range(self.num_codebooks):
            codes.append(choose(self._predict(known, k), k))
            if k < self.num_codebooks - 1:
                known = known + self.embeddings[k](codes[-1])
        return torch.stack(codes, dim=1)

    def _predict(self, known: Tensor, k: int) -> Tensor:
        return self.logits[k](known + self.mlps[k](known))


HEADS: dict[str, type[ParallelHead] | type[DepthHead]] = {"parallel": ParallelHead, "depth": DepthHead}


def nll_per_code(logits: Tensor, codes: Tensor) -> Tensor:
    """Computes the negative log-likelihood of every code.

    Args:
        logits: `(B, K, T, V)`.
        codes: `(B, K, T)` int64.

    Returns:
        `(B, K, T)` float32, in nats.
    """
    return F.cross_entropy(logits.float().flatten(0, 2), codes.flatten(), reduction="none").view_as(codes)
