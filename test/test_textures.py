import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfiltfilt
from scipy.stats import spearmanr

from dacformer.evaluation.descriptors import TEXTURE_DESCRIPTORS
from dacformer.textures import MIN_SAMPLE_RATE, TEXTURES, synthesize

SAMPLE_RATE = 44_100


def degraded(audio: np.ndarray) -> np.ndarray:
    """White noise 35 dB below the sound, then nothing above 10 kHz: the least that a lossy codec does."""
    noise = np.random.default_rng(0).standard_normal(len(audio)) * audio.std() * 10 ** (-35 / 20)
    return sosfiltfilt(butter(4, 10_000, fs=SAMPLE_RATE, output="sos"), audio + noise)


def faulty(audio: np.ndarray) -> np.ndarray:
    """0.2 s of loud noise in the middle."""
    audio = audio.copy()
    fault = slice(len(audio) // 2, len(audio) // 2 + SAMPLE_RATE // 5)
    audio[fault] = 3 * audio.std() * np.random.default_rng(0).standard_normal(SAMPLE_RATE // 5)
    return audio


def test_textures_have_names_and_parameters():
    parameters = {name: texture.parameter for name, texture in TEXTURES.items()}
    assert parameters == {
        "pistons": "rate",
        "wind": "strength",
        "applause": "clappers",
        "bees": "busyness",
        "peepers": "range",
        "hits": "ratio",
        "fm": "modulation",
        "rain": "density",
    }
    assert all(texture.name == name for name, texture in TEXTURES.items())


@pytest.mark.parametrize("name", TEXTURES)
def test_synthesize_is_reproducible(name):
    first = synthesize(name, 0.5, 0.3, seed=1)
    assert np.array_equal(first, synthesize(name, 0.5, 0.3, seed=1))
    for other in (synthesize(name, 0.5, 0.3, seed=2), synthesize(name, 0.6, 0.3, seed=1)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.5


@pytest.mark.parametrize("name", TEXTURES)
@pytest.mark.parametrize("value", [0, 1])
def test_synthesize_level(name, value):
    audio = synthesize(name, value, 4.0)
    assert 0.04 < np.sqrt(np.mean(audio**2)) < 0.25
    assert np.abs(audio).max() < 1
    assert abs(audio.mean()) < 1e-3


@pytest.mark.parametrize("name", TEXTURES)
def test_synthesize_is_stationary(name):
    """The beginning and the end are as loud as the middle, on average over many excerpts."""
    clips = np.stack([synthesize(name, 0.5, 2.0, 16_000, seed) for seed in range(16)])
    power = np.mean(clips.reshape(16, 4, -1) ** 2, axis=(0, 2))  # in each half second
    assert power.max() / power.min() < 1.8


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(TEXTURES)),
    value=st.floats(0, 1),
    seconds=st.floats(0.01, 0.6),
    sample_rate=st.sampled_from([MIN_SAMPLE_RATE, 22_050, 24_000, 44_100, 48_000]),
    seed=st.integers(0, 2**31),
)
def test_synthesize_accepts_any_valid_arguments(name, value, seconds, sample_rate, seed):
    audio = synthesize(name, value, seconds, sample_rate, seed)
    assert audio.shape == (round(seconds * sample_rate),)
    assert audio.dtype == np.float32
    assert np.isfinite(audio).all() and np.abs(audio).max() < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "thunder"}, "thunder.*pistons.*rain"),
        ({"value": 1.1}, r"density = 1.1.*\[0, 1\]"),
        ({"value": float("nan")}, r"\[0, 1\]"),
        ({"seconds": 0}, "seconds = 0"),
        ({"sample_rate": 8000}, "16000"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_synthesize_errors_say_what_to_do(arguments, message):
    with pytest.raises(ValueError, match=message):
        synthesize(**{"name": "rain", "value": 0.5} | arguments)


@pytest.mark.parametrize("name", TEXTURES)
def test_descriptor_follows_parameter(name):
    values = np.linspace(0, 1, 6)
    clips = [synthesize(name, float(value), 4.0, SAMPLE_RATE, seed) for seed in (0, 1) for value in values]
    asked = np.tile(values, 2)
    clean, worn = (
        spearmanr(asked, [TEXTURE_DESCRIPTORS[name](clip, SAMPLE_RATE) for clip in version]).statistic
        for version in (clips, [degraded(faulty(clip)) for clip in clips])
    )
    assert clean >= 0.97
    assert worn >= 0.95
