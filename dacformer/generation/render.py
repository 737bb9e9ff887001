"""Codes and controls to sound: decoded, brought to the level of the classes, whole, in a circle, or as a stream."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dacformer.config import SamplingConfig
from dacformer.generation.controls import Controls
from dacformer.generation.instrument import Instrument
from dacformer.generation.looping import decode_circle
from dacformer.generation.recipe import Generate, Recipe
from dacformer.generation.sampling import Sampling
from dacformer.generation.take import Take

DECODED_FRAMES = 64  # decoded in one call


def level_gains(instrument: Instrument, controls: Controls, times: np.ndarray) -> np.ndarray:
    """Factors `(T,)` that bring frames to the level of their classes' recordings, weighted as they are asked for."""
    offsets = instrument.info.level_offset_db
    weights = {name: each.clip(min=0.0) for name, each in controls.at(times).classes.items() if name in offsets}
    nothing = np.zeros(len(times))
    total = np.sum([nothing, *weights.values()], axis=0)
    offset = np.sum([nothing, *(weight * offsets[name] for name, weight in weights.items())], axis=0)
    return 10.0 ** (-offset / np.where(total > 0.0, total, 1.0) / 20.0)


def apply_gains(audio: np.ndarray, gains_at: Callable[[np.ndarray], np.ndarray], first: int = 0) -> np.ndarray:
    """Brings samples to a level that changes from frame to frame along a line, which does not click.

    Args:
        audio: `(N,)`.
        gains_at: Gives the gains at samples `(N,)`.
        first: Number of the first sample.

    Returns:
        `(N,)` float32, clipped to [-1, 1].
    """
    return np.clip(audio * gains_at(np.arange(first, first + len(audio))), -1.0, 1.0).astype(np.float32)


def decode(instrument: Instrument, codes: Tensor, start: int) -> np.ndarray:
    """Audio `(B, N)` of codes `(B, K, T)` from a frame on, the same samples as in the whole."""
    decoder = instrument.codec.stream_decoder(len(codes))
    context = min(start, decoder.delay_frames)  # the decoder looks as far back as ahead
    chunks = codes[..., start - context :].split(DECODED_FRAMES, dim=-1)
    pieces = [decoder.push(chunk)[:, 0].cpu() for chunk in chunks]
    audio = torch.cat([*pieces, decoder.flush()[:, 0].cpu()], dim=-1).numpy()
    return audio[:, context * instrument.info.hop_length :]


def render(
    instrument: Instrument, codes: Tensor, recipes: Sequence[Recipe], parent: Take | None = None, unchanged: int = 0
) -> list[Take]:
    """Decodes codes and brings each take to its classes' level.

    Args:
        instrument: What decodes.
        codes: `(B, K, T)`.
        recipes: Of each take.
        parent: The take whose beginning all share.
        unchanged: Frames that are the parent's. So is their audio, where the decoder has seen what follows them.

    Returns:
        The takes.
    """
    hop, num_frames = instrument.info.hop_length, codes.shape[-1]
    kept = max(0, unchanged - instrument.codec.delay_frames)
    audio = decode(instrument, codes, kept)
    frames = np.arange(num_frames - kept)
    takes = []
    for recipe, own, sound in zip(recipes, codes, audio, strict=True):
        gains = level_gains(instrument, recipe.controls, instrument.times(kept, num_frames))
        new = apply_gains(sound, lambda at, gains=gains: np.interp(at / hop, frames, gains))
        takes.append(
            Take(
                audio_chunks=(*(parent.leading_samples(kept * hop) if parent is not None else ()), new),
                codes=own.cpu().numpy(),
                sample_rate=instrument.info.sample_rate,
                hop_length=hop,
                recipe=recipe,
            )
        )
    return takes


def render_generated(
    instrument: Instrument, codes: Tensor, controls: Sequence[Controls], sampling: Sampling, seed: int
) -> list[Take]:
    """Decodes what was drawn from nothing, side by side.

    Args:
        instrument: What drew.
        codes: `(B, K, T)`.
        controls: What steered each.
        sampling: How all were drawn.
        seed: Of all together.

    Returns:
        The takes, of no session yet.
    """
    seconds = codes.shape[-1] / instrument.info.frame_rate
    common = {"checkpoint": instrument.checkpoint.identity, "codec": instrument.info.codec, "sampling": sampling}
    edits = (Generate(seconds=seconds, seed=seed),)
    recipes = [
        Recipe(**common, controls=each, seed=seed, take=i, seconds=seconds, edits=edits)
        for i, each in enumerate(controls)
    ]
    return render(instrument, codes, recipes)


def render_circle(instrument: Instrument, codes: Tensor, controls: Controls) -> np.ndarray:
    """Audio `(N,)` float32 of codes `(K, T)` whose end leads into their beginning."""
    num_frames, hop = codes.shape[-1], instrument.info.hop_length
    gains = level_gains(instrument, controls, instrument.times(0, num_frames))
    audio = decode_circle(instrument.codec, codes)
    return apply_gains(audio, lambda at: np.interp(at / hop, np.arange(num_frames), gains, period=num_frames))


class AudioStream:
    """One endless stream in constant memory: the sound of a take of the codes that it draws."""

    def __init__(self, instrument: Instrument, seed: int, sampling: Sampling) -> None:
        """Starts from the beginning.

        Args:
            instrument: What plays.
            seed: The same seed draws the same codes.
            sampling: Whether it is guided, and the precision.
        """
        self._instrument = instrument
        self._codes = instrument.open_stream(1, sampling, seed)
        self._decoder = instrument.codec.stream_decoder()
        self._gains = np.zeros(0)  # of the frames whose sound is not complete
        self._samples = 0

    def play(
        self, controls: Controls, times: np.ndarray, settings: Sequence[SamplingConfig]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws and decodes the next frames.

        Args:
            controls: What steers; checked before.
            times: `(t,)` seconds, of the next frames.
            settings: How each of them is drawn.

        Returns:
            The codes `(K, t)` int64, and the sound `(n,)` float32 that they complete, which lags behind them by the
            codec's delay.
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
