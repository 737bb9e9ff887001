"""The rows of the table, in the order in which they are measured."""

from collections.abc import Callable, Iterator
from functools import partial

import torch

from benchmarks import codecs, gpu, learning, playing
from benchmarks.measure import Row
from dacformer.codec import load_codec


def all_rows() -> Iterator[Callable[[], Row | None]]:
    """Each row, to be measured when it is called (None: it cannot be, here); memory first, while little is in use."""
    yield playing.stream_memory
    for dim, num_layers, target in ((256, 3, 10.0), (512, 6, 20.0)):
        yield partial(playing.ring_against_window, dim, num_layers, target)
    yield playing.int8_against_float32
    for dim, num_layers in ((64, 2), (256, 3), (512, 6)):
        yield partial(playing.ring_against_musicgen, dim, num_layers)
    yield playing.batch_against_single
    yield lambda: playing.endless(256, 3, "small", load_codec("small"), 17, 10.0)
    yield lambda: playing.endless(256, 3, "full-size DAC", codecs.full_size(), 86, 2.5)
    yield partial(codecs.decode_against_dac, "small", codecs.SMALL, 2.0, 10.0)
    yield partial(codecs.decode_against_dac, "full-size DAC", codecs.FULL_SIZE, 3.5, 2.0)
    yield partial(codecs.decoding_memory, "full-size DAC", codecs.FULL_SIZE, 5.0, 30.0)
    yield partial(codecs.encode_against_dac, "small", codecs.SMALL, 30.0)
    yield partial(codecs.encode_against_dac, "full-size DAC", codecs.FULL_SIZE, 4.0)
    yield codecs.encoding_memory
    yield learning.train_against_eager
    for num_files in (1_000, 1_000_000):
        yield partial(learning.loading_against_training, num_files)
    if torch.cuda.is_available():
        yield from gpu.rows_on("cuda")
