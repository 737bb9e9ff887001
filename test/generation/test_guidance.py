"""Guidance by a chain of channels: equation 3 of Brooks et al. (arXiv:2211.09800), against the slow sampler."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dacformer.conditions.layout import Channel, ConditionLayout
from dacformer.config import ModelConfig, SamplingConfig
from dacformer.errors import UserError
from dacformer.generation.controls import Controls
from dacformer.generation.curves import Curve
from dacformer.generation.sampling import Sampling, guidance_masks, guided, make_sampler
from dacformer.generation.stream import CodeStream
from dacformer.generation.synthesizer import Synthesizer
from dacformer.model import DACFormer

from .oracle import generate_slowly

CONTROLS = {"class": {"wind": Curve([(0, 1), (0.3, 0)]), "pistons": 0.5}, "rate": 0.7}
rows = st.lists(st.integers(-50, 50).map(lambda tenths: tenths / 10), min_size=6, max_size=6)


@settings(deadline=None)
@given(rows, rows, rows, st.floats(0, 4), st.floats(0, 4))
def test_guided_mixes_the_logits_of_a_chain(
    none: list[float], first: list[float], both: list[float], w1: float, w2: float
) -> None:
    mixed = [n + w1 * (f - n) + w2 * (b - f) for n, f, b in zip(none, first, both, strict=True)]
    if sorted(mixed)[-1] - sorted(mixed)[-2] < 1e-4:
        return  # a tie to rounding
    sampler = guided(make_sampler(SamplingConfig(temperature=0.0), 1, torch.Generator()), (w1, w2))
    assert sampler(torch.tensor([both, first, none]), 0).tolist() == [int(np.argmax(mixed))] * 3


@pytest.mark.parametrize(
    ("guidance", "chain"),
    [
        ({"class": 1.5, "parameters": 1.1}, [["class"], ["class", "parameters"]]),
        ({"parameters": 3.0, "class": 0.5}, [["parameters"], ["class", "parameters"]]),
        ({"class": 2.0}, [["class"], ["class", "parameters"]]),  # the rest of the condition is obeyed as it is
    ],
)
def test_generate_with_guidance_by_channel_is_what_a_plain_loop_draws(
    untrained: Synthesizer, guidance: dict[str, float], chain: list[list[str]]
) -> None:
    take = untrained.generate(0.2, CONTROLS, seed=3, precision="float32", guidance=guidance)
    times = untrained.times(0, take.codes.shape[1])
    condition = torch.from_numpy(Controls.of(CONTROLS).condition_at(times, untrained.conditions))[None]
    sampling = SamplingConfig.model_validate(untrained.sampling.model_dump() | {"guidance": guidance})
    masks = [torch.from_numpy(untrained.conditions.layout.mask(names)) for names in chain]
    slow = generate_slowly(untrained.model, condition, sampling, 3, masks=masks[:-1])
    np.testing.assert_array_equal(take.codes, slow[0].numpy())
    np.testing.assert_array_equal(take.cut(0.1).extend(take.seconds - take.cut(0.1).seconds).codes, take.codes)


def test_equal_weights_are_one_weight_for_the_whole(untrained: Synthesizer) -> None:
    by_channel = untrained.generate(0.4, CONTROLS, guidance={"class": 2.0, "parameters": 2.0}, temperature=0.0)
    whole = untrained.generate(0.4, CONTROLS, guidance=2.0, temperature=0.0)
    np.testing.assert_array_equal(by_channel.codes, whole.codes)


def test_weights_of_one_are_no_guidance(untrained: Synthesizer) -> None:
    plain = untrained.generate(0.3, CONTROLS, guidance=1.0)
    np.testing.assert_array_equal(untrained.generate(0.3, CONTROLS, guidance={"class": 1.0}).codes, plain.codes)


@pytest.mark.parametrize(
    ("guidance", "said"),
    [
        ({"clas": 2.0}, r"Unknown channel 'clas'\. Did you mean 'class'"),
        ({"class": -1.0}, r"'guidance\.class'"),
        ({"class": "much"}, r"'guidance\.class'"),
        ({}, "guidance"),
    ],
)
def test_guidance_that_is_none_is_refused(untrained: Synthesizer, guidance: dict[str, object], said: str) -> None:
    for ask in (untrained.generate, lambda s, **more: untrained.stream(**more)):
        with pytest.raises(UserError, match=said):
            ask(0.1, guidance=guidance)


def test_a_recipe_keeps_guidance_by_channel(untrained: Synthesizer, tmp_path) -> None:
    take = untrained.generate(0.1, CONTROLS, guidance={"parameters": 2.0, "class": 1.5})
    opened = untrained.load_take(take.save(tmp_path / "take"))
    guidance = opened.recipe.sampling.still.guidance
    assert isinstance(guidance, dict) and list(guidance.items()) == [("parameters", 2.0), ("class", 1.5)]
    np.testing.assert_array_equal(opened.extend(0.1).codes, take.extend(0.1).codes)


def test_a_further_channel_is_trained_and_guided_alone() -> None:
    """Sixteen numbers and a known-flag beside two classes decide the codes; guidance for them alone is obeyed."""
    layout = ConditionLayout([Channel("class", 2), Channel("text", 16, 1)])
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    sizes = ModelConfig(dim=32, num_layers=1, num_heads=2, window_frames=8, film_dim=16)
    model = DACFormer(sizes, num_codebooks=2, codebook_size=8, condition_dim=layout.dim)
    texts = torch.randn(2, 16, generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        which = torch.randint(2, (16,), generator=generator)
        known = torch.rand(16, 1, generator=generator) > 0.2
        classes = torch.nn.functional.one_hot(torch.randint(2, (16,), generator=generator), 2)
        condition = torch.cat([classes, texts[which] * known, known], dim=1)[:, None].expand(-1, 12, -1)
        # The text says which half of the codes comes.
        codes = torch.randint(4, (16, 2, 12), generator=generator) + 4 * which[:, None, None]
        logits = model(codes, condition)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 2), codes.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()

    def draw(text: int, weight: float) -> torch.Tensor:
        sampling = Sampling(SamplingConfig(guidance={"class": 1.0, "text": weight}, precision="float32"), {})
        masks = guidance_masks(sampling.still.guidance, layout)
        stream = CodeStream(model, model.step, masks, sampling, seed=1, batch_size=32)
        values = {"class": np.eye(2)[[0]], "text": texts[[text]].numpy()}
        condition = torch.from_numpy(layout.pack(values, {"text": np.ones((1, 1))}))
        return stream.draw(condition.expand(32, 1, -1).repeat(1, 10, 1), [sampling.still] * 10)

    assert torch.equal(draw(0, 0.0), draw(1, 0.0))
    for weight in (1.0, 3.0):
        assert (draw(0, weight) < 4).float().mean() > 0.9
        assert (draw(1, weight) >= 4).float().mean() > 0.9
