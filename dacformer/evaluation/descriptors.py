"""Descriptors: numbers measured on audio, without a model and independent of level.

`TEXTURE_DESCRIPTORS` has one descriptor for each procedural texture (`dacformer.textures`). It rises with the
texture's parameter, on clean audio and after a lossy codec. Only the order of values is used (Spearman correlation).
Descriptors are medians, trimmed means and bounded sums over short frames, so that a fault of 0.2 s has little effect.

`describe` computes general features of any recording, for a classifier.

In shapes, F is analysis frames and B is frequency bins.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy.signal import butter, find_peaks, hilbert, sosfiltfilt
from scipy.stats import trim_mean

from dacformer.audio import loudness_db

FLOOR = 1e-10
"""Added to powers before logarithms and divisions: 100 dB below the audio, which has RMS 1 by then."""


# Analysis ------------------------------------------------------------------------------------------------------------


def _normalise(audio: np.ndarray, min_samples: int) -> np.ndarray:
    """Removes the mean, scales to RMS 1 (silence stays silence) and appends zeros up to `min_samples`."""
    if np.ndim(audio) != 1:
        raise ValueError(f"audio has shape {np.shape(audio)}; give one channel, (N,)")
    audio = np.asarray(audio, dtype=np.float64)
    peak = np.abs(audio).max(initial=0.0)
    if peak > 0:
        audio = audio / peak  # first, so that the squares of extremely soft or loud samples stay in range
        audio = audio - audio.mean()
        audio = audio / (np.sqrt(np.mean(audio**2)) + FLOOR)
    return np.pad(audio, (0, max(0, min_samples - len(audio))))


def _spectrogram(
    audio: np.ndarray, sample_rate: int, window_seconds: float, hop_seconds: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Hann-windowed power of the normalised audio.

    Returns:
        Power `(F, B)`, of which a frame's sum is its mean square; the bins in Hz `(B,)`; the frames per second.
    """
    length, hop = round(window_seconds * sample_rate), round(hop_seconds * sample_rate)
    window = np.hanning(length)
    frames = np.lib.stride_tricks.sliding_window_view(_normalise(audio, length), length)[::hop]
    power = np.abs(np.fft.rfft(frames * window)) ** 2 * (2 / (length * np.sum(window**2)))
    return power, np.fft.rfftfreq(length, 1 / sample_rate), sample_rate / hop


def _envelope(
    audio: np.ndarray, sample_rate: int, low_hz: float, high_hz: float, window_seconds: float
) -> tuple[np.ndarray, float]:
    """Computes the amplitude of a band over time, `(F,)`, and its sample rate, close to 400 Hz."""
    power, frequencies, rate = _spectrogram(audio, sample_rate, window_seconds, 1 / 400)
    band = (frequencies >= low_hz) & (frequencies <= high_hz)
    return np.sqrt(power[:, band].sum(axis=1) + FLOOR), rate


# One measure for each texture ----------------------------------------------------------------------------------------


def stroke_rate(audio: np.ndarray, sample_rate: int) -> float:
    """Strokes per second (1.25 to 33 Hz): the first strong peak in the autocorrelation of the envelope; 0 if none."""
    envelope, rate = _envelope(audio, sample_rate, 200, 5000, 0.02)
    envelope = np.minimum(envelope, np.percentile(envelope, 95))  # one loud stroke, or a fault, is only loud
    envelope = np.log(envelope + 0.05 * envelope.mean())
    envelope -= envelope.mean()
    count = len(envelope)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(envelope, 2 * count)) ** 2)[:count] / np.arange(count, 0, -1)
    peaks, _ = find_peaks(correlation[: round(0.8 * rate)])
    peaks = peaks[(peaks >= 0.03 * rate) & (correlation[peaks] > 0)]
    if len(peaks) == 0:
        return 0.0
    # Multiples of the period are about as high as the period itself: take the first, and refine it by a parabola.
    peak = peaks[correlation[peaks] >= 0.7 * correlation[peaks].max()][0]
    before, top, after = correlation[peak - 1 : peak + 2]
    return float(rate / (peak + 0.5 * (before - after) / (before - 2 * top + after)))


def brightness(audio: np.ndarray, sample_rate: int) -> float:
    """Spectral centroid in Hz: the geometric mean over frames, without the extreme tenths."""
    power, frequencies, _ = _spectrogram(audio, sample_rate, 0.046, 0.023)
    centroids = (power @ frequencies) / (power.sum(axis=1) + FLOOR)
    return float(np.exp(trim_mean(np.log(centroids + 1), 0.1)) - 1)


def evenness(audio: np.ndarray, sample_rate: int, low_hz: float = 300, window_seconds: float = 0.02) -> float:
    """Measures how evenly sound is spread over time, in (0, 1]: single events are near 0, dense ones near 1.

    `mean(envelope)^2 / mean(envelope^2)` of the band from `low_hz` to 8 kHz, in stretches of half a second; of these
    the median.
    """
    envelope, rate = _envelope(audio, sample_rate, low_hz, 8000, window_seconds)
    length = min(len(envelope), round(0.5 * rate))
    stretches = np.lib.stride_tricks.sliding_window_view(envelope, length)[:: max(1, length // 4)]
    return float(np.median(stretches.mean(axis=1) ** 2 / np.mean(stretches**2, axis=1)))


def restlessness(audio: np.ndarray, sample_rate: int) -> float:
    """Measures how much partials move: spectral flatness in nats, below 0, between 100 and 1500 Hz.

    In a long window, steady partials are narrow lines and moving partials are wide. Two window lengths are used. Slow
    movements are visible in the longer one only; fast movements saturate it.
    """
    flatness = []
    for window_seconds in (0.37, 0.186):
        power, frequencies, _ = _spectrogram(audio, sample_rate, window_seconds, 0.093)
        power = power[:, (frequencies > 100) & (frequencies < 1500)]
        power = power + 1e-6 * power.mean() + FLOOR
        flatness.append(np.median(np.log(power).mean(axis=1) - np.log(power.mean(axis=1))))
    return float(np.mean(flatness))


def pitch_spread(audio: np.ndarray, sample_rate: int) -> float:
    """Standard deviation of frequency in octaves, 500 Hz to 10 kHz, over the louder half of the frames, each alike."""
    power, frequencies, _ = _spectrogram(audio, sample_rate, 0.046, 0.023)
    band = (frequencies > 500) & (frequencies < 10_000)
    power, octaves = power[:, band], np.log2(frequencies[band])
    total = power.sum(axis=1)
    loud = total >= np.median(total)
    profile = trim_mean(power[loud] / (total[loud, None] + FLOOR), 0.05) + FLOOR  # (B,)
    profile /= profile.sum()
    return float(np.sqrt(profile @ (octaves - profile @ octaves) ** 2))


def ring(audio: np.ndarray, sample_rate: int) -> float:
    """Measures the share of time with sound above 1.8 kHz, in [0, 0.3], relative to the loud moments of the whole.

    A bright tail counts for its whole duration. A loud knock counts only for its short duration.
    """
    power, frequencies, _ = _spectrogram(audio, sample_rate, 0.023, 0.012)
    bright, whole = (
        np.sqrt(power[:, (frequencies > low_hz) & (frequencies < 9000)].sum(axis=1) + FLOOR) for low_hz in (1800, 100)
    )
    return float(np.mean(np.minimum(bright / np.percentile(whole, 90), 0.3)))


def vibrato_rate(audio: np.ndarray, sample_rate: int) -> float:
    """Modulation frequency in Hz (from 1.2) of a tone between 300 and 900 Hz; 0 if its frequency does not move."""
    sos = butter(2, [250, 1000], "bandpass", fs=sample_rate, output="sos")
    tone = sosfiltfilt(sos, _normalise(audio, sample_rate // 10))
    frequency = np.diff(np.unwrap(np.angle(np.asarray(hilbert(tone))))) * sample_rate / (2 * np.pi)
    block = sample_rate // 400  # the median over 2.5 ms drops the spikes where partials cancel
    frequency = np.median(frequency[: len(frequency) // block * block].reshape(-1, block), axis=1)
    frequency = np.clip(frequency, 300, 900)
    length = 8 * len(frequency)  # padded for a fine grid of rates
    spectrum = np.abs(np.fft.rfft((frequency - frequency.mean()) * np.hanning(len(frequency)), length))
    rates = np.fft.rfftfreq(length, block / sample_rate)
    spectrum[rates < 1.2] = 0.0  # the tone's own slow drift
    return float(rates[spectrum.argmax()])


def drop_density(audio: np.ndarray, sample_rate: int) -> float:
    """`evenness` for short drops over a bed of noise, in (0, 1]: a longer window, and only above 500 Hz."""
    return evenness(audio, sample_rate, low_hz=500, window_seconds=0.04)


TEXTURE_DESCRIPTORS: dict[str, Callable[[np.ndarray, int], float]] = {
    "pistons": stroke_rate,
    "wind": brightness,
    "applause": evenness,
    "bees": restlessness,
    "peepers": pitch_spread,
    "hits": ring,
    "fm": vibrato_rate,
    "rain": drop_density,
}
"""For each texture a measure `(audio (N,), sample_rate) -> float` that rises with its parameter; use 4 s or more."""


# Standard measures, for any recordings -------------------------------------------------------------------------------


def flatness(audio: np.ndarray, sample_rate: int) -> float:
    """Spectral flatness in nats, 0 for white noise, far below for a tone: see `describe`."""
    return describe(audio, sample_rate)["flatness_nats"]


def onset_rate(audio: np.ndarray, sample_rate: int) -> float:
    """Onsets per second: see `describe`."""
    return describe(audio, sample_rate)["onsets_per_second"]


def roughness(audio: np.ndarray, sample_rate: int) -> float:
    """Measures roughness: depth of amplitude modulation between 20 and 150 Hz, in [0, about 1].

    The RMS of that part of each octave band's envelope over its mean (Fastl & Zwicker, Psychoacoustics, chapter 11),
    weighted by the bands' shares of the sound. White noise is rough, too: its own envelope moves that fast.
    """
    power, frequencies, rate = _spectrogram(audio, sample_rate, 0.006, 1 / 500)
    depths, weights = [], []
    for low in OCTAVE_BANDS_HZ[2:]:  # a window of 6 ms knows no bands below
        envelope = np.sqrt(power[:, (frequencies >= low) & (frequencies < 2 * low)].sum(axis=1) + FLOOR)
        if len(envelope) >= 50:
            sos = butter(2, [20, 150], "bandpass", fs=rate, output="sos")
            depths.append(np.sqrt(np.mean(sosfiltfilt(sos, envelope) ** 2)) / envelope.mean())
            weights.append(envelope.mean())
    return float(np.average(depths, weights=weights)) if depths else 0.0


def pitch_confidence(audio: np.ndarray, sample_rate: int) -> float:
    """Measures how periodic sound is between 60 and 1200 Hz, in [0, 1]: near 0 for noise, near 1 for a tone.

    The height of the autocorrelation's peak, divided by that of the window itself (Boersma, Proc. Institute of Phonetic
    Sciences 17, 1993, equation 9); the mean over frames of 46 ms, weighted by their level.
    """
    length = round(0.046 * sample_rate)
    window = np.hanning(length)
    frames = np.lib.stride_tricks.sliding_window_view(_normalise(audio, length), length)[:: length // 2]
    frames = (frames - frames.mean(axis=1, keepdims=True)) * window

    def correlate(x: np.ndarray) -> np.ndarray:
        return np.fft.irfft(np.abs(np.fft.rfft(x, 2 * length)) ** 2)[..., :length]

    lags = slice(round(sample_rate / 1200), round(sample_rate / 60))
    correlation, own = correlate(frames), correlate(window)
    energy = correlation[:, 0]
    height = (correlation[:, lags] / (own[lags] / own[0])).max(axis=1) / (energy + FLOOR)
    return float(np.average(height.clip(0.0, 1.0), weights=np.sqrt(energy) + FLOOR))


def loudness(audio: np.ndarray, sample_rate: int) -> float:
    """Loudness in LUFS (ITU-R BS.1770)."""
    return loudness_db(audio, sample_rate)


STANDARD_DESCRIPTORS: dict[str, Callable[[np.ndarray, int], float]] = {
    "loudness": loudness,
    "brightness": brightness,
    "flatness": flatness,
    "onset rate": onset_rate,
    "roughness": roughness,
    "pitch confidence": pitch_confidence,
}
"""Descriptors for any recording: `(audio (N,), sample_rate) -> float`; use 1 s or more."""


# General features ----------------------------------------------------------------------------------------------------

QUIET = 1e-4
"""Share of the power below which `describe` makes no difference: 40 dB down, a lossy codec puts its own noise."""

OCTAVE_BANDS_HZ = (62.5, 125, 250, 500, 1000, 2000, 4000, 8000)
"""Edges of the spectral bands of `describe`."""

MODULATION_BANDS_HZ = (0.5, 2, 4, 8, 16, 32, 64)
"""Edges of the envelope bands of `describe`."""


def describe(audio: np.ndarray, sample_rate: int) -> dict[str, float]:
    """General features of a recording, made for a linear classifier: logarithmic where hearing is.

    All but `level_db` are independent of level; leave that one out when classifying. The features, over frames of
    46 ms unless said otherwise (`_deviation` is the standard deviation over frames):

    - `centroid_octaves`, `centroid_deviation`, `spread_octaves`: mean and width of the power spectrum, log2 Hz.
    - `rolloff_octaves`, `rolloff_deviation`: below it lies 85 % of the power, log2 Hz.
    - `flatness_nats`, `flatness_deviation`: log of geometric over arithmetic mean power, 0 for white noise.
    - `tonality_nats`: log of the strongest bin over the mean bin, of the average spectrum.
    - `band_<low>_hz_db`: power in the octave above `low`, relative to the total.
    - `flux`, `flux_deviation`: distance in (0, 2] between the normalised amplitude spectra of neighbours (12 ms).
    - `modulation_<low>_hz_db`: power of the envelope (5 ms) between `low` and the next edge, relative to its mean.
    - `envelope_kurtosis_nats`, `envelope_crest_nats`, `evenness`: logs of the fourth moment over the squared second
      and of the peak (99th percentile) over the mean, and the squared mean over the mean square.
    - `onsets_per_second`: peaks of the rise of the log envelope, 6 dB or more within 30 ms.
    - `level_db`: RMS relative to 1; silence is -200 dB.

    Args:
        audio: `(N,)` float, any level and length; one second or more to be meaningful.
        sample_rate: Hz, at least 8000. Bands above half of it hold the floor, -40 dB.

    Returns:
        Features by name, in a fixed order, all finite.
    """
    mean_square = np.sum(np.square(audio, dtype=np.float64)) / max(len(audio), 1)
    features = _spectral_features(audio, sample_rate) | _temporal_features(audio, sample_rate)
    features["level_db"] = 20 * np.log10(np.sqrt(mean_square) + FLOOR)
    return {name: float(value) for name, value in features.items()}


def _spectral_features(audio: np.ndarray, sample_rate: int) -> dict[str, float]:
    """Computes the spectral features of `describe`."""
    power, frequencies, _ = _spectrogram(audio, sample_rate, 0.046, 0.0116)
    power, frequencies = power[:, 1:], frequencies[1:]
    # Frames far below the rest are all floor: they say nothing about the spectrum.
    total = power.sum(axis=1)
    power = power[total >= 1e-3 * np.median(total)] + FLOOR / len(frequencies)
    total = power.sum(axis=1, keepdims=True)
    octaves = np.log2(frequencies)
    share = power / total  # (F, B)
    centroid = share @ octaves
    spread = np.sqrt(np.maximum(share @ octaves**2 - centroid**2, 0))
    rolloff = octaves[np.argmax(np.cumsum(share, axis=1) >= 0.85, axis=1)]
    audible = power + QUIET * power.mean(axis=1, keepdims=True)
    flatness = np.log(audible).mean(axis=1) - np.log(audible.mean(axis=1))
    amplitude = np.sqrt(share)
    flux = np.linalg.norm(np.diff(amplitude, axis=0, append=amplitude[-1:]), axis=1)  # one frame alone: no change
    average = power.mean(axis=0)
    features = {
        "centroid_octaves": centroid.mean(),
        "centroid_deviation": centroid.std(),
        "spread_octaves": spread.mean(),
        "rolloff_octaves": rolloff.mean(),
        "rolloff_deviation": rolloff.std(),
        "flatness_nats": flatness.mean(),
        "flatness_deviation": flatness.std(),
        "tonality_nats": np.log(average.max() / average.mean()),
        "flux": flux.mean(),
        "flux_deviation": flux.std(),
    }
    for low in OCTAVE_BANDS_HZ:
        band = average[(frequencies >= low) & (frequencies < 2 * low)].sum() / average.sum()
        features[f"band_{low:g}_hz_db"] = 10 * np.log10(band + QUIET)
    return features


def _temporal_features(audio: np.ndarray, sample_rate: int) -> dict[str, float]:
    """Computes the features of `describe` that are based on the envelope."""
    block = round(0.005 * sample_rate)
    samples = _normalise(audio, 40 * block)
    squares = samples[: len(samples) // block * block].reshape(-1, block) ** 2
    envelope = np.sqrt(squares.mean(axis=1) + FLOOR)  # 200 Hz
    rates = np.fft.rfftfreq(len(envelope), block / sample_rate)
    window = np.hanning(len(envelope))
    modulation = np.abs(np.fft.rfft((envelope / envelope.mean() - 1) * window)) ** 2
    modulation *= 2 / (len(window) * np.sum(window**2))
    features = {}
    for low, high in pairwise(MODULATION_BANDS_HZ):
        band = modulation[(rates >= low) & (rates < high)].sum()
        features[f"modulation_{low:g}_hz_db"] = 10 * np.log10(band + 1e-6)
    moment = np.mean(envelope**2)
    rise_frames = 6  # 30 ms
    level = 20 * np.log10(envelope + 0.03)  # 30 dB below the RMS is quiet enough
    onsets, _ = find_peaks(level[rise_frames:] - level[:-rise_frames], height=6, distance=rise_frames)
    return features | {
        "envelope_kurtosis_nats": np.log(np.mean(envelope**4) / moment**2),
        "envelope_crest_nats": np.log(np.percentile(envelope, 99) / envelope.mean()),
        "evenness": envelope.mean() ** 2 / moment,
        "onsets_per_second": len(onsets) * sample_rate / len(samples),
    }
