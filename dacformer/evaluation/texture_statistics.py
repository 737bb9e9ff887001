"""Texture statistics: statistics of a model of the ear, averaged over time, and a distance between sets of clips.

McDermott & Simoncelli, "Sound texture perception via statistics of the auditory periphery: evidence from sound
synthesis", Neuron 71, 2011: noise that is shaped until it has these statistics of a recording of rain, fire or insects
sounds much like the recording. They are what a listener keeps of a texture.

    sound -> cochlear bands -> compressed envelopes -> modulation bands
                 level        moments, correlations   power, correlations

In shapes, C is cochlear bands (35), P is pairs of them, M is modulation bands (20, and 6 for correlations), K is
modulation frequencies, L is samples of an envelope.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.fft import dct, idct, ifft, rfft, rfftfreq

LOW_HZ, BAND_ERBS, NUM_BANDS = 20.0, 1.1106, 35
"""The lowest cochlear band begins at `LOW_HZ`, and each spans two steps of `BAND_ERBS`. The first 30 are the paper's,
centred from 52 Hz to 8.8 kHz. Where it has one wide band above, five more go on to 16 kHz, for insects and rain; its
band below is left out: what lies there is inaudible, and recordings are full of it."""

ENVELOPE_HZ, FINE_HZ = 400, 8000
"""Rates of the envelopes: as they are measured, and as they are compressed. Each band fits into the second."""

COMPRESSION = 0.3
"""Exponent of the envelopes; so the inner ear compresses."""

FLOOR = 1e-6
"""Power that counts as silence, 60 dB below the whole sound. It keeps inaudible sound out of the other statistics."""

STILL = 1e-4
"""Variance, relative to the squared mean, that counts as a still envelope. 5 % is about the least audible
modulation of a tone; compressed, it has 1 % RMS. Added to variances, so that still envelopes are not correlated."""

PAIR_OFFSETS = (1, 2, 3, 5, 8, 11, 16, 21)
"""Cochlear bands so far apart are correlated; the first two also within modulation bands."""

MODULATION_HZ = np.geomspace(0.5, ENVELOPE_HZ / 2, 20)
"""Centres of the modulation bands whose power is measured."""

MODULATION_OCTAVES = 2 * math.log2((1 + 17**0.5) / 4)
"""To either side of these centres: 3 dB down, a band is then half as wide as its centre is high (Q = 2)."""

OCTAVES_HZ = 3.125 * 2.0 ** np.arange(6)
"""Centres of the modulation bands, an octave to either side, that are correlated."""

MIN_SECONDS = 0.5
"""Shorter sounds are continued by silence."""


def texture_statistics(audio: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
    """Computes the texture statistics of a sound.

    Args:
        audio: `(N,)` float, any level and length; four seconds or more to be meaningful.
        sample_rate: Hz. Compare sounds of one rate only: bands above half of it are empty.

    Returns:
        Statistics by kind, all finite, and independent of the sound's level:

        - `level_db`: `(C,)`, power of each cochlear band relative to the whole, -60 or more.
        - `mean_db`: `(C,)`, of the envelope, as the level that an even sound of this mean would have, -60 or more.
        - `variation`: `(C,)`, variance of the envelope over its squared mean.
        - `skewness`, `kurtosis`: `(C,)`, third and fourth standardised moments of the envelope; 0 if it is still.
        - `correlation`: `(P,)`, in [-1, 1], of the envelopes of bands that are 1, 2, 3, 5, 8, 11, 16 and 21 apart.
        - `modulation`: `(C, M)`, variance of the envelope in each modulation band over all of its variance. The bands
            overlap, so that these sum to more than one.
        - `modulation_correlation`: `(6, P)`, in [-1, 1], of the envelopes in one modulation band, of cochlear bands
            that are 1 and 2 apart (the paper's C1).

    Raises:
        ValueError: More than one channel.
    """
    if np.ndim(audio) != 1:
        raise ValueError(f"audio has shape {np.shape(audio)}; give one channel, (N,)")
    spectrum, share = _envelope_spectra(audio, sample_rate)  # (C, K), (C,)
    length = spectrum.shape[1]
    envelope = idct(spectrum, norm="ortho")  # (C, L)
    mean = envelope.mean(axis=1, keepdims=True)
    variation = envelope.var(axis=1, keepdims=True) / mean**2
    deviation = mean * np.sqrt(variation + STILL)
    shape = (envelope - mean) / deviation
    # The transform is orthonormal: sums of products over modulation frequencies are covariances.
    rates = np.arange(1, length) * (ENVELOPE_HZ / 2 / length)
    spectrum = spectrum[:, 1:] / (deviation * math.sqrt(length))
    filtered = _modulation_gains(rates, OCTAVES_HZ, 1.0)[:, None] * spectrum  # (6, C, K)
    filtered /= np.sqrt(np.sum(filtered**2, axis=-1, keepdims=True) + STILL)
    return {
        "level_db": 10 * np.log10(share + FLOOR),
        "mean_db": 20 / COMPRESSION * np.log10(mean[:, 0]),
        "variation": variation[:, 0],
        "skewness": np.mean(shape**3, axis=1),
        "kurtosis": np.mean(shape**4, axis=1),
        "correlation": _pairs(spectrum @ spectrum.T, PAIR_OFFSETS),
        "modulation": spectrum**2 @ _modulation_gains(rates, MODULATION_HZ, MODULATION_OCTAVES).T ** 2,
        "modulation_correlation": _pairs(filtered @ filtered.transpose(0, 2, 1), PAIR_OFFSETS[:2]),
    }


def texture_distance(a: Sequence[dict[str, np.ndarray]], b: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:
    """Computes the average distance between two sets of clips, in standard deviations between clips.

    For each kind of statistic it is `sqrt(sum d^2 / sum s^2)` over the statistics of that kind: `d` is the difference
    of the means of the two sets, `s^2` the variance over the clips of a set, the mean of both. The reasons:

    - The scale comes from the clips themselves. Between two sets of n clips of the same sound `d^2` is `2 s^2 / n` on
      average: the distance is about `sqrt(2 / n)`, whatever the sound, the kind of statistic and the number of them
      (0.35 for two halves of 32 clips). Statistics are correlated, so a single such pair may have half or one and a
      half of that. Measure several halves of the real clips, and count only clearly larger values as a difference.
    - Sums first, then the ratio. A statistic that hardly varies over a few clips, as in a band with next to nothing in
      it, divided by its own deviation would outweigh all others. The sums rest on dozens of statistics (hundreds, for
      correlations and modulations), and are steady from ten clips on.
    - Variation and kurtosis are compared as logarithms: a few wild bands would decide over both sums.

    It compares averages only: clips that vary too much or too little change only the scale.
    `dacformer.evaluation.frechet` detects that.

    Args:
        a: `texture_statistics` of two or more clips; ten or more to be meaningful.
        b: The same of other clips, of the same sample rate and similar length.

    Returns:
        The distance by kind, 0 or more, and their mean as `overall`.

    Raises:
        ValueError: A set has fewer than two clips.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"the sets have {len(a)} and {len(b)} clips; give two or more of each, for their deviation")
    distance = {}
    for kind in a[0]:
        of_a, of_b = (_comparable(kind, np.stack([clip[kind].ravel() for clip in clips])) for clips in (a, b))
        squared = np.mean((of_a.mean(axis=0) - of_b.mean(axis=0)) ** 2)
        variance = np.mean(of_a.var(axis=0, ddof=1) + of_b.var(axis=0, ddof=1)) / 2
        distance[kind] = float(np.sqrt(squared / (variance + 1e-6)))  # sets of clips that are all alike stay finite
    return distance | {"overall": float(np.mean(list(distance.values())))}


def cochlear_bands(frequencies: np.ndarray) -> list[tuple[slice, np.ndarray]]:
    """Makes the cochlear filterbank: half-cosines, evenly spaced in equivalent rectangular bandwidths.

    The squares of the gains sum to one from 52 Hz to 16.3 kHz, the centres of the lowest and the highest band. The
    scale is that of Glasberg & Moore, "Derivation of auditory filter shapes from notched-noise data", Hearing
    Research 47, 1990.

    Args:
        frequencies: `(F,)` Hz, rising.

    Returns:
        For each of the C bands which of the frequencies it passes, and its gain at these.
    """
    erbs = 9.265 * np.log1p(np.append(LOW_HZ, frequencies) / (24.7 * 9.265))
    position = (erbs[1:] - erbs[0]) / BAND_ERBS  # band c lies between c and c + 2
    edges = np.searchsorted(position, np.arange(NUM_BANDS + 2))
    passed = [slice(edges[band], edges[band + 2]) for band in range(NUM_BANDS)]
    return [(bins, _half_cosine(position[bins] - (band + 1))) for band, bins in enumerate(passed)]


def _envelope_spectra(audio: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosine transforms of the compressed envelopes, up to 200 Hz `(C, K)`; shares of the power `(C,)`."""
    audio = np.asarray(audio, dtype=np.float64)
    audio = audio / (np.abs(audio).max(initial=0.0) or 1.0)  # squares of extremely soft or loud samples stay in range
    seconds = max(len(audio) / sample_rate, MIN_SECONDS)
    # Zeros up to whole tenths of a second give lengths that transform fast. The first tenth and the last are dropped
    # afterwards: there the filters feel that the one follows the other.
    tenths = math.ceil(10 * seconds)
    samples, fine = round(tenths * sample_rate / 10), tenths * FINE_HZ // 10
    length = int(seconds * ENVELOPE_HZ) - 2 * ENVELOPE_HZ // 10
    inside = slice(FINE_HZ // 10, FINE_HZ // 10 + length * FINE_HZ // ENVELOPE_HZ)
    spectrum = rfft(audio, samples)
    bands = [spectrum[bins] * gain for bins, gain in cochlear_bands(rfftfreq(samples, 1 / sample_rate))]
    power = np.array([np.sum(band.real**2 + band.imag**2) for band in bands])
    whole = power.sum() or 1.0
    spectra = np.empty((NUM_BANDS, length))
    for row, band in zip(spectra, bands, strict=True):
        # The band is moved down to begin at 0 Hz, where it fits into the lower rate: only the phase changes.
        analytic = ifft(np.pad(band, (0, fine - len(band))), norm="forward")[inside]
        squares = (analytic.real**2 + analytic.imag**2) * (10 * seconds / tenths / whole)
        compressed = (squares + FLOOR) ** (COMPRESSION / 2)
        # A Fourier transform would take the ends for a step; this one mirrors there. Cut short, it resamples.
        row[:] = dct(compressed, norm="ortho")[:length] * math.sqrt(ENVELOPE_HZ / FINE_HZ)
    return spectra, power / whole


def _modulation_gains(rates: np.ndarray, centres: np.ndarray, octaves: float) -> np.ndarray:
    """Gains at rates `(K,)` of half-cosines around centres `(M,)` on a logarithmic scale: `(M, K)`."""
    return _half_cosine(np.log2(rates / centres[:, None]) / octaves)


def _half_cosine(distance: np.ndarray) -> np.ndarray:
    """One at distance 0, zero from 1 on; the squares of two that are 1 apart sum to one between them."""
    return np.cos(np.pi / 2 * np.minimum(np.abs(distance), 1))


def _pairs(matrix: np.ndarray, offsets: Sequence[int]) -> np.ndarray:
    """The entries of `(..., C, C)` that are `offsets` away from the diagonal, `(..., P)`."""
    return np.concatenate([np.diagonal(matrix, offset, -2, -1) for offset in offsets], axis=-1)


def _comparable(kind: str, values: np.ndarray) -> np.ndarray:
    """Logarithms of what varies by factors; 1 added to the kurtosis, as it may be 0."""
    if kind == "variation":
        return np.log(values + STILL)
    return np.log(values + 1) if kind == "kurtosis" else values
