"""The optimizers of the transformer, and their learning rate."""

import torch
from torch import nn

from dacformer.config import TrainingConfig
from dacformer.model import DACFormer
from dacformer.optim import warmup_cosine
from dacformer.training.muon import Muon


def make_optimizers(model: DACFormer, training: TrainingConfig) -> list[torch.optim.Optimizer]:
    """Makes Muon for the weights of linear layers, and AdamW (Loshchilov & Hutter, arXiv:1711.05101) for the rest."""
    linear = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    others = [p for p in model.parameters() if all(p is not weight for weight in linear)]
    rate, decay = training.learning_rate, training.weight_decay
    return [
        Muon(linear, lr=rate, weight_decay=decay),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def learning_rate(training: TrainingConfig, step: int) -> float:
    """Computes the learning rate of a step (from 1): linear warm-up to the peak, then a cosine to a tenth of it."""
    warmup = training.warmup_steps
    factor = warmup_cosine(step, training.steps, warmup, peak=1.0, final=0.1, decay_from=warmup)
    return factor * training.learning_rate
