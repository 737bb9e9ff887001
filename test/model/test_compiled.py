"""The compiled step is the model's step: with the model's weights, and with the weights rounded to 8 bits."""

import copy

import pytest
import torch
from torch import nn

from dacformer.model import CompiledStep, DACFormer
from dacformer.model.heads import ParallelHead

from .test_dacformer import K, V, W, make_input, make_model


def with_rounded_weights(model: DACFormer) -> DACFormer:
    """The model that 8 bits stand for: of each row 255 levels. Norms of the head are folded before that."""
    model = copy.deepcopy(model)
    head = model.head
    if isinstance(head, ParallelHead):
        folded = [(head.norm, head.logits)]
    else:
        folded = [tuple(part.children())[:2] for part in (*head.mlps, *head.logits)]
    for norm, linear in folded:
        assert isinstance(norm, nn.LayerNorm) and isinstance(linear, nn.Linear)
        linear.bias.data += linear.weight.data @ norm.bias.data
        linear.weight.data *= norm.weight.data
        nn.init.ones_(norm.weight)
        nn.init.zeros_(norm.bias)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and "film" not in name and "condition" not in name:
            step = module.weight.data.abs().amax(dim=1, keepdim=True) / 127
            module.weight.data = (module.weight.data / step).round() * step
    return model


@pytest.mark.parametrize("head", ["depth", "parallel"])
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("streams", [1, 2, 9])  # nine: on two threads, where there are two
@torch.no_grad()
def test_compiled_step_samples_from_logits_of_banded_forward(head: str, int8: bool, streams: int) -> None:
    model = make_model(head)
    codes, condition = make_input(streams, frames=4 * W)
    condition[:, W : 2 * W] = condition[:, W : W + 1]  # still for a while, then moving again
    seen: list[torch.Tensor] = []
    step, state = CompiledStep(model, int8), model.init_state(streams, max_chunk=3)

    def given(logits: torch.Tensor, k: int) -> torch.Tensor:
        seen.append(logits.clone())
        return codes[:, k, t]

    for t in range(4 * W):
        if t == 2 * W:  # three frames input_codes by the model itself: one state serves both
            model(codes[..., t : t + 3], condition[:, t : t + 3], state=state)
        if not 2 * W <= t < 2 * W + 3:
            step(condition[:, t : t + 1], state, given)
    drawn = [t for t in range(4 * W) if not 2 * W <= t < 2 * W + 3]
    streamed = torch.stack(seen, dim=1).unflatten(1, (len(drawn), K)).transpose(1, 2)  # (B, K, T, V)
    if not int8:
        torch.testing.assert_close(streamed, model(codes, condition)[:, :, drawn], atol=1e-4, rtol=0)
        return
    rounded = with_rounded_weights(model)
    before = slice(0, 2 * W)  # later frames have input_codes three through the weights that were not rounded
    to_rounded, to_exact = (
        (streamed - other(codes, condition)[:, :, drawn])[:, :, before].norm() for other in (rounded, model)
    )
    assert to_rounded < 0.2 * to_exact  # the input's 13 bits lose little beside the weights' 8


@torch.no_grad()
def test_compiled_step_is_exact_after_24_hours() -> None:
    model = make_model()
    step, now, late = CompiledStep(model), model.init_state(1), model.init_state(1)
    late.position = 24 * 3600 * 87
    _, condition = make_input(1, frames=3 * W)
    seen: list[torch.Tensor] = []

    def first(logits: torch.Tensor, k: int) -> torch.Tensor:
        seen.append(logits.clone())
        return torch.full((1,), (7 * k + (len(seen) - 1) // (2 * K)) % V)

    for t in range(3 * W):
        for state in (now, late):
            step(condition[:, t : t + 1], state, first)
    pairs = torch.stack(seen).view(3 * W, 2, K, 1, V)
    torch.testing.assert_close(pairs[:, 0], pairs[:, 1], atol=1e-4, rtol=0)
