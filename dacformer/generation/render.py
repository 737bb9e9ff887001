"""Rendering: decodes codes and applies the level of their classes; for whole takes, loops and endless streams."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dacformer.config import SamplingConfig
from dacformer.generation.controls import Controls
from dacformer.generation.instrument import Instrument
from dacformer.generation.looping import decode_circle
from dacformer.generation.recipe import Generate, Recipe
from dacformer.generation.sampling import Sampling
from dacformer.generation.stream import CodeStream
from dacformer.generation.take import Take

DECODED_FRAMES = 64  # per call of the decoder


def level_gains(instrument: Instrument, controls: Controls, times: np.ndarray) -> np.ndarray:
    """Returns the gains `(T,)` that bring frames to the level of the recordings of their classes.

    A gain undoes the class's `level_offset_db`; for several classes, the mean in dB weighted by the class weights.
    """
    offsets = instrument.info.level_offset_db
    weights = {name: each.clip(min=0.0) for name, each in controls.at(times).classes.items() if name in offsets}
    nothing = np.zeros(len(times))
    total = np.sum([nothing, *weights.values()], axis=0)
    offset = np.sum([nothing, *(weight * offsets[name] for name, weight in weights.items())], axis=0)
    return 10.0 ** (-offset / np.where(total > 0.0, total, 1.0) / 20.0)


def apply_gains(audio: np.ndarray, gains_at: Callable[[np.ndarray], np.ndarray], first: int = 0) -> np.ndarray:
    """Multiplies audio by a gain for each sample, and clips it.

    Args:
        audio: `(N,)`.
        gains_at: Function from sample indices `(N,)` to gains `(N,)`. It should interpolate between frames, because
            a gain that jumps is heard as a click.
        first: Index of the first sample.

    Returns:
        `(N,)` float32, clipped to [-1, 1].
    """
    return np.clip(audio * gains_at(np.arange(first, first + len(audio))), -1.0, 1.0).astype(np.float32)


def decode(instrument: Instrument, codes: Tensor, start: int) -> np.ndarray:
    """Decodes codes `(B, K, T)` from frame `start` on to audio `(B, N)`, equal to that part of the whole decoded."""
    decoder = instrument.codec.stream_decoder(len(codes))
    context = min(start, decoder.delay_frames)  # the decoder's look-back equals its look-ahead
    chunks = codes[..., start - context :].split(DECODED_FRAMES, dim=-1)
    pieces = [decoder.push(chunk)[:, 0].cpu() for chunk in chunks]
    audio = torch.cat([*pieces, decoder.flush()[:, 0].cpu()], dim=-1).numpy()
    return audio[:, context * instrument.info.hop_length :]


def render(
    instrument: Instrument, codes: Tensor, recipes: Sequence[Recipe], parent: Take | None = None, unchanged: int = 0
) -> list[Take]:
    """Makes takes from codes: decodes them and applies the level of their classes.

    Args:
        instrument: The model and codec.
        codes: `(B, K, T)`.
        recipes: Recipes of the `B` takes.
        parent: A take that all `B` takes begin with, or None.
        unchanged: Number of leading frames that are equal to the parent's. Their audio is reused, except that of the
            last `delay_frames`, which depends on the codes that follow.

    Returns:
        The `B` takes, of no session yet.
    """
    hop, num_frames = instrument.info.hop_length, codes.shape[-1]
    kept = max(0, unchanged - instrument.codec.delay_frames)
    audio = decode(instrument, codes, kept)
    frames = np.arange(num_frames - kept)
    takes = []
    for recipe, own, sound in zip(recipes, codes, audio, strict=True):
        gains = level_gains(instrument, recipe.controls, instrument.times(kept, num_frames))
        new = apply_gains(sound, lambda at, gains=gains: np.interp(at / hop, frames, gains))
        before = parent.leading_samples(kept * hop) if parent is not None else ()
        takes.append(_take(instrument, (*before, new), own, recipe))
    return takes


def _take(instrument: Instrument, audio_chunks: Iterable[np.ndarray], codes: Tensor, recipe: Recipe) -> Take:
    return Take(
        audio_chunks=tuple(audio_chunks),
        codes=codes.cpu().numpy(),
        sample_rate=instrument.info.sample_rate,
        hop_length=instrument.info.hop_length,
        recipe=recipe,
    )


def generate_takes(
    instrument: Instrument,
    seconds: float,
    controls: Sequence[Controls],
    seed: int,
    progress: bool,
    changes: Mapping[str, Any],
) -> tuple[list[Take], CodeStream]:
    """Draws takes side by side from an empty start, and decodes them.

    Args:
        instrument: The model and codec.
        seconds: Length of the takes, above 0.
        controls: Controls of each take.
        seed: One seed for all takes.
        progress: Show a progress bar.
        changes: Sampling settings that replace those of the checkpoint.

    Returns:
        The `B` takes, of no session yet, and the streams at their end.

    Raises:
        UserError: As in `Instrument.draw` and `Instrument.parse_sampling`.
    """
    sampling = instrument.parse_sampling(changes)
    codes, stream = instrument.draw(seconds, controls, sampling, seed, progress)
    return render_generated(instrument, codes, controls, sampling, stream.seed), stream


def render_generated(
    instrument: Instrument, codes: Tensor, controls: Sequence[Controls], sampling: Sampling, seed: int
) -> list[Take]:
    """Makes takes from codes that were drawn side by side from an empty start.

    Args:
        instrument: The model and codec that drew them.
        codes: `(B, K, T)`.
        controls: Controls of each take.
        sampling: How codes were drawn, for all takes.
        seed: The seed of all takes.

    Returns:
        The `B` takes, of no session yet.
    """
    seconds = codes.shape[-1] / instrument.info.frame_rate
    common = {"checkpoint": instrument.checkpoint.identity, "codec": instrument.info.codec, "sampling": sampling}
    edits = (Generate(seconds=seconds, seed=seed),)
    recipes = [
        Recipe(**common, controls=each, seed=seed, take=i, seconds=seconds, edits=edits)
        for i, each in enumerate(controls)
    ]
    return render(instrument, codes, recipes)


def render_loop(instrument: Instrument, codes: Tensor, recipe: Recipe) -> Take:
    """Makes a loop from its codes `(K, T)`: a take, of no session yet, whose end continues into its beginning."""
    num_frames, hop = codes.shape[-1], instrument.info.hop_length
    gains = level_gains(instrument, recipe.controls, instrument.times(0, num_frames))
    audio = decode_circle(instrument.codec, codes)
    audio = apply_gains(audio, lambda at: np.interp(at / hop, np.arange(num_frames), gains, period=num_frames))
    return _take(instrument, [audio], codes, recipe)


class AudioStream:
    """Endless generation of audio in constant memory. The sound equals that of a take with the same codes."""

    def __init__(self, instrument: Instrument, seed: int, sampling: Sampling) -> None:
        """Starts the stream before its first frame.

        Args:
            instrument: The model and codec.
            seed: The same seed draws the same codes.
            sampling: Fixes the precision and whether and how many channels guidance uses. Other settings are given to
                `play`.
        """
        self._instrument = instrument
        self._codes = instrument.open_stream(1, sampling, seed)
        self._decoder = instrument.codec.stream_decoder()
        self._gains = np.zeros(0)  # of the frames whose audio is not complete yet
        self._samples = 0

    def play(
        self, controls: Controls, times: np.ndarray, settings: Sequence[SamplingConfig]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws and decodes the next `t` frames.

        Args:
            controls: The controls; they must have been checked.
            times: Times of the frames, `(t,)` seconds.
            settings: `t` sampling settings, one for each frame.

        Returns:
            The codes `(K, t)` int64, and the audio `(n,)` float32 that is complete now. Audio lags behind codes by
            the codec's `delay_frames`.
        """
        hop = self._instrument.info.hop_length
        codes = self._codes.draw(self._instrument.condition_at(controls, times)[None], settings)
        audio = self._decoder.push(codes)[0, 0].cpu().numpy()
        first = self._samples // hop
        known = np.concatenate([self._gains, level_gains(self._instrument, controls, times)])
        frames = np.arange(first, first + len(known))
        audio = apply_gains(audio, lambda at: np.interp(at / hop, frames, known), self._samples)
        self._samples += len(audio)
        self._gains = known[self._samples // hop - first :]
        return codes[0].cpu().numpy(), audio
