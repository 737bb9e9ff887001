"""Does one set of clips have the texture of another? Statistics of a model of the ear, averaged over time.

McDermott & Simoncelli, "Sound texture perception via statistics of the auditory periphery: evidence from sound
synthesis", Neuron 71, 2011: noise that is shaped until it has these statistics of a recording of rain, fire or insects
sounds like that recording. So they say what a listener keeps of a texture, and little of what one forgets.

    sound -> cochlear bands -> envelopes, compressed, 400 Hz -> modulation bands
                 level              moments, correlations      power, correlations

In shapes, C is cochlear bands (35), P is pairs of them, M is modulation bands (20, or 6 an octave apart), K is
modulation frequencies, L is samples of an envelope.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.fft import dct, idct, ifft, rfft, rfftfreq

LOW_HZ, BAND_ERBS, NUM_BANDS = 20.0, 1.11, 35
"""Cochlear bands: the lowest begins at `LOW_HZ`, each spans two steps of `BAND_ERBS`. The first 30 are the paper's, 52
Hz to 8.8 kHz; those up to 16 kHz take the place of its one wide band above. Below 20 Hz nothing is heard."""

ENVELOPE_HZ, FINE_HZ = 400, 8000
"""Rate of the envelopes; and of their compression, 8 kHz, in which every cochlear band has room."""

COMPRESSION = 0.3
"""Exponent that stands for the compression of the inner ear."""

FLOOR = 1e-6
"""Power below which nothing is heard, relative to the whole: 60 dB down."""

STILL = 1e-4
"""Variance of an envelope of mean 1 that is not heard: a tone modulated by 5 % is about the least that is, and
compression makes 1 % RMS of that. Added to variances, so that what is constant has no shape and no correlations."""

PAIR_OFFSETS = (1, 2, 3, 5, 8, 11, 16, 21)
"""Between which bands envelopes are correlated."""

MODULATION_HZ = np.geomspace(0.5, 200, 20)
"""Centres of the modulation bands whose power is measured."""

MODULATION_WIDTH = 2 * np.log2((1 + 17**0.5) / 4)
"""Half the width of these bands in octaves: 3 dB down they are half as wide as their centre is high (Q = 2)."""

OCTAVES_HZ = 3.125 * 2.0 ** np.arange(6)
"""Centres of the modulation bands, an octave to either side, that are correlated between cochlear bands."""

TRIM_SECONDS, MIN_SECONDS = 0.1, 0.5
"""What is left out at both ends of the envelopes, where filters feel the edge; and how long a sound is at least."""


def texture_statistics(audio: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
    """Measures what the ear keeps of a texture.

    Args:
        audio: `(N,)` float, any level and length. Four seconds or more to be meaningful; below half a second silence
            is appended.
        sample_rate: Hz. Compare only sounds of one rate: bands above half of it are empty.

    Returns:
        Statistics by kind, all finite and independent of the sound's level:

        - `level`: `(C,)`, power of each cochlear band in dB relative to the whole, at least -60.
        - `mean`: `(C,)`, of the compressed envelope, in dB of the sound before compression, relative to its RMS.
        - `variation`: `(C,)`, variance of the envelope over its squared mean.
        - `skewness`, `kurtosis`: `(C,)`, standardised third and fourth moment of the envelope; 0 where it is still.
        - `correlation`: `(P,)`, in [-1, 1], of the envelopes of bands that are 1, 2, 3, 5, 8, 11, 16 and 21 apart.
        - `modulation`: `(C, M)`, share of the variance of the envelope in each modulation band. Neighbours overlap: of
            a flat spectrum the shares sum to more than one.
        - `modulation_correlation`: `(6, P)`, in [-1, 1], correlation of one modulation band between cochlear bands
            that are 1 and 2 apart (the paper's C1).
    """
    fine, share = _envelopes(audio, sample_rate)
    length = fine.shape[1] * ENVELOPE_HZ // FINE_HZ
    # The cosine transform is orthonormal and mirrors at the ends, where a Fourier transform would see a step: cut
    # short it resamples, weighted it filters, and sums of its products are covariances.
    spectrum = dct(fine, norm="ortho")[:, :length] / np.sqrt(FINE_HZ / ENVELOPE_HZ)  # (C, K)
    envelope = idct(spectrum, norm="ortho")  # (C, L)
    mean = envelope.mean(axis=1, keepdims=True)
    variation = envelope.var(axis=1, keepdims=True) / mean**2
    scale = mean * np.sqrt(variation + STILL)
    shape = (envelope - mean) / scale
    rates = np.arange(1, length) * (ENVELOPE_HZ / 2 / length)
    spectrum = spectrum[:, 1:] / scale / np.sqrt(length)
    filtered = _modulation_bands(rates, OCTAVES_HZ, 1.0)[:, None] * spectrum  # (6, C, K)
    filtered /= np.sqrt(np.sum(filtered**2, axis=-1, keepdims=True) + STILL)
    return {
        "level": 10 * np.log10(share + FLOOR),
        "mean": 20 / COMPRESSION * np.log10(mean[:, 0]),
        "variation": variation[:, 0],
        "skewness": np.mean(shape**3, axis=1),
        "kurtosis": np.mean(shape**4, axis=1),
        "correlation": _pairs(spectrum @ spectrum.T, PAIR_OFFSETS),
        "modulation": spectrum**2 @ _modulation_bands(rates, MODULATION_HZ, MODULATION_WIDTH).T ** 2,
        "modulation_correlation": _pairs(filtered @ filtered.transpose(0, 2, 1), PAIR_OFFSETS[:2]),
    }


def _half_cosine(distance: np.ndarray) -> np.ndarray:
    """One at 0, nothing from 1 on; two that are 1 apart have squares that sum to one."""
    return np.cos(np.pi / 2 * np.minimum(np.abs(distance), 1))


def _modulation_bands(rates: np.ndarray, centres: np.ndarray, width: float) -> np.ndarray:
    """Gain of modulation bands `(M,)`, `width` octaves to either side, at rates `(K,)`, both in Hz: `(M, K)`."""
    return _half_cosine(np.log2(rates / centres[:, None]) / width)


def cochlear_bands(frequencies: np.ndarray) -> list[tuple[slice, np.ndarray]]:
    """The cochlear filterbank: half-cosines on the scale of equivalent rectangular bandwidths.

    The squares of the gains sum to one from the centre of the lowest band, 52 Hz, to that of the highest, 16.3 kHz.
    The scale is that of Glasberg & Moore, Hearing Research 47, 1990.

    Args:
        frequencies: `(F,)` Hz, rising.

    Returns:
        For each of the C bands the frequencies that it passes, and its gain there.
    """
    low, *_ = erbs = 9.265 * np.log1p(np.append(LOW_HZ, frequencies) / (24.7 * 9.265))
    position = (erbs[1:] - low) / BAND_ERBS  # band c has its centre at c + 1
    edges = np.searchsorted(position, np.arange(NUM_BANDS + 2))
    passed = [slice(edges[band], edges[band + 2]) for band in range(NUM_BANDS)]
    return [(bins, _half_cosine(position[bins] - band - 1)) for band, bins in enumerate(passed)]


def _envelopes(audio: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Compressed envelopes `(C, L)` at 8 kHz, and each cochlear band's share of the power `(C,)`."""
    if np.ndim(audio) != 1:
        raise ValueError(f"audio has shape {np.shape(audio)}; give one channel, (N,)")
    audio = np.asarray(audio, dtype=np.float64)
    audio = audio / (np.abs(audio).max(initial=0.0) or 1.0)  # squares of extremely soft or loud samples stay in range
    seconds = max(len(audio) / sample_rate, MIN_SECONDS)
    blocks = math.ceil(10 * seconds)  # of a tenth of a second: lengths that transform fast, at both rates
    samples, length = round(blocks * sample_rate / 10), blocks * FINE_HZ // 10
    spectrum = rfft(audio, samples)
    bands = np.zeros((NUM_BANDS, length), dtype=complex)
    for band, (bins, gain) in zip(bands, cochlear_bands(rfftfreq(samples, 1 / sample_rate)), strict=True):
        # Moved down to begin at 0 Hz, which changes only the phase, a band fits into the lower rate.
        band[: len(gain)] = spectrum[bins] * gain
    power = np.sum(bands.real**2 + bands.imag**2, axis=1)
    whole = power.sum() or 1.0
    analytic = ifft(bands, norm="forward", overwrite_x=True)[
        :, FINE_HZ // 10 : int(seconds * ENVELOPE_HZ) * FINE_HZ // ENVELOPE_HZ - FINE_HZ // 10
    ]
    squares = (analytic.real**2 + analytic.imag**2) * (seconds * 10 / blocks / whole)
    return (squares + FLOOR) ** (COMPRESSION / 2), power / whole


def _pairs(matrix: np.ndarray, offsets: Sequence[int]) -> np.ndarray:
    """Entries of `(..., C, C)` that are `offsets` above the diagonal, `(..., P)`."""
    return np.concatenate([np.diagonal(matrix, offset, -2, -1) for offset in offsets], axis=-1)
