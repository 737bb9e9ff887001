"""The rows of the table, in the order in which they are measured: what each is called, and what is asked of it."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import torch

from benchmarks import codecs, gpu, learning, playing
from benchmarks.learning import BATCH, FRAMES, SIZES
from benchmarks.limits import PRECISION, Limits
from benchmarks.measure import Row

TRAINED = f"D={SIZES['dim']} L={SIZES['num_layers']}"


class Case(NamedTuple):
    """A row that is not measured yet."""

    name: str
    measure: Callable[[], Row]

    def run(self) -> Row:
        """Measures it, and the time that this takes."""
        start = perf_counter()
        row = self.measure()
        return replace(row, name=self.name, seconds=perf_counter() - start)


def all_cases(limits: Limits) -> list[Case]:
    """All rows that this machine can measure; memory first, while little is in use."""
    cases = [
        _case("memory of a stream, 1 minute against 5", playing.stream_memory, 5),
        *_playing(limits),
        *_codecs(limits),
        *_learning(limits),
    ]
    return [*cases, *_gpu("cuda")] if torch.cuda.is_available() else cases


def select(cases: Sequence[Case], words: Sequence[str]) -> list[Case]:
    """The cases whose names have any of these words, in upper or lower case; all where there are no words."""
    return [case for case in cases if not words or any(word.lower() in case.name.lower() for word in words)]


def _case(name: str, function: Callable[..., Row], *arguments: Any) -> Case:
    return Case(name, partial(function, *arguments))


def _playing(limits: Limits) -> Iterator[Case]:
    for dim, layers, asked, share in ((256, 3, 10.0, 0.3), (512, 6, 20.0, 0.6)):
        name = f"generate D={dim} L={layers}, ring against recomputed window"
        yield _case(name, playing.ring_against_window, dim, layers, asked, share, limits)
    name = "NLL of held-out codes, weights in int8 against float32"
    yield _case(name, playing.int8_against_float32)
    if importlib.util.find_spec("transformers"):
        for dim, layers in ((64, 2), (256, 3), (512, 6)):
            name = f"generate D={dim} L={layers}, parallel head against MusicGen"
            yield _case(name, playing.ring_against_musicgen, dim, layers)
    name = "generate D=256 L=3, batch 16 against 1"
    yield _case(name, playing.batch_against_single, 16, 5.0, 0.3, limits)
    sound = "codes + audio D=256 L=3, {}, against real time"
    yield _case(sound.format("small, likeliest codes"), playing.sound_of_small, 256, 3, limits)
    yield _case(sound.format("small, as `generate` draws"), playing.generate_as_played, 256, 3, limits)
    name = sound.format(f"full-size DAC in {PRECISION[limits.precision]}")
    yield _case(name, playing.sound_of_full_size, 256, 3, 2.5, 0.7, limits)


def _codecs(limits: Limits) -> Iterator[Case]:
    precision, small, full_size = PRECISION[limits.precision], codecs.SMALL, codecs.FULL_SIZE
    decode = "decode {} s, {}, " + precision + " against dac.DAC.decode"
    yield _case(decode.format(10, "small"), codecs.decode_against_dac, small, 2.0, 0.4, 10.0, limits)
    yield _case(
        decode.format(2, "full-size DAC"),
        codecs.decode_against_dac,
        full_size,
        3.5,
        0.8,
        2.0,
        limits,
    )
    name = f"memory to decode 30 s, full-size DAC, {precision}, weights aside, against dac.DAC.decode"
    yield _case(name, codecs.decoding_memory, full_size, 5.0, 30.0, limits)
    encode = "encode {} s, {}, float32, in pieces against dac.DAC.encode"
    yield _case(encode.format(30, "small"), codecs.encode_against_dac, small, 30.0)
    yield _case(encode.format(4, "full-size DAC"), codecs.encode_against_dac, full_size, 4.0)
    yield _case("memory to encode 1 minute against 10, small", codecs.encoding_memory, 10.0)


def _learning(limits: Limits) -> Iterator[Case]:
    what = f"{TRAINED}, {BATCH} x {FRAMES}, {PRECISION[limits.precision]} against float32, dense, eager"
    yield _case(f"train {what}", learning.train_against_eager, 3.5, 0.6, limits)
    yield _case(f"memory to train {what}", learning.training_memory)
    if limits.bfloat16_peak is None:
        name = "a step of Muon, a block of D=256, float32 against torch.optim.Muon"
        yield _case(name, learning.muon_against_torch, 256, 0.5, limits)
    for num_files in (1_000, 1_000_000):
        name = f"a batch out of {num_files:,} files against the gradients it is for"
        yield _case(name, learning.loading_against_training, num_files)


def _gpu(device: str) -> Iterator[Case]:
    device_name, batch = torch.cuda.get_device_name(device), 16 * BATCH
    for streams in (1, 64, 1024):
        name = f"generate {TRAINED}, bfloat16, batch {streams}, {device_name}"
        yield _case(name, gpu.generate_on, device, streams)
    yield _case(f"train {TRAINED}, {batch} x {FRAMES}, {device_name}", gpu.train_on, device, batch, 0.4)
