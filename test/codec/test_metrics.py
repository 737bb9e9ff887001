"""The measures of a codec: closed forms, and what they say of a sound that came through whole."""

from pathlib import Path

import numpy as np
import pytest
import torch
from audiotools import AudioSignal

from dacformer import audio as sound
from dacformer.codec import metrics


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([[0, 1, 2, 3]], 4.0),  # even use: every entry
        ([[5, 5, 5, 5]], 1.0),  # one entry
        ([[0, 0, 1, 1]], 2.0),
        ([[0, 0, 0, 1]], 4 / 3**0.75),  # exp(H(3/4, 1/4))
    ],
)
def test_perplexity_closed_forms(codes: list[list[int]], expected: float) -> None:
    given = torch.tensor([codes, codes])  # (2, 1, 4)
    torch.testing.assert_close(metrics.perplexity(given, 8), torch.tensor([expected]))


def test_perplexity_per_codebook() -> None:
    codes = torch.stack([torch.zeros(2, 64).long(), torch.arange(128).view(2, 64) % 16], dim=1)
    torch.testing.assert_close(metrics.perplexity(codes, 16), torch.tensor([1.0, 16.0]))


def test_at_level_scales_to_level_rms() -> None:
    audio = np.random.default_rng(0).standard_normal(9999).astype(np.float32)
    for gain in (1e-3, 1, 30):
        assert np.sqrt(np.mean(metrics.at_level(gain * audio) ** 2)) == pytest.approx(metrics.LEVEL_RMS, rel=1e-4)
    assert not metrics.at_level(np.zeros(5, np.float32)).any()


@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
def test_load_recording_speed_changes_length_and_pitch(tmp_path: Path, speed: float) -> None:
    wave = np.sin(2 * np.pi * 1000 * np.arange(44100) / 44100)
    path = sound.write_audio(tmp_path / "a.wav", wave * 0.5, 44100)
    audio = metrics.load_recording(path, 44100, speed)
    assert len(audio) == pytest.approx(44100 / speed, rel=0.001)
    assert np.abs(np.fft.rfft(audio)).argmax() * 44100 / len(audio) == pytest.approx(1000 * speed, rel=0.01)


@pytest.mark.parametrize("loss", [metrics.mel_loss(), metrics.stft_loss()])
def test_distances_are_zero_to_itself_and_grow_with_noise(loss: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    audio, noise = (torch.randn(1, 1, 22050, generator=generator) * 0.1 for _ in range(2))
    given = AudioSignal(audio, 44100)
    distances = [float(loss(AudioSignal(audio + share * noise, 44100), given)) for share in (0.0, 0.1, 1.0)]
    assert distances[0] == 0.0 < distances[1] < distances[2]
