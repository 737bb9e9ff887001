"""The rows of the table, in the order in which they are measured: what each is called, and what is asked of it."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import NamedTuple

import torch

from benchmarks import codecs, gpu, learning, playing
from benchmarks.limits import PRECISION, Limits
from benchmarks.measure import Row


class Case(NamedTuple):
    """A row that is not measured yet."""

    name: str
    measure: Callable[[], Row]

    def run(self) -> Row:
        """Measures it, and the time that this takes."""
        start = perf_counter()
        row = self.measure()
        return replace(row, name=self.name, seconds=perf_counter() - start)


def all_cases(limits: Limits) -> Iterator[Case]:
    """All rows that this machine can measure; memory first, while little is in use."""
    yield Case("memory of a stream, 1 minute against 10", partial(playing.stream_memory, 10))
    yield from _playing(limits)
    yield from _codecs(limits)
    yield from _learning(limits)
    if torch.cuda.is_available():
        yield from _gpu("cuda")


def select(cases: Sequence[Case], words: Sequence[str]) -> list[Case]:
    """The cases whose names have any of these words, in upper or lower case; all where there are no words."""
    return [
        case
        for case in cases
        if not words or any(word.lower() in case.name.lower() for word in words)
    ]


def _playing(limits: Limits) -> Iterator[Case]:
    for dim, layers, asked, share in ((256, 3, 10.0, 0.3), (512, 6, 20.0, 0.6)):
        measure = partial(playing.ring_against_window, dim, layers, asked, share, limits)
        yield Case(f"generate D={dim} L={layers}, ring against recomputed window", measure)
    yield Case(
        "NLL of held-out codes, weights in int8 against float32", playing.int8_against_float32
    )
    if importlib.util.find_spec("transformers"):
        for dim, layers in ((64, 2), (256, 3), (512, 6)):
            measure = partial(playing.ring_against_musicgen, dim, layers)
            yield Case(f"generate D={dim} L={layers}, parallel head against MusicGen", measure)
    measure = partial(playing.batch_against_single, 16, 5.0, 0.3, limits)
    yield Case("generate D=256 L=3, batch 16 against 1", measure)
    measure = partial(playing.sound_of_small, 256, 3, limits)
    yield Case("codes + audio D=256 L=3, small, likeliest codes, against real time", measure)
    measure = partial(playing.generate_as_played, 256, 3, limits)
    yield Case("codes + audio D=256 L=3, small, as `generate` draws, against real time", measure)
    measure = partial(_sound_of_full_size, limits)
    name = f"codes + audio D=256 L=3, full-size DAC in {PRECISION[limits.precision]}, against real time"
    yield Case(name, measure)


def _sound_of_full_size(limits: Limits) -> Row:
    codec, work = codecs.full_size(limits.precision), codecs.decoding_work(codecs.FULL_SIZE)
    return playing.sound_of_full_size(256, 3, codec, work, 2.5, 0.7, limits)


def _codecs(limits: Limits) -> Iterator[Case]:
    precision = PRECISION[limits.precision]
    sizes = (
        ("small", codecs.SMALL, 2.0, 0.4, 10.0),
        ("full-size DAC", codecs.FULL_SIZE, 3.5, 0.8, 2.0),
    )
    for name, config, asked, share, seconds in sizes:
        measure = partial(codecs.decode_against_dac, config, asked, share, seconds, limits)
        yield Case(f"decode {seconds:g} s, {name}, {precision} against dac.DAC.decode", measure)
    measure = partial(codecs.decoding_memory, codecs.FULL_SIZE, 5.0, 20.0, limits)
    yield Case(
        f"memory to decode 20 s, full-size DAC, {precision}, weights aside, against dac.DAC.decode",
        measure,
    )
    for name, config, seconds in (
        ("small", codecs.SMALL, 30.0),
        ("full-size DAC", codecs.FULL_SIZE, 4.0),
    ):
        measure = partial(codecs.encode_against_dac, config, seconds)
        yield Case(
            f"encode {seconds:g} s, {name}, float32, in pieces against dac.DAC.encode", measure
        )
    yield Case("memory to encode 1 minute against 10, small", partial(codecs.encoding_memory, 10.0))


def _learning(limits: Limits) -> Iterator[Case]:
    precision = PRECISION[limits.precision]
    sizes = f"D={learning.SIZES['dim']} L={learning.SIZES['num_layers']}, {learning.BATCH} x {learning.FRAMES}"
    measure = partial(learning.train_against_eager, 3.5, 0.6, limits)
    yield Case(f"train {sizes}, {precision} against float32, dense, eager", measure)
    yield Case(
        f"memory to train {sizes}, {precision} against float32, dense, eager",
        learning.training_memory,
    )
    if limits.bfloat16_peak is None:
        measure = partial(learning.muon_against_torch, 256, 3, 0.5, limits)
        yield Case("a step of Muon, D=256 L=3, float32 against torch.optim.Muon", measure)
    for num_files in (1_000, 1_000_000):
        measure = partial(learning.loading_against_training, num_files)
        yield Case(f"a batch out of {num_files:,} files against the gradients it is for", measure)


def _gpu(device: str) -> Iterator[Case]:
    card, sizes = (
        torch.cuda.get_device_name(device),
        f"D={learning.SIZES['dim']} L={learning.SIZES['num_layers']}",
    )
    for streams in (1, 64, 1024):
        yield Case(
            f"generate {sizes}, bfloat16, batch {streams}, {card}",
            partial(gpu.generate_on, device, streams),
        )
    batch = 16 * learning.BATCH
    yield Case(
        f"train {sizes}, {batch} x {learning.FRAMES}, {card}",
        partial(gpu.train_on, device, batch, 0.4),
    )
