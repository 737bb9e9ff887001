"""Metrics of a codec, for its training and its report: spectral distances, level, perplexity.

`K` codebooks, `V` codebook size, `T` frames, `N` samples.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dacformer import audio as sound

LEVEL_RMS = 0.1
"""Root mean square of recordings after normalization, in training and in measurements."""


def load_recording(path: Path, sample_rate: int, speed: float = 1.0) -> np.ndarray:
    """Reads a recording, cuts trailing silence, and scales it to `LEVEL_RMS`.

    Args:
        path: A sound file.
        sample_rate: In Hz.
        speed: Playback speed; 2 is an octave higher and half as long.

    Returns:
        `(N,)` float32.
    """
    audio = sound.trim_trailing_silence(sound.read_audio(path, round(sample_rate / speed)))
    return at_level(audio)


def at_level(audio: np.ndarray) -> np.ndarray:
    """Scales audio `(N,)` to `LEVEL_RMS`; silence stays silence."""
    return (audio * (LEVEL_RMS / max(float(np.sqrt(np.mean(audio**2))), 1e-5))).astype(np.float32)


def mel_loss() -> nn.Module:
    """Makes the seven-scale mel distance of descript-audio-codec (arXiv:2306.06546, section 3.4)."""
    from dac.nn.loss import MelSpectrogramLoss

    return MelSpectrogramLoss(
        n_mels=[5, 10, 20, 40, 80, 160, 320],
        window_lengths=[32, 64, 128, 256, 512, 1024, 2048],
        mel_fmin=[0.0] * 7,
        mel_fmax=[None] * 7,
        pow=1.0,
        clamp_eps=1e-5,
        mag_weight=0.0,
    )


def stft_loss() -> nn.Module:
    """Makes the two-scale spectral distance of descript-audio-codec: magnitudes and their logarithms."""
    from dac.nn.loss import MultiScaleSTFTLoss

    return MultiScaleSTFTLoss()


def make_comparison(sample_rate: int) -> Callable[[np.ndarray, np.ndarray], dict[str, float]]:
    """Makes a function that compares a decoded sound with its original.

    Args:
        sample_rate: In Hz.

    Returns:
        `(decoded (N,), original (N,)) -> result`, with the distances `mel` and `stft` (0 for equal sounds)
        and `level_db`, the RMS of the decoded over that of the original.
    """
    from audiotools import AudioSignal

    losses = {"mel": mel_loss(), "stft": stft_loss()}

    def compare(decoded: np.ndarray, original: np.ndarray) -> dict[str, float]:
        signals = [AudioSignal(torch.from_numpy(each)[None, None], sample_rate) for each in (decoded, original)]
        with warnings.catch_warnings():  # each scale of a loss has its own spectrogram
            warnings.filterwarnings("ignore", message="stft_data changed shape")
            result = {name: float(loss(*signals)) for name, loss in losses.items()}
        powers = [float(np.mean(np.square(each, dtype=np.float64))) + 1e-12 for each in (decoded, original)]
        return result | {"level_db": float(10 * np.log10(powers[0] / powers[1]))}

    return compare


def perplexity(codes: Tensor, codebook_size: int) -> Tensor:
    """Computes how many codes of each codebook are in use: the exponential of their entropy.

    Args:
        codes: `(B, K, T)`.
        codebook_size: `V`.

    Returns:
        `(K,)` in [1, V].
    """
    counts = torch.stack(
        [torch.bincount(codes[:, k].flatten(), minlength=codebook_size) for k in range(codes.shape[1])]
    )
    share = counts / counts.sum(dim=1, keepdim=True)
    return torch.exp(torch.special.entr(share).sum(dim=1))
