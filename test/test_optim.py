"""The average of the weights, and the schedule of the learning rate."""

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import nn

from dacformer.optim import WeightAverage, set_learning_rate, warmup_cosine


def averaged(decay: float, values: Sequence[float]) -> float:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = WeightAverage(model, decay)
    for step, value in enumerate(values, start=1):
        nn.init.constant_(model.weight, value)
        average.update(step)
    with average.in_place():
        return model.weight.item()


def test_the_average_moves_by_one_minus_decay() -> None:
    values, expected = [1.0, 4.0, 2.0, 8.0], 0.0
    for step, value in enumerate(values, start=1):
        decay = min(0.2, step / (step + 10))
        expected = decay * expected + (1 - decay) * value
    assert averaged(0.2, values) == pytest.approx(expected)


def test_decay_zero_averages_nothing() -> None:
    assert averaged(0.0, [1.0, 4.0, 2.5]) == 2.5


def test_the_weights_come_back_after_the_average_was_in_their_place() -> None:
    model = nn.Linear(3, 3)
    average = WeightAverage(model, 0.5)
    before = model.weight.clone()
    nn.init.ones_(model.weight)
    with pytest.raises(RuntimeError), average.in_place():
        assert torch.equal(model.weight, before)
        raise RuntimeError
    assert torch.equal(model.weight, torch.ones(3, 3))


def test_weights_are_the_averages_by_name_and_can_be_loaded_again() -> None:
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    average = WeightAverage(model, 0.5)
    nn.init.ones_(model.weight)
    average.update(1)
    assert list(average.weights()) == ["weight", "bias"]
    loaded = WeightAverage(other, 0.5)
    loaded.load({name: value.clone() for name, value in average.weights().items()})
    with average.in_place(), loaded.in_place():
        assert torch.equal(other.weight, model.weight) and torch.equal(other.bias, model.bias)
    with pytest.raises(KeyError, match="bias"):
        loaded.load({"weight": model.weight})


def test_cosine_after_warmup_begins_at_the_peak() -> None:
    rates = [warmup_cosine(step, 100, 10, peak=2.0, final=0.2, decay_from=10) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[9:]))
    assert rates[54] == pytest.approx(1.1)  # half of the way, half of the height
    assert rates[-1] == pytest.approx(0.2)


def test_cosine_from_the_start_is_multiplied_by_the_warmup() -> None:
    rates = [warmup_cosine(step, 100, 10, peak=1e-3, final=1e-5) for step in range(101)]
    whole = [warmup_cosine(step, 100, 0, peak=1e-3, final=1e-5) for step in range(101)]
    assert rates[0] == 0 and rates[5] == pytest.approx(0.5 * whole[5]) and rates[10:] == whole[10:]
    assert rates[50] == pytest.approx((1e-3 + 1e-5) / 2) and rates[100] == pytest.approx(1e-5)


def test_without_warmup_the_first_step_has_the_whole_rate() -> None:
    assert warmup_cosine(1, 1000, 0, peak=1.0, final=0.1) == pytest.approx(1.0, abs=1e-5)


def test_set_learning_rate_sets_every_group() -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(3)]
    optimizers = [torch.optim.AdamW([{"params": [w]} for w in weights[:2]]), torch.optim.SGD(weights[2:])]
    set_learning_rate(optimizers, 0.25)
    assert [group["lr"] for each in optimizers for group in each.param_groups] == [0.25] * 3
