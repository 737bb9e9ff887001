"""The instrument: a trained model with its codec. What all that makes sound draws, decodes and checks with.

Shapes: `B` takes side by side, `K` codebooks, `T` frames, `N` samples, `C` width of a condition.
"""

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

SAMPLE_BYTES, FRAME_BYTES = 40, 1000  # what a take needs at most while it is made (measured: 31 a sample)
COMPILED_STREAMS = 64  # side by side on a CPU; from there on torch's matrix products win


class Instrument:
    """A trained model with its codec."""

    def __init__(self, checkpoint: Checkpoint, codec: Codec | None = None, device: str | torch.device = "cpu") -> None:
        """Joins a model and a codec; `load` is the usual way.

        Args:
            checkpoint: The model.
            codec: The codec that its training codes came from; loaded by the name in the checkpoint if None.
            device: Where to compute.

        Raises:
            UserError: A codec of another identity: the model's codes would be noise to it.
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
        self.codec = codec.to(device)  # first: it says what is wrong with a device
        self.model = checkpoint.model.to(device).eval()
        self.device = torch.device(device)
        self._compiled: dict[str, CompiledStep] = {}

    @property
    def context_frames(self) -> int:
        """How many frames back the model looks: `num_layers * (window_frames - 1)`."""
        return self.model.config.num_layers * (self.model.config.window_frames - 1)

    def compiled_step(self, precision: str) -> CompiledStep:
        """The model's step for a few streams on the CPU, made once for each precision."""
        if precision not in self._compiled:
            self._compiled[precision] = CompiledStep(self.model, int8=precision == "int8")
        return self._compiled[precision]

    def open_stream(self, batch_size: int, sampling: Sampling, seed: int) -> CodeStream:
        """Starts streams of codes.

        Args:
            batch_size: Streams side by side, `B`.
            sampling: How codes are drawn.
            seed: Of all streams together.

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
        """Draws takes of one length side by side, from the beginning.

        Args:
            seconds: Their length, above 0.
            controls: Of each.
            sampling: Of all.
            seed: Of all together.
            progress: Show a bar.

        Returns:
            Codes `(B, K, T)`, and the streams at their end.

        Raises:
            UserError: Unknown controls, no length, no seed, or the memory does not hold the takes.
        """
        num_frames = self.num_frames(seconds, len(controls))
        for each in controls:
            each.check(self.conditions)
        stream = self.open_stream(len(controls), sampling, check_seed(seed))
        times = self.times(0, num_frames)
        conditions = torch.stack([self.condition_at(each, times) for each in controls])
        return stream.draw(conditions, sampling.at(times), progress), stream

    def times(self, start: int, end: int) -> np.ndarray:
        """When frames begin, in seconds: `(end - start,)`."""
        return np.arange(start, end) / self.info.frame_rate

    def condition_at(self, controls: Controls, times: np.ndarray) -> Tensor:
        """Conditions `(T, C)` of the frames at these times; the controls are checked before."""
        return torch.from_numpy(controls.condition_at(times, self.conditions)).to(self.device)

    def num_frames(self, seconds: object, streams: int = 1, name: str = "seconds") -> int:
        """The frames of a length.

        Args:
            seconds: The length, above 0.
            streams: Takes of it that are to be made side by side.
            name: What the length is called in messages.

        Returns:
            The frames, at least one.

        Raises:
            UserError: No length, or the memory does not hold takes of it.
        """
        number = finite_number(seconds)
        if number is None or number <= 0.0:
            raise UserError(f"{name}={shown(seconds)}: expected a length above 0.")
        frame_bytes = SAMPLE_BYTES * self.info.hop_length + FRAME_BYTES + 12 * self.conditions.dim
        needed = frame_bytes * self.info.frame_rate  # for a second
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
        """Checks settings of the sampling.

        Args:
            changes: See `sampling.parse_sampling`.
            usual: What is not named stays so; the checkpoint's if None.

        Raises:
            UserError: An unknown setting or channel, a value that it cannot have, or lists of another length than `K`.
        """
        sampling = parse_sampling(self.sampling, changes) if usual is None else usual.changed(changes)
        make_sampler(sampling.still, self.info.num_codebooks, torch.Generator())
        guidance_masks(sampling.still.guidance, self.conditions.layout)
        return sampling

    def prompt_codes(self, prompt: str | Path | np.ndarray | DacFile) -> np.ndarray:
        """Codes `(K, T)` int64 of a sound file (encoded), a `.dac` file, or codes.

        Raises:
            UserError: It cannot be read, or holds codes that are not of this instrument's codec.
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
        """Refuses codes that the model does not know.

        Args:
            codes: To be looked at.
            codec: Identity of the codec that made them; empty where it is not known.
            name: Where they are from, for messages.

        Raises:
            UserError: Another codec, shape, type or range.
        """
        if codec not in ("", self.info.codec):
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
