"""Instrument: a trained model with its codec. Generation, sessions and live playing all draw and decode with it.

Shapes: `B` takes side by side, `K` codebooks, `T` frames, `N` samples, `C` width of a condition.
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dacformer.arguments import check_seed, finite_number
from dacformer.checkpoint import Checkpoint
from dacformer.codec import Codec, DacFile, load_codec, read_dac
from dacformer.codec.dac_file import DAC_SUFFIX, same_codec
from dacformer.data.encode import encode_file
from dacformer.errors import UserError, shown
from dacformer.generation.controls import Controls
from dacformer.generation.sampling import Sampling, guidance_masks, make_sampler, parse_sampling
from dacformer.generation.stream import CodeStream
from dacformer.memory import available_memory
from dacformer.model import CompiledStep

SAMPLE_BYTES, FRAME_BYTES = 40, 1000  # most memory that a take needs while it is made (measured: 31 bytes a sample)
COMPILED_STREAMS = 64  # with more streams on a CPU, torch's matrix products are faster


class Instrument:
    """A trained model with its codec."""

    def __init__(self, checkpoint: Checkpoint, codec: Codec | None = None, device: str | torch.device = "cpu") -> None:
        """Combines a model and a codec. The usual way to get one is `load`.

        Args:
            checkpoint: The model. It is moved to the device.
            codec: The codec that encoded the training data. If None, it is loaded by the name in the checkpoint.
            device: Where to compute.

        Raises:
            UserError: The codec has another identity than the one of the training data.
        """
        self.info = checkpoint.metadata.info
        if codec is None:
            codec = load_codec(self.info.codec_name, self.info.num_codebooks)
        if not same_codec(codec.identity, self.info.codec):
            raise UserError(
                f"The model speaks the codes of {self.info.codec}, but this codec is {codec.identity}: its audio "
                "would be noise. Give the codec that the data set was made with, or encode and train again."
            )
        self.info = self.info.model_copy(update={"codec": codec.identity})  # with the hash of its weights
        self.checkpoint = checkpoint
        self.conditions = checkpoint.metadata.conditions
        self.sampling = checkpoint.metadata.config.sampling
        self.codec = codec.to(device)  # before the model: it raises a UserError for a bad device
        self.model = checkpoint.model.to(device).eval()
        self.device = torch.device(device)
        self._compiled: dict[str, CompiledStep] = {}
        self._lock = threading.Lock()

    @property
    def context_frames(self) -> int:
        """Number of past frames that affect the next one: `num_layers * (window_frames - 1)`."""
        return self.model.config.num_layers * (self.model.config.window_frames - 1)

    def compiled_step(self, precision: str) -> CompiledStep:
        """Returns the compiled step for CPUs; it is made at the first call for each precision."""
        with self._lock:
            if precision not in self._compiled:
                self._compiled[precision] = CompiledStep(self.model, int8=precision == "int8")
            return self._compiled[precision]

    def open_stream(self, batch_size: int, sampling: Sampling, seed: int) -> CodeStream:
        """Starts code streams.

        Args:
            batch_size: Number of streams, `B`.
            sampling: How codes are drawn.
            seed: One seed for all streams.

        Returns:
            The streams, before their first frame.
        """
        masks = guidance_masks(sampling.still.guidance, self.conditions.layout) if sampling.guided else []
        few = self.device.type == "cpu" and batch_size * (len(masks) + 1) <= COMPILED_STREAMS
        step = self.compiled_step(sampling.still.precision) if few else self.model.step
        return CodeStream(self.model, step, masks, sampling, seed, batch_size)

    def draw(
        self, seconds: float, controls: Sequence[Controls], sampling: Sampling, seed: int = 0, progress: bool = False
    ) -> tuple[Tensor, CodeStream]:
        """Draws the codes of `B` takes of one length, side by side, from an empty start.

        Args:
            seconds: Length of each, above 0.
            controls: Controls of each take; their number is `B`.
            sampling: How codes are drawn, for all takes.
            seed: One seed for all takes.
            progress: Show a progress bar.

        Returns:
            Codes `(B, K, T)`, and the streams, which stand after the last frame.

        Raises:
            UserError: Controls are unknown, the length or seed is not allowed, or there is too little memory.
        """
        num_frames = self.num_frames(seconds, len(controls))
        for each in controls:
            each.check(self.conditions)
        stream = self.open_stream(len(controls), sampling, check_seed(seed))
        times = self.times(0, num_frames)
        conditions = torch.stack([self.condition_at(each, times) for each in controls])
        return stream.draw(conditions, sampling.at(times), progress), stream

    def times(self, start: int, end: int) -> np.ndarray:
        """Returns the times in seconds at which frames `start` to `end - 1` begin, `(end - start,)`."""
        return np.arange(start, end) / self.info.frame_rate

    def condition_at(self, controls: Controls, times: np.ndarray) -> Tensor:
        """Returns the conditions `(T, C)` at times `(T,)` in seconds. The controls must have been checked."""
        return torch.from_numpy(controls.condition_at(times, self.conditions)).to(self.device)

    def num_frames(self, seconds: object, streams: int = 1, name: str = "seconds") -> int:
        """Converts a length in seconds to a number of frames, and checks that the memory suffices.

        Args:
            seconds: Length of each take, above 0.
            streams: Number of takes that will be made side by side.
            name: Name of the length, for messages.

        Returns:
            The number of frames, 1 or more.

        Raises:
            UserError: The length is not a number above 0, or the free memory cannot hold the takes.
        """
        number = finite_number(seconds)
        if number is None or number <= 0.0:
            raise UserError(f"{name}={shown(seconds)}: expected a length above 0.")
        frame_bytes = SAMPLE_BYTES * self.info.hop_length + FRAME_BYTES + 12 * self.conditions.dim
        needed = frame_bytes * self.info.frame_rate  # bytes for a second of sound
        available = available_memory()
        if number * streams * needed > available:
            possible = available / streams / needed
            raise UserError(
                f"{name}={number:g}: {number * streams * needed / 1e9:.3g} GB of memory would be needed, and "
                f"{available / 1e9:.3g} GB are free. At most {possible:.0f} s fit now; `stream` plays on for ever in "
                "constant memory."
            )
        return max(1, round(number * self.info.frame_rate))

    def parse_sampling(self, changes: Mapping[str, Any], usual: Sampling | None = None) -> Sampling:
        """Checks sampling settings against this model.

        Args:
            changes: Settings by name, see `sampling.parse_sampling`.
            usual: Values of the settings that are not named; the checkpoint's if None.

        Raises:
            UserError: A setting or channel is unknown, a value is not allowed, or a list does not have `K` values.
        """
        sampling = parse_sampling(self.sampling, changes) if usual is None else usual.changed(changes)
        make_sampler(sampling.still, self.info.num_codebooks, torch.Generator())
        guidance_masks(sampling.still.guidance, self.conditions.layout)
        return sampling

    def prompt_codes(self, prompt: str | Path | np.ndarray | DacFile) -> np.ndarray:
        """Returns the codes `(K, T)` int64 of a prompt: a sound file (encoded here), a `.dac` file, or codes.

        Raises:
            UserError: The prompt cannot be read, or its codes are not of this instrument's codec.
        """
        codec, name = self.info.codec, "The prompt"
        if isinstance(prompt, np.ndarray):
            codes = prompt
        elif isinstance(prompt, DacFile):
            codes, codec = prompt.codes[0], prompt.codec
        elif Path(prompt).suffix.lower() == DAC_SUFFIX:
            file, name = read_dac(prompt), str(prompt)
            codes, codec = file.codes[0], file.codec
        else:
            codes = encode_file(Path(prompt), self.codec, trim=False).codes[0]
        self.check_codes(codes, codec, name)
        return codes[: self.info.num_codebooks].astype(np.int64)

    def check_codes(self, codes: np.ndarray, codec: str, name: str) -> None:
        """Raises an error for codes that the model cannot continue.

        Args:
            codes: Expected `(K or more, T)` integers in `[0, V)`.
            codec: Identity of the codec that made them; empty if unknown.
            name: Where they are from, for messages.

        Raises:
            UserError: The codec is unknown or another one, or the shape, type or range is wrong.
        """
        if codec and not same_codec(codec, self.info.codec):
            raise UserError(f"{name} holds codes of {codec}, but the model speaks those of {self.info.codec}.")
        if codes.ndim != 2 or len(codes) < self.info.num_codebooks or codes.size == 0 or codes.dtype.kind not in "ui":
            raise UserError(
                f"{name} has codes that are {codes.dtype} of shape {codes.shape}; "
                f"expected integers ({self.info.num_codebooks}, T) with T > 0."
            )
        if codes.min() < 0 or codes.max() >= self.info.codebook_size:
            raise UserError(
                f"{name} has codes from {codes.min()} to {codes.max()}; "
                f"expected 0 to {self.info.codebook_size - 1}, of {self.info.codec}."
            )
        if not codec:
            raise UserError(
                f"{name} does not say which codec made it, and codes of another one than {self.info.codec} are noise "
                f"to the model. If they are of this one, say so: --codec {self.info.codec_name}, or in Python give "
                "the codes, read_dac(path).codes[0]."
            )
