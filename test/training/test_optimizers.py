"""Which optimizer has which parameters, and their learning rate."""

import pytest
import torch

from dacformer.config import ModelConfig, TrainingConfig
from dacformer.model import DACFormer
from dacformer.training.muon import Muon
from dacformer.training.optimizers import learning_rate, make_optimizers


def test_matrices_of_linear_layers_are_muons_and_everything_else_is_adamws() -> None:
    model = DACFormer(ModelConfig(dim=32, num_heads=2, film_dim=8), 4, 16, 3)
    muon, adamw = make_optimizers(model, TrainingConfig(learning_rate=0.5, weight_decay=0.25))
    assert isinstance(muon, Muon) and isinstance(adamw, torch.optim.AdamW)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    matrices, others = ([names.pop(id(p)) for p in each.param_groups[0]["params"]] for each in (muon, adamw))
    assert not names, "a parameter that nothing trains"
    modules = dict(model.named_modules())
    linear = {name for name in matrices if isinstance(modules[name.rpartition(".")[0]], torch.nn.Linear)}
    assert len(linear) == len(matrices) > 0 and all(name.endswith(".weight") for name in matrices)
    assert not any(
        name.endswith(".weight") and isinstance(modules[name.rpartition(".")[0]], torch.nn.Linear) for name in others
    )
    decays = [each.param_groups[0]["weight_decay"] for each in (muon, adamw)]
    assert decays == [0.25, 0.0] and {each.param_groups[0]["lr"] for each in (muon, adamw)} == {0.5}


def test_learning_rate_warms_up_and_falls_to_a_tenth() -> None:
    training = TrainingConfig(steps=100, warmup_steps=10, learning_rate=2.0)
    rates = [learning_rate(training, step) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert max(rates) == rates[9] and rates[-1] == pytest.approx(0.2)
