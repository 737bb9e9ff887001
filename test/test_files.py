"""Files appear whole, and none is lost."""

from pathlib import Path

from dacformer.files import new_file


def test_a_sound_that_is_there_is_not_overwritten_unasked(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        names.append(new_file(tmp_path / "take.wav").name)
        (tmp_path / names[-1]).touch()
    assert names == ["take.wav", "take_2.wav", "take_3.wav"]
