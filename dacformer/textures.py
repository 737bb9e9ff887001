"""Procedural sound textures: labelled sound without recordings.

Eight textures in the manner of the Syntex set (Wyse & Ravikumar, "Syntex: parametric audio texture datasets for
conditional training of instrumental interfaces", NIME 2022). Each has one parameter in [0, 1] that is audible
and measurable (`dacformer.evaluation.descriptors.TEXTURE_DESCRIPTORS`), and is otherwise random and stationary, so
any excerpt of a clip represents the whole.

    audio = synthesize("rain", 0.3, seconds=5.0, seed=1)  # (220500,) float32

Most textures are events: a small bank of short sounds ("kernels") placed at random times. The others are
wavetables read along a wandering phase, or noise shaped in the frequency domain.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.signal import butter, lfilter, oaconvolve, sosfilt

MIN_SAMPLE_RATE = 16_000
"""Lowest sample rate in Hz: the textures have partials up to 7.5 kHz."""

LEAD_SECONDS = 1.5
"""Seconds rendered before every clip and cut off, so that a clip begins amid events, rings and echoes."""


@dataclass(frozen=True)
class Texture:
    """A family of sounds with one parameter.

    Attributes:
        name: The class name.
        parameter: The name of its parameter, a number in [0, 1].
        description: How it sounds, and how the two ends of the parameter sound.
        render: `(value, num_samples, sample_rate, rng) -> audio (num_samples,)`, RMS around 0.1, unlimited peak. It
            starts from silence; `synthesize` renders a lead-in and removes it.
    """

    name: str
    parameter: str
    description: str
    render: Callable[[float, int, int, np.random.Generator], np.ndarray]


def synthesize(name: str, value: float, seconds: float = 5.0, sample_rate: int = 44_100, seed: int = 0) -> np.ndarray:
    """Renders an excerpt of a texture.

    Args:
        name: One of `TEXTURES`.
        value: The texture's parameter, in [0, 1].
        seconds: Duration, greater than 0.
        sample_rate: Hz, at least `MIN_SAMPLE_RATE`.
        seed: Not negative. The same arguments give the same samples; another seed or value gives an
            independent excerpt.

    Returns:
        `(round(seconds * sample_rate),)` float32, RMS around 0.1 (quieter where the sound itself is), peak below 1.

    Raises:
        ValueError: An argument is unknown or out of range.
    """
    if name not in TEXTURES:
        raise ValueError(f"unknown texture {name!r}; the textures are {', '.join(TEXTURES)}")
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} has {TEXTURES[name].parameter} = {value}; give a value in [0, 1]")
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"seconds = {seconds}; give a duration greater than 0")
    if sample_rate < MIN_SAMPLE_RATE:
        raise ValueError(f"sample_rate = {sample_rate} Hz; the textures need at least {MIN_SAMPLE_RATE} Hz")
    if seed < 0:
        raise ValueError(f"seed = {seed}; give a seed that is not negative")
    # The value is part of the seed, so clips of one seed and two values share no noise that could leak from
    # training into validation.
    rng = np.random.default_rng([seed, zlib.crc32(f"{name} {float(value)!r}".encode())])
    num_samples, lead = round(seconds * sample_rate), round(LEAD_SECONDS * sample_rate)
    audio = TEXTURES[name].render(value, lead + num_samples, sample_rate, rng)
    # A struck body first moves one way, so many strokes a second would add up to an offset.
    audio = sosfilt(butter(2, 30, "highpass", fs=sample_rate, output="sos"), audio)[lead:]
    return (0.99 * np.tanh(audio)).astype(np.float32)


# Building blocks -----------------------------------------------------------------------------------------------------


def _log_range(value: float, low: float, high: float) -> float:
    """Maps [0, 1] to [low, high] in equal ratios, as pitch, rate and number are perceived."""
    return low * (high / low) ** value


def _modes(frequencies: np.ndarray, decays: np.ndarray, gains: np.ndarray, sample_rate: int) -> np.ndarray:
    """Renders a struck body, decaying sines: Hz, time constants in seconds, amplitudes, all `(M,)` -> `(L,)`."""
    impulse = np.zeros(int(6 * decays.max() * sample_rate))
    impulse[0] = 1.0
    ring = np.zeros_like(impulse)
    radii, angles = np.exp(-1 / (decays * sample_rate)), 2 * np.pi * frequencies / sample_rate
    for radius, angle, gain in zip(radii, angles, gains, strict=True):  # r^n sin(n w): a two-pole filter is cheapest
        numerator, denominator = [0, radius * np.sin(angle)], [1, -2 * radius * np.cos(angle), radius**2]
        ring += gain * lfilter(numerator, denominator, impulse)
    return ring * np.linspace(1, 0, len(ring))  # the taper ends the ring in silence, not in a step


def _burst(
    low_hz: float, high_hz: float, decay: float, sample_rate: int, rng: np.random.Generator, attack: float = 0.001
) -> np.ndarray:
    """Renders band-passed noise with a soft attack and exponential decay (seconds) -> `(L,)`."""
    time = np.arange(int((attack + 7 * decay) * sample_rate)) / sample_rate
    band = butter(1, [low_hz, high_hz], "bandpass", fs=sample_rate, output="sos")
    envelope = (1 - np.exp(-time / attack)) * np.exp(-time / decay) * np.linspace(1, 0, len(time))
    return sosfilt(band, rng.standard_normal(len(time))) * envelope


def _unit_energy(kernel: np.ndarray) -> np.ndarray:
    return kernel / np.linalg.norm(kernel)


def _place(
    onsets: np.ndarray, gains: np.ndarray, choice: np.ndarray, kernels: list[np.ndarray], num_samples: int
) -> np.ndarray:
    """Adds `gains[i] * kernels[choice[i]]` at sample `onsets[i]` for every event `i`; cuts off what lies outside.

    Adding slices in a loop over events is several times faster here than convolving impulses.
    """
    out = np.zeros(num_samples + max(map(len, kernels)))
    inside = (onsets >= 0) & (onsets < num_samples)
    for onset, gain, index in zip(onsets[inside].astype(int), gains[inside], choice[inside], strict=True):
        kernel = kernels[index]
        out[onset : onset + len(kernel)] += gain * kernel
    return out[:num_samples]


def _noise(
    num_samples: int, sample_rate: int, rng: np.random.Generator, gain: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Renders stationary noise of RMS 1 with amplitude spectrum `gain(Hz)` -> `(num_samples,)`."""
    length = 1 << (num_samples - 1).bit_length()
    frequencies = np.fft.rfftfreq(length, 1 / sample_rate)
    spectrum = gain(frequencies) * rng.standard_normal(2 * len(frequencies)).view(complex)
    noise = np.fft.irfft(spectrum, length)
    return noise[:num_samples] / noise.std()


def _wander(num_samples: int, sample_rate: int, rate_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Renders a smooth random curve with `rate_hz` knots a second, mean 0, deviation about 0.8 -> `(num_samples,)`."""
    # A random offset moves the knots to another place in every clip. The spline is evaluated at ten times the
    # knots' rate and joined by straight lines, which costs a fifth of evaluating it at every sample.
    span = num_samples / sample_rate * rate_hz
    knots = CubicSpline(np.arange(math.ceil(span) + 4), rng.standard_normal(math.ceil(span) + 4))
    positions = np.arange(0, span + 0.2, 0.1)
    return np.interp(np.linspace(0, span, num_samples), positions, knots(positions + 1 + rng.random()))


def _room(audio: np.ndarray, sample_rate: int, rng: np.random.Generator, decay: float, amount: float) -> np.ndarray:
    """Adds the echo of a space: a noise tail that decays with time constant `decay` (seconds)."""
    tail = _unit_energy(_burst(300, 4000, decay, sample_rate, rng, attack=0.01))
    return audio + amount * oaconvolve(audio, tail)[: len(audio)]


# The textures --------------------------------------------------------------------------------------------------------


def _pistons(value: float, num_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    rate = _log_range(value, 2.0, 20.0)
    period = sample_rate / rate
    count = int(num_samples / period) + 2
    onsets = period * (np.arange(count) - rng.random() + 0.02 * rng.standard_normal(count))
    tightness = min(1.0, (6 / rate) ** 0.6)  # a fast engine has shorter strokes, or they would run together
    cylinders = []
    for _ in range(4):
        clank = _modes(
            np.concatenate([rng.uniform(70, 95, 1), np.geomspace(280, 3200, 6) * rng.uniform(0.85, 1.15, 6)]),
            tightness * np.concatenate([[0.035], rng.uniform(0.012, 0.03, 6)]),
            np.concatenate([[3.0], rng.uniform(0.3, 1.0, 6) * np.geomspace(1.0, 0.5, 6)]),
            sample_rate,
        )
        steam = _burst(250, 2500, 0.03 * tightness, sample_rate, rng, attack=0.003)
        stroke = np.zeros(max(len(clank), len(steam)))
        stroke[: len(clank)] += _unit_energy(clank)
        stroke[: len(steam)] += 0.9 * _unit_energy(steam)
        cylinders.append(_unit_energy(stroke))
    gains = 1 + 0.08 * rng.standard_normal(count)
    strokes = _place(onsets, gains, np.arange(count) % 4, cylinders, num_samples)
    strokes = _room(strokes, sample_rate, rng, decay=0.02, amount=0.3)
    rumble = _noise(num_samples, sample_rate, rng, lambda f: 1 / (1 + (f / 150) ** 2))
    return 11.0 * rate**-0.3 * strokes + 0.006 * rumble


def _wind(value: float, num_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    # The spectrum changes frame by frame: a broad roar and two narrow howls, whose centres follow the gusts.
    frame, hop = 2048, 512
    count = num_samples // hop + frame // hop
    gustiness = 0.1 + 0.25 * value

    def curve(rate_hz: float) -> np.ndarray:
        return _wander(count, sample_rate // hop, rate_hz, rng)[:, None]  # (count, 1)

    gust = curve(1.5 + 1.5 * value)
    centre = _log_range(value, 220.0, 1400.0) * 2 ** (gustiness * gust)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(frame, 1 / sample_rate), 20.0) / centre)  # (count, F)
    magnitude = 2.0 ** (-1.1 * np.abs(octaves) - 0.15 * octaves**2)
    for offset in (0.6, 1.4):
        place = octaves - offset - 0.15 * curve(0.8)
        magnitude += (0.9 + 0.5 * value) * np.exp(0.4 * curve(1.0) - (place / 0.07) ** 2) * 2.0**-offset
    # Equal power whatever the centre, then the force of the gust.
    magnitude *= np.exp(gustiness * gust) / np.linalg.norm(magnitude, axis=1, keepdims=True)
    shape = magnitude.shape
    spectrum = magnitude * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    frames = np.fft.irfft(spectrum, frame) * np.sin(np.pi * (np.arange(frame) + 0.5) / frame)  # (count, frame)
    out = np.zeros((count + frame // hop - 1, hop))
    for part in range(frame // hop):  # overlap-add
        out[part : part + count] += frames[:, part * hop : (part + 1) * hop]
    return 1.6 * (0.6 + 0.8 * value) * frame**0.5 * out.ravel()[frame:][:num_samples]


def _applause(value: float, num_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    clappers = round(_log_range(value, 2.0, 120.0))
    periods = sample_rate / rng.uniform(2.6, 4.2, clappers)
    claps = int(num_samples / periods.min() * 1.2) + 4
    intervals = periods[:, None] * np.exp(0.08 * rng.standard_normal((clappers, claps)))
    onsets = np.cumsum(intervals, axis=1) - periods[:, None] * (1 + rng.random((clappers, 1)))  # (clappers, claps)
    # A pair of hands is a small cavity: a resonance over the slap. Far clappers are softer.
    hands = []
    for _ in range(min(clappers, 40)):
        tone = _log_range(rng.random(), 650.0, 2200.0)
        slap = _burst(0.6 * tone, 2.8 * tone, rng.uniform(0.005, 0.011), sample_rate, rng, attack=0.0006)
        hands.append(_unit_energy(slap))
    distance = rng.uniform(0.6, 1.2, (clappers, 1))
    gains = distance * np.exp(0.15 * rng.standard_normal((clappers, claps)))
    choice = np.repeat(np.arange(clappers) % len(hands), claps)
    out = _place(onsets.ravel(), gains.ravel(), choice, hands, num_samples)
    # Louder with more hands, but not by as much as in life: 3 dB where it would be 18.
    return 8.0 * clappers**-0.42 * _room(out, sample_rate, rng, decay=0.06, amount=0.3)


def _bees(value: float, num_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    harmonics = np.arange(1, 25)
    size = 16_384  # samples in a cycle, enough to be read without interpolation
    out = np.zeros(num_samples)
    flutter_hz = _log_range(value, 0.5, 14.0)
    for pitch in 150 * 2 ** (np.linspace(0, 1.1, 6) + 0.04 * rng.standard_normal(6)):
        formants = np.exp(-(np.log2(harmonics * pitch / rng.uniform(450, 900)) ** 2)) + 0.15
        amplitudes = formants / harmonics**0.7 * (harmonics * pitch < 6000)
        partials = amplitudes * np.exp(2j * np.pi * rng.random(24))
        wing = np.fft.irfft(np.append(0, partials), size)
        wing /= wing.std()
        # The slow part is flight, the same for all; the flutter grows faster and wider with busyness.
        drift = 0.06 * _wander(num_samples, sample_rate, 0.6, rng)
        flutter = (0.08 + 2.4 * value) * _wander(num_samples, sample_rate, flutter_hz, rng)
        phase = np.cumsum(pitch * np.exp2((drift + flutter) / 12)) / sample_rate + rng.random()
        loudness = np.exp((0.1 + 0.5 * value) * _wander(num_samples, sample_rate, flutter_hz, rng))
        out += loudness * wing[(phase * size).astype(int) % size]
    air = _noise(num_samples, sample_rate, rng, lambda f: 1 / (1 + ((f - 1500) / 1500) ** 2))
    return 0.035 * out + 0.004 * air


def _peepers(value: float, num_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    frogs = 14
    octaves = (0.03 + 0.97 * value) * (np.linspace(-1, 1, frogs) + 0.06 * rng.standard_normal(frogs))
    peeps = []
    for pitch in 2700 * 2**octaves:
        seconds = rng.uniform(0.09, 0.16)
        time = np.arange(int(seconds * sample_rate)) / sample_rate
        glide = pitch * (0.97 + 0.05 * (time / seconds) ** 0.7)
        phase = 2 * np.pi * np.cumsum(glide) / sample_rate
        swell = np.sin(np.pi * (time / seconds) ** 0.7) ** 1.5
        overtone = 0.06 if 2.1 * pitch < 7500 else 0.0
        peeps.append(swell * (np.sin(phase) + overtone * np.sin(2 * phase)))
    periods = sample_rate * rng.uniform(0.5, 0.75, frogs)
    calls = int(num_samples / periods.min() * 1.2) + 4
    intervals = periods[:, None] * np.exp(0.06 * rng.standard_normal((frogs, calls)))
    onsets = np.cumsum(intervals, axis=1) - periods[:, None] * (1 + rng.random((frogs, 1)))
    gains = rng.uniform(0.7, 1.2, (frogs, 1)) * np.exp(0.1 * rng.standard_normal((frogs, calls)))
    out = _place(onsets.ravel(), gains.ravel(), np.repeat(np.arange(frogs), calls), peeps, num_samples)
    night = _noise(num_samples, sample_rate, rng, lambda f: 1 / (1 + f / 300))
    return 0.1 * _room(out, sample_rate, rng, decay=0.08, amount=0.3) + 0.004 * night


def _hits(value: float, num_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    bodies = []
    for pitch in np.geomspace(220, 620, 6) * rng.uniform(0.95, 1.05, 6):  # wood: a xylophone bar, stopped at once
        ratios = np.array([1.0, 2.6, 4.9, 7.3]) * rng.uniform(0.96, 1.04, 4)
        bar = _modes(pitch * ratios, 0.03 / ratios**0.6, 1 / ratios, sample_rate)
        knock = _burst(300, 2500, 0.006, sample_rate, rng)
        bar[: len(knock)] += 0.5 * knock[: len(bar)]
        bodies.append(_unit_energy(bar))
    for pitch in np.geomspace(700, 1500, 6) * rng.uniform(0.95, 1.05, 6):  # metal: plates and small bells
        ratios = np.array([1.0, 1.51, 2.33, 2.71, 3.46, 4.18, 4.93]) * rng.uniform(0.97, 1.03, 7)
        ratios = ratios[pitch * ratios < 7500]
        bell = _modes(pitch * ratios, 0.22 / ratios**0.5, ratios**-0.3, sample_rate)
        bodies.append(1.2 * _unit_energy(bell))
    period = sample_rate / 6.5
    count = int(num_samples / period) + 2
    onsets = period * (np.arange(count) - rng.random() + 0.18 * rng.standard_normal(count))
    # Steps of the golden ratio are spread so evenly that every second has its share of metal.
    metal = (rng.random() + np.arange(count) * (5**0.5 - 1) / 2) % 1 < value
    gains = np.exp(0.2 * rng.standard_normal(count))
    out = _place(onsets, gains, rng.integers(6, size=count) + 6 * metal, bodies, num_samples)
    return 8.0 * _room(out, sample_rate, rng, decay=0.05, amount=0.2)


def _fm(value: float, num_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    modulation_hz = _log_range(value, 2.0, 60.0)
    carrier = rng.uniform(520, 640) * 2 ** (0.04 * _wander(num_samples, sample_rate, 0.7, rng))
    # A constant deviation, not a constant index: a siren at 2 Hz, rough at 15 Hz, a new timbre at 60 Hz.
    deviation = 120 * (1 + 0.08 * _wander(num_samples, sample_rate, 1.0, rng))
    angle = 2 * np.pi * (modulation_hz * np.arange(num_samples) / sample_rate + rng.random())
    phase = 2 * np.pi * np.cumsum(carrier + deviation * np.sin(angle)) / sample_rate
    tone = np.sin(phase) + 0.3 * np.sin(2 * phase + 0.5) + 0.15 * np.sin(3 * phase + 1) + 0.06 * np.sin(5 * phase)
    tremolo = np.exp(0.12 * _wander(num_samples, sample_rate, 1.5, rng))
    return 0.13 * tremolo * tone + 0.002 * _noise(num_samples, sample_rate, rng, lambda f: 1 / (1 + f / 500))


def _rain(value: float, num_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    rate = _log_range(value, 8.0, 500.0)
    drops = []
    for pitch in np.geomspace(700, 6500, 48):
        decay = rng.uniform(4, 9) / pitch + 0.0015  # small drops are high and short
        overtone = 0.4 if 1.62 * pitch < 7500 else 0.0
        partials, decays = pitch * np.array([1.0, 1.62]), decay * np.array([1.0, 0.5])
        ping = _modes(partials, decays, np.array([1.0, overtone]), sample_rate)
        splash = _burst(0.7 * pitch, min(1.8 * pitch, 7500), 0.002, sample_rate, rng, attack=0.0003)
        ping[: len(splash)] += 0.3 * splash[: len(ping)]
        drops.append(_unit_energy(ping) * (pitch / 2000) ** -0.25)
    count = rng.poisson(rate * num_samples / sample_rate)
    onsets = rng.integers(num_samples, size=count)
    gains = np.exp(0.4 * rng.standard_normal(count))
    out = _place(onsets, gains, rng.integers(len(drops), size=count), drops, num_samples)
    bed = _noise(num_samples, sample_rate, rng, lambda f: (f > 60) / (1 + (f / 1800) ** 1.5))
    return 6.2 * rate**-0.31 * out + 0.01 * bed


TEXTURES: dict[str, Texture] = {
    texture.name: texture
    for texture in (
        Texture("pistons", "rate", "An engine: even strokes, from 2 a second to 20.", _pistons),
        Texture("wind", "strength", "Wind: from a low, even breath to bright, howling gusts.", _wind),
        Texture("applause", "clappers", "Clapping hands: from 2 people to a roar of 120.", _applause),
        Texture("bees", "busyness", "A swarm: from a calm hum to a nervous flutter of pitch and loudness.", _bees),
        Texture("peepers", "range", "Chirping frogs: from all on one pitch to two octaves of pitches.", _peepers),
        Texture("hits", "ratio", "Struck bodies: from all wood, dry, to all metal, ringing.", _hits),
        Texture("fm", "modulation", "A tone under vibrato: from a siren at 2 Hz to a rough chord at 60 Hz.", _fm),
        Texture("rain", "density", "Drops over a soft bed: from 8 a second to a downpour of 500.", _rain),
    )
}
"""All textures by name."""
