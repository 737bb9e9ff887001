"""Loops without an audible seam: finds where to cut, and decodes so that the end continues into the beginning.

The codes of a loop are decoded with the last frames repeated before them and the first frames after them, so the
decoder itself makes no seam. A seam remains audible if the frames that meet there do not fit together. So the cut is
searched for: two places, one loop length apart, with similar frames around them. Places are first ranked by the
distance of codec latents. The best ones are then decoded and measured.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dacformer.codec import Codec

WINDOW_SAMPLES, HOP_SAMPLES, BANDS = 1024, 128, 40
AROUND_SECONDS = 0.05  # a jump is compared with the jumps within this time
MEASURED_PLACES = 48  # number of best places that are decoded and measured


@dataclass(frozen=True)
class Seam:
    """How noticeable the seam of a loop is, compared with the rest of the loop.

    Both values are ranks in [0, 1]: the share of other places in the loop at which the sound changes less. 1 means
    that the seam changes more than any other place. Ranks of an unnoticeable seam are uniformly distributed.

    Attributes:
        spectrum: Rank of the spectral change, see `spectral_change`, among all places.
        jump: Rank of the difference between the last and the first sample, among those within 50 ms.
    """

    spectrum: float
    jump: float


def measure_seam(audio: np.ndarray, sample_rate: int) -> Seam:
    """Measures the seam of a loop.

    Args:
        audio: `(N,)`, one repetition; 0.2 s or more.
        sample_rate: In Hz.

    Returns:
        The ranks of the seam.
    """
    near = round(AROUND_SECONDS * sample_rate)
    return Seam(_rank(spectral_change(audio, 0), within(audio)), _jump_rank(np.roll(audio, near)[: 2 * near]))


def within(audio: np.ndarray) -> np.ndarray:
    """Returns the spectral changes within audio `(N,)`, away from its ends: one per `HOP_SAMPLES`, in dB."""
    places = np.arange(WINDOW_SAMPLES, len(audio) - WINDOW_SAMPLES, HOP_SAMPLES)
    return np.concatenate([spectral_change(audio, part) for part in np.array_split(places, 1 + len(places) // 4096)])


def spectral_change(audio: np.ndarray, places: int | np.ndarray) -> np.ndarray:
    """Returns the mean absolute difference over bands, in dB, between the spectra just before and just after places.

    Args:
        audio: `(..., N)`, treated as a loop: its beginning follows its end.
        places: One place or several, `(P,)`, as sample indices.

    Returns:
        `(..., P)`.
    """
    window = np.hanning(WINDOW_SAMPLES)
    offsets = np.atleast_1d(places)[:, None] + np.arange(WINDOW_SAMPLES)
    edges = np.unique(np.geomspace(1, WINDOW_SAMPLES // 2, BANDS).astype(int))
    levels = []
    for start in (offsets, offsets - WINDOW_SAMPLES):
        power = np.abs(np.fft.rfft(audio[..., start % audio.shape[-1]] * window)) ** 2
        levels.append(10.0 * np.log10(np.add.reduceat(power, edges, axis=-1) + 1e-9))
    return np.abs(levels[0] - levels[1]).mean(axis=-1)


def _rank(value: np.ndarray, others: np.ndarray) -> float:
    return float((others < value).mean())


def _jump_rank(audio: np.ndarray) -> float:
    """Returns the rank of the jump in the middle of audio `(N,)` among all its jumps."""
    jumps = np.abs(np.diff(audio))
    middle = len(audio) // 2 - 1
    return float((np.delete(jumps, middle) < jumps[middle]).mean())


@torch.inference_mode()
def decode_circle(codec: Codec, codes: Tensor) -> np.ndarray:
    """Decodes the codes of a loop so that there is no seam.

    Args:
        codec: The codec of the codes.
        codes: One repetition, `(K, T)`.

    Returns:
        `(N,)` float32, one repetition: sample 0 continues the last sample.
    """
    around, num_frames, hop = codec.delay_frames, codes.shape[-1], codec.hop_length
    turn = codes[:, torch.arange(-around, num_frames + around) % num_frames]
    return codec.decode(turn[None])[0, 0, around * hop : (around + num_frames) * hop].cpu().numpy()


@torch.inference_mode()
def find_loop(codec: Codec, codes: Tensor, sounds: np.ndarray, num_frames: int) -> tuple[int, int]:
    """Finds the piece of several takes that makes the best loop.

    Args:
        codec: The codec of the codes.
        codes: Takes to choose from, `(B, K, T)`. `T` is at least `num_frames + 2 * codec.delay_frames`.
        sounds: Their audio, `(B, T * hop_length)`. Changes at a seam are ranked among the changes within it.
        num_frames: Length of the loop.

    Returns:
        Index of the take, and the frame in it where the loop starts.
    """
    around, hop = codec.delay_frames, codec.hop_length
    near = max(WINDOW_SAMPLES, round(AROUND_SECONDS * codec.sample_rate))
    latents = codec.latents(codes)  # (B, D, T)
    distance = (latents[..., num_frames:] - latents[..., :-num_frames]).square().sum(dim=1)  # (B, T - num_frames)
    # alike[s] compares the frames s to s + 2 * around - 1 with those one loop length later: the surroundings of a
    # loop that starts at s + around.
    alike = torch.nn.functional.avg_pool1d(distance[:, None], 2 * around, stride=1)[:, 0]
    places = [divmod(place, alike.shape[1]) for place in alike.flatten().argsort()[:MEASURED_PLACES].tolist()]
    # Codes around the seam of each candidate: the end of the loop, then its beginning.
    reach = around + -(-near // hop)
    ends = torch.arange(-reach, 0)
    seams = torch.stack(
        [
            codes[which, :, torch.cat([start + around + num_frames + ends, start + around + torch.arange(reach)])]
            for which, start in places
        ]
    )
    middles = codec.decode(seams)[:, 0].cpu().numpy()[:, reach * hop - near : reach * hop + near]
    inside = np.concatenate([within(sound) for sound in sounds])
    worst = [max(_rank(spectral_change(each, near), inside), _jump_rank(each)) for each in middles]
    which, start = places[int(np.argmin(worst))]
    return which, start + around
