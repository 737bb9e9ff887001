"""Codes, frame by frame: the ring, many streams, a peer, memory."""

import io
import statistics
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from typing import Literal

import psutil
import torch
from torch import Tensor

from benchmarks.codecs import FULL_SIZE, decoding_work, full_size
from benchmarks.limits import Limits, batch_ratio, frames_per_second, sound_asked, sound_ratio
from benchmarks.measure import FRAME_RATE, C, K, Row, V, W, interleave, spread
from dacformer.checkpoint import Checkpoint, CheckpointMetadata, load_checkpoint
from dacformer.codec import Codec, load_codec
from dacformer.conditions.labels import Conditions
from dacformer.config import Config, ModelConfig, load_config
from dacformer.data.batches import ValidationSegments
from dacformer.data.dataset import DatasetInfo, load_dataset
from dacformer.generation.synthesizer import Synthesizer
from dacformer.model import CompiledStep, DACFormer, State
from dacformer.model.heads import nll_per_code
from dacformer.training.trainer import train


def make_model(
    dim: int, num_layers: int, head: Literal["depth", "parallel"] = "depth", num_codebooks: int = K
) -> DACFormer:
    """A model with fresh weights: time does not depend on them."""
    torch.manual_seed(0)
    config = ModelConfig(dim=dim, num_layers=num_layers, num_heads=min(8, dim // 16), window_frames=W, head=head)
    return DACFormer(config, num_codebooks, V, C).eval()


def likeliest(logits: Tensor, k: int) -> Tensor:
    """The cheapest choice, so that the model is what is measured."""
    return logits.argmax(dim=-1)


def stepper(step: CompiledStep, batch_size: int = 1) -> Callable[[], Tensor]:
    """Draws one frame of a stream that is past its first window."""
    state, condition = step.model.init_state(batch_size), torch.zeros(batch_size, 1, C)
    for _ in range(W):
        step(condition, state, likeliest)
    return lambda: step(condition, state, likeliest)


def weights_read(model: DACFormer) -> int:
    """Weights that a frame of a stream is multiplied by; FiLM's are not read while the condition stands still."""
    linears = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    return sum(
        linear.weight.numel()
        for name, linear in linears.items()
        if not name.endswith(".film") and not name.startswith("embed_condition")
    )


@torch.inference_mode()
def ring_against_window(dim: int, num_layers: int, asked: float, share: float, limits: Limits) -> Row:
    """One frame through the ring, as it is played, against one from a window of `W` frames, computed anew for it.

    The limit is `frames_per_second`: each weight is read once, by one thread.
    """
    model = make_model(dim, num_layers)
    codes, condition = torch.randint(V, (1, K, W)), torch.zeros(1, 1, C)

    def recompute() -> Tensor:
        return model.head.sample(model._trunk(codes, condition, None)[:, -1], likeliest)

    ours, baseline = interleave(stepper(CompiledStep(model)), recompute)
    a, b = statistics.median(ours), statistics.median(baseline)
    read = weights_read(model)
    note = (
        f"ours {spread(ours)}, window {spread(baseline)}; {read / 1e6:.1f} MB of weights a frame: "
        f"{read / a / 1e9:.1f} of {limits.read_one / 1e9:.1f} GB/s"
    )
    limit = b * frames_per_second(limits, read)
    return Row(a * 1e3, b * 1e3, "ms/frame", b / a, asked, limit, share, note)


@torch.inference_mode()
def ring_against_musicgen(dim: int, num_layers: int) -> Row:
    """A frame with the `parallel` head against Hugging Face's MusicGen decoder with its cache, of the same sizes."""
    from transformers import MusicgenDecoderConfig, MusicgenForCausalLM  # pyright: ignore[reportMissingImports]

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

    parallel, depth = (stepper(CompiledStep(make_model(dim, num_layers, head))) for head in ("parallel", "depth"))
    ours, third, baseline = interleave(parallel, depth, step)
    a, b, c = (statistics.median(times) * 1e3 for times in (ours, baseline, third))
    note = f"depth head {c:.2f} ms, {c / a:.2f} of parallel (at most 1.5); ours {spread(ours)}, peer {spread(baseline)}"
    return Row(a, b, "ms/frame", b / a, asked=3, note=note)


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
    """What rounding the weights costs: likelihood of held-out codes under a model trained as for the demo, for less."""
    with tempfile.TemporaryDirectory() as folder:
        changes = ["steps=50", "validate_every=50", "sample_every=0"]
        config = load_config(
            "params/params_sm.yaml",
            [f"run={folder}/run", *(f"training.{change}" for change in changes)],
            Config,
        )
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # its progress bar
            train(config)
        model = load_checkpoint(config.run).model.eval()
    segments = [*ValidationSegments(load_dataset(config.data.path), config.data.segment_frames, 8)]
    codes = torch.stack([segment["codes"] for segment in segments])
    condition = torch.stack([segment["condition"] for segment in segments]).expand(-1, codes.shape[-1], -1)
    rounded, exact = (
        streamed_nll(CompiledStep(model), model, codes, condition),
        streamed_nll(model.step, model, codes, condition),
    )
    return Row(rounded, exact, "nats", exact / rounded, asked=0.999)


@torch.inference_mode()
def batch_against_single(streams: int, asked: float, share: float, limits: Limits) -> Row:
    """Audio per second of streams side by side against one; the limit is `batch_ratio`."""
    step = CompiledStep(make_model(256, 3))
    ours, baseline = interleave(stepper(step, streams), stepper(step, 1))
    a, b = (
        streams / statistics.median(ours) / FRAME_RATE,
        1 / statistics.median(baseline) / FRAME_RATE,
    )
    return Row(a, b, "x real time", a / b, asked, batch_ratio(limits, streams), share)


def sound_of_small(dim: int, num_layers: int, limits: Limits) -> Row:
    """Codes and audio together with `small`, against the time that they last; 8 or 10 times as fast is asked for."""
    return _sound(make_model(dim, num_layers), load_codec("small"), 17, sound_asked(limits), None, 1.0)


def sound_of_full_size(dim: int, num_layers: int, asked: float, share: float, limits: Limits) -> Row:
    """The same with the full-size codec, in the fastest arithmetic that is native; the limit is `sound_ratio`."""
    codec = full_size(limits.precision)
    model = make_model(dim, num_layers, num_codebooks=codec.num_codebooks)
    limit = sound_ratio(limits, weights_read(model), FRAME_RATE, decoding_work(FULL_SIZE))
    return _sound(model, codec, 86, asked, limit, share)


@torch.inference_mode()
def _sound(
    model: DACFormer,
    codec: Codec,
    chunk: int,
    asked: float,
    limit_ratio: float | None,
    share: float,
) -> Row:
    """Of the likeliest codes; beside it with guidance: each frame with and without its condition."""
    step, decoder = CompiledStep(model), codec.stream_decoder()

    def play(draw: Callable[[], Tensor]) -> None:
        decoder.push(torch.cat([draw()[:1] for _ in range(chunk)], dim=-1))

    plain, guided = interleave(partial(play, stepper(step)), partial(play, stepper(step, 2)))
    lasts, took = chunk / FRAME_RATE, statistics.median(plain)
    note = f"guided {lasts / statistics.median(guided):.3g}; {chunk} frames at a time, {spread(plain)}"
    return Row(took, lasts, "s", lasts / took, asked, limit_ratio, share, note)


def make_synthesizer(dim: int, num_layers: int) -> Synthesizer:
    """An instrument with the `small` codec and fresh weights."""
    model, codec = make_model(dim, num_layers), load_codec("small")
    info = DatasetInfo(
        codec=codec.identity,
        codec_name="small",
        sample_rate=codec.sample_rate,
        hop_length=codec.hop_length,
        num_codebooks=K,
        codebook_size=V,
    )
    conditions = Conditions(classes=tuple(f"class {i}" for i in range(C)))
    metadata = CheckpointMetadata(step=0, config=Config(model=model.config), info=info, conditions=conditions)
    return Synthesizer(Checkpoint(metadata, model, "bench"), codec)


def generate_as_played(dim: int, num_layers: int, limits: Limits, seconds: float = 4.0) -> Row:
    """A take as `generate` makes it by default, each code drawn by chance and guided; as much is asked as without."""
    synth = make_synthesizer(dim, num_layers)
    drawn, likely = (
        partial(synth.generate, seconds, {"class": "class 0"}, **sampling) for sampling in ({}, {"temperature": 0.0})
    )
    times = interleave(drawn, likely)
    took, without = (statistics.median(each) for each in times)
    settings = f"guidance {synth.sampling.guidance:g}, temperature {synth.sampling.temperature:g}"
    note = f"{settings}; the likeliest code in place of a drawn one: {seconds / without:.3g} x"
    return Row(took, seconds, "s", seconds / took, sound_asked(limits), note=note)


@torch.inference_mode()
def stream_memory(minutes: int) -> Row:
    """Memory after some minutes of stream against one minute."""
    codec = load_codec("small")
    step, decoder = stepper(CompiledStep(make_model(64, 1))), codec.stream_decoder()
    process, used = psutil.Process(), []
    for _ in range(minutes):
        for _ in range(int(60 * FRAME_RATE) // 86):
            decoder.push(torch.cat([step() for _ in range(86)], dim=-1))
        used.append(process.memory_info().rss / 1e6)
    return Row(used[-1], used[0], "MB", used[0] / used[-1], asked=0.97)
