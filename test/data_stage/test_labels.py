import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dacformer.data.labels import Label, label_files, label_from_name, read_label_table, write_label_table
from dacformer.errors import UserError

OURS, THEIRS = ("file", "class"), ("Full File Name", "Class Name")


def write_table(path: Path, table: pd.DataFrame) -> Path:
    if path.suffix == ".xlsx":
        table.to_excel(path, index=False)
    else:
        table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
@pytest.mark.parametrize("columns", [OURS, THEIRS], ids=["ours", "theirs"])
def test_tables_of_ours_and_of_the_earlier_system_are_read(
    tmp_path: Path, suffix: str, columns: tuple[str, str]
) -> None:
    names, classes = columns
    table = pd.DataFrame({names: ["a.wav", "b.wav"], classes: ["rain", "wind"], "density": [0.5, None], "rate": [3, 4]})
    assert read_label_table(write_table(tmp_path / f"t.{suffix}", table)) == {
        "a.wav": Label("rain", {"density": 0.5, "rate": 3.0}),
        "b.wav": Label("wind", {"rate": 4.0}),
    }


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_names_stay_as_they_are_written(tmp_path: Path, suffix: str) -> None:
    table = pd.DataFrame({"file": ["001", "NA", "1e3"], "class": ["None", "nan", "007"]})
    labels = read_label_table(write_table(tmp_path / f"t.{suffix}", table))
    assert {name: label.class_name for name, label in labels.items()} == {"001": "None", "NA": "nan", "1e3": "007"}


def test_a_row_is_found_by_path_name_or_stem(tmp_path: Path) -> None:
    table = pd.DataFrame({"file": ["x/a.wav", "a.wav", "b"], "class": ["by path", "by name", "by stem"]})
    write_table(tmp_path / "t.csv", table)
    paths = [tmp_path / name for name in ("x/a.wav", "y/a.wav", "x/b.flac")]
    found = label_files(paths, tmp_path, tmp_path / "t.csv")
    assert [label.class_name for label in found] == ["by path", "by name", "by stem"]


def test_a_sound_without_row_is_named(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", pd.DataFrame({"file": ["a.wav"], "class": ["rain"]}))
    with pytest.raises(UserError, match=r"t\.csv has no row for 'x/lost\.wav'"):
        label_files([tmp_path / "a.wav", tmp_path / "x" / "lost.wav"], tmp_path, tmp_path / "t.csv")


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"file": ["a"], "class": ["x"], "rate": ["fast"]}, "column 'rate' holds something that is no number"),
        ({"file": ["a", "b"], "class": ["x", "y"], "rate": [1, "fast"]}, "column 'rate'"),
        ({"name": ["a"], "class": ["x"]}, "needs a column 'file'.*it has: name, class"),
        ({"file": ["a"], "kind": ["x"]}, "and a column 'class'"),
        ({"file": ["a", "b"], "class": ["x", None]}, "the row of 'b' has no class"),
    ],
)
def test_a_wrong_table_says_what_is_wrong(tmp_path: Path, suffix: str, columns: dict[str, list], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_label_table(write_table(tmp_path / f"t.{suffix}", pd.DataFrame(columns)))


@pytest.mark.parametrize("name", ["none.csv", "none.xlsx", "broken.xlsx", "empty.csv", "folder.csv"])
def test_what_is_no_table_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.xlsx").write_text("no sheet")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match=name):
        read_label_table(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("wind--strength-0.50--take3.wav", Label("wind", {"strength": 0.5})),
        ("hits--ratio-1--rate_hz--pitch--2.wav", Label("hits", {"ratio": 1.0, "pitch": -2.0})),
        ("fm--a-1--b-2.5--take--x--d--0.5.flac", Label("fm", {"a": 1.0, "b": 2.5, "d": -0.5})),
        ("cold--temperature--12.5.wav", Label("cold", {"temperature": -12.5})),
        ("cold--temperature--12.5--rate-3--2.wav", Label("cold", {"temperature": -12.5, "rate": 3.0})),
        ("2-82367-A.wav", None),
        ("rain.wav", None),
        ("--rate-3.wav", None),
    ],
)
def test_a_name_speaks(name: str, label: Label | None) -> None:
    assert label_from_name(Path(name)) == label


@given(st.floats(-1e6, 1e6).map(lambda value: round(value, 3)))
def test_any_number_in_a_name_is_read(value: float) -> None:
    label = label_from_name(Path(f"wind--strength-{value:.3f}--take0.wav"))
    assert label == Label("wind", {"strength": value})


def test_without_a_name_that_speaks_the_folder_does(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("rain/a.wav", "x/deep/b.wav", "c.wav", "rain/wind--strength-1.wav")]
    found = [label.class_name for label in label_files(paths, tmp_path)]
    assert found == ["rain", "deep", tmp_path.name, "wind"]


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(str.strip)
some_labels = st.dictionaries(
    words,
    st.builds(Label, words, st.dictionaries(st.sampled_from(["rate", "strength"]), st.floats(-1e6, 1e6))),
    min_size=1,
    max_size=5,
)


@given(some_labels)
def test_a_table_that_was_written_is_read_back(labels: dict[str, Label]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        read = read_label_table(write_label_table(Path(folder) / "labels.csv", labels))
    assert read == labels


def test_a_table_that_is_written_over_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    for name in ("a", "b", "c"):
        write_label_table(path, {"x.wav": Label(name)})
    names = ("labels.before-1.csv", "labels.before-2.csv")
    kept = [read_label_table(tmp_path / name)["x.wav"].class_name for name in names]
    assert kept == ["a", "b"] and read_label_table(path)["x.wav"].class_name == "c"
    with pytest.raises(UserError, match="has no class"):
        write_label_table(path, {"x.wav": Label("")})
    with pytest.raises(UserError, match=r"written as \.csv"):
        write_label_table(tmp_path / "labels.xlsx", {})
    assert len(list(tmp_path.iterdir())) == 3
