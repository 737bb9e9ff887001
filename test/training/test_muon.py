"""Muon's steps, held to `torch.optim.Muon` and to the iteration as published."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dacformer.training import muon
from dacformer.training.muon import COEFFICIENTS, EPSILON, ITERATIONS, Muon, orthogonalize


def published(matrix: Tensor) -> Tensor:
    """The iteration of Jordan et al., 2024, in float64."""
    a, b, c = COEFFICIENTS
    x = matrix.double() if len(matrix) <= matrix.shape[1] else matrix.double().T
    x = x / x.norm().clamp_min(EPSILON)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if len(matrix) <= matrix.shape[1] else x.T


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(-8, 8), st.integers(0, 2**31 - 1))
def test_orthogonalize_in_float32_is_the_published_iteration(
    rows: int, columns: int, rank: int, exponent: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(2, rows, rank, generator=generator)
    matrices = left @ torch.randn(2, rank, columns, generator=generator) * 10.0**exponent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(muon, "computes_in_bfloat16", lambda _: False)
        directions = orthogonalize(matrices)
    assert directions.dtype == torch.float32 and directions.shape == matrices.shape
    for direction, matrix in zip(directions, matrices, strict=True):
        expected = published(matrix)
        assert (direction - expected).norm() <= 2e-3 * expected.norm() + 1e-6


def test_orthogonalize_in_bfloat16_is_the_published_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "computes_in_bfloat16", lambda _: True)
    matrices = torch.randn(2, 24, 40, generator=torch.Generator().manual_seed(0))
    for direction, matrix in zip(orthogonalize(matrices), matrices, strict=True):
        assert direction.dtype == torch.bfloat16
        expected = published(matrix)
        assert (direction.double() - expected).norm() < 0.05 * expected.norm()


def test_orthogonalize_of_zeros_is_zero() -> None:
    assert not orthogonalize(torch.zeros(1, 4, 8)).any()


def trained(optimizer: type[Muon] | type[torch.optim.Muon], steps: int, **options: Any) -> tuple[nn.Module, dict]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 48, bias=False), nn.Tanh(), nn.Linear(48, 24, bias=False))
    optimize = optimizer(model.parameters(), lr=0.02, weight_decay=0.05, **options)
    for _ in range(steps):
        loss = (model(torch.randn(32, 24)) - 1.0).square().mean()
        optimize.zero_grad()
        loss.backward()
        optimize.step()
    return model, optimize.state_dict()


def test_steps_are_those_of_torch_but_for_its_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "computes_in_bfloat16", lambda _: False)
    ours, _ = trained(Muon, 5)
    rounded, _ = trained(torch.optim.Muon, 5, adjust_lr_fn="match_rms_adamw")
    monkeypatch.setattr("torch.optim._muon._zeropower_via_newtonschulz", lambda x, *_: published(x).float())
    exact, _ = trained(torch.optim.Muon, 5, adjust_lr_fn="match_rms_adamw")
    for a, b, c in zip(ours.parameters(), exact.parameters(), rounded.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-5)
        assert torch.allclose(a, c, rtol=0.1, atol=5e-3)


def test_the_state_of_torch_can_be_loaded() -> None:
    _, theirs = trained(torch.optim.Muon, 2, adjust_lr_fn="match_rms_adamw")
    model, _ = trained(Muon, 0)
    ours = Muon(model.parameters(), lr=0.02)
    ours.load_state_dict(theirs)
    for key, state in theirs["state"].items():
        assert torch.equal(ours.state_dict()["state"][key]["momentum_buffer"], state["momentum_buffer"])


def test_a_matrix_without_gradient_stays_as_it_is() -> None:
    used, unused = nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(3, 4))
    used.sum().backward()
    Muon([used, unused], lr=0.1).step()
    assert torch.equal(unused, torch.ones(3, 4)) and not torch.equal(used, torch.ones(3, 4))
