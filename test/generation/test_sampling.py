"""Drawing a code: what is allowed, how often it comes, and guidance by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from dacformer.config import SamplingConfig
from dacformer.generation.sampling import guided, make_sampler, sample_code

V = 6
# A tenth apart or more: what float32 cannot tell apart is a tie, and any of a tie may be drawn.
rows = st.lists(st.integers(-50, 50).map(lambda tenths: tenths / 10), min_size=V, max_size=V, unique=True)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(logits: list[float], count: int, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> np.ndarray:
    """How often each code comes, `(V,)`."""
    many = torch.tensor(logits).expand(count, -1)
    return np.bincount(sample_code(many, temperature, top_k, top_p, generator()).numpy(), minlength=len(logits))


@given(rows, st.integers(0, 10), st.floats(0, 1))
def test_temperature_zero_takes_the_likeliest(logits: list[float], top_k: int, top_p: float) -> None:
    assert sample_code(torch.tensor([logits]), 0.0, top_k, top_p, generator()).item() == int(np.argmax(logits))


@settings(max_examples=40, deadline=None)
@given(rows, st.integers(1, V + 2))
def test_top_k_draws_among_the_k_likeliest_and_no_others(logits: list[float], top_k: int) -> None:
    # So hot that all that is allowed comes.
    drawn = set(np.flatnonzero(draws(logits, 500, temperature=1000.0, top_k=top_k)))
    assert drawn == set(np.argsort(logits)[-top_k:])


@settings(max_examples=40, deadline=None)
@given(rows, st.floats(0, 1))
def test_top_p_draws_among_the_fewest_that_reach_it(logits: list[float], top_p: float) -> None:
    flat = [value / 5 for value in logits]  # no code is so rare that it does not come
    order = np.argsort(flat)[::-1]
    probability = torch.tensor(flat, dtype=torch.float64).softmax(0).numpy()[order]
    before = np.cumsum(probability) - probability
    if np.abs(before - top_p).min() < 1e-5:
        return  # a tie to rounding
    expected = {int(code) for code, share in zip(order, before, strict=True) if share < top_p or code == order[0]}
    drawn = set(np.flatnonzero(draws(flat, 3000, top_p=top_p)))
    common = {int(code) for code, share in zip(order, probability, strict=True) if share > 0.01} & expected
    assert common <= drawn <= expected


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature: float) -> None:
    logits, count = [2.0, -1.0, 0.5, 0.0, -2.0, 1.0], 20_000
    expected = (torch.tensor(logits, dtype=torch.float64) / temperature).softmax(0).numpy() * count
    assert chisquare(draws(logits, count, temperature), expected).pvalue > 0.01


def test_top_k_keeps_the_proportions_of_what_it_keeps() -> None:
    logits, count = [2.0, 1.0, 1.5, -4.0, -4.1, -4.2], 20_000
    expected = torch.tensor(logits[:3], dtype=torch.float64).softmax(0).numpy() * count
    assert chisquare(draws(logits, count, top_k=3)[:3], expected).pvalue > 0.01


def test_the_same_seed_draws_the_same_codes() -> None:
    logits = torch.randn(50, 100, generator=generator(1))
    one, same, other = (sample_code(logits, 1.0, 0, 1.0, generator(seed)) for seed in (5, 5, 6))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_each_codebook_has_its_own_settings() -> None:
    sampling = SamplingConfig(temperature=(1000.0, 0.0, 1000.0), top_k=(2, 0, 0), top_p=(1.0, 1.0, 0.01), guidance=1.0)
    choose = make_sampler(sampling, 3, generator())
    logits = torch.tensor([[0.0, 3.0, 2.0, 1.0]]).expand(300, -1)
    assert set(choose(logits, 0).tolist()) == {1, 2}
    assert set(choose(logits, 1).tolist()) == {1}
    assert set(choose(logits, 2).tolist()) == {1}


@pytest.mark.parametrize("name", ["temperature", "top_k", "top_p"])
def test_a_list_of_the_wrong_length_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has 2 values, expected one, or one for each of 4 codebooks"):
        make_sampler(SamplingConfig.model_validate({name: (1, 1)}), 4, generator())


@settings(deadline=None)
@given(rows, rows, st.floats(0, 5).filter(lambda value: value != 1.0))
def test_guidance_goes_on_from_the_plain_towards_the_conditioned(
    conditioned: list[float], plain: list[float], guidance: float
) -> None:
    """Equation 6 of Ho & Salimans, arXiv:2207.12598, by hand."""
    expected = [p + guidance * (c - p) for c, p in zip(conditioned, plain, strict=True)]
    if sorted(expected)[-1] - sorted(expected)[-2] < 1e-4:
        return  # a tie to rounding
    choose = guided(make_sampler(SamplingConfig(temperature=0.0), 1, generator()), (guidance,))
    assert choose(torch.tensor([conditioned, plain]), 0).tolist() == [int(np.argmax(expected))] * 2


def test_both_halves_of_a_guided_batch_hear_the_same_code() -> None:
    choose = guided(make_sampler(SamplingConfig(), 1, generator()), (2.0,))
    codes = choose(torch.randn(20, 50, generator=generator(3)), 0)
    assert torch.equal(codes[:10], codes[10:])


def test_without_guidance_it_is_a_plain_draw() -> None:
    logits = torch.randn(8, 50, generator=generator(2))
    choose = make_sampler(SamplingConfig(), 1, generator(7))
    assert torch.equal(choose(logits, 0), sample_code(logits, 1.0, 0, 1.0, generator(7)))


def test_guidance_between_two_equals_changes_nothing() -> None:
    logits = torch.randn(8, 50, generator=generator(2))
    choose = guided(make_sampler(SamplingConfig(), 1, generator(7)), (3.0,))
    assert torch.equal(choose(logits.repeat(2, 1), 0)[:8], sample_code(logits, 1.0, 0, 1.0, generator(7)))


def test_a_temperature_too_low_for_float32_takes_the_likeliest() -> None:
    choose = make_sampler(SamplingConfig(temperature=1e-39), 1, generator())
    assert choose(torch.tensor([[1.0, 2.0, 3.0, 50.0]]), 0).tolist() == [3]
