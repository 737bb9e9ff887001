"""Streamed decoding is whole-file decoding, in constant memory."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dacformer.codec import Codec, StreamDecoder

DESIGNS = {
    "44khz": {},
    "24khz": {"encoder_rates": (2, 4, 5, 8), "decoder_rates": (8, 5, 4, 2)},
    "odd": {"encoder_rates": (3, 3), "decoder_rates": (3, 3)},
}
"""Strides of the 44.1 kHz DAC, of the 24 kHz one, and hardly any."""


@pytest.fixture(scope="module")
def codecs(make_model: Any, codec: Codec) -> dict[str, Codec]:
    return {name: Codec(make_model(**rates), name) for name, rates in DESIGNS.items()} | {"small": codec}


def random_codes(codec: Codec, frames: int, batch: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(codec.codebook_size, (batch, codec.num_codebooks, frames), generator=generator)


def streamed(codec: Codec, codes: torch.Tensor, chunks: list[int]) -> torch.Tensor:
    stream = codec.stream_decoder(len(codes))
    return torch.cat([*(stream.push(piece) for piece in codes.split(chunks, dim=-1)), stream.flush()], dim=-1)


@pytest.mark.parametrize("name", [*DESIGNS, "small"])
@pytest.mark.parametrize("chunks", [[24], [1] * 24, [7, 1, 0, 3, 13], [0, 24, 0]], ids=str)
def test_streamed_decode_equals_whole_decode(codecs: dict[str, Codec], name: str, chunks: list[int]) -> None:
    codes = random_codes(codecs[name], 24, batch=2)
    whole = codecs[name].decode(codes)
    assert whole.shape == (2, 1, 24 * codecs[name].hop_length) and whole.std() > 1e-3
    torch.testing.assert_close(streamed(codecs[name], codes, chunks), whole, atol=1e-5, rtol=0)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([*DESIGNS]), st.lists(st.integers(0, 15), min_size=1, max_size=5).filter(any))
def test_streamed_decode_does_not_depend_on_chunking(codecs: dict[str, Codec], name: str, chunks: list[int]) -> None:
    codes = random_codes(codecs[name], sum(chunks), seed=sum(chunks))
    whole = codecs[name].decode(codes)
    torch.testing.assert_close(streamed(codecs[name], codes, chunks), whole, atol=1e-5, rtol=0)


def test_stream_decoder_accepts_fewer_codebooks(codecs: dict[str, Codec]) -> None:
    codes = random_codes(codecs["44khz"], 15)[:, :2]
    torch.testing.assert_close(streamed(codecs["44khz"], codes, [15]), codecs["44khz"].decode(codes), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [*DESIGNS])
def test_stream_decoder_of_nothing_gives_no_samples(codecs: dict[str, Codec], name: str) -> None:
    stream = codecs[name].stream_decoder(batch_size=3)
    nothing = torch.zeros(3, 4, 0, dtype=torch.long)
    assert stream.push(nothing).shape == stream.flush().shape == (3, 1, 0)


@pytest.mark.parametrize("name", [*DESIGNS, "small"])
def test_sample_is_complete_after_delay_frames(codecs: dict[str, Codec], name: str) -> None:
    codec = codecs[name]
    stream, samples = codec.stream_decoder(), 0
    for frames in range(1, 25):
        samples += stream.push(random_codes(codec, 1)).shape[-1]
        assert samples >= (frames - stream.delay_frames) * codec.hop_length
        assert samples <= frames * codec.hop_length


def test_delay_of_44khz_sizes_is_ten_frames(codecs: dict[str, Codec]) -> None:
    assert codecs["44khz"].hop_length == 512
    assert codecs["44khz"].stream_decoder().delay_frames == 10


def lookahead(codec: Codec, frames: int = 31) -> set[int]:
    """How many frames later than its own, over all samples of a frame in the middle, a latent still moves the sound."""
    latent = torch.randn(1, codec.model.latent_dim, frames, requires_grad=True)
    audio = codec.model.decode(latent)
    middle = frames // 2
    frame = audio[..., middle * codec.hop_length : (middle + 1) * codec.hop_length]
    gradient = torch.autograd.grad(frame.square().sum(), latent)[0]
    return {int(t) - middle for t in gradient.abs().sum(dim=(0, 1)).nonzero()}


def test_delay_frames_equals_lookahead(codecs: dict[str, Codec]) -> None:
    """By gradient: ten frames before and ten after, and none of them can be spared."""
    assert lookahead(codecs["44khz"]) == set(range(-10, 11))


@pytest.mark.parametrize("name", ["24khz", "small"])
def test_lookahead_is_at_most_delay_frames(codecs: dict[str, Codec], name: str) -> None:
    codec = codecs[name]
    assert max(lookahead(codec, 25)) in (codec.stream_decoder().delay_frames, codec.stream_decoder().delay_frames - 1)


def state_size(stream: StreamDecoder) -> int:
    """Bytes that a stream holds, of all tensors that can be reached from it but the weights."""
    seen: dict[int, int] = {}

    def walk(thing: Any) -> None:
        if isinstance(thing, torch.Tensor):
            seen[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
        elif isinstance(thing, (list, tuple)):
            for each in thing:
                walk(each)
        elif not isinstance(thing, torch.nn.Module) and hasattr(thing, "__dict__"):
            walk(list(vars(thing).values()))

    walk(stream)
    return sum(seen.values())


@pytest.mark.parametrize("name", [*DESIGNS])
def test_stream_decoder_memory_is_constant(codecs: dict[str, Codec], name: str) -> None:
    stream = codecs[name].stream_decoder()
    sizes = []
    for _ in range(60):
        stream.push(random_codes(codecs[name], 3))
        sizes.append(state_size(stream))
    assert sizes[-1] == sizes[20] == max(sizes) and sizes[-1] > 0


def test_stream_decoders_are_independent(codecs: dict[str, Codec]) -> None:
    codec = codecs["44khz"]
    one, other = (random_codes(codec, 20, seed=seed) for seed in (1, 2))
    streams, sounds = (codec.stream_decoder(), codec.stream_decoder()), ([], [])
    for t in range(20):
        for stream, codes, sound in zip(streams, (one, other), sounds, strict=True):
            sound.append(stream.push(codes[..., t : t + 1]))
    for stream, codes, sound in zip(streams, (one, other), sounds, strict=True):
        whole = torch.cat([*sound, stream.flush()], dim=-1)
        torch.testing.assert_close(whole, codec.decode(codes), atol=1e-5, rtol=0)
