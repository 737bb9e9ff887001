import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dacformer.data.dataset import check_classes, load_dataset, unigram_nll
from dacformer.errors import UserError

WriteDataset = Callable[..., Path]


def row(file: str, class_name: str = "rain", split: str = "train", **parameters: Any) -> dict[str, Any]:
    return {"file": file, "class": class_name, "split": split} | parameters


def test_load_dataset_reads_rows_conditions_and_codes(write_dataset: WriteDataset) -> None:
    path = write_dataset([row("a.dac", rate=1), row("b/c.dac", "wind", rate=3), row("d.dac", split="val", rate=9)])
    dataset = load_dataset(path)
    assert dataset.conditions.classes == ("rain", "wind") and dataset.conditions.dim == 4
    rate = dataset.conditions.parameters["rate"]
    assert (rate.low, rate.high, rate.classes) == (1, 3, ("rain", "wind"))  # of the training rows
    assert dataset.info.frame_rate == 44100 / 512
    assert dataset.codes("b/c.dac").shape == (2, 40)
    np.testing.assert_array_equal(dataset.condition(dataset.split("train").iloc[1]), [[0, 1, 1, 1]])
    assert list(dataset.split("val")["file"]) == ["d.dac"]


def test_load_dataset_accepts_any_class_name(write_dataset: WriteDataset) -> None:
    dataset = load_dataset(write_dataset([row("a.dac", "None"), row("b.dac", "NA"), row("c.dac", "01")]))
    assert dataset.conditions.classes == ("01", "NA", "None")


def test_load_dataset_reads_empty_cell_as_unknown(write_dataset: WriteDataset) -> None:
    dataset = load_dataset(write_dataset([row("a.dac", rate=2), row("b.dac", rate=4), row("c.dac"), row("d.dac")]))
    assert dataset.condition(dataset.rows.iloc[2]).tolist() == [[1, 0, 0]]
    assert dataset.conditions.parameters["rate"].low == 2


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row("a.dac", split="test")], "row 2: split 'test' is no split. Expected one of: train, val"),
        ([row("a.dac", split="val")], "no training rows"),
        ([row("a.dac", rate="fast")], "row 2: rate 'fast' is no number"),
        ([row("a.dac", class_name="")], "column 'class' is missing or has empty cells"),
        ([row("a.dac", split="")], "column 'split' is missing or has empty cells"),
        ([{"file": "a.dac", "class": "rain"}], "column 'split' is missing.*it has: file, class"),
        ([row("a.dac"), row("b.dac", rate="inf")], "row 3: rate 'inf' is infinite or too large"),
        ([row("a.dac"), row("b.dac", rate="1e300")], "row 3: rate '1e300' is infinite or too large"),
        ([row("a.dac", Split=1)], "a parameter cannot be called 'Split'"),
        ([row("a.dac") | {"": 1}], "a column without a name"),
        ([row("a.dac"), row("b.dac"), row("a.dac")], r"names 'a\.dac' in rows 2 and 4"),
        ([row("a.dac", "../../escaped")], "class name '../../escaped' could be taken for a path"),
        ([row("a.dac", "..")], "could be taken for a path"),
        *(
            ([row("a.dac", frames=40), row("b.dac", frames=frames)], f"row 3: frames '{frames}' is")
            for frames in ("0", "-3", "", "1.5", "many", "inf")
        ),
    ],
)
def test_load_dataset_names_problem_of_manifest(write_dataset: WriteDataset, rows: list, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_dataset(write_dataset(rows))


@pytest.mark.parametrize(
    "file", ["../a.dac", "/tmp/a.dac", "x/../../a.dac", "C:\\a.dac", "..\\a.dac", "\\\\host\\a.dac"]
)
def test_load_dataset_refuses_file_outside_folder(write_dataset: WriteDataset, file: str) -> None:
    path = write_dataset([row("a.dac")])
    (path / "manifest.csv").write_text(f"file,class,split\na.dac,rain,train\n{file},rain,train\n")
    with pytest.raises(UserError, match=r"row 3: file '.*' leads out of the dataset's folder"):
        load_dataset(path)


def test_load_dataset_refuses_links_that_lead_out(write_dataset: WriteDataset, tmp_path: Path) -> None:
    path = write_dataset([row("a.dac"), row("b.dac"), row("x/c.dac")])
    (path / "b.dac").unlink()
    (path / "b.dac").symlink_to(path / "a.dac")
    (tmp_path / "linked").symlink_to(path)
    assert len(load_dataset(tmp_path / "linked").rows) == 3
    (path / "a.dac").rename(tmp_path / "outside.dac")
    (path / "a.dac").symlink_to(tmp_path / "outside.dac")
    with pytest.raises(UserError, match=r"[ab]\.dac leads out of the dataset's folder"):
        load_dataset(path)
    (path / "a.dac").unlink()
    (tmp_path / "outside.dac").rename(path / "a.dac")
    (path / "x").rename(tmp_path / "x")
    (path / "x").symlink_to(tmp_path / "x")
    with pytest.raises(UserError, match="x leads out of the dataset's folder"):
        load_dataset(path)


@pytest.mark.parametrize("frames", [39, 1_000_000_000])
def test_read_refuses_frames_that_differ_from_manifest(write_dataset: WriteDataset, frames: int) -> None:
    dataset = load_dataset(write_dataset([row("a.dac", frames=40), row("b.dac", frames=frames)]))
    assert dataset.codes("a.dac").shape == (2, 40)
    with pytest.raises(UserError, match=rf"b\.dac has 40 frames, but manifest\.csv states {frames}"):
        dataset.codes("b.dac")


def test_load_dataset_accepts_parameter_with_one_value_or_none(write_dataset: WriteDataset) -> None:
    dataset = load_dataset(write_dataset([row("a.dac", rate=2, hue=""), row("b.dac", rate=2, hue="nan")]))
    assert list(dataset.conditions.parameters) == ["rate"]
    assert dataset.encode_rows(dataset.rows).tolist() == [[1, -1, 1]] * 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read as a table"),
        ("file,class,split\n", "no training rows"),
        ("\x00\xff", "manifest.csv"),
        ('file,class,split\n"a', "cannot be read as a table"),
        ("file,class,split\na,b,train\nc,d,train,9,9", "cannot be read as a table"),
    ],
)
def test_load_dataset_refuses_broken_manifest(write_dataset: WriteDataset, text: str, said: str) -> None:
    path = write_dataset([row("a.dac")])
    (path / "manifest.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=said):
        load_dataset(path)


def test_load_dataset_counts_and_names_missing_files(write_dataset: WriteDataset) -> None:
    path = write_dataset([row("a.dac"), row("b.dac"), row("c.dac")])
    for name in ("b.dac", "c.dac"):
        (path / name).unlink()
    with pytest.raises(UserError, match=r"names 2 files that are not there, such as 'b\.dac'"):
        load_dataset(path)


@pytest.mark.parametrize("name", ["dataset.yaml", "manifest.csv"])
def test_load_dataset_says_how_to_make_missing_dataset(write_dataset: WriteDataset, name: str) -> None:
    path = write_dataset([row("a.dac")])
    (path / name).unlink()
    with pytest.raises(UserError, match=r"is no dataset .*dacformer encode SOUNDS"):
        load_dataset(path)


def test_load_dataset_refuses_unknown_key_in_info(write_dataset: WriteDataset) -> None:
    with pytest.raises(UserError, match=r"unknown setting 'sample_rat'. Did you mean 'sample_rate'"):
        load_dataset(write_dataset([row("a.dac")], sample_rat=3))


@pytest.mark.parametrize(
    "info",
    [
        {"sample_rate": 0},
        {"hop_length": -512},
        {"num_codebooks": "many"},
        {"codec": [3]},
        {"level_offset_db": {"rain": 1e9}},
    ],
)
def test_load_dataset_refuses_impossible_info(write_dataset: WriteDataset, info: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"dataset.yaml: '{next(iter(info))}"):
        load_dataset(write_dataset([row("a.dac")], **info))


@pytest.mark.parametrize("form", ["{p}: &{c} [{many}]", "{p}: &{c} {{<<: [{many}]}}"], ids=["lists", "merges"])
def test_load_dataset_refuses_exploding_yaml(write_dataset: WriteDataset, form: str) -> None:
    path = write_dataset([row("a.dac")])
    names = "abcdefghijk"
    lines = ["a0: &a {x: 1, y: 2}"]
    for before, name in itertools.pairwise(names):
        lines.append(form.format(p=f"{name}0", c=name, many=", ".join([f"*{before}"] * 9)))
    (path / "dataset.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"dataset\.yaml") as caught:
        load_dataset(path)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("info", [{"num_codebooks": 4}, {"codebook_size": 8}])
def test_read_refuses_codes_that_do_not_fit_info(write_dataset: WriteDataset, info: dict[str, int]) -> None:
    dataset = load_dataset(write_dataset([row("a.dac")], **info))
    with pytest.raises(UserError, match=r"a\.dac has 2 codebooks and codes up to .* Encode it again"):
        dataset.codes("a.dac")


def test_check_classes_refuses_class_without_training_rows(write_dataset: WriteDataset) -> None:
    dataset = load_dataset(write_dataset([row("a.dac"), row("b.dac", "wind", "val")]))
    with pytest.raises(
        UserError, match=r"'b\.dac' is of class 'wind', which has no training rows. Trained classes: rain"
    ):
        check_classes(dataset, dataset.rows)
    fine = load_dataset(write_dataset([row("a.dac"), row("b.dac", split="val")]))
    check_classes(fine, fine.rows)


def test_unigram_nll_equals_nll_of_counts(write_dataset: WriteDataset) -> None:
    dataset = load_dataset(write_dataset([row("a.dac"), row("b.dac", split="val")], {"a.dac": 500, "b.dac": 300}))
    expected = []
    for k in range(2):
        counts = np.bincount(dataset.codes("a.dac")[k], minlength=64) + 1
        expected.append(np.mean([-np.log(counts[code] / counts.sum()) for code in dataset.codes("b.dac")[k]]))
    np.testing.assert_allclose(unigram_nll(dataset.codes("a.dac"), dataset.codes("b.dac"), 64), expected)


def test_load_dataset_refuses_row_with_extra_cells(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text(
        "{codec: a, codec_name: a, sample_rate: 44100, hop_length: 512, num_codebooks: 4, codebook_size: 64}"
    )
    (tmp_path / "manifest.csv").write_text("file,class,split\na.dac,rain,train,1\nb.dac,rain,val\n")
    with pytest.raises(UserError, match="more cells than its 3 columns"):
        load_dataset(tmp_path)
