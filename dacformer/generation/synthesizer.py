"""Synthesizer: the main class for generation. `load` a checkpoint, `generate` takes, `stream` without end."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dacformer.arguments import check_seed
from dacformer.checkpoint import load_checkpoint
from dacformer.codec import DacFile, load_codec
from dacformer.errors import UserError, shown
from dacformer.generation.controls import AnyControls, Controls, MovingControls
from dacformer.generation.instrument import Instrument
from dacformer.generation.render import AudioStream, generate_takes
from dacformer.generation.sampling import Sampling
from dacformer.generation.session import LOOP_CHOICE_SECONDS, Session, loop_seconds
from dacformer.generation.take import Take


class Synthesizer(Instrument):
    """Instrument with methods that make takes. Each new take is the root of a session of its own."""

    def generate(
        self,
        seconds: float,
        controls: AnyControls | None = None,
        seed: int = 0,
        progress: bool = False,
        **sampling: Any,
    ) -> Take:
        """Generates a take.

        Args:
            seconds: Length, above 0.
            controls: Class and parameters: `{"class": "rain", "strength": 0.4}`, see `Controls.of`.
            seed: From 0 to 2^63 - 1. The same seed gives the same take on the same machine.
            progress: Show a progress bar.
            **sampling: Settings that replace those of the checkpoint: `temperature`, `top_k`, `top_p`, `guidance`,
                `precision`, see `SamplingConfig`. Each number may be a `Curve` over the seconds of the take.

        Returns:
            The take.

        Raises:
            UserError: Controls are unknown, a value is not allowed, or there is too little memory.
        """
        return Session(self).generate(seconds, controls, seed, progress, **sampling)

    def generate_batch(
        self,
        seconds: float,
        controls: Sequence[AnyControls],
        seed: int = 0,
        progress: bool = False,
        **sampling: Any,
    ) -> list[Take]:
        """Generates several takes of one length side by side. This takes little more time than one take.

        Args:
            seconds: Length of each, above 0.
            controls: Controls of each take; one or more.
            seed: One seed for the whole batch. A take also depends on the number of takes and on its place.
            progress: Show a progress bar.
            **sampling: As in `generate`.

        Returns:
            One take for each of `controls`.

        Raises:
            UserError: As in `generate`.
        """
        takes, stream = generate_takes(self, seconds, _read_batch(controls), seed, progress, sampling)
        return [Session(self).add(take, stream=stream if len(takes) == 1 else None) for take in takes]

    def generate_codes(
        self, seconds: float, controls: Sequence[AnyControls], seed: int = 0, **sampling: Any
    ) -> np.ndarray:
        """Generates codes `(B, K, T)` int64, as `generate_batch` does, without decoding them."""
        codes, _ = self.draw(seconds, _read_batch(controls), self.parse_sampling(sampling), seed)
        return codes.cpu().numpy()

    def continue_from(
        self,
        prompt: str | Path | np.ndarray | DacFile,
        seconds: float,
        controls: AnyControls | None = None,
        seed: int = 0,
        progress: bool = False,
        **changes: Any,
    ) -> Take:
        """Continues a sound.

        The samples of a sound file are kept unchanged beside its codes, see `Take.original`.

        Args:
            prompt: Path of a sound file, a `.dac` file of the model's codec (path or contents), or codes `(K, T)`.
            seconds: Length of the continuation, above 0.
            controls: Controls of the continuation; their time 0 is where the prompt ends. The prompt is fed to the
                model with their values at time 0.
            seed: As in `generate`.
            progress: Show a progress bar.
            **changes: Sampling settings, as in `generate`; time 0 of curves is where the prompt ends.

        Returns:
            One take: the prompt, encoded and decoded by the codec, and its continuation.

        Raises:
            UserError: The prompt cannot be read, or as in `generate`.
        """
        return Session(self).prompt(prompt, seconds, controls, seed, progress, **changes)

    def loop(
        self,
        seconds: float,
        controls: AnyControls | None = None,
        seed: int = 0,
        progress: bool = False,
        **sampling: Any,
    ) -> Take:
        """Generates a loop: a longer take, of which the best piece is cut out, see `Take.loop`.

        Args:
            seconds: Length of the loop, 0.2 or more; rounded to frames.
            controls: As in `generate`.
            seed: As in `generate`.
            progress: Show a progress bar.
            **sampling: As in `generate`.

        Returns:
            The loop. Its parent is the longer take.

        Raises:
            UserError: The length is below 0.2 s, or as in `generate`.
        """
        length = loop_seconds(seconds)
        return self.generate(length + LOOP_CHOICE_SECONDS, controls, seed, progress, **sampling).loop(length)

    def load_take(self, path: str | Path) -> Take:
        """Reads a saved take so that it can be edited.

        Args:
            path: A folder or a `.dac` file that `Take.save` wrote. A `.dac` file has no audio, so it is decoded.

        Returns:
            The take, as the root of a new session.

        Raises:
            UserError: It cannot be read, is of another codec, or has classes or parameters that this model lacks.
        """
        return Session(self).open(path)

    def stream(
        self,
        controls: MovingControls | None = None,
        chunk_seconds: float = 0.2,
        seed: int = 0,
        **sampling: Any,
    ) -> Iterator[np.ndarray]:
        """Generates audio without end, in constant memory.

        Args:
            controls: Controls; curves are over the seconds of the stream. Or a function that is called before each
                chunk with its time in seconds, and returns the controls of the chunk.
            chunk_seconds: Length of a chunk, rounded to frames. A change of controls is audible after at most this
                time plus the codec's delay.
            seed: As in `generate`.
            **sampling: As in `generate`.

        Yields:
            Audio `(n,)` float32 in [-1, 1]. The first chunk is shorter by the look-ahead of the codec's decoder.

        Raises:
            UserError: As in `generate`.
        """
        draws = self.parse_sampling(sampling)
        stream = AudioStream(self, check_seed(seed), draws)
        chunk_frames = self.num_frames(chunk_seconds, name="chunk_seconds")
        if callable(controls):
            return self._play(stream, controls, draws, chunk_frames)
        still = Controls.of(controls)
        still.check(self.conditions)
        return self._play(stream, lambda _: still, draws, chunk_frames)

    def _play(
        self, stream: AudioStream, controls: Callable[[float], AnyControls], draws: Sampling, chunk_frames: int
    ) -> Iterator[np.ndarray]:
        for first in itertools.count(0, chunk_frames):
            times = self.times(first, first + chunk_frames)
            now = Controls.of(controls(float(times[0])))
            now.check(self.conditions)
            yield stream.play(now, times, draws.at(times))[1]


def load(
    path: str | Path, which: str | int = "best", codec: str | Path | None = None, device: str | torch.device = "cpu"
) -> Synthesizer:
    """Loads a trained model with its codec.

    Args:
        path: Folder of a run or of a checkpoint.
        which: Which checkpoint of a run: `best`, `last`, or a step number.
        codec: Name or path of the codec; if None, the one that the checkpoint names.
        device: Where to compute.

    Returns:
        The synthesizer.

    Raises:
        UserError: The checkpoint is missing or damaged, or the codec is not the one of the training data.
    """
    checkpoint = load_checkpoint(path, str(which))
    info = checkpoint.metadata.info
    return Synthesizer(checkpoint, load_codec(codec or info.codec_name, info.num_codebooks), device)


def _read_batch(controls: Sequence[AnyControls]) -> list[Controls]:
    if isinstance(controls, Mapping | Controls) or not len(controls):
        raise UserError(f"The controls of a batch are {shown(controls)}. Expected a list, one for each take.")
    return [Controls.of(each) for each in controls]
