import numpy as np
import pytest
from scipy.signal import butter, sosfilt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dacformer.evaluation.descriptors import (
    STANDARD_DESCRIPTORS,
    TEXTURE_DESCRIPTORS,
    brightness,
    describe,
    drop_density,
    evenness,
    flatness,
    loudness,
    onset_rate,
    pitch_confidence,
    pitch_spread,
    restlessness,
    ring,
    roughness,
    stroke_rate,
    vibrato_rate,
)
from dacformer.textures import TEXTURES, synthesize

SAMPLE_RATE = 44_100
TIME = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(len(TIME))


def sine(frequency: float) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * TIME)


def decaying(tone: np.ndarray, decay: float) -> np.ndarray:
    """`tone` struck twice a second."""
    return tone * np.exp(-(TIME % 0.5) / decay)


@pytest.mark.parametrize("gain", [1e-5, 30.0])
def test_gain_does_not_matter(gain):
    for name in TEXTURES:
        audio = synthesize(name, 0.5, 1.0)
        quiet, loud = describe(gain * audio, SAMPLE_RATE), describe(audio, SAMPLE_RATE)
        assert quiet.pop("level_db") == pytest.approx(loud.pop("level_db") + 20 * np.log10(gain), abs=0.01)
        assert quiet == pytest.approx(loud, rel=1e-4, abs=1e-4)
        descriptor = TEXTURE_DESCRIPTORS[name]
        assert descriptor(gain * audio, SAMPLE_RATE) == pytest.approx(descriptor(audio, SAMPLE_RATE), rel=1e-4)


@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
@pytest.mark.parametrize(
    "audio",
    [np.zeros(0), np.zeros(1), np.ones(5), np.zeros(44_100), np.eye(1, 100)[0], np.array([0.5, -1.0, 0.2])],
    ids=["empty", "one zero", "constant", "silence", "click", "three samples"],
)
def test_silence_and_short_sounds_are_finite(audio, sample_rate):
    assert np.isfinite(list(describe(audio, sample_rate).values())).all()
    assert np.isfinite([measure(audio, sample_rate) for measure in TEXTURE_DESCRIPTORS.values()]).all()


def test_two_channels_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 100\).*one channel"):
        describe(np.zeros((2, 100)), SAMPLE_RATE)


@pytest.mark.parametrize("frequency", [440.0, 3000.0])
def test_describe_sine(frequency):
    features = describe(0.1 * sine(frequency), SAMPLE_RATE)
    assert features["centroid_octaves"] == pytest.approx(np.log2(frequency), abs=0.02)
    assert features["rolloff_octaves"] == pytest.approx(np.log2(frequency), abs=0.1)
    assert features["spread_octaves"] < 0.1
    assert features["evenness"] == pytest.approx(1, abs=0.01)
    assert features["onsets_per_second"] < 0.5
    assert features["level_db"] == pytest.approx(-23.01, abs=0.01)
    low = 250 if frequency < 500 else 2000
    assert features[f"band_{low}_hz_db"] == pytest.approx(0, abs=0.05)


def test_describe_amplitude_modulation():
    """`1 + 0.5 sin` has modulation power 0.5^2 / 2 = -9 dB relative to the squared mean, all in its own band."""
    features = describe((1 + 0.5 * sine(10)) * sine(2000), SAMPLE_RATE)
    assert features["modulation_8_hz_db"] == pytest.approx(-9.03, abs=0.2)
    assert features["modulation_2_hz_db"] < -40
    assert features["modulation_32_hz_db"] < -40


def test_describe_noise_and_events():
    features = describe(noise(), SAMPLE_RATE)
    # The logarithm of exponentially distributed power has mean -0.577 (Euler) below that of its mean.
    assert features["flatness_nats"] == pytest.approx(-0.577, abs=0.03)
    assert features["envelope_kurtosis_nats"] < 0.1
    assert describe(decaying(noise(), 0.03), SAMPLE_RATE)["onsets_per_second"] == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize("rate", [2.0, 5.0, 11.0, 20.0])
def test_stroke_rate_of_modulated_noise(rate):
    audio = noise() * np.exp(-8 * ((TIME * rate) % 1))
    assert stroke_rate(audio, SAMPLE_RATE) == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize("rate", [2.0, 9.0, 40.0])
def test_vibrato_rate(rate):
    audio = np.sin(2 * np.pi * 600 * TIME + 80 / rate * np.sin(2 * np.pi * rate * TIME))
    assert vibrato_rate(audio, SAMPLE_RATE) == pytest.approx(rate, rel=0.02)


def test_brightness_of_a_sine():
    assert brightness(sine(1000), SAMPLE_RATE) == pytest.approx(1000, rel=0.01)


def test_pitch_spread_of_two_sines():
    assert pitch_spread(sine(1000) + sine(4000), SAMPLE_RATE) == pytest.approx(1, rel=0.02)  # each 1 octave from 2000
    assert pitch_spread(sine(2000), SAMPLE_RATE) < 0.05


def test_evenness_of_events():
    """An exponential decay of time constant d in period p has mean^2 / mean square = 2 d / p."""
    audio = decaying(sine(2000), 0.05)
    assert evenness(audio, SAMPLE_RATE) == pytest.approx(0.2, rel=0.1)
    assert drop_density(audio, SAMPLE_RATE) == pytest.approx(0.2, rel=0.4)
    assert evenness(sine(2000), SAMPLE_RATE) == pytest.approx(1, abs=0.01)


def test_ring_counts_bright_tails():
    short, long = (ring(decaying(sine(3000), decay), SAMPLE_RATE) for decay in (0.02, 0.2))
    dull = ring(decaying(sine(400), 0.2), SAMPLE_RATE)
    assert dull < short < long <= 0.3


def test_restlessness_orders_hum_vibrato_noise():
    pitch = 200 * (1 + 0.02 * np.sin(2 * np.pi * 5 * TIME))
    hum, vibrato = (
        sum(np.sin(k * 2 * np.pi * np.cumsum(curve) / SAMPLE_RATE) for k in range(1, 8))
        for curve in (np.full_like(pitch, 200), pitch)
    )
    band = sosfilt(butter(2, [100, 1500], "bandpass", fs=SAMPLE_RATE, output="sos"), noise())
    hum, vibrato, hiss = (restlessness(audio, SAMPLE_RATE) for audio in (hum, vibrato, band))
    assert hum + 1 < vibrato < hiss - 0.5


def test_a_linear_classifier_names_the_texture():
    def clips(seeds):
        features, names = [], []
        for name in TEXTURES:
            for seed in seeds:
                for value in (0.0, 0.3, 0.7, 1.0):
                    audio = synthesize(name, float(value), 1.5, seed=seed)
                    description = describe(audio, SAMPLE_RATE)
                    description.pop("level_db")
                    features.append(list(description.values()))
                    names.append(name)
        return features, names

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(*clips([0, 1]))
    assert classifier.score(*clips([2])) >= 0.95  # of 32 clips of 1.5 s; 240 clips of 4 s are all right


def test_standard_descriptors_hear_what_they_are_named_after() -> None:
    def tone(depth_hz: float) -> np.ndarray:
        return sine(1000) * (1 + np.sin(2 * np.pi * depth_hz * TIME))

    measured = {name: measure(sine(440), SAMPLE_RATE) for name, measure in STANDARD_DESCRIPTORS.items()}
    assert measured["pitch confidence"] > 0.99 and measured["brightness"] == pytest.approx(440, rel=0.01)
    assert pitch_confidence(noise(), SAMPLE_RATE) < 0.2 < flatness(noise(), SAMPLE_RATE) + 1
    # The modulation of a full tremolo has an RMS of 1 / sqrt(2) of its mean; the window takes some of it.
    assert 0.5 < roughness(tone(70), SAMPLE_RATE) < 0.71 and roughness(tone(4), SAMPLE_RATE) < 0.01
    assert onset_rate(decaying(noise(), 0.05), SAMPLE_RATE) == pytest.approx(2.0, abs=0.3)
    assert loudness(0.1 * noise(), SAMPLE_RATE) == pytest.approx(loudness(noise(), SAMPLE_RATE) - 20, abs=0.1)
    assert all(np.isfinite(f(np.zeros(100), SAMPLE_RATE)) for f in STANDARD_DESCRIPTORS.values())
