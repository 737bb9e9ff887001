"""Labels are understood wholly or not at all: from tables of any program, from names, from folders."""

import tempfile
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dacformer.data.labels import Label, label_files, read_label_table, write_label_table
from dacformer.data.names import clean_name
from dacformer.errors import UserError

OURS, THEIRS = ("file", "class"), ("Full File Name", "Class Name")
WriteText = Callable[..., Path]


def write_table(path: Path, table: pd.DataFrame) -> Path:
    if path.suffix == ".xlsx":
        table.to_excel(path, index=False)
    else:
        table.to_csv(path, index=False)
    return path


@pytest.fixture
def write_csv(tmp_path: Path) -> WriteText:
    """Writes a table as text: `write_csv("file,class\\na.wav,rain\\n", encoding="utf-16") -> path`."""

    def write(text: str, encoding: str = "utf-8") -> Path:
        (tmp_path / "t.csv").write_bytes(text.encode(encoding))
        return tmp_path / "t.csv"

    return write


def by_name(*names: str) -> list[Label]:
    """Labels of sounds in the folder `sounds`, from their names."""
    return label_files([Path("sounds") / name for name in names], Path("sounds"))


# Tables


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
@pytest.mark.parametrize("columns", [OURS, THEIRS], ids=["ours", "theirs"])
def test_read_label_table_accepts_both_column_styles(tmp_path: Path, suffix: str, columns: tuple[str, str]) -> None:
    names, classes = columns
    table = pd.DataFrame({names: ["a.wav", "b.wav"], classes: ["rain", "wind"], "density": [0.5, None], "rate": [3, 4]})
    assert read_label_table(write_table(tmp_path / f"t.{suffix}", table)) == {
        "a.wav": Label("rain", {"density": 0.5, "rate": 3.0}),
        "b.wav": Label("wind", {"rate": 4.0}),
    }


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
@pytest.mark.parametrize(
    "name",
    ["None", "nan", "007", "no", "1", "1e5", "2024-11-24", "null", "TRUE", "=SUM(A1)", "a:b", "a,b", "🌧", "Ü", "-"],
)
def test_read_label_table_keeps_names_as_written(tmp_path: Path, suffix: str, name: str) -> None:
    table = pd.DataFrame({"file": ["001"], "class": [name]})
    if name.startswith("=") and suffix == "xlsx":
        with pytest.raises(UserError, match=r"row 2: '=\.\.\.' is no name, but a formula that was not computed"):
            read_label_table(write_table(tmp_path / "t.xlsx", table))
    else:
        assert read_label_table(write_table(tmp_path / f"t.{suffix}", table)) == {"001": Label(name)}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../../../escaped", "could be taken for a path"),
        ("a\\b", "could be taken for a path"),
        ("..", "could be taken for a path"),
        ("two\nlines", "line break"),
        ("nul\0", "cannot be shown|NUL"),
        ("x" * 10_000, "10000 bytes long"),
        (" ", "column 'class' is empty"),
    ],
)
def test_read_label_table_refuses_impossible_class(write_csv: WriteText, name: str, said: str) -> None:
    with pytest.raises(UserError, match=rf"row 3.*({said})") as caught:
        read_label_table(write_csv(f'file,class\na.wav,rain\nb.wav,"{name}"\n'))
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


def test_read_label_table_normalizes_names(write_csv: WriteText) -> None:
    spelled = ["Bäche", unicodedata.normalize("NFD", "Bäche"), " Bäche ", "Bäche\u200f", "\ufeffBäche"]
    path = write_csv("file,class\n" + "".join(f"{i}.wav,{name}\n" for i, name in enumerate(spelled)))
    assert {label.class_name for label in read_label_table(path).values()} == {"Bäche"}


@pytest.mark.parametrize("name", ["file", "class", "split", "frames", "Frames", "SPLIT", "a/b", "x" * 300])
def test_read_label_table_refuses_reserved_parameter(write_csv: WriteText, name: str) -> None:
    with pytest.raises(UserError, match=r"cannot be called|parameter name|two columns"):
        read_label_table(write_csv(f"file,class,{name}\na.wav,rain,1\n"))


@pytest.mark.parametrize("name", ["rain", "temperature", "seconds", "seed", "Depth (m)", "a=b"])
def test_read_label_table_accepts_other_parameter_names(write_csv: WriteText, name: str) -> None:
    labels = read_label_table(write_csv(f"file,class,{name}\na.wav,rain,1\n"))
    assert labels == {"a.wav": Label("rain", {name: 1.0})}


@pytest.mark.parametrize(
    "header",
    ["file, class, depth", "File,CLASS,depth", "\ufefffile,class,depth", '"file", "class",depth', "file,class,depth,"],
)
@pytest.mark.parametrize("blank", ["", ",,\n", "\n", '"  ",,\n'])
def test_read_label_table_accepts_untidy_headers_and_blank_rows(write_csv: WriteText, header: str, blank: str) -> None:
    path = write_csv(f"{blank}{header}\n{blank}a.wav, rain ,1\n{blank}")
    assert read_label_table(path) == {"a.wav": Label("rain", {"depth": 1.0})}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(
    "text",
    [
        "file;class;depth\na.wav;Bäche;0,5\n",
        "sep=;\nfile;class;depth\na.wav;Bäche;0,5\n",
        "file\tclass\tdepth\na.wav\tBäche\t0.5\n",
        'file,class,depth\r\na.wav,Bäche,"0,5"\r\n',
        "file|class|depth\ra.wav|Bäche|.5\r",
        'My recordings; 2024\n\n"file";class;"depth\n"\na.wav;Bäche;0,50;;\n',
    ],
)
def test_read_label_table_reads_any_delimiter_and_unicode_encoding(
    write_csv: WriteText, text: str, encoding: str
) -> None:
    assert read_label_table(write_csv(text, encoding)) == {"a.wav": Label("Bäche", {"depth": 0.5})}


def test_read_label_table_refuses_other_encodings(write_csv: WriteText) -> None:
    with pytest.raises(UserError, match=r"row 2 is not in UTF-8.*Latin-1.*Save it as 'CSV UTF-8'"):
        read_label_table(write_csv("file,class\na.wav,Bäche\n", "latin-1"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,class\na,x", "needs a column 'file'.*it has: name, class"),
        ("file;kind\na;x", "and a column 'class'.*it has: file, kind"),
        ("file,class\na,x\nb,", r"row 3: column 'class' is empty \(b has no class\)"),
        ("file,class\n,x", "row 2: column 'file' is empty"),
        ("file,class,rate\na,x,1\nb,x,fast", "row 3: column 'rate' is 'fast', which is no number"),
        ("file,class,rate\na,x,1,5", r"row 2: 4 cells below a header of 3. Put quotes"),
        ("file,class\na,x\n\na,y", r"row 4: 'a' has another label in .*t\.csv, row 2"),
        ("file,class,rate\na,x,1\n./a,x,2", r"row 3: 'a' has another label in .*row 2"),
        ("file,class,rate,Rate\na,x,1,2", "two columns 'rate' and 'Rate'"),
        ("file,class,Full File Name\na,x,1", "two columns"),
        ('file,class\na,"x\nb,y\n', "row 2: unexpected end of data. Mend its quotes"),
    ],
)
def test_read_label_table_names_problem_and_row(write_csv: WriteText, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_label_table(write_csv(text))


def test_read_label_table_accepts_equal_rows_twice(write_csv: WriteText) -> None:
    labels = read_label_table(write_csv("file,class,rate\na,x,1\na,x,1.0\n"))
    assert labels == {"a": Label("x", {"rate": 1.0})}


def test_read_label_table_warns_about_columns_left_out(write_csv: WriteText) -> None:
    path = write_csv("file,class,notes,rate,on,empty,,when\na,x,close mic,1 Hz,TRUE,,7,2024-11-24\nb,x,,n/a,false,,,\n")
    with pytest.warns(UserWarning, match=r"'notes', which is text; 'empty', which is empty; column 7, .*; 'when'"):
        labels = read_label_table(path)
    assert labels == {"a": Label("x", {"rate": 1.0, "on": 1.0}), "b": Label("x", {"on": 0.0})}


def test_read_label_table_ignores_million_blank_rows(write_csv: WriteText) -> None:
    assert len(read_label_table(write_csv("file,class\na,x\n" + ",\n" * 1_048_574))) == 1


# Which row is whose


@pytest.mark.parametrize(
    "written",
    [
        "x/a.wav",
        "./x/a.wav",
        "x\\a.wav",
        "sounds\\x\\a.wav",
        "/home/me/rec/x/a.wav",
        "C:\\rec\\x\\a.wav",
        "a.wav",
        "A.WAV",
        "a",
        "a.dac",
        "a.npy",
        "a.flac",
        "x/a",
    ],
)
def test_label_files_matches_path_in_any_spelling(tmp_path: Path, write_csv: WriteText, written: str) -> None:
    path = write_csv(f"file,class\n{written},rain\n")
    assert label_files([tmp_path / "sounds/x/a.wav"], tmp_path / "sounds", path) == [Label("rain")]


def test_label_files_matches_other_unicode_form(tmp_path: Path, write_csv: WriteText) -> None:
    path = write_csv("file,class\nBäche.wav,rain\n")
    sound = tmp_path / unicodedata.normalize("NFD", "Bäche.wav")
    assert label_files([sound], tmp_path, path) == [Label("rain")]


def test_label_files_takes_best_fitting_row(tmp_path: Path) -> None:
    table = pd.DataFrame({"file": ["x/a.wav", "a.wav", "b"], "class": ["by path", "by name", "by stem"]})
    write_table(tmp_path / "t.csv", table)
    paths = [tmp_path / name for name in ("x/a.wav", "y/a.wav", "x/b.flac")]
    found = label_files(paths, tmp_path, tmp_path / "t.csv")
    assert [label.class_name for label in found] == ["by path", "by name", "by stem"]


@pytest.mark.parametrize(
    ("sounds", "rows", "said"),
    [
        (["x/a.wav", "y/a.wav"], ["a.wav,rain"], r"row 2: 'a\.wav' may be 'x/a\.wav' or 'y/a\.wav'"),
        (["b.wav", "b.flac"], ["b,rain"], r"'b' may be 'b\.wav' or 'b\.flac'"),
        (["a.wav"], ["a.dac,rain", "a.npy,wind"], r"'a\.wav' may be the sound of .*row 2 .* or of .*row 3"),
        (["a.wav", "x/lost.wav", "m.wav"], ["a.wav,rain"], r"t\.csv has no row for 'x/lost\.wav' \(and for 1 more\)"),
        (["x/a.wav"], ["y/a.wav,rain"], r"no row for 'x/a\.wav'.*It names files such as 'y/a\.wav'"),
    ],
)
def test_label_files_refuses_row_for_two_sounds_or_none(
    tmp_path: Path, write_csv: WriteText, sounds: list[str], rows: list[str], said: str
) -> None:
    path = write_csv("\n".join(["file,class", *rows]))
    with pytest.raises(UserError, match=said):
        label_files([tmp_path / name for name in sounds], tmp_path, path)


def test_label_files_warns_about_rows_without_sound(tmp_path: Path, write_csv: WriteText) -> None:
    path = write_csv("file,class\na.wav,rain\nb.wav,rain\nc.wav,rain\n")
    with pytest.warns(UserWarning, match=r"2 rows are of no sound below .*such as that of 'b\.wav'"):
        label_files([tmp_path / "a.wav"], tmp_path, path)


# Names and folders


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("wind--strength-0.50--take3.wav", Label("wind", {"strength": 0.5})),
        ("hits--ratio-1--rate_hz--pitch--2.wav", Label("hits", {"ratio": 1.0, "pitch": -2.0})),
        ("fm--a-1--b-2.5--take--x--d--0.5.flac", Label("fm", {"a": 1.0, "b": 2.5, "d": -0.5})),
        ("cold--temperature--12.5.wav", Label("cold", {"temperature": -12.5})),
        ("cold--temperature--12.5--rate-3--2.wav", Label("cold", {"temperature": -12.5, "rate": 3.0})),
        ("DSApplause--numClappers_exp-00.50--c-02.wav", Label("DSApplause", {"numClappers_exp": 0.5, "c": 2.0})),
        ("wind--x-1e-3--y-0,5--z-.5--u-+1.wav", Label("wind", {"x": 1e-3, "y": 0.5, "z": 0.5, "u": 1.0})),
        ("wind--gain-0.50dB--höhe-１--n-1_000.wav", Label("wind", {"gain": 0.5, "höhe": 1.0, "n": 1000.0})),
        ("wind--gain--1,5e-3 dB--m-1.000,5.wav", Label("wind", {"gain": -1.5e-3, "m": 1000.5})),
        ("wind--strength-nan.wav", Label("wind")),
        ("2-82367-A.wav", Label("sounds")),
        ("rain.wav", Label("sounds")),
        ("--rate-3.wav", Label("sounds")),
        ("rain/a.wav", Label("rain")),
        ("x/deep/b.wav", Label("deep")),
        ("rain/wind--strength-1.wav", Label("wind", {"strength": 1.0})),
    ],
)
def test_labels_from_names_prefer_file_name_to_folder(name: str, label: Label) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert by_name(name) == [label]


@given(st.floats(-1e6, 1e6).map(lambda value: round(value, 3)))
def test_labels_from_names_read_any_number(value: float) -> None:
    for text in (f"{value:.3f}", repr(value), f"{value:.6e}"):
        assert by_name(f"wind--strength-{text}--take0.wav")[0].parameters == pytest.approx({"strength": value})


@pytest.mark.parametrize(
    "part", ["take-2b", "take-2A", "strength-0.5foo", "date-2024-11-24", "cut-off-0.5", "ratio-1.2.3"]
)
def test_labels_from_names_warn_about_parts_that_are_no_parameters(part: str) -> None:
    with pytest.warns(UserWarning, match="1 parts of names look like parameters and are not: '" + part):
        assert by_name(f"rec/wind--{part}--take1.wav") == [Label("rec")]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["wind--x-0--x-5.wav"], "gives 'x' twice"),
        (["wind--x-1,234.wav"], "its mark may stand before decimals or between thousands"),
        (["wind--x-1kHz.wav", "wind--x-500Hz.wav"], r"b*x is '500Hz', but '1kHz' in .*Write one unit only"),
        (["wind--x-inf.wav"], "x is 'inf', which is no number"),
        (["wind--x-1e400.wav"], "infinite or too large"),
        (["wind--frames-4.wav"], "cannot be called 'frames'"),
        (["..--x-1.wav"], "could be taken for a path"),
        (["a\udcff.wav"], r"'a\\udcff\.wav' is not valid text"),
        (["x" * 201 + "/a.wav"], "201 bytes long"),
    ],
)
def test_labels_from_names_refuse_ambiguous_names(names: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        by_name(*names)


def test_read_numbers_reads_values_of_parameter_together() -> None:
    values = [label.parameters["x"] for label in by_name("a--x-1,234.wav", "a--x-0,5.wav")]
    assert values == [1.234, 0.5]


def test_read_numbers_bare_number_beside_unit() -> None:
    names = [f"grain--x-{value}.wav" for value in ("1e-3", "0,5", ".5", "+1", "0.50dB", "2")]
    assert [label.parameters["x"] for label in by_name(*names)] == [1e-3, 0.5, 0.5, 1.0, 0.5, 2.0]
    for other in ("1kHz", "50%"):
        with pytest.raises(UserError, match="Write one unit only"):
            by_name("a--x-0.5.wav", f"b--x-{other}.wav")


def test_labels_from_names_take_class_from_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rain" / "out").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "rain" / "out")
    assert label_files([Path("../a.wav")], Path("..")) == [Label("rain")]


def test_label_files_warns_about_names_that_differ_in_case() -> None:
    with pytest.warns(UserWarning, match="classes 'Rain' and 'rain' differ in nothing but capitals"):
        by_name("Rain/a.wav", "rain/b.wav")
    with pytest.warns(UserWarning, match="parameters 'Rate' and 'rate' differ"):
        by_name("a--Rate-1.wav", "b--rate-1.wav")


# Writing

words = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="/\\"), min_size=1, max_size=8
)
words = words.map(clean_name).filter(lambda name: name not in ("", ".", ".."))
some_labels = st.dictionaries(
    words,
    st.builds(Label, words, st.dictionaries(st.sampled_from(["rate", "strength"]), st.floats(-1e6, 1e6))),
    min_size=1,
    max_size=5,
)


@given(some_labels)
def test_write_label_table_round_trip(labels: dict[str, Label]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        read = read_label_table(write_label_table(Path(folder) / "labels.csv", labels))
    assert read == labels


def test_write_label_table_keeps_backup(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    for name in ("a", "b", "c"):
        write_label_table(path, {"x.wav": Label(name)})
    names = ("labels.before-1.csv", "labels.before-2.csv")
    kept = [read_label_table(tmp_path / name)["x.wav"].class_name for name in names]
    assert kept == ["a", "b"] and read_label_table(path)["x.wav"].class_name == "c"
    for label in (Label(""), Label("a/b"), Label("x", {"Frames": 1.0})):
        with pytest.raises(UserError, match=r"'x\.wav'"):
            write_label_table(path, {"x.wav": label})
    with pytest.raises(UserError, match=r"written as \.csv"):
        write_label_table(tmp_path / "labels.xlsx", {})
    assert len(list(tmp_path.iterdir())) == 3
