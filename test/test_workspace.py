"""The shipped settings are found by name; `dacformer init` copies them and overwrites nothing."""

from pathlib import Path

import pytest

from dacformer.codec.training.config import CodecTrainingConfig
from dacformer.config import Config, load_config
from dacformer.errors import UserError
from dacformer.workspace import find_settings, shipped_settings, write_workspace

ROOT = Path(__file__).parents[1]
FILES = {
    "CKPT_DAC_AUDIO.ipynb",
    "Train.ipynb",
    "params/codec_small.yaml",
    "params/live.yaml",
    "params/params.yaml",
    "params/params_med.yaml",
    "params/params_sm.yaml",
} | {path.relative_to(ROOT).as_posix() for path in (ROOT / "test" / "data").rglob("*") if path.is_file()}


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["sm", "med", "params"])
def test_load_config_finds_shipped_settings_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = ROOT / "params" / ("params.yaml" if name == "params" else f"params_{name}.yaml")
    assert load_config(name) == load_config(file, kind=Config)


def test_codec_settings_have_a_name_too() -> None:
    assert load_config("codec_small", kind=CodecTrainingConfig) == load_config(
        ROOT / "params" / "codec_small.yaml", kind=CodecTrainingConfig
    )


def test_a_file_in_the_working_folder_comes_before_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sm").write_text("training: {steps: 7}")
    assert find_settings("sm") == Path("sm") and load_config("sm").training.steps == 7


def test_an_unknown_name_lists_the_shipped_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no settings file large in .*: codec_small, live, params, med, sm\."):
        load_config("large")
    assert set(shipped_settings()) == {"codec_small", "live", "params", "med", "sm"}


def test_write_workspace_copies_notebooks_and_params_and_nothing_else(tmp_path: Path) -> None:
    written = write_workspace(tmp_path / "new" / "work")
    contents = files_below(tmp_path / "new" / "work")
    assert {path.relative_to(tmp_path / "new" / "work").as_posix() for path in written} == set(contents) == FILES
    assert all((ROOT / name).read_bytes() == data for name, data in contents.items())


def test_write_workspace_keeps_what_lies_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write_workspace(tmp_path)
    assert set(files_below(tmp_path)) == FILES | {"notes.txt"}


@pytest.mark.parametrize("name", ["Train.ipynb", "params/live.yaml", "test/data/manifest.csv"])
def test_write_workspace_overwrites_nothing_and_writes_nothing_beside_it(tmp_path: Path, name: str) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(UserError, match="is already there, and nothing is overwritten"):
        write_workspace(tmp_path)
    assert files_below(tmp_path) == {name: b"mine"}


def test_write_workspace_refuses_a_file_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(UserError, match="x is a file, expected a folder"):
        write_workspace(tmp_path / "x")
