"""The synthesizer: what a person plays. `load` a checkpoint, `generate` a take, `stream` for ever."""

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
from dacformer.generation.render import AudioStream, render_generated
from dacformer.generation.sampling import Sampling
from dacformer.generation.session import LOOP_CHOICE_SECONDS, Session, loop_seconds
from dacformer.generation.take import Take


class Synthesizer(Instrument):
    """An instrument with the takes that a person makes on it; each take made from nothing begins a session."""

    def generate(
        self,
        seconds: float,
        controls: AnyControls | None = None,
        seed: int = 0,
        progress: bool = False,
        **sampling: Any,
    ) -> Take:
        """Makes one take.

        Args:
            seconds: Its length, above 0.
            controls: What steers it, see `Controls.of`.
            seed: The same seed gives the same take on the same machine.
            progress: Show a bar.
            **sampling: `temperature`, `top_k`, `top_p`, `guidance` in place of the checkpoint's, see `SamplingConfig`;
                each may be a `Curve` in the take's time.

        Returns:
            The take.

        Raises:
            UserError: Unknown controls or bad values.
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
        """Makes several takes of one length side by side, in little more time than one.

        Args:
            seconds: Their length.
            controls: One for each take.
            seed: Of the whole batch.
            progress: Show a bar.
            **sampling: As in `generate`.

        Returns:
            A take for each of `controls`.

        Raises:
            UserError: As in `generate`.
        """
        parsed, draws = _read_batch(controls), self.parse_sampling(sampling)
        codes, stream = self.draw(seconds, parsed, draws, seed, progress)
        takes = render_generated(self, codes, parsed, draws, stream.seed)
        return [Session(self).add(take, stream=stream if len(takes) == 1 else None) for take in takes]

    def generate_codes(
        self, seconds: float, controls: Sequence[AnyControls], seed: int = 0, **sampling: Any
    ) -> np.ndarray:
        """`generate_batch` without decoding: codes `(B, K, T)` int64."""
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

        The samples of a sound file are kept beside its codes as they came, see `Take.original`.

        Args:
            prompt: A sound file, a `.dac` file that states the model's codec (its path, or read), or codes `(K, T)`.
            seconds: Length of the continuation.
            controls: What steers the continuation (its time starts at 0 where the prompt ends); the prompt has
                the controls at 0.
            seed: As in `generate`.
            progress: Show a bar.
            **changes: Of the sampling, as in `generate`.

        Returns:
            One take: the prompt, through the codec, and its continuation.

        Raises:
            UserError: A prompt that cannot be read, or as in `generate`.
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
        """Makes a loop: a take that is long enough to choose from, and of that the best piece, see `Take.loop`.

        Args:
            seconds: Its length, rounded to frames.
            controls: As in `generate`.
            seed: As in `generate`.
            progress: Show a bar.
            **sampling: As in `generate`.

        Returns:
            The loop; its parent is the take.

        Raises:
            UserError: Shorter than 0.2 s, or as in `generate`.
        """
        length = loop_seconds(seconds)
        return self.generate(length + LOOP_CHOICE_SECONDS, controls, seed, progress, **sampling).loop(length)

    def load_take(self, path: str | Path) -> Take:
        """Opens a take to go on with it.

        Args:
            path: A folder or a `.dac` file that `Take.save` wrote; the sound of a `.dac` file is decoded.

        Returns:
            The take.

        Raises:
            UserError: It cannot be read, is of another codec, or was steered by what this model does not know.
        """
        return Session(self).open(path)

    def stream(
        self,
        controls: MovingControls | None = None,
        chunk_seconds: float = 0.2,
        seed: int = 0,
        **sampling: Any,
    ) -> Iterator[np.ndarray]:
        """Plays for ever, in constant memory.

        Args:
            controls: Controls whose curves run in the stream's time, or a function that is asked for the controls of
                every chunk.
            chunk_seconds: Length of the pieces, rounded to whole frames; a change of controls is audible that soon,
                plus the codec's delay.
            seed: As in `generate`.
            **sampling: As in `generate`.

        Yields:
            Audio `(n,)` float32. The first piece is shorter: the codec's decoder looks a few frames ahead.

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
    """Loads an instrument.

    Args:
        path: A run or a checkpoint's folder.
        which: Of a run: `best`, `last`, or a step's number.
        codec: Name or path, where it is not the one that the checkpoint names.
        device: Where to compute.

    Returns:
        The synthesizer.

    Raises:
        UserError: No checkpoint, a damaged one, or another codec.
    """
    checkpoint = load_checkpoint(path, str(which))
    info = checkpoint.metadata.info
    return Synthesizer(checkpoint, load_codec(codec or info.codec_name, info.num_codebooks), device)


def _read_batch(controls: Sequence[AnyControls]) -> list[Controls]:
    if isinstance(controls, Mapping | Controls) or not len(controls):
        raise UserError(f"The controls of a batch are {shown(controls)}. Expected a list, one for each take.")
    return [Controls.of(each) for each in controls]
