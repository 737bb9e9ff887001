"""Loading codecs, and encoding in pieces."""

import dataclasses
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from dacformer.codec import Codec, DacFile, load_codec
from dacformer.codec.weight_files import CodecConfig, save_weights
from dacformer.errors import UserError

Noise = Callable[..., np.ndarray]


# What a codec does


@pytest.mark.parametrize("samples", [1, 511, 512, 513, 44100])
def test_encode_and_decode_shapes(tiny: Codec, noise: Noise, samples: int) -> None:
    audio = torch.from_numpy(np.stack([noise(samples, seed) for seed in (0, 1)]))[:, None]
    codes = tiny.encode(audio)
    frames = -(-samples // 512)
    assert codes.shape == (2, 4, frames) and codes.dtype == torch.int64
    assert codes.min() >= 0 and codes.max() < 64
    sound = tiny.decode(codes)
    assert sound.shape == (2, 1, frames * 512) and sound.dtype == torch.float32
    assert torch.equal(tiny.encode(audio[1:]), codes[1:])  # items of a batch do not touch


def test_codec_attributes(tiny: Codec, codec: Codec) -> None:
    assert (tiny.sample_rate, tiny.hop_length, tiny.num_codebooks, tiny.codebook_size) == (44100, 512, 4, 64)
    assert (codec.sample_rate, codec.hop_length, codec.num_codebooks, codec.codebook_size) == (44100, 512, 4, 1024)
    assert codec.frame_rate == pytest.approx(86.13, abs=0.01)
    assert codec.identity.startswith("small-") and codec.identity != tiny.identity


def test_codec_equals_dac(tiny: Codec, make_model: Any, noise: Noise) -> None:
    """Weight norm folded away or not."""
    model, audio = make_model(), torch.from_numpy(noise(512 * 20))[None, None]
    with torch.inference_mode():
        _, codes, *_ = model.encode(audio)
        assert torch.equal(tiny.encode(audio), codes)
        decoded = model.decode(model.quantizer.from_codes(codes)[0])
    torch.testing.assert_close(tiny.decode(codes), decoded, atol=1e-5, rtol=0)


def test_decode_of_long_codes_equals_decode_in_one_piece(
    codec: Codec, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = codec.encode(torch.from_numpy(noise(50 * 512))[None, None])
    whole = codec.decode(codes)
    monkeypatch.setattr("dacformer.codec.codec.PIECE_CHANNELS", 11 * codec.model.decoder_dim)
    torch.testing.assert_close(codec.decode(codes), whole, atol=1e-5, rtol=0)


def test_decode_in_bfloat16_is_close_to_float32(codec: Codec, noise: Noise) -> None:
    half = load_codec("small", precision=torch.bfloat16)
    audio = torch.from_numpy(noise(30 * 512))[None, None]
    codes = codec.encode(audio)
    assert torch.equal(half.encode(audio), codes)
    exact, rounded = codec.decode(codes), half.decode(codes)
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, exact)
    assert (rounded - exact).norm() / exact.norm() < 0.015
    stream = half.stream_decoder()
    streamed = torch.cat([*(stream.push(piece) for piece in codes.split(7, dim=-1)), stream.flush()], dim=-1)
    assert (streamed - exact).norm() / exact.norm() < 0.015


def test_decode_with_odd_strides_gives_whole_frames(make_model: Any, noise: Noise) -> None:
    codec = Codec(make_model(encoder_rates=(2, 4, 5, 8), decoder_rates=(8, 5, 4, 2)), "odd")
    codes = codec.encode(torch.from_numpy(noise(3000))[None, None])
    assert codec.decode(codes).shape[-1] == codes.shape[-1] * 320 == 3200


def test_fewer_codebooks_are_first_ones(tiny: Codec, tiny_file: Path, noise: Noise) -> None:
    audio = torch.from_numpy(noise(5000))[None, None]
    two = load_codec(tiny_file, num_codebooks=2)
    assert two.num_codebooks == 2 and load_codec(tiny_file, None).num_codebooks == 4
    assert load_codec(tiny_file, num_codebooks=99).num_codebooks == 4
    assert torch.equal(two.encode(audio), tiny.encode(audio)[:, :2])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40_000), st.lists(st.integers(0, 9000), max_size=8), st.integers(1, 40))
def test_encode_blocks_equals_encode(exact: Codec, noise: Noise, samples: int, blocks: list[int], chunk: int) -> None:
    """In float64, where rounding does not move a latent across the border between two codes."""
    audio = noise(samples).astype(np.float64)
    whole = exact.encode(torch.from_numpy(audio)[None, None])[0].numpy()
    pieces = list(exact.encode_blocks(np.split(audio, np.cumsum(blocks)), chunk))
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)


@pytest.fixture(scope="module", params=["44khz", "24khz"])
def exact(request: pytest.FixtureRequest, make_model: Any) -> Codec:
    odd = {"encoder_rates": (2, 4, 5, 8), "decoder_rates": (8, 5, 4, 2)}
    return Codec(make_model(**(odd if request.param == "24khz" else {})).double(), request.param)


def test_encode_blocks_of_small_equals_encode(codec: Codec, noise: Noise) -> None:
    """In float32 at most one code in a thousand may fall on the other side of a border."""
    audio = noise(3 * 44100)
    whole = codec.encode(torch.from_numpy(audio)[None, None])[0].numpy()
    pieces = np.concatenate(list(codec.encode_blocks(np.array_split(audio, 7), 43)), axis=1)
    assert pieces.shape == whole.shape and np.mean(pieces != whole) <= 1e-3


def test_encode_blocks_of_nothing_yields_nothing(tiny: Codec) -> None:
    assert list(tiny.encode_blocks([])) == list(tiny.encode_blocks([np.zeros(0, np.float32)])) == []


def test_encode_blocks_yields_while_reading(tiny: Codec, noise: Noise) -> None:
    """Memory is bounded: codes come out long before the sound ends."""
    taken = 0

    def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield noise(44100)

    codes = tiny.encode_blocks(endless(), chunk_frames=100)
    assert sum(next(codes).shape[1] for _ in range(5)) == 500
    assert taken <= 8


# Decoding files


def make_file(tiny: Codec, noise: Noise, **changes: Any) -> DacFile:
    codes = tiny.encode(torch.from_numpy(noise(44100))[None, None]).numpy()
    lengths = {"sample_rate": 44100, "original_length": 44100, "chunk_length": codes.shape[2]}
    good: dict[str, Any] = {"codes": codes, "input_db": -20.0, "codec": tiny.identity} | lengths
    return DacFile(**(good | changes))


@pytest.mark.parametrize(("rate", "length"), [(44100, 44100), (48000, 48000), (16000, 15000)])
def test_decode_file_restores_rate_and_length(tiny: Codec, noise: Noise, rate: int, length: int) -> None:
    sound = tiny.decode_file(make_file(tiny, noise, sample_rate=rate, original_length=length))
    assert sound.shape == (length, 1) and sound.dtype == np.float32


def test_decode_file_refuses_codes_of_other_codec(tiny: Codec, noise: Noise) -> None:
    for codes in (np.zeros((1, 9, 20), int), np.full((1, 4, 20), 64)):
        for padding in (True, False):
            with pytest.raises(UserError, match="has K=4, V=64"):
                tiny.decode_file(make_file(tiny, noise, codes=codes, padding=padding))
    assert tiny.decode_file(make_file(tiny, noise)).shape == (44100, 1)


def test_decode_file_warns_about_unnamed_codec(tiny: Codec, noise: Noise) -> None:
    file = make_file(tiny, noise, codec="")
    with pytest.warns(UserWarning, match=r"does not say which codec made it \(K=4, .*decoded with tiny-"):
        tiny.decode_file(file)
    with pytest.raises(UserError, match="codes of other-0, which are noise"):
        tiny.decode_file(dataclasses.replace(file, codec="other-0"))


def test_decode_file_in_chunks_leaves_codec_unchanged(tiny: Codec, noise: Noise) -> None:
    file = make_file(tiny, noise)
    before = tiny.decode(torch.from_numpy(file.codes))
    tiny.decode_file(make_file(tiny, noise, padding=False, chunk_length=60))
    assert torch.equal(tiny.decode(torch.from_numpy(file.codes)), before)


def test_decode_file_refuses_too_short_chunks(tiny: Codec, noise: Noise) -> None:
    with pytest.raises(UserError, match=r"chunks are of 5 frames, the last of \d+: too short"):
        tiny.decode_file(make_file(tiny, noise, padding=False, chunk_length=5))


# Loading


def test_identity_depends_on_weights(tiny_file: Path, tmp_path: Path, make_model: Any) -> None:
    same = tmp_path / "tiny.safetensors"
    shutil.copy(tiny_file, same)
    assert load_codec(same).identity == load_codec(tiny_file).identity
    other = make_model().state_dict()
    other["decoder.model.0.bias"] += 1e-3
    save_weights(same, CodecConfig(**sizes_of(tiny_file)), other)
    assert load_codec(same).identity != load_codec(tiny_file).identity


def sizes_of(path: Path) -> dict[str, Any]:
    import json

    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["codec"])


def test_load_codec_from_pth_equals_safetensors(tiny: Codec, tiny_pth: Path, noise: Noise) -> None:
    theirs, audio = load_codec(tiny_pth), torch.from_numpy(noise(9000))[None, None]
    assert torch.equal(theirs.encode(audio), tiny.encode(audio))
    assert theirs.identity.startswith("tiny-")


def test_load_codec_44khz_uses_cache_of_dac(tiny_pth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    cache = tmp_path / ".cache" / "descript" / "dac"
    cache.mkdir(parents=True)
    shutil.copy(tiny_pth, cache / "weights_44khz_8kbps_0.0.1.pth")
    codec = load_codec("44khz")
    assert codec.identity.startswith("44khz-") and codec.hop_length == 512 and codec.num_codebooks == 4


@pytest.mark.parametrize("name", ["44khz", "24khz", "16khz"])
def test_load_codec_without_network_says_what_to_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for proxy in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # nobody listens
    for exception in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(exception, raising=False)
    with pytest.raises(UserError, match=f"'{name}' could not be downloaded .*'small' needs no download"):
        load_codec(name)
    assert not list(tmp_path.rglob("*.pth"))


def test_load_codec_lists_known_names() -> None:
    with pytest.raises(UserError, match=r"no codec 'huge'.*small, 44khz, 24khz, 16khz, or the path"):
        load_codec("huge")


def test_load_codec_refuses_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no codec"):
        load_codec(tmp_path)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["tiny.safetensors", "tiny.pth"]), st.floats(0, 0.999))
def test_load_codec_refuses_truncated_file(
    tiny_file: Path, tiny_pth: Path, tmp_path_factory: pytest.TempPathFactory, name: str, share: float
) -> None:
    path = tmp_path_factory.getbasetemp() / f"cut_{name}"
    whole = (tiny_file if name == tiny_file.name else tiny_pth).read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match="damaged") as error:
        load_codec(path)
    assert str(path) in str(error.value)


class Hostile:
    def __reduce__(self) -> tuple:
        return os.system, ("touch executed",)


def test_load_codec_refuses_malicious_pth_unexecuted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "metadata": {"kwargs": Hostile()}}, "bad.pth")
    with pytest.raises(UserError, match=r"bad\.pth"):
        load_codec("bad.pth")
    assert os.listdir() == ["bad.pth"]


@pytest.mark.parametrize(
    "contents",
    [b"", b"RIFF0000WAVEfmt ", b"run: runs/a\n", b"\x80\x04.", b"0" * 1000, pickle.dumps(Hostile())],
    ids=repr,
)
@pytest.mark.parametrize("name", ["x.pth", "x.wav", "x", "x.safetensors"])
def test_load_codec_refuses_other_files_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contents: bytes, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(contents)
    with pytest.raises(UserError, match=rf"^{name} is not a [^\n]*or is damaged[^\n]*$"):
        load_codec(name)
    assert os.listdir() == [name]


@pytest.mark.parametrize("sizes", [{"n_codebooks": 10**9}, {"decoder_dim": 2**30}, {"latent_dim": 2**30}], ids=str)
def test_load_codec_allocates_nothing_for_false_sizes(tiny_file: Path, tmp_path: Path, sizes: dict[str, int]) -> None:
    stated = CodecConfig.model_validate(sizes_of(tiny_file) | sizes).model_dump_json()
    save_file(load_file(tiny_file), tmp_path / "lie.safetensors", {"codec": stated})
    with pytest.raises(UserError, match=r"do not fit the sizes it states[^\n]*$"):
        load_codec(tmp_path / "lie.safetensors")


@pytest.mark.parametrize(
    "contents",
    [
        [1, 2],
        {"state_dict": {}},
        {"state_dict": {}, "metadata": {"kwargs": 3}},
        {"state_dict": [1], "metadata": {"kwargs": {}}},
        {"state_dict": {}, "metadata": {"kwargs": {}}},
        {"state_dict": {}, "metadata": {"kwargs": {"encoder_dimension": 3}}},
        {"state_dict": {}, "metadata": {"kwargs": {"decoder_dim": 2}}},
    ],
    ids=str,
)
def test_load_codec_refuses_other_torch_file(tmp_path: Path, contents: Any) -> None:
    torch.save(contents, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth"):
        load_codec(tmp_path / "other.pth")


def test_load_codec_refuses_weights_that_do_not_fit_sizes(tiny_file: Path, tmp_path: Path) -> None:
    weights, sizes = load_file(tiny_file), sizes_of(tiny_file)
    path = tmp_path / "odd.safetensors"
    with pytest.raises(UserError, match="other sizes"):
        save_weights(path, CodecConfig.model_validate(sizes | {"codebook_size": 65}), weights)
    assert not path.exists()
    for changed in ({"codebook_size": 65}, {"n_codebooks": 5}, {"decoder_dim": 64}):
        save_file(weights, path, {"codec": CodecConfig.model_validate(sizes | changed).model_dump_json()})
        with pytest.raises(UserError, match="do not fit the sizes"):
            load_codec(path)


@pytest.mark.parametrize("metadata", [None, {"codec": "{"}, {"codec": "[]"}, {"codec": '{"hop": 3}'}], ids=str)
def test_load_codec_refuses_other_safetensors(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "model.safetensors", metadata)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        load_codec(tmp_path / "model.safetensors")


@pytest.mark.parametrize("device", ["abacus", "cuda:99", "xpu"])
def test_to_refuses_missing_device(tiny: Codec, device: str) -> None:
    with pytest.raises(UserError, match=f"'{device}'.*'cpu'"):
        tiny.to(device)
    assert tiny.device.type == "cpu" and tiny.to("cpu") is tiny
