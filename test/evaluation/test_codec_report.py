"""The codec's report: what it says of sounds of known quality."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dacformer import audio as sound
from dacformer.codec import load_codec
from dacformer.errors import UserError
from dacformer.evaluation.codec_report import measure_codec, opus_roundtrip, write_codec_report
from dacformer.textures import synthesize


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for name in ("rain", "wind"):
        for i in range(2):
            sound.write_audio(folder / name / f"{i}.wav", synthesize(name, 0.5, 0.5, seed=i), 44100)
    return folder


def test_more_codebooks_are_nearer_and_every_recording_counts(sounds: Path, tmp_path: Path) -> None:
    result = measure_codec(load_codec("small"), sounds)
    assert list(result.by_coder.index) == ["K=1", "K=2", "K=3", "K=4"]
    assert result.by_coder["mel"].is_monotonic_decreasing
    assert result.by_coder.loc["K=4", "kbit_per_s"] == pytest.approx(4 * 10 * 44100 / 512 / 1000)
    assert list(result.by_class.index) == ["rain", "wind", "all"]
    whole = result.clips[result.clips["coder"] == "K=4"]
    assert sorted(whole["sound"]) == ["rain/0.wav", "rain/1.wav", "wind/0.wav", "wind/1.wav"]
    assert result.by_class.loc["all", "mel"] == pytest.approx(whole["mel"].mean())
    assert (result.perplexity >= 1).all(axis=None) and (result.perplexity <= 1024).all(axis=None)
    assert all(times > 0 for times in result.speed.values())
    assert "K=4" in result.to_text() and "wind" in result.to_text()
    paths = write_codec_report(result, tmp_path)
    assert [path.name for path in paths] == ["codec.csv", "codec.json", "codec.png", "codec_sounds.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths[2:])
    assert len(pd.read_csv(paths[0])) == 16
    assert json.loads(paths[1].read_text())["codec"] == load_codec("small").identity


def test_what_is_left_out(sounds: Path) -> None:
    result = measure_codec(load_codec("small"), sounds, exclude=["wind"])
    assert set(result.clips["class"]) == {"rain"}
    half = measure_codec(load_codec("small"), sounds, held_out=0.5)
    training, held = sound.split_by_recording(sound.find_audio(sounds), 0.5, 0)
    assert set(half.clips["sound"]) == {path.relative_to(sounds).as_posix() for path in held}
    assert training
    with pytest.raises(UserError, match="No recording"):
        measure_codec(load_codec("small"), sounds, exclude=["wav"])


@pytest.mark.skipif(not shutil.which("opusenc"), reason="opus-tools is not installed")
def test_opus_at_a_high_rate_is_the_same_sound() -> None:
    audio = synthesize("rain", 0.5, 1.0) * 0.3
    decoded, rate = opus_roundtrip(audio, 44100, 256)
    assert decoded.shape == audio.shape and 100 < rate < 400
    assert np.corrcoef(decoded, audio)[0, 1] > 0.98


def test_opus_that_is_not_there_is_said(sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="opus-tools"):
        measure_codec(load_codec("small"), sounds, opus=[12])
