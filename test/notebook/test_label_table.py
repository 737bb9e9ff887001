"""Labels by hand: what is typed is kept, written, and read by the encoder; what is wrong is said and loses nothing."""

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from dacformer.audio import write_audio
from dacformer.data.labels import read_label_table
from dacformer.errors import UserError
from dacformer.notebook import LabelTable, label_sounds

RATE = 8000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("rain/a.wav", "rain/b.wav", "wind--force-0.25.wav"):
        write_audio(tmp_path / name, 0.1 * rng.standard_normal(RATE), RATE)
    return tmp_path


def cell(table: LabelTable, file: str, column: str):
    row = table._grid.children[list(table.cells.index).index(file)]
    return next(each for each in row.children[1].children if each.description == column)


def test_names_and_folders_speak_first(folder: Path) -> None:
    table = label_sounds(folder)
    assert table.cells["class"].to_dict() == {
        "rain/a.wav": "rain",
        "rain/b.wav": "rain",
        "wind--force-0.25.wav": "wind",
    }
    assert list(table.cells["force"]) == ["", "", "0.25"]
    assert "3 sounds" in table.message.value
    page = table._grid.children[0].children[0].value
    assert "<audio" in page and "<img" in page and "rain/a.wav" in page


def test_what_is_typed_is_written_and_comes_again(folder: Path) -> None:
    table = label_sounds(folder)
    table.add_parameter("density")
    cell(table, "rain/a.wav", "density").value = "0.75"
    cell(table, "rain/b.wav", "class").value = "drizzle"
    labels = read_label_table(table.save())
    assert labels["rain/a.wav"].parameters == {"density": 0.75} and labels["rain/b.wav"].class_name == "drizzle"
    again = label_sounds(folder)
    assert again.labels() == table.labels()
    write_audio(folder / "rain/new.wav", np.random.default_rng(1).standard_normal(RATE) * 0.1, RATE)
    again.read()
    assert again.cells.loc["rain/new.wav", "class"] == "rain" and again.cells.loc["rain/b.wav", "class"] == "drizzle"


def test_what_is_no_number_is_not_written_and_not_lost(folder: Path) -> None:
    table = label_sounds(folder)
    table.save()
    before = (folder / "labels.csv").read_text()
    cell(table, "rain/a.wav", "force").value = "strong"
    table._save.click()
    assert "force is &#x27;strong&#x27;" in table.message.value
    assert (folder / "labels.csv").read_text() == before and table.cells.loc["rain/a.wav", "force"] == "strong"
    cell(table, "rain/a.wav", "force").value = ""
    cell(table, "rain/a.wav", "class").value = " "
    with pytest.raises(UserError, match=r"'rain/a\.wav' \(class\): the class name '' is empty"):
        table.save()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("class", "cannot be called"),
        ("Frames", "cannot be called"),
        ("", "is empty"),
        ("a/b", "could be taken for a path"),
        ("FORCE", "There is a parameter"),
    ],
)
def test_a_column_that_could_not_be_kept_is_not_added(folder: Path, name: str, said: str) -> None:
    table = label_sounds(folder)
    table.add_parameter(name)
    assert said in table.message.value and list(table.cells) == ["class", "force"]
    if said != "There is a parameter":
        with pytest.raises(UserError, match=said):
            label_sounds(folder, (name,))


def test_numbers_are_read_as_in_any_table(folder: Path) -> None:
    table = label_sounds(folder, ("depth (m)",))
    for file, text in (("rain/a.wav", "0,5 m"), ("rain/b.wav", "n/a"), ("wind--force-0.25.wav", "1,234 m")):
        table.cells.loc[file, "depth (m)"] = text
    labels = read_label_table(table.save())
    assert labels["rain/a.wav"].parameters == {"depth (m)": 0.5} and labels["rain/b.wav"].parameters == {}
    assert labels["wind--force-0.25.wav"].parameters == {"force": 0.25, "depth (m)": 1.234}
    table.cells.loc["rain/a.wav", "depth (m)"] = "1 kHz"
    with pytest.raises(UserError, match=r"'wind.*': depth \(m\) is '1,234 m', but '1 kHz' in 'rain/a\.wav'"):
        table.save()


def test_a_table_that_is_not_understood_is_not_passed_over(folder: Path) -> None:
    (folder / "labels.csv").write_text("file,class\nrain/a.wav,has no row\nrain/a.wav,rain\n")
    with pytest.raises(UserError, match=r"row 3: 'rain/a\.wav' has another label"):
        label_sounds(folder)


def test_sounds_are_dropped_into_the_folder_and_broken_ones_are_named(tmp_path: Path) -> None:
    table = label_sounds(tmp_path / "new")
    assert "No sound in" in table.message.value
    path = write_audio(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    files = ({"name": "silent.wav", "content": path.read_bytes()}, {"name": "../evil.txt", "content": b""})
    table.upload.value = [file | {"type": "", "size": 1, "last_modified": datetime.now(timezone.utc)} for file in files]
    assert list(table.cells.index) == ["silent.wav"]
    assert "silent" in table._grid.children[0].children[0].value and "1 with a problem" in table.message.value
    assert not (tmp_path / "evil.txt").exists() and not (tmp_path / "new" / "evil.txt").exists()


def test_pages_are_turned(folder: Path) -> None:
    table = label_sounds(folder, page_rows=2)
    assert table.page.max == 2 and len(table._grid.children) == 2
    table.page.value = 2
    assert len(table._grid.children) == 1
