"""Snake in one pass is Snake."""

import pytest
import torch

from dacformer.codec.snake import Snake


@pytest.mark.parametrize(("channels", "samples"), [(1, 0), (1, 7), (16, 40_000), (96, 333), (1536, 3)])
def test_snake_in_one_pass_equals_formula(channels: int, samples: int) -> None:
    torch.manual_seed(0)
    snake = Snake(torch.rand(1, channels, 1) * 3 + 0.01)
    x = (5 * torch.randn(2, samples, channels)).mT
    alpha = snake.alpha.double()
    expected = x.double() + (alpha * x.double()).sin() ** 2 / alpha
    torch.testing.assert_close(snake(x).double(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(snake(x.contiguous()), snake(x), atol=1e-5, rtol=0)  # the other layout


def test_snake_in_bfloat16_equals_rounded_float32() -> None:
    torch.manual_seed(0)
    snake = Snake(torch.rand(1, 24, 1) * 5 + 0.01)
    x = (5 * torch.randn(2, 1001, 24)).to(torch.bfloat16).mT
    assert torch.equal(snake(x), snake(x.float()).to(torch.bfloat16))
