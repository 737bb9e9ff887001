"""A loop without a seam: cut out where the end leads into the beginning, and decoded in a circle.

The codec's decoder crosses the seam as it crosses every other pair of frames. What is audible there is that two
frames meet that were not made for each other, so where to cut is a search: for two places, the loop's length
apart, whose surroundings are alike, first as the codec's latents, then as they sound.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dacformer.codec import Codec

WINDOW_SAMPLES, HOP_SAMPLES, BANDS = 1024, 128, 40
AROUND_SECONDS = 0.05  # a jump is compared with what is this near
MEASURED_PLACES = 48  # of all places, those most alike that are decoded and measured


@dataclass(frozen=True)
class Seam:
    """How much a loop changes where its end meets its beginning, beside how much it changes elsewhere.

    Ranks: the share of places within that change less. 1 is more than anywhere else; a seam that is like every other
    place is as likely anywhere between 0 and 1.

    Attributes:
        spectrum: Of the mean difference, in dB over bands, between the spectra just before and just after.
        jump: Of the difference from one sample to the next, among those within 50 ms.
    """

    spectrum: float
    jump: float


def measure_seam(audio: np.ndarray, sample_rate: int) -> Seam:
    """Measures a loop.

    Args:
        audio: `(N,)`, one turn, some tenths of a second at least.
        sample_rate: In Hz.

    Returns:
        The ranks of its seam.
    """
    near = round(AROUND_SECONDS * sample_rate)
    return Seam(_rank(spectral_change(audio, 0), within(audio)), _jump_rank(np.roll(audio, near)[: 2 * near]))


def within(audio: np.ndarray) -> np.ndarray:
    """The spectral changes within a sound `(N,)`, away from its ends: one per `HOP_SAMPLES`, in dB."""
    places = np.arange(WINDOW_SAMPLES, len(audio) - WINDOW_SAMPLES, HOP_SAMPLES)
    return np.concatenate([spectral_change(audio, part) for part in np.array_split(places, 1 + len(places) // 4096)])


def spectral_change(audio: np.ndarray, places: int | np.ndarray) -> np.ndarray:
    """How the spectrum just after a place differs from the one just before it, in dB, averaged over bands.

    Args:
        audio: `(..., N)`; its end is taken to be followed by its beginning.
        places: `(P,)` or one, in samples.

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
    """The rank of the jump in the middle of `(N,)`."""
    jumps = np.abs(np.diff(audio))
    middle = len(audio) // 2 - 1
    return float((np.delete(jumps, middle) < jumps[middle]).mean())


@torch.inference_mode()
def decode_circle(codec: Codec, codes: Tensor) -> np.ndarray:
    """Decodes one turn of codes that go round and round.

    Args:
        codec: Their codec.
        codes: `(K, T)`.

    Returns:
        `(N,)` float32: sample 0 follows the last one.
    """
    around, num_frames, hop = codec.delay_frames, codes.shape[-1], codec.hop_length
    turn = codes[:, torch.arange(-around, num_frames + around) % num_frames]
    return codec.decode(turn[None])[0, 0, around * hop : (around + num_frames) * hop].cpu().numpy()


@torch.inference_mode()
def find_loop(codec: Codec, codes: Tensor, sounds: np.ndarray, num_frames: int) -> tuple[int, int]:
    """Finds the piece that makes the best loop.

    Args:
        codec: The codes' codec.
        codes: `(B, K, T)`, takes to choose from; `T` is at least `num_frames` and twice the codec's delay.
        sounds: `(B, T * hop_length)`, the same decoded: what changes are measured against.
        num_frames: Length of the loop.

    Returns:
        Which take, and its frame where the loop starts.
    """
    around, hop = codec.delay_frames, codec.hop_length
    near = max(WINDOW_SAMPLES, round(AROUND_SECONDS * codec.sample_rate))
    latents = codec.latents(codes)  # (B, D, T)
    distance = (latents[..., num_frames:] - latents[..., :-num_frames]).square().sum(dim=1)  # (B, T - num_frames)
    # Before start s: frames s - around to s + around - 1, beside those a loop's length later.
    alike = torch.nn.functional.avg_pool1d(distance[:, None], 2 * around, stride=1)[:, 0]
    places = [divmod(place, alike.shape[1]) for place in alike.flatten().argsort()[:MEASURED_PLACES].tolist()]
    # What each would sound like around its seam: the end of the loop, then its beginning.
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
