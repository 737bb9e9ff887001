"""The discriminators of Kumar et al., arXiv:2306.06546, section 3.3, at any width: full ones take 40 s a step on a CPU.

Number, kernels, strides and bands of the layers are those of `dac.model.discriminator`, whose forward passes are used
as they are; only the channels are fewer.
"""

from dac.model.discriminator import MPD, MRD, Discriminator, WNConv2d
from torch import nn

PERIODS = (2, 3, 5, 7, 11)
"""In samples, of the multi-period discriminators (Kong et al., arXiv:2010.05646)."""
WINDOWS = (2048, 1024, 512)
"""In samples, of the multi-band spectrogram discriminators."""


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
