"""Workbooks as people keep them, and files that are no tables."""

import datetime
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook, load_workbook

from dacformer.data.labels import Label, read_label_table
from dacformer.data.table_files import MAX_BYTES
from dacformer.errors import UserError

Rows = list[list[Any]]
LABELS: Rows = [["file", "class", "depth"], ["a.wav", "rain", 0.5], ["b.wav", "wind", None]]
MEANT = {"a.wav": Label("rain", {"depth": 0.5}), "b.wav": Label("wind")}


@pytest.fixture
def write_book(tmp_path: Path) -> Callable[..., Path]:
    """Writes sheets: `write_book(Sheet=[[...], ...], merge={"Sheet": "A2:A3"}) -> path`."""

    def write(merge: dict[str, str] | None = None, **sheets: Rows) -> Path:
        book = Workbook()
        book.remove(book.worksheets[0])
        for title, rows in sheets.items():
            sheet = book.create_sheet(title)
            for row in rows:
                sheet.append(row)
            if merge and title in merge:
                sheet.merge_cells(merge[title])
        book.save(tmp_path / "t.xlsx")
        return tmp_path / "t.xlsx"

    return write


def changed(path: Path, member: str, change: Callable[[bytes], bytes]) -> Path:
    """Changes a file in a workbook, as no spreadsheet would."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, change(data) if name == member else data)
    return path


@pytest.mark.parametrize(
    "rows",
    [
        LABELS,
        [["My field recordings 2024"], [], *LABELS],
        [[None], *LABELS[:2], [None, " "], [], LABELS[2]],
        [[*LABELS[0], None, "to do"], [*LABELS[1], None, "mend"], LABELS[2]],
        [[" File ", "Class\nName", "depth"], ["./a.wav", "rain ", "0,5"], [".\\b.wav", "wind", "n/a"]],
    ],
)
@pytest.mark.filterwarnings("ignore:.*which is text")
def test_read_table_ignores_titles_notes_and_blank_rows(write_book: Callable[..., Path], rows: Rows) -> None:
    assert read_label_table(write_book(Sheet=rows)) == MEANT


def test_read_table_finds_sheet_with_labels(write_book: Callable[..., Path]) -> None:
    assert read_label_table(write_book(Notes=[["nothing"]], Labels=LABELS)) == MEANT
    with pytest.warns(UserWarning, match="only the sheet 'Labels' is read, not Old"):
        assert read_label_table(write_book(Labels=LABELS, Old=LABELS[:2])) == MEANT
    path = write_book(Labels=LABELS, Old=LABELS[:2])
    book = load_workbook(path)
    book["Labels"].sheet_state = "hidden"
    book.active = 1
    book.save(path)
    assert list(read_label_table(path)) == ["a.wav"]


def test_read_table_repeats_merged_cells(write_book: Callable[..., Path]) -> None:
    rows = [["file", "class"], ["a.wav", "rain"], ["b.wav", None], ["c.wav", None], ["d.wav", "wind"]]
    labels = read_label_table(write_book(Sheet=rows, merge={"Sheet": "B2:B4"}))
    assert [label.class_name for label in labels.values()] == ["rain", "rain", "rain", "wind"]


def test_read_table_bounds_huge_merge(write_book: Callable[..., Path]) -> None:
    path = write_book(Sheet=LABELS, merge={"Sheet": "F8:G9"})
    changed(path, "xl/worksheets/sheet1.xml", lambda xml: xml.replace(b"F8:G9", b"F8:XFD1048576"))
    assert read_label_table(path) == MEANT


def test_read_table_reads_hidden_rows_and_last_row(write_book: Callable[..., Path]) -> None:
    path = write_book(Sheet=LABELS)
    book = load_workbook(path)
    book.worksheets[0].row_dimensions[3].hidden = True
    book.worksheets[0].cell(1_048_576, 1, " ")
    book.save(path)
    assert read_label_table(path) == MEANT


def test_read_table_converts_booleans_and_numeric_names(write_book: Callable[..., Path]) -> None:
    rows = [["file", "class", "on"], [1, 2.0, True], [2, True, False], [3.5, 1e5, None]]
    assert read_label_table(write_book(Sheet=rows)) == {
        "1": Label("2", {"on": 1.0}),
        "2": Label("TRUE", {"on": 0.0}),
        "3.5": Label("100000"),
    }


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([["a.wav", datetime.date(2024, 3, 1), 1]], "row 2: '2024-03-01 00:00:00' is no name, but a date or time"),
        ([["a.wav", "x", 1], ["b.wav", "x", datetime.date(2024, 1, 5)]], "row 3: column 'depth' .* It is a date"),
        ([["a.wav", "x", 1], ["b.wav", "x", "=1/2"]], "row 3: column 'depth' .* It is a formula that was not computed"),
        ([["a.wav", "x", 1], ["b.wav", "x", "#DIV/0!"]], "row 3: column 'depth' is '#DIV/0!'.*an error"),
        ([["a.wav", "#REF!", 1]], "row 2: '#REF!' is no name"),
        ([["a.wav", "x", 1e300]], "row 2: column 'depth' is '1e.300', which is infinite or too large"),
    ],
)
def test_read_table_refuses_dates_errors_and_unevaluated_formulas(
    write_book: Callable[..., Path], rows: Rows, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        read_label_table(write_book(Sheet=[LABELS[0], *rows]))


def test_read_table_reads_results_of_formulas(write_book: Callable[..., Path]) -> None:
    path = write_book(Sheet=[LABELS[0], ["a.wav", "rain", "=1/2"], LABELS[2]])
    cell = b"<f>1/2</f><v></v>"
    changed(
        path,
        "xl/worksheets/sheet1.xml",
        lambda xml: xml.replace(b"<v />", b"<v></v>").replace(cell, b"<f>1/2</f><v>0.5</v>"),
    )
    assert read_label_table(path) == MEANT


def test_read_table_detects_format_by_contents(write_book: Callable[..., Path], tmp_path: Path) -> None:
    path = write_book(Sheet=LABELS)
    assert read_label_table(path.rename(tmp_path / "book.csv")) == MEANT
    (tmp_path / "text.xlsx").write_text("file,class,depth\na.wav,rain,0.5\nb.wav,wind,\n")
    assert read_label_table(tmp_path / "text.xlsx") == MEANT


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "There is no label table"),
        (b"", "needs a column 'file'.*it has: nothing"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), r"old Excel file \(\.xls\).*Save it as \.xlsx or \.csv"),
        (zipped(mimetype=b"application/vnd.oasis.opendocument.spreadsheet"), r"is no \.xlsx workbook"),
        (b"PK\x03\x04 no more", "cannot be read as a workbook"),
        (b"\x89PNG\r\n\x1a\n", "row 1 is not in UTF-8"),
    ],
    ids=["missing", "empty", "xls", "ods", "cut", "picture"],
)
def test_read_table_refuses_other_files(tmp_path: Path, data: bytes | None, said: str) -> None:
    if data is not None:
        (tmp_path / "t.xlsx").write_bytes(data)
    with pytest.raises(UserError, match=said):
        read_label_table(tmp_path / "t.xlsx")
    with pytest.raises(UserError, match="cannot be read as a table"):
        read_label_table(tmp_path)


def test_read_table_refuses_zip_bomb(write_book: Callable[..., Path]) -> None:
    path = write_book(Sheet=LABELS)
    changed(path, "xl/worksheets/sheet1.xml", lambda _: bytes(MAX_BYTES))
    with pytest.raises(UserError, match="unpacks to more than 128 MB"):
        read_label_table(path)


@pytest.mark.parametrize("declared", [b'SYSTEM "file:///etc/hostname"', b'"rain"'])
def test_read_table_refuses_xml_entities(write_book: Callable[..., Path], declared: bytes) -> None:
    def add_entity(xml: bytes) -> bytes:
        root = xml[xml.index(b"<worksheet") :]
        return b"<!DOCTYPE worksheet [<!ENTITY e " + declared + b">]>" + root.replace(b">rain<", b">&e;<")

    path = changed(write_book(Sheet=LABELS), "xl/worksheets/sheet1.xml", add_entity)
    with pytest.raises(UserError, match="cannot be read as a workbook"):
        read_label_table(path)


def test_read_table_refuses_impossible_row_number(write_book: Callable[..., Path]) -> None:
    path = write_book(Sheet=LABELS)
    changed(path, "xl/worksheets/sheet1.xml", lambda xml: xml.replace(b'<row r="3"', b'<row r="999999999999"'))
    with pytest.raises(UserError, match="has more than 1048576 rows"):
        read_label_table(path)
