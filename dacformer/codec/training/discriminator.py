"""The discriminators of Kumar et al., arXiv:2306.06546, section 3.3, at any width: full ones take 40 s a step on a CPU.

Number, kernels, strides and bands of the layers are those of `dac.model.discriminator`, whose forward passes are used
as they are; only the channels are fewer.
"""

from typing import Any

import torch
from audiotools import AudioSignal
from dac.model.discriminator import MPD, MRD, Discriminator, WNConv2d
from dac.nn.loss import GANLoss
from torch import Tensor, nn

from dacformer.codec.training.config import CodecTrainingConfig
from dacformer.optim import set_learning_rate

PERIODS = (2, 3, 5, 7, 11)
"""In samples, of the multi-period discriminators (Kong et al., arXiv:2010.05646)."""
WINDOWS = (2048, 1024, 512)
"""In samples, of the multi-band spectrogram discriminators."""


class Adversary:
    """Discriminators with their optimizer: they learn to tell decoded sound from real, the codec to deceive them.

    Least squares and feature matching, as in Kumar et al., arXiv:2306.06546, section 3.4.
    """

    def __init__(self, config: CodecTrainingConfig, device: torch.device) -> None:
        self._config = config
        self._discriminator = build_discriminator(config.discriminator_width, config.codec.sample_rate).to(device)
        self._optimizer = torch.optim.AdamW(self._discriminator.parameters(), betas=(0.8, 0.99))
        self._loss = GANLoss(self._discriminator)
        self._half = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")

    def train_and_score(self, fake: AudioSignal, real: AudioSignal, rate: float) -> dict[str, Tensor]:
        """Trains the discriminators on one step's sounds, then scores these for the codec.

        Args:
            fake: Decoded.
            real: What it was decoded from.
            rate: Learning rate, as a share of the codec's peak rate.

        Returns:
            `discriminator`, its own loss; `adversarial` and `feature`, what the codec is to make small.
        """
        set_learning_rate([self._optimizer], self._config.discriminator_learning_rate * rate)
        self._discriminator.requires_grad_(True)
        with self._half:
            own = self._loss.discriminator_loss(fake, real)
        self._optimizer.zero_grad()
        own.backward()
        nn.utils.clip_grad_norm_(self._discriminator.parameters(), 10.0)
        self._optimizer.step()
        self._discriminator.requires_grad_(False)
        with self._half:
            adversarial, feature = self._loss.generator_loss(fake, real)
        return {"discriminator": own, "adversarial": adversarial, "feature": feature}

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimizer state, for `--resume`."""
        return {"discriminator": self._discriminator.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._discriminator.load_state_dict(state["discriminator"])
        self._optimizer.load_state_dict(state["optimizer"])


def build_discriminator(width: float, sample_rate: int) -> Discriminator:
    """Builds the multi-period and multi-band discriminators.

    Args:
        width: Channels, as a share of the paper's; 1 is the paper's own.
        sample_rate: In Hz.

    Returns:
        Takes audio `(B, 1, N)` and returns, for each of its parts, the list of its layers' outputs, the verdict last.
    """
    discriminator = Discriminator(periods=[], fft_sizes=[], sample_rate=sample_rate)
    discriminator.discriminators.extend(_narrow_period(MPD(period), width) for period in PERIODS)
    discriminator.discriminators.extend(
        _narrow_bands(MRD(window, sample_rate=sample_rate), width) for window in WINDOWS
    )
    return discriminator


def _narrow_period(part: MPD, width: float) -> MPD:
    channels = [1] + [round(c * width) for c in (32, 128, 512, 1024, 1024)]
    part.convs = nn.ModuleList(
        WNConv2d(before, after, (5, 1), (stride, 1), padding=(2, 0))
        for before, after, stride in zip(channels[:-1], channels[1:], (3, 3, 3, 3, 1), strict=True)
    )
    part.conv_post = WNConv2d(channels[-1], 1, (3, 1), padding=(1, 0), act=False)
    return part


def _narrow_bands(part: MRD, width: float) -> MRD:
    c = round(32 * width)

    def stack() -> nn.ModuleList:
        return nn.ModuleList(
            [
                WNConv2d(2, c, (3, 9), (1, 1), padding=(1, 4)),
                *(WNConv2d(c, c, (3, 9), (1, 2), padding=(1, 4)) for _ in range(3)),
                WNConv2d(c, c, (3, 3), (1, 1), padding=(1, 1)),
            ]
        )

    part.band_convs = nn.ModuleList(stack() for _ in part.bands)
    part.conv_post = WNConv2d(c, 1, (3, 3), (1, 1), padding=(1, 1), act=False)
    return part
