from math import gamma

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dacformer.evaluation.texture_statistics import (
    BAND_ERBS,
    COMPRESSION,
    LOW_HZ,
    MODULATION_HZ,
    NUM_BANDS,
    PAIR_OFFSETS,
    STILL,
    cochlear_bands,
    texture_distance,
    texture_statistics,
)
from dacformer.textures import synthesize

SAMPLE_RATE = 44_100
TIME = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE

ERB_HZ = 24.7 * 9.265
CENTRES_HZ = ERB_HZ * np.expm1(np.log1p(LOW_HZ / ERB_HZ) + BAND_ERBS / 9.265 * np.arange(1, NUM_BANDS + 1))


def noise(seconds: float = 2.0, sample_rate: int = SAMPLE_RATE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(round(seconds * sample_rate))


def tones(envelopes: np.ndarray) -> np.ndarray:
    """A tone in the centre of every band, which no other band passes, with envelopes `(C, N)` or `(N,)`."""
    return np.sum(envelopes * np.sin(2 * np.pi * CENTRES_HZ[:, None] * TIME), axis=0)


def by_offset(pairs: np.ndarray) -> dict[int, np.ndarray]:
    """`(..., P)` by the offset between the bands of a pair."""
    ends = np.cumsum([NUM_BANDS - offset for offset in PAIR_OFFSETS])
    return dict(zip(PAIR_OFFSETS, np.split(pairs, ends[:-1], axis=-1), strict=False))


def test_cochlear_bands_share_out_all_power():
    frequencies = np.linspace(0, 22_050, 20_000)
    gains = np.zeros((NUM_BANDS, len(frequencies)))
    for row, (bins, gain) in zip(gains, cochlear_bands(frequencies), strict=True):
        row[bins] = gain
    total = np.sum(gains**2, axis=0)
    covered = (frequencies >= CENTRES_HZ[0]) & (frequencies <= CENTRES_HZ[-1])
    np.testing.assert_allclose(total[covered], 1)
    assert total.max() < 1 + 1e-9
    assert not total[frequencies < LOW_HZ].any()
    np.testing.assert_allclose(frequencies[gains.argmax(axis=1)], CENTRES_HZ, atol=1.2)


def test_cochlear_bands_are_the_papers():
    np.testing.assert_allclose(CENTRES_HZ[[0, 29, 34]], [52, 8844, 16_293], rtol=0.01)


def test_white_noise_has_rayleigh_envelopes():
    """The envelope of noise is Rayleigh distributed: `E[r^p] = Gamma(1 + p / 2)` for a mean square of 1.

    It shows in narrow bands. 200 Hz are not enough for all of the dips, which lowers the kurtosis.
    """
    statistics = texture_statistics(noise(20, sample_rate=4000), 4000)
    raw = np.array([gamma(1 + k * COMPRESSION / 2) for k in range(5)])
    mean, variance = raw[1], raw[2] - raw[1] ** 2
    third = raw[3] - 3 * raw[2] * mean + 2 * mean**3
    fourth = raw[4] - 4 * raw[3] * mean + 6 * raw[2] * mean**2 - 3 * mean**4
    narrow = slice(0, 6)
    width = np.array([np.sum(gain**2) for _, gain in cochlear_bands(np.linspace(0, 2000, 20_000))])
    level = 10 * np.log10(width[narrow] / width.sum())
    np.testing.assert_allclose(statistics["level_db"][narrow], level, atol=0.7)
    np.testing.assert_allclose(statistics["mean_db"][narrow], level + 20 / COMPRESSION * np.log10(mean), atol=0.7)
    assert statistics["variation"][narrow].mean() == pytest.approx(variance / mean**2, rel=0.05)
    assert statistics["skewness"][narrow].mean() == pytest.approx(third / variance**1.5, abs=0.08)
    assert statistics["kurtosis"][narrow].mean() == pytest.approx(fourth / variance**2, abs=0.25)


def test_white_noise_has_independent_bands_and_slow_modulation_in_narrow_ones():
    statistics = texture_statistics(noise(8), SAMPLE_RATE)
    for offset, correlations in by_offset(statistics["correlation"]).items():
        if offset > 1:  # neighbours overlap
            assert np.mean(correlations) == pytest.approx(0, abs=0.05)
    centroid = np.log2(MODULATION_HZ) @ statistics["modulation"].T / statistics["modulation"].sum(axis=1)
    assert centroid[:5].max() < centroid[-10:].min() - 1  # octaves


@pytest.mark.parametrize("band", [0, 5, 20, 34])
def test_a_tone_is_still_and_alone_in_its_band(band):
    statistics = texture_statistics(0.1 * np.sin(2 * np.pi * CENTRES_HZ[band] * TIME), SAMPLE_RATE)
    others = np.arange(NUM_BANDS) != band
    assert statistics["level_db"][band] == pytest.approx(0, abs=0.03)
    assert statistics["mean_db"][band] == pytest.approx(0, abs=0.05)
    assert statistics["level_db"][others].max() < -25
    assert statistics["variation"][band] < STILL / 10
    assert statistics["modulation"][band].max() < 0.1
    assert statistics["kurtosis"][band] < 0.1


@pytest.mark.parametrize("index", [7, 10, 13])
def test_modulation_of_a_tone_is_in_the_band_of_its_rate(index):
    """Of `1 + m sin` the compressed envelope is `1 + 0.3 m sin` for small m, with variance `(0.3 m)^2 / 2`."""
    band, depth = 25, 0.2
    time = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    envelope = 1 + depth * np.sin(2 * np.pi * MODULATION_HZ[index] * time)
    statistics = texture_statistics(envelope * np.sin(2 * np.pi * CENTRES_HZ[band] * time), SAMPLE_RATE)
    variation, modulation = statistics["variation"][band], statistics["modulation"][band]
    assert variation == pytest.approx((COMPRESSION * depth) ** 2 / 2, rel=0.06)
    assert modulation.argmax() == index
    assert modulation[index] == pytest.approx(variation / (variation + STILL), rel=0.1)  # some leaks
    assert np.delete(modulation, [index - 1, index, index + 1]).max() < 0.05
    assert statistics["kurtosis"][band] == pytest.approx(1.5, abs=0.2)  # of a sine


def test_modulated_noise_stands_out_at_the_rate():
    index = 8
    envelope = 1 + 0.9 * np.sin(2 * np.pi * MODULATION_HZ[index] * TIME)
    modulation = texture_statistics(envelope * noise(), SAMPLE_RATE)["modulation"]
    assert (modulation[10:].argmax(axis=1) == index).all()


def test_bands_that_move_together_are_correlated():
    """`exp` of slow noise, the same in all bands or another in each; and white noise under one envelope."""
    rng = np.random.default_rng(0)
    slow = np.stack([np.interp(TIME, np.arange(0, 2.1, 0.05), row) for row in rng.standard_normal((NUM_BANDS, 42))])
    together, apart = (texture_statistics(tones(np.exp(each)), SAMPLE_RATE) for each in (slow[0], slow))
    assert together["correlation"].min() > 0.98
    assert np.abs(apart["correlation"].mean()) < 0.1
    assert np.abs(apart["correlation"]).mean() < 0.3
    correlations = texture_statistics(np.exp(2 * slow[0]) * noise(), SAMPLE_RATE)["correlation"]
    assert by_offset(correlations)[21].mean() > 0.85


def test_modulation_in_turns_is_correlated_with_its_sign():
    """Odd bands are loud when even ones are soft, at 12.5 Hz: the third of the modulation bands."""
    signs = (-1.0) ** np.arange(NUM_BANDS)[:, None]
    statistics = texture_statistics(tones(1 + 0.3 * signs * np.sin(2 * np.pi * 12.5 * TIME)), SAMPLE_RATE)
    correlation, modulated = by_offset(statistics["correlation"]), by_offset(statistics["modulation_correlation"])
    for of_neighbours, of_next in ((correlation[1], correlation[2]), (modulated[1][2], modulated[2][2])):
        assert of_neighbours[5:].max() < -0.9  # the lowest bands are narrow, and let less modulation through
        assert of_next[5:].min() > 0.9


@pytest.mark.parametrize("gain", [1e-200, 1e-5, 30.0])
def test_gain_does_not_matter(gain):
    audio = synthesize("applause", 0.5, 1.0).astype(np.float64)
    soft, loud = texture_statistics(gain * audio, SAMPLE_RATE), texture_statistics(audio, SAMPLE_RATE)
    for kind in loud:
        np.testing.assert_allclose(soft[kind], loud[kind], rtol=1e-6, atol=1e-6)


def test_an_offset_does_not_matter():
    audio = np.sin(2 * np.pi * 1000 * TIME)
    assert texture_statistics(audio + 1, SAMPLE_RATE)["level_db"].max() == pytest.approx(
        texture_statistics(audio, SAMPLE_RATE)["level_db"].max(), abs=1e-6
    )


@settings(max_examples=30, deadline=None)
@given(
    audio=arrays(np.float64, st.integers(0, 3000), elements=st.floats(allow_nan=False, allow_infinity=False)),
    sample_rate=st.sampled_from([8000, 11_025, 44_100]),
)
def test_all_is_finite_and_in_range(audio, sample_rate):
    statistics = texture_statistics(audio, sample_rate)
    assert {kind: of.shape for kind, of in statistics.items()} == {
        "level_db": (35,),
        "mean_db": (35,),
        "variation": (35,),
        "skewness": (35,),
        "kurtosis": (35,),
        "correlation": (213,),
        "modulation": (35, 20),
        "modulation_correlation": (6, 67),
    }
    assert all(np.isfinite(of).all() for of in statistics.values())
    assert (np.abs(statistics["correlation"]) <= 1).all()
    assert (np.abs(statistics["modulation_correlation"]) <= 1).all()
    assert -60.01 <= statistics["level_db"].min() <= statistics["level_db"].max() <= 0.01


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.3, 1.0, 1.23456])
def test_silence_is_still(seconds):
    statistics = texture_statistics(np.zeros(round(seconds * SAMPLE_RATE)), SAMPLE_RATE)
    np.testing.assert_allclose(statistics["level_db"], -60)
    np.testing.assert_allclose(statistics["mean_db"], -60)
    for kind in ("variation", "skewness", "kurtosis", "correlation", "modulation", "modulation_correlation"):
        np.testing.assert_allclose(statistics[kind], 0, atol=1e-9)


def test_bands_above_half_the_sample_rate_are_silent():
    statistics = texture_statistics(noise(1, sample_rate=8000), 8000)
    above = CENTRES_HZ > 4700
    np.testing.assert_allclose(statistics["level_db"][above], -60)
    assert statistics["level_db"][~above].min() > -40


def test_two_channels_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 100\).*one channel"):
        texture_statistics(np.zeros((2, 100)), SAMPLE_RATE)


def made_up(count: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"level_db": shift + scale * rng.standard_normal(2000)} for _ in range(count)]


@pytest.mark.parametrize("scale", [0.1, 5.0])
def test_distance_counts_deviations(scale):
    """Expected: `sqrt(shift^2 + 1 / n + 1 / m)` in deviations from clip to clip."""
    alike = texture_distance(made_up(10, 0, scale=scale), made_up(16, 1, scale=scale))
    assert alike["level_db"] == pytest.approx(np.sqrt(1 / 10 + 1 / 16), rel=0.06)
    apart = texture_distance(made_up(10, 0, scale=scale), made_up(16, 1, shift=2 * scale, scale=scale))
    assert apart["level_db"] == pytest.approx(np.sqrt(4 + 1 / 10 + 1 / 16), rel=0.06)


def test_a_statistic_that_does_not_vary_does_not_outweigh_the_others():
    a, b = made_up(10, 0), made_up(10, 1)
    before = texture_distance(a, b)["level_db"]
    for clips, value in ((a, -60.0), (b, -59.0)):
        for clip in clips:
            clip["level_db"][0] = value
    assert texture_distance(a, b)["level_db"] == pytest.approx(before, rel=0.02)


@pytest.fixture(scope="module")
def sounds() -> dict[str, list[dict[str, np.ndarray]]]:
    """Twelve clips each."""

    def measure(name: str, value: float) -> list[dict[str, np.ndarray]]:
        clips = (synthesize(name, value, 1.0, seed=seed) for seed in range(12))
        return [texture_statistics(audio, SAMPLE_RATE) for audio in clips]

    return {"rain": measure("rain", 0.5), "more rain": measure("rain", 0.7), "applause": measure("applause", 0.5)}


def test_distance_is_zero_to_itself_and_symmetric(sounds):
    assert set(texture_distance(sounds["rain"], sounds["rain"]).values()) == {0.0}
    there = texture_distance(sounds["rain"], sounds["applause"])
    assert texture_distance(sounds["applause"], sounds["rain"]) == pytest.approx(there)
    assert there["overall"] == pytest.approx(np.mean([value for kind, value in there.items() if kind != "overall"]))


def test_distance_tells_textures_apart(sounds):
    """Halves of the same are `sqrt(2 / 6)` apart; every kind of statistic knows other textures."""
    rain = sounds["rain"]
    halves = texture_distance(rain[::2], rain[1::2])
    assert halves["overall"] == pytest.approx(np.sqrt(2 / 6), abs=0.2)
    near, far = (texture_distance(rain[::2], sounds[name][1::2]) for name in ("more rain", "applause"))
    assert 2 * halves["overall"] < near["overall"] < far["overall"]
    assert all(far[kind] > 2 * halves[kind] for kind in far)


def test_distance_hears_what_the_spectrum_does_not_tell():
    """Random phases keep the spectrum of rain and take its drops away."""
    rng = np.random.default_rng(0)
    rain = [synthesize("rain", 0.3, 1.0, seed=seed) for seed in range(12)]
    spectra = [np.fft.rfft(audio) for audio in rain[6:]]
    hiss = [np.fft.irfft(each * np.exp(2j * np.pi * rng.random(len(each)))) for each in spectra]
    a, b = ([texture_statistics(audio, SAMPLE_RATE) for audio in clips] for clips in (rain[:6], hiss))
    distance = texture_distance(a, b)
    assert distance["level_db"] < 1
    assert min(distance[kind] for kind in ("mean_db", "variation", "skewness", "correlation", "modulation")) > 2


def test_sets_without_a_deviation_are_finite_or_refused(sounds):
    copies, others = [sounds["rain"][0]] * 3, [sounds["applause"][0]] * 3
    assert all(np.isfinite(list(texture_distance(copies, others).values())))
    with pytest.raises(ValueError, match="1 and 12 clips"):
        texture_distance(sounds["rain"][:1], sounds["rain"])
