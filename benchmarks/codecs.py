"""Sound to codes and back, against `descript-audio-codec` as it comes."""

import statistics
from collections.abc import Callable

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import FRAME_RATE, Row, interleave, matrix_peak, peak_memory, row
from dacformer.codec import Codec, load_codec
from dacformer.codec.codec import build_model
from dacformer.config import CodecConfig, CodecTrainingConfig, load_config

SMALL = load_config("params/codec_small.yaml", kind=CodecTrainingConfig).codec
FULL_SIZE = CodecConfig(
    encoder_dim=64, encoder_rates=(2, 4, 8, 8), decoder_dim=1536, decoder_rates=(8, 8, 4, 2), n_codebooks=9
)
"""That of the 44.1 kHz weights of `descript-audio-codec`."""


@torch.inference_mode()
def decode_against_dac(name: str, config: CodecConfig, target: float, seconds: float) -> Row:
    """Our decoder, in float32 and bfloat16, against `dac.DAC.decode` as it comes, with the same random weights."""
    torch.manual_seed(0)
    stock = build_model(config).eval()
    weights = stock.state_dict()
    codes = torch.randint(config.codebook_size, (1, config.n_codebooks, round(seconds * FRAME_RATE)))
    latent = stock.quantizer.from_codes(codes)[0]
    decoders = {}
    for precision in (torch.float32, torch.bfloat16):
        model = build_model(config)
        model.load_state_dict(weights)
        decoders[precision] = Codec(model, name, config.n_codebooks, precision)
    expected = stock.decode(latent)
    exact, rounded = (decoders[p].decode(codes) for p in decoders)
    error = float((exact - expected).abs().max()), float((rounded - expected).norm() / expected.norm())
    with FlopCounterMode(display=False) as counter:
        stock.decode(latent)
    ours, baseline = interleave(lambda: decoders[torch.bfloat16].decode(codes), lambda: stock.decode(latent))
    single, _ = interleave(lambda: decoders[torch.float32].decode(codes), lambda: None, 4.0)
    a, b, c = (seconds / statistics.median(times) for times in (ours, baseline, single))
    work = counter.get_total_flops() / seconds
    limits = {precision: matrix_peak(precision) / work for precision in decoders}
    note = (
        f"float32 {c:.3g} x real time, {c / b:.2f} of dac's, off by {error[0]:.0e}; bfloat16 off by {error[1]:.1%}; "
        f"the matrix peak allows {limits[torch.bfloat16]:.3g} x, in float32 {limits[torch.float32]:.3g} x"
    )
    title = f"decode {seconds:g} s, {name}, bfloat16 against dac.DAC.decode"
    share = a / limits[torch.bfloat16]
    return row(title, a, b, a / b, target, "x real time", note) | {"limit_share": round(share, 3)}


def decoding_memory(name: str, config: CodecConfig, target: float, seconds: float) -> Row:
    """What decoding needs at most, in bfloat16, against `dac.DAC.decode`."""
    ours, baseline = (peak_memory(work, config, seconds) for work in (_decode_ours, _decode_stock))
    title = f"memory to decode {seconds:g} s, {name}, weights aside, against dac.DAC.decode"
    return row(title, ours, baseline, baseline / ours, target, "MB")


def _decode_ours(config: CodecConfig, seconds: float) -> Callable[[], object]:
    codec = Codec(build_model(config), "bench", config.n_codebooks, torch.bfloat16)
    codes = torch.zeros(1, config.n_codebooks, round(seconds * FRAME_RATE), dtype=torch.long)
    return lambda: codec.decode(codes)


def _decode_stock(config: CodecConfig, seconds: float) -> Callable[[], object]:
    model = build_model(config).eval()
    codes = torch.zeros(1, config.n_codebooks, round(seconds * FRAME_RATE), dtype=torch.long)
    return torch.inference_mode()(lambda: model.decode(model.quantizer.from_codes(codes)[0]))


@torch.inference_mode()
def encode_against_dac(name: str, config: CodecConfig, seconds: float) -> Row:
    """Encoding in pieces against `dac.DAC.encode` of the whole, with the same random weights."""
    torch.manual_seed(0)
    stock = build_model(config).eval()
    model = build_model(config)
    model.load_state_dict(stock.state_dict())
    codec = Codec(model, name, config.n_codebooks)
    audio = 0.1 * torch.randn(1, 1, round(seconds * config.sample_rate))
    pieces = audio[0, 0].numpy()
    ours, baseline = interleave(
        lambda: [*codec.encode_blocks([pieces])], lambda: stock.encode(stock.preprocess(audio, None))
    )
    a, b = (seconds / statistics.median(times) for times in (ours, baseline))
    return row(f"encode {seconds:g} s, {name}, in pieces against dac.DAC.encode", a, b, a / b, 1, "x real time")


def encoding_memory(minutes: tuple[float, float] = (1.0, 10.0)) -> Row:
    """Memory to encode ten minutes with `small` against one: an hour needs no more."""
    short, long = (peak_memory(_encode_small, each) for each in minutes)
    name = f"memory to encode {minutes[0]:g} minute against {minutes[1]:g}, small"
    return row(name, long, short, short / long, 0.9, "MB")


def _encode_small(minutes: float) -> Callable[[], object]:
    noise = np.random.default_rng(0)
    codec = load_codec("small")
    blocks = (0.1 * noise.standard_normal(441_000, np.float32) for _ in range(round(6 * minutes)))
    return lambda: [*codec.encode_blocks(blocks)]


def full_size() -> Codec:
    """The full-size codec with random weights, as it plays: in bfloat16."""
    return Codec(build_model(FULL_SIZE), "full-size DAC", FULL_SIZE.n_codebooks, torch.bfloat16)
