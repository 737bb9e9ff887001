"""Discriminators of fewer channels: else those of `dac`."""

import pytest
import torch
from dac.model.discriminator import Discriminator

from dacformer.codec.training.discriminator import build_discriminator


def test_discriminator_at_full_width_equals_paper() -> None:
    ours, theirs = build_discriminator(1.0, 44100), Discriminator(sample_rate=44100)
    shapes = [{name: value.shape for name, value in each.state_dict().items()} for each in (ours, theirs)]
    assert shapes[0] == shapes[1]
    theirs.load_state_dict(ours.state_dict())
    audio = torch.randn(1, 1, 4096, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for mine, other in zip(ours(audio), theirs(audio), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))


@pytest.mark.parametrize("width", [0.05, 0.1875])
def test_narrow_discriminator_has_fewer_channels_and_same_layers(width: float) -> None:
    narrow = build_discriminator(width, 44100)
    sizes = [sum(p.numel() for p in each.parameters()) for each in (narrow, build_discriminator(1.0, 44100))]
    assert sizes[0] < 2 * width**2 * sizes[1]
    with torch.no_grad():
        parts = narrow(torch.randn(1, 1, 4096))
    assert [len(layers) for layers in parts] == [6] * 5 + [26] * 3
