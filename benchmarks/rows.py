"""The rows of the table: ratios of two things measured in turns, so that a busy machine slows both."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import psutil
import torch

from dacformer.codec import Codec, load_codec
from dacformer.codec.codec import build_model
from dacformer.config import CodecConfig, CodecTrainingConfig, Config, ModelConfig, load_config
from dacformer.data import ValidationSegments, load_dataset
from dacformer.model import CompiledStep, DACFormer, State
from dacformer.model.heads import nll_per_code
from dacformer.training import load_checkpoint, train

Row = dict[str, Any]
K, V, C, W = 4, 1024, 24, 86  # codebooks, codebook size, condition, window: as with 8 textures and the small codec
FRAME_RATE = 44_100 / 512
SMALL = load_config("params/codec_small.yaml", kind=CodecTrainingConfig).codec
FULL_SIZE = CodecConfig(
    encoder_dim=64, encoder_rates=(2, 4, 8, 8), decoder_dim=1536, decoder_rates=(8, 8, 4, 2), n_codebooks=9
)
"""That of the 44.1 kHz weights of `descript-audio-codec`."""


def all_rows() -> Iterator[Callable[[], Row]]:
    """Each row, to be measured when it is called; memory first, while little of it has been used."""
    yield stream_memory
    for dim, num_layers, target in ((256, 3, 10.0), (512, 6, 20.0)):
        yield partial(ring_against_window, dim, num_layers, target)
    yield int8_against_float32
    yield partial(decode_against_dac, "small", SMALL, 2.0, 10.0)
    yield partial(decode_against_dac, "full-size DAC", FULL_SIZE, 3.5, 2.0)
    yield batch_against_single
    yield partial(endless, 256, 3)


def make_model(dim: int, num_layers: int) -> DACFormer:
    """A model with fresh weights: time does not depend on them."""
    torch.manual_seed(0)
    return DACFormer(ModelConfig(dim=dim, num_layers=num_layers, window_frames=W), K, V, C).eval()


def likeliest(logits: torch.Tensor, k: int) -> torch.Tensor:
    """The cheapest choice, so that the model is what is measured."""
    return logits.argmax(dim=-1)


def stepper(step: CompiledStep, batch_size: int = 1) -> Callable[[], object]:
    """Draws one frame of a stream that is past its first window."""
    state, condition = step.model.init_state(batch_size), torch.zeros(batch_size, 1, C)
    for _ in range(W):
        step(condition, state, likeliest)
    return lambda: step(condition, state, likeliest)


def interleave(ours: Callable[[], object], baseline: Callable[[], object], seconds: float = 8.0) -> tuple[list, list]:
    """Times two calls in turns for about so many seconds: `(times of ours, times of baseline)` in seconds."""
    ours(), baseline()
    times: tuple[list[float], list[float]] = ([], [])
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times[0]) < 5:
        for call, kept in zip((ours, baseline), times, strict=True):
            start = time.perf_counter()
            call()
            kept.append(time.perf_counter() - start)
    return times


def row(name: str, ours: float, baseline: float, ratio: float, target: float, unit: str, note: str = "") -> Row:
    return {
        "name": name,
        "ours": f"{ours:.3g} {unit}",
        "baseline": f"{baseline:.3g} {unit}",
        "ratio": round(ratio, 2),
        "target": target,
        "met": bool(ratio >= target),
        "note": note,
    }


def spread(times: list[float]) -> str:
    """Middle half of the times, in milliseconds."""
    low, _, high = statistics.quantiles(times, n=4)
    return f"{low * 1000:.2f}..{high * 1000:.2f} ms"


@cache
def read_bandwidth() -> float:
    """Bytes per second that this machine reads from memory, on all threads: the best of some sums of 400 MB."""
    numbers = torch.ones(100_000_000)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        numbers.sum()
        times.append(time.perf_counter() - start)
    return 4 * len(numbers) / min(times)


@torch.inference_mode()
def ring_against_window(dim: int, num_layers: int, target: float) -> Row:
    """One frame through the ring, as it is played, against one from a window of `W` frames, computed anew for it."""
    model = make_model(dim, num_layers)
    codes, condition = torch.randint(V, (1, K, W)), torch.zeros(1, 1, C)

    def recompute() -> torch.Tensor:
        return model.head.sample(model._trunk(codes, condition, None)[:, -1], likeliest)

    ours, baseline = interleave(stepper(CompiledStep(model)), recompute)
    a, b = statistics.median(ours), statistics.median(baseline)
    linears = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    film = 2 * num_layers * linears[0].out_features * 2 * dim  # not read again while the condition stands still
    read = sum(linear.weight.numel() for linear in linears) - film
    note = (
        f"ours {spread(ours)}, window {spread(baseline)}; {read / 1e6:.1f} MB of weights a frame: "
        f"{read / a / 1e9:.0f} of {read_bandwidth() / 1e9:.0f} GB/s"
    )
    name = f"generate D={dim} L={num_layers}, ring against recomputed window"
    return row(name, a * 1e3, b * 1e3, b / a, target, "ms/frame", note) | {
        "limit_share": round(read / read_bandwidth() / a, 3)
    }


@torch.inference_mode()
def streamed_nll(
    step: Callable[..., torch.Tensor], model: DACFormer, codes: torch.Tensor, condition: torch.Tensor
) -> float:
    """Nats per code when a stream is fed `codes` (B, K, T) instead of what it would draw."""
    state: State = model.init_state(len(codes))
    nats = []
    for t in range(codes.shape[-1]):

        def given(logits: torch.Tensor, k: int, t: int = t) -> torch.Tensor:
            nats.append(nll_per_code(logits[:, None, None], codes[:, k : k + 1, t : t + 1]).mean())
            return codes[:, k, t]

        step(condition[:, t : t + 1], state, given)
    return float(torch.stack(nats).mean())


def int8_against_float32() -> Row:
    """What rounding the weights costs: likelihood of held-out codes under a model trained for the demo."""
    with tempfile.TemporaryDirectory() as folder:
        config = load_config("params/params_sm.yaml", [f"run={folder}/run"], Config)
        train(config)
        model = load_checkpoint(config.run).model.eval()
    segments = [*ValidationSegments(load_dataset(config.data.path), config.data.segment_frames, 8)]
    codes = torch.stack([segment["codes"] for segment in segments])
    condition = torch.stack([segment["condition"] for segment in segments]).expand(-1, codes.shape[-1], -1)
    rounded, exact = (
        streamed_nll(CompiledStep(model), model, codes, condition),
        streamed_nll(model.step, model, codes, condition),
    )
    return row("NLL of held-out codes, weights in int8 against float32", rounded, exact, exact / rounded, 0.999, "nats")


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
    ours, baseline = interleave(lambda: decoders[torch.bfloat16].decode(codes), lambda: stock.decode(latent))
    single, _ = interleave(lambda: decoders[torch.float32].decode(codes), lambda: None, 4.0)
    a, b, c = (seconds / statistics.median(times) for times in (ours, baseline, single))
    note = f"float32 {c:.3g} x real time, {c / b:.2f} of dac's, off by {error[0]:.0e}; bfloat16 off by {error[1]:.1%}"
    return row(
        f"decode {seconds:g} s, {name}, bfloat16 against dac.DAC.decode", a, b, a / b, target, "x real time", note
    )


@torch.inference_mode()
def batch_against_single() -> Row:
    """Audio per second of 16 streams side by side against one."""
    step = CompiledStep(make_model(256, 3))
    ours, baseline = interleave(stepper(step, 16), stepper(step, 1))
    a, b = 16 / statistics.median(ours), 1 / statistics.median(baseline)
    return row("generate D=256 L=3, batch 16 against 1", a / FRAME_RATE, b / FRAME_RATE, a / b, 5, "x real time")


@torch.inference_mode()
def endless(dim: int, num_layers: int) -> Row:
    """Codes and audio together against the time that they last (guided: each frame with and without its condition)."""
    codec = load_codec("small")
    guided, decoder, chunk = stepper(CompiledStep(make_model(dim, num_layers)), 2), codec.stream_decoder(), 17

    def play() -> None:
        frames = [guided()[:1] for _ in range(chunk)]
        decoder.push(torch.cat(frames, dim=-1))

    ours, _ = interleave(play, lambda: None)
    lasts, took = chunk / FRAME_RATE, statistics.median(ours)
    return row(f"codes + audio D={dim} L={num_layers}, guided, small codec", took, lasts, lasts / took, 1, "s")


@torch.inference_mode()
def stream_memory(minutes: int = 10) -> Row:
    """Memory after ten minutes of stream against one minute."""
    codec = load_codec("small")
    step, decoder = stepper(CompiledStep(make_model(64, 1))), codec.stream_decoder()
    process, used = psutil.Process(), []
    for _ in range(minutes):
        for _ in range(int(60 * FRAME_RATE) // 86):
            decoder.push(torch.cat([step() for _ in range(86)], dim=-1))
        used.append(process.memory_info().rss / 1e6)
    return row("memory of a stream, 1 minute against 10", used[-1], used[0], used[0] / used[-1], 0.97, "MB")
