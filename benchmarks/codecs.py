"""Sound to codes and back, against `descript-audio-codec` as it comes."""

import statistics
from collections.abc import Callable

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.limits import PRECISION, Limits
from benchmarks.measure import FRAME_RATE, Row, interleave, peak_memory
from dacformer.codec import Codec, load_codec
from dacformer.codec.training.config import CodecTrainingConfig
from dacformer.codec.weight_files import CodecConfig, build_model
from dacformer.config import load_config

SMALL = load_config("params/codec_small.yaml", kind=CodecTrainingConfig).codec
FULL_SIZE = CodecConfig(
    encoder_dim=64,
    encoder_rates=(2, 4, 8, 8),
    decoder_dim=1536,
    decoder_rates=(8, 8, 4, 2),
    n_codebooks=9,
)
"""That of the 44.1 kHz weights of `descript-audio-codec`."""


@torch.inference_mode()
def decode_against_dac(config: CodecConfig, asked: float, share: float, seconds: float, limits: Limits) -> Row:
    """Our decoder against `dac.DAC.decode` as it comes, in float32, with the same random weights.

    Ours computes in the fastest arithmetic that is native. The limit is the matrix peak in it over the decoder's
    multiplications and additions.
    """
    torch.manual_seed(0)
    stock = build_model(config).eval()
    codes = random_codes(config, seconds)
    latent = stock.quantizer.from_codes(codes)[0]
    decoders = {}
    for precision in dict.fromkeys((limits.precision, torch.float32)):  # one or two, ours first
        model = build_model(config)
        model.load_state_dict(stock.state_dict())
        decoders[precision] = Codec(model, "bench", config.n_codebooks, precision)
    with FlopCounterMode(display=False) as counter:
        expected = stock.decode(latent)
    errors = [float((each.decode(codes) - expected).norm() / expected.norm()) for each in decoders.values()]
    calls = [lambda each=each: each.decode(codes) for each in decoders.values()]
    *ours, baseline = (seconds / statistics.median(times) for times in interleave(*calls, lambda: stock.decode(latent)))
    limit = limits.peak / (counter.get_total_flops() / seconds)
    note = [f"the matrix peak allows {limit:.3g} x"]
    for precision, speed, error in zip(decoders, ours, errors, strict=True):
        note.append(f"{PRECISION[precision]} {speed:.3g} x, {speed / baseline:.2f} of dac's, off by {error:.1e}")
    return Row(
        ours[0],
        baseline,
        "x real time",
        ours[0] / baseline,
        asked,
        limit / baseline,
        share,
        "; ".join(note),
    )


def random_codes(config: CodecConfig, seconds: float) -> torch.Tensor:
    """Codes `(1, K, T)`."""
    return torch.randint(config.codebook_size, (1, config.n_codebooks, round(seconds * FRAME_RATE)))


@torch.inference_mode()
def decoding_work(config: CodecConfig, frames: int = 8) -> float:
    """Multiplications and additions that decoding a second of sound takes."""
    model = build_model(config).eval()
    latent = torch.zeros(1, model.latent_dim, frames)
    with FlopCounterMode(display=False) as counter:
        model.decode(latent)
    return counter.get_total_flops() / frames * FRAME_RATE


def decoding_memory(config: CodecConfig, asked: float, seconds: float, limits: Limits) -> Row:
    """What decoding needs at most, in the fastest arithmetic that is native, against `dac.DAC.decode`."""
    ours = peak_memory(_decode_ours, config, seconds, limits.precision)
    baseline = peak_memory(_decode_stock, config, seconds)
    return Row(ours, baseline, "MB", baseline / ours, asked)


def _decode_ours(config: CodecConfig, seconds: float, precision: torch.dtype) -> Callable[[], object]:
    codec = Codec(build_model(config), "bench", config.n_codebooks, precision)
    codes = random_codes(config, seconds)
    return lambda: codec.decode(codes)


def _decode_stock(config: CodecConfig, seconds: float) -> Callable[[], object]:
    model = build_model(config).eval()
    codes = random_codes(config, seconds)
    return torch.inference_mode()(lambda: model.decode(model.quantizer.from_codes(codes)[0]))


@torch.inference_mode()
def encode_against_dac(config: CodecConfig, seconds: float) -> Row:
    """Encoding in pieces against `dac.DAC.encode` of the whole, with the same random weights."""
    torch.manual_seed(0)
    stock = build_model(config).eval()
    model = build_model(config)
    model.load_state_dict(stock.state_dict())
    codec = Codec(model, "bench", config.n_codebooks)
    audio = 0.1 * torch.randn(1, 1, round(seconds * config.sample_rate))
    pieces = audio[0, 0].numpy()
    ours, baseline = interleave(
        lambda: [*codec.encode_blocks([pieces])],
        lambda: stock.encode(stock.preprocess(audio, None)),
    )
    a, b = (seconds / statistics.median(times) for times in (ours, baseline))
    return Row(a, b, "x real time", a / b, asked=1)


def encoding_memory(minutes: float) -> Row:
    """Memory to encode some minutes with `small` against one: an hour needs no more."""
    short, long = (peak_memory(_encode_small, each) for each in (1.0, minutes))
    return Row(long, short, "MB", short / long, asked=0.9)


def _encode_small(minutes: float) -> Callable[[], object]:
    noise = np.random.default_rng(0)
    codec = load_codec("small")
    blocks = (0.1 * noise.standard_normal(441_000, np.float32) for _ in range(round(6 * minutes)))
    return lambda: [*codec.encode_blocks(blocks)]


def full_size(precision: torch.dtype) -> Codec:
    """The full-size codec with random weights."""
    return Codec(build_model(FULL_SIZE), "full-size DAC", FULL_SIZE.n_codebooks, precision)
