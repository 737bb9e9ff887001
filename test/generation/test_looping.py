"""A loop: its end leads into its beginning, and a seam that does not is seen."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dacformer.errors import UserError
from dacformer.generation.curves import Curve
from dacformer.generation.looping import decode_circle, find_loop, measure_seam
from dacformer.generation.recipe import Loop
from dacformer.generation.synthesizer import Synthesizer

RATE = 44100


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise that is periodic over its length, falling with frequency as wind does."""
    count = round(seconds * RATE)
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, count // 2 + 1)
    spectrum = np.exp(1j * phases) / np.maximum(np.arange(count // 2 + 1), 20 * seconds)
    sound = np.fft.irfft(spectrum, count)
    return sound / np.abs(sound).max()


def test_the_seam_of_what_is_periodic_is_a_place_like_any_other() -> None:
    seams = [measure_seam(np.roll(noise(1.0), shift), RATE) for shift in range(0, RATE, RATE // 40)]
    assert 0.3 < np.mean([seam.spectrum for seam in seams]) < 0.7
    assert 0.3 < np.mean([seam.jump for seam in seams]) < 0.7


def test_a_click_at_the_seam_is_seen() -> None:
    assert measure_seam(noise(1.0) + np.linspace(0, 0.5, RATE), RATE).jump == 1.0


def test_a_change_of_sound_at_the_seam_is_seen() -> None:
    dark, bright = noise(2.0), np.diff(noise(2.0, 1), prepend=0.0)
    sound = dark * np.linspace(0, 1, 2 * RATE) + bright * np.linspace(1, 0, 2 * RATE)
    assert measure_seam(sound, RATE).spectrum > 0.99


def test_a_circle_is_decoded_as_the_middle_of_many_turns(untrained: Synthesizer) -> None:
    codec, turn = untrained.codec, torch.randint(0, 1024, (4, 20), generator=torch.Generator().manual_seed(0))
    three = codec.decode(turn.repeat(1, 3)[None])[0, 0].numpy()
    np.testing.assert_allclose(decode_circle(codec, turn), three[20 * 512 : 40 * 512], atol=1e-5)


def test_codes_that_repeat_are_found(untrained: Synthesizer) -> None:
    codec, generator = untrained.codec, torch.Generator().manual_seed(0)
    codes = torch.randint(0, 1024, (2, 4, 150), generator=generator)
    codes[1, :, 90:130] = codes[1, :, 30:70]  # forty frames of the second sound come again 60 frames later
    which, start = find_loop(codec, codes, codec.decode(codes)[:, 0].numpy(), 60)
    assert which == 1 and 30 + 11 <= start <= 70 - 11


def test_a_loop_goes_round(untrained: Synthesizer, tmp_path: Path) -> None:
    loop = untrained.loop(0.5, {"class": "wind"}, seed=1)
    assert loop.codes.shape == (4, 43) and len(loop.audio) == 43 * 512 and loop.loops
    gain = 10 ** (-untrained.info.level_offset_db["wind"] / 20)
    circle = decode_circle(untrained.codec, torch.from_numpy(loop.codes))
    np.testing.assert_allclose(loop.audio, np.clip(gain * circle, -1, 1), atol=1e-5)
    seam = measure_seam(loop.audio, RATE)
    assert seam.spectrum < 0.9 and seam.jump < 0.9
    assert " loop " in loop._repr_html_() and " loop " not in loop.undo()._repr_html_()
    assert untrained.load_take(loop.save(tmp_path / "loop")).loops
    assert not loop.extend(0.1).loops


def test_a_loop_of_a_take_is_a_piece_of_it_or_of_what_follows(untrained: Synthesizer) -> None:
    controls = {"class": {"wind": 1.0, "pistons": Curve([(0, 0), (2, 1)])}, "strength": 0.5}
    take = untrained.generate(0.3, controls)
    loop = take.loop(0.5, n=2)
    longer = loop.undo()
    edit = loop.recipe.edits[-1]
    assert isinstance(edit, Loop)
    start = round(edit.at_seconds * untrained.info.frame_rate)
    np.testing.assert_array_equal(loop.codes, longer.codes[:, start : start + 43])
    np.testing.assert_allclose(loop.curves.classes["pistons"], longer.curves.classes["pistons"][start : start + 43])
    assert longer.undo() is take and len(take.children) == 2
    assert longer.loop(0.3).undo() is longer  # long enough already
    for seconds in (0.0, 0.1, float("nan"), float("inf")):
        with pytest.raises(UserError, match="expected a length"):
            take.loop(seconds)
