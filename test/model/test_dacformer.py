"""The golden rule, causality and the receptive field, by gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dacformer.config import ModelConfig
from dacformer.model import DACFormer

K, V, C, W = 4, 32, 5, 6


def make_model(head: str = "depth", num_layers: int = 2, seed: int = 0) -> DACFormer:
    """A tiny model whose zero-initialised parts are moved off zero, so that every path matters."""
    torch.manual_seed(seed)
    sizes = {"dim": 32, "num_layers": num_layers, "num_heads": 4, "window_frames": W, "film_dim": 16}
    config = ModelConfig.model_validate(sizes | {"head": head})
    model = DACFormer(config, K, V, C).eval()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def make_input(batch: int = 2, frames: int = 30, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(V, (batch, K, frames), generator=generator)
    return codes, torch.randn(batch, frames, C, generator=generator)


@pytest.mark.parametrize("head", ["depth", "parallel"])
@pytest.mark.parametrize("chunk", [1, 3, W, 2 * W])
@torch.no_grad()
def test_streamed_logits_equal_banded_forward(head: str, chunk: int) -> None:
    model = make_model(head)
    codes, condition = make_input(frames=5 * W + 2)  # past the wrap of every ring
    whole = model(codes, condition)
    state = model.init_state(len(codes), max_chunk=chunk)
    pieces = [
        model(codes[..., t : t + chunk], condition[:, t : t + chunk], state=state)
        for t in range(0, codes.shape[-1], chunk)
    ]
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, atol=1e-4, rtol=0)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 2 * W), min_size=1, max_size=12), st.integers(0, 10_000))
@torch.no_grad()
def test_logits_do_not_depend_on_chunking(chunks: list[int], seed: int) -> None:
    model = make_model()
    codes, condition = make_input(batch=1, frames=sum(chunks), seed=seed)
    state = model.init_state(1, max_chunk=2 * W)
    split = zip(codes.split(chunks, dim=-1), condition.split(chunks, dim=1), strict=True)
    pieces = [model(piece, moving, state=state) for piece, moving in split]
    torch.testing.assert_close(torch.cat(pieces, dim=2), model(codes, condition), atol=1e-4, rtol=0)


@torch.no_grad()
def test_step_samples_from_logits_of_banded_forward() -> None:
    """What `step` hands to the chooser, frame by frame, are the logits that a whole forward gives those codes."""
    model = make_model()
    _, condition = make_input(batch=2, frames=4 * W)
    seen: list[torch.Tensor] = []

    def likeliest(logits: torch.Tensor, k: int) -> torch.Tensor:
        seen.append(logits)
        return logits.argmax(dim=-1)

    state = model.init_state(2)
    codes = torch.cat([model.step(condition[:, t : t + 1], state, likeliest) for t in range(4 * W)], dim=-1)
    streamed = torch.stack(seen, dim=1).unflatten(1, (4 * W, K)).transpose(1, 2)  # (B, K, T, V)
    torch.testing.assert_close(streamed, model(codes, condition), atol=1e-4, rtol=0)


@torch.no_grad()
def test_stream_is_exact_after_24_hours() -> None:
    model = make_model()
    codes, condition = make_input(frames=3 * W)
    late = model.init_state(2, max_chunk=W)
    late.position = 24 * 3600 * 87
    fresh = model.init_state(2, max_chunk=W)
    for t in range(0, 3 * W, W):
        now = model(codes[..., t : t + W], condition[:, t : t + W], state=fresh)
        then = model(codes[..., t : t + W], condition[:, t : t + W], state=late)
        torch.testing.assert_close(then, now, atol=1e-4, rtol=0)


def influence(model: DACFormer, query: int, frames: int) -> tuple[set[int], set[int]]:
    """The frames whose codes, and those whose conditions, move the logits of frame `query`."""
    codes, condition = make_input(batch=1, frames=frames)
    embedded: list[torch.Tensor] = []
    hooks = [e.register_forward_hook(lambda _m, _i, out: embedded.append(out) or out) for e in model.embeddings]
    condition.requires_grad_(True)
    logits = model(codes, condition)
    for hook in hooks:
        hook.remove()
    gradients = torch.autograd.grad(logits[0, :, query].square().sum(), [*embedded, condition])
    # The embedding at place t is of the codes of frame t - 1.
    by_code = torch.stack([g.abs().sum(dim=(0, 2)) for g in gradients[:-1]]).sum(dim=0)
    by_condition = gradients[-1].abs().sum(dim=(0, 2))
    return {int(t) - 1 for t in by_code.nonzero()}, {int(t) for t in by_condition.nonzero()}


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_receptive_field_is_window_minus_one_per_layer(num_layers: int) -> None:
    query, frames = 24, 30
    by_code, by_condition = influence(make_model("parallel", num_layers), query, frames)
    reach = num_layers * (W - 1)
    assert by_condition == set(range(query - reach, query + 1))
    assert by_code == set(range(query - reach - 1, query))


@torch.no_grad()
def test_depth_head_depends_on_earlier_codebooks_only() -> None:
    model = make_model("depth")
    codes, condition = make_input(batch=1, frames=4)
    before = model(codes, condition)
    for k in range(K):
        changed = codes.clone()
        changed[0, k, -1] = (changed[0, k, -1] + 1) % V
        moved = (model(changed, condition) - before)[0, :, -1].abs().amax(dim=-1) > 1e-6
        assert moved.tolist() == [later > k for later in range(K)]


@torch.no_grad()
def test_forward_feeds_input_codes_to_trunk() -> None:
    model = make_model("parallel")
    codes, condition = make_input()
    other, _ = make_input(seed=9)
    torch.testing.assert_close(model(codes, condition, input_codes=other), model(other, condition))


def test_forward_refuses_chunk_longer_than_state_allows() -> None:
    model = make_model()
    codes, condition = make_input(frames=4)
    with pytest.raises(ValueError, match="max_chunk=4"):
        model(codes, condition, state=model.init_state(2, max_chunk=3))


@torch.no_grad()
def test_fresh_model_ignores_condition() -> None:
    """FiLM starts at zero."""
    config = ModelConfig(dim=32, num_layers=2, num_heads=4, window_frames=W, film_dim=16)
    model = DACFormer(config, K, V, C).eval()
    codes, condition = make_input()
    torch.testing.assert_close(model(codes, condition), model(codes, torch.zeros_like(condition)))
