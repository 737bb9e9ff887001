"""Textures become a dataset, class by class and setting by setting."""

from pathlib import Path

import pytest
import soundfile

from dacformer import audio as sound
from dacformer.codec import Codec
from dacformer.data.dataset import load_dataset
from dacformer.data.make_textures import make_texture_dataset, write_textures
from dacformer.errors import UserError

SIZES = {"values": 2, "takes": 1, "seconds": 0.2}


def test_make_texture_dataset_adds_and_renews_classes(tiny: Codec, tmp_path: Path) -> None:
    output = tmp_path / "set"
    make_texture_dataset(output, tiny, "tiny", ["wind"], validation=0.0, **SIZES)  # pyright: ignore
    wind = load_dataset(output)
    codes = {file: (output / file).read_bytes() for file in wind.rows["file"]}
    make_texture_dataset(output, tiny, "tiny", ["hits"], validation=0.0, **SIZES)  # pyright: ignore
    both = load_dataset(output)
    assert both.rows["class"].to_list() == ["wind", "wind", "hits", "hits"]
    assert codes == {file: (output / file).read_bytes() for file in wind.rows["file"]}
    assert wind.info.made_by in both.info.made_by and "--classes hits" in both.info.made_by
    make_texture_dataset(output, tiny, "tiny", ["hits"], validation=0.0, **SIZES | {"seconds": 0.4})  # pyright: ignore
    frames = load_dataset(output).rows.groupby("class")["frames"].max()
    assert frames["hits"] == 35 and frames["wind"] == 18


def test_write_textures_renews_only_sounds_of_other_settings(tmp_path: Path) -> None:
    paths = write_textures(tmp_path, ["wind"], **SIZES)  # pyright: ignore
    before = [path.stat().st_mtime_ns for path in paths]
    assert write_textures(tmp_path, ["wind"], **SIZES) == paths  # pyright: ignore
    assert [path.stat().st_mtime_ns for path in paths] == before
    write_textures(tmp_path, ["wind"], **SIZES | {"seconds": 0.3})  # pyright: ignore
    assert [soundfile.info(path).duration for path in paths] == pytest.approx([0.3, 0.3], abs=1e-4)
    assert "seconds=0.3" in sound.read_comment(paths[0])


def test_write_textures_refuses_too_many_values(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1002 values"):
        write_textures(tmp_path, ["wind"], values=1002)


def test_write_textures_follows_a_change_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that write may have been started elsewhere."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        written = write_textures(Path("sounds"), ["wind"], values=2, takes=1, seconds=0.2)
        assert len(written) == 2 and all((tmp_path / name / path).is_file() for path in written)
