"""Codes, frame by frame: the ring, many streams, a peer, memory."""

import statistics
import tempfile
from collections.abc import Callable
from functools import partial

import psutil
import torch
from torch import Tensor

from benchmarks.measure import FRAME_RATE, C, K, Row, V, W, interleave, read_bandwidth, row, spread
from dacformer.codec import Codec, load_codec
from dacformer.config import Config, ModelConfig, load_config
from dacformer.data import ValidationSegments, load_dataset
from dacformer.model import CompiledStep, DACFormer, State
from dacformer.model.heads import nll_per_code
from dacformer.training import load_checkpoint, train


def make_model(dim: int, num_layers: int, head: str = "depth", num_codebooks: int = K) -> DACFormer:
    """A model with fresh weights: time does not depend on them."""
    torch.manual_seed(0)
    sizes = {"dim": dim, "num_layers": num_layers, "num_heads": min(8, dim // 16)}
    return DACFormer(ModelConfig(**sizes, window_frames=W, head=head), num_codebooks, V, C).eval()


def likeliest(logits: Tensor, k: int) -> Tensor:
    """The cheapest choice, so that the model is what is measured."""
    return logits.argmax(dim=-1)


def stepper(step: CompiledStep, batch_size: int = 1) -> Callable[[], Tensor]:
    """Draws one frame of a stream that is past its first window."""
    state, condition = step.model.init_state(batch_size), torch.zeros(batch_size, 1, C)
    for _ in range(W):
        step(condition, state, likeliest)
    return lambda: step(condition, state, likeliest)


@torch.inference_mode()
def ring_against_window(dim: int, num_layers: int, target: float) -> Row:
    """One frame through the ring, as it is played, against one from a window of `W` frames, computed anew for it."""
    model = make_model(dim, num_layers)
    codes, condition = torch.randint(V, (1, K, W)), torch.zeros(1, 1, C)

    def recompute() -> Tensor:
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
def ring_against_musicgen(dim: int, num_layers: int) -> Row | None:
    """A frame with the `parallel` head against Hugging Face's MusicGen decoder with its cache, of the same sizes."""
    try:
        from transformers import MusicgenDecoderConfig, MusicgenForCausalLM
    except ImportError:
        return None
    config = MusicgenDecoderConfig(
        vocab_size=V, num_hidden_layers=num_layers, ffn_dim=4 * dim, num_attention_heads=min(8, dim // 16),
        hidden_size=dim, num_codebooks=K, max_position_embeddings=2 * W,
    )  # fmt: skip
    peer = MusicgenForCausalLM(config).eval()
    heard: dict = {"cache": None, "length": W}

    def step() -> None:
        if heard["length"] >= W:  # it keeps no window: begin again, so that its cache is half full in the mean
            heard.update(cache=None, length=0)
        codes = torch.zeros(K, 1, dtype=torch.long)
        out = peer(input_ids=codes, past_key_values=heard["cache"], use_cache=True)
        out.logits.argmax(dim=-1)
        heard.update(cache=out.past_key_values, length=heard["length"] + 1)

    ours, baseline = interleave(stepper(CompiledStep(make_model(dim, num_layers, "parallel"))), step)
    depth, _ = interleave(stepper(CompiledStep(make_model(dim, num_layers))), lambda: None, 2.0)
    a, b, c = (statistics.median(times) * 1e3 for times in (ours, baseline, depth))
    note = f"depth head {c:.2f} ms, {c / a:.2f} of parallel (at most 1.5); ours {spread(ours)}, peer {spread(baseline)}"
    return row(f"generate D={dim} L={num_layers}, parallel head against MusicGen", a, b, b / a, 3, "ms/frame", note)


@torch.inference_mode()
def streamed_nll(step: Callable[..., Tensor], model: DACFormer, codes: Tensor, condition: Tensor) -> float:
    """Nats per code when a stream is fed `codes` (B, K, T) instead of what it would draw."""
    state: State = model.init_state(len(codes))
    nats = []
    for t in range(codes.shape[-1]):

        def given(logits: Tensor, k: int, t: int = t) -> Tensor:
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
def batch_against_single() -> Row:
    """Audio per second of 16 streams side by side against one."""
    step = CompiledStep(make_model(256, 3))
    ours, baseline = interleave(stepper(step, 16), stepper(step, 1))
    a, b = 16 / statistics.median(ours), 1 / statistics.median(baseline)
    return row("generate D=256 L=3, batch 16 against 1", a / FRAME_RATE, b / FRAME_RATE, a / b, 5, "x real time")


@torch.inference_mode()
def endless(dim: int, num_layers: int, codec_name: str, codec: Codec, chunk: int, target: float) -> Row:
    """Codes and audio together against the time that they last; guided: each frame with and without its condition."""
    step = CompiledStep(make_model(dim, num_layers, num_codebooks=codec.num_codebooks))
    decoder = codec.stream_decoder()

    def play(draw: Callable[[], Tensor]) -> None:
        decoder.push(torch.cat([draw()[:1] for _ in range(chunk)], dim=-1))

    plain, guided = interleave(partial(play, stepper(step)), partial(play, stepper(step, 2)))
    lasts, took = chunk / FRAME_RATE, statistics.median(plain)
    note = f"guided {lasts / statistics.median(guided):.3g}; {chunk} frames at a time, {spread(plain)}"
    name = f"codes + audio D={dim} L={num_layers}, {codec_name}, against real time"
    return row(name, took, lasts, lasts / took, target, "s", note)


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
