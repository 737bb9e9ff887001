"""A data set on disk: `dataset.yaml` (facts), `manifest.csv` (rows) and `.dac` files."""

import csv
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from dacformer.codec.dac_file import DacFile, read_dac, same_codec
from dacformer.conditions.labels import Conditions, ParameterRange
from dacformer.config import PositiveInt, Settings, load_config
from dacformer.data.label_numbers import MAX_MAGNITUDE
from dacformer.data.names import check_name, parameter_name
from dacformer.errors import UserError

INFO_FILE, MANIFEST_FILE = "dataset.yaml", "manifest.csv"
SPLITS = ("train", "val")
COLUMNS = ("file", "class", "split")
FRAMES_COLUMN = "frames"
"""The manifest's own columns, `frames` may be missing; every other is a parameter."""


Decibels = Annotated[float, Field(ge=-200.0, le=200.0)]


class DatasetInfo(Settings):
    """What all files of a data set have in common; travels into every checkpoint."""

    codec: str
    """Identity of the codec that made the codes."""
    codec_name: str
    """What `load_codec` finds it by."""
    sample_rate: PositiveInt
    hop_length: PositiveInt
    num_codebooks: PositiveInt
    codebook_size: PositiveInt
    made_by: str = ""
    """The command that made the data set."""
    level_offset_db: dict[str, Decibels] = {}
    """How much louder the codes of each class sound than its recordings, in the mean; taken back at generation."""

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length


@dataclass(frozen=True)
class Dataset:
    """A data set, opened.

    Attributes:
        path: Its folder.
        info: From `dataset.yaml`.
        rows: From `manifest.csv`: `file`, `class`, `split` and a column per parameter (NaN: unknown).
        conditions: Classes and parameters, with the ranges that the training rows span.
    """

    path: Path
    info: DatasetInfo
    rows: pd.DataFrame
    conditions: Conditions

    def split(self, name: str) -> pd.DataFrame:
        """The rows of one split, `train` or `val`."""
        return self.rows[self.rows["split"] == name].reset_index(drop=True)

    def read(self, file: str) -> DacFile:
        """Reads one of its `.dac` files, and checks that it fits the facts.

        Args:
            file: As in the manifest.

        Returns:
            The file.

        Raises:
            UserError: The file is missing, damaged, or has codes of another shape than the data set or the manifest
                states.
        """
        contents = read_dac(self.path / file)
        if contents.num_frames != self._stated_frames.get(file, contents.num_frames):
            raise UserError(
                f"{self.path / file} has {contents.num_frames} frames, but {MANIFEST_FILE} states "
                f"{self._stated_frames[file]}. Encode it again, or mend the manifest."
            )
        if contents.codec and not same_codec(contents.codec, self.info.codec):
            raise UserError(
                f"{self.path / file} holds codes of {contents.codec}, but the data set is of {self.info.codec}. "
                f"Encode it again."
            )
        if contents.num_codebooks < self.info.num_codebooks or contents.codes.max() >= self.info.codebook_size:
            raise UserError(
                f"{self.path / file} has {contents.num_codebooks} codebooks and codes up to {contents.codes.max()}, "
                f"but the data set is of K={self.info.num_codebooks}, V={self.info.codebook_size}. Encode it again."
            )
        return contents

    @cached_property
    def _stated_frames(self) -> dict[str, int]:
        """Frames by file, where the manifest has them."""
        if FRAMES_COLUMN not in self.rows:
            return {}
        return dict(zip(self.rows["file"], self.rows[FRAMES_COLUMN], strict=True))

    def codes(self, file: str) -> np.ndarray:
        """The codes of one file, `(K, T)` int64 (the first channel's)."""
        return self.read(file).codes[0, : self.info.num_codebooks]

    def condition(self, row: "pd.Series[float]") -> np.ndarray:
        """The condition of one row, `(1, C)` float32."""
        return self.encode_rows(row.to_frame().T)

    def encode_rows(self, rows: pd.DataFrame) -> np.ndarray:
        """The conditions of rows, `(len(rows), C)` float32."""
        check_classes(self, rows)
        weights = {name: (rows["class"] == name).to_numpy(float) for name in self.conditions.classes}
        values = {name: rows[name].to_numpy(float) for name in self.conditions.parameters}
        return self.conditions.encode(weights, values)

    def frames_of(self, rows: pd.DataFrame) -> np.ndarray:
        """How long rows are, `(len(rows),)` int64; read from the files where the manifest does not say."""
        if FRAMES_COLUMN in rows:
            return rows[FRAMES_COLUMN].to_numpy(np.int64)
        return np.array([self.codes(file).shape[1] for file in rows["file"]])


def load_dataset(path: str | Path) -> Dataset:
    """Opens a data set.

    Args:
        path: Its folder.

    Returns:
        The data set; codes are read when they are asked for.

    Raises:
        UserError: The folder or one of its two tables is missing or broken, a row names a file that is not
            there, or there is nothing to train on.
    """
    path = Path(path)
    manifest = path / MANIFEST_FILE
    if not manifest.is_file() or not (path / INFO_FILE).is_file():
        raise UserError(
            f"{path} is no data set (it needs {INFO_FILE} and {MANIFEST_FILE}). "
            f"Make one: dacformer encode SOUNDS {path}"
        )
    info = load_config(path / INFO_FILE, kind=DatasetInfo)
    rows, parameters = _read_manifest(manifest)
    if not (rows["split"] == "train").any():
        raise UserError(f"{path} has no training rows: there is nothing to learn from.")
    missing = _missing(path, rows["file"])
    if missing:
        raise UserError(
            f"{manifest} names {len(missing)} files that are not there, such as '{missing[0]}'. "
            f"Encode them again, or remove their rows."
        )
    return Dataset(path, info, rows, conditions_in(rows, parameters))


def _read_manifest(manifest: Path) -> tuple[pd.DataFrame, list[str]]:
    """The rows, checked, and which of their columns are parameters."""
    try:
        rows = pd.read_csv(manifest, dtype=str, keep_default_na=False).fillna("")  # as text: a class may be called None
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            # pandas gives other names to columns without one, or with the same.
            header = next(filter(None, csv.reader(file)))
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{manifest} cannot be read as a table: {error}") from error
    if not isinstance(rows.index, pd.RangeIndex):  # pandas takes cells beyond the header's for names of rows
        raise UserError(f"{manifest} has rows with more cells than its {len(header)} columns. Remove them.")
    for name in header:
        if not name.strip() or header.count(name) > 1:
            what = f"two columns '{name}'" if name.strip() else "a column without a name"
            raise UserError(f"{manifest} has {what}. Give each its own name, or remove it.")
    for name in COLUMNS:
        if name not in rows or (rows[name] == "").any():
            raise UserError(f"{manifest}: column '{name}' is missing or has empty cells; it has: {', '.join(header)}.")
    parameters = [name for name in header if name not in (*COLUMNS, FRAMES_COLUMN)]
    for name in parameters:
        parameter_name(name, str(manifest))
        rows[name] = _numbers(manifest, rows[name])
    if FRAMES_COLUMN in rows:
        frames = _numbers(manifest, rows[FRAMES_COLUMN])
        _refuse(manifest, rows[FRAMES_COLUMN], ~((frames >= 1) & (frames % 1 == 0)), "is not a number of frames")
        rows[FRAMES_COLUMN] = frames.astype(np.int64)
    for name in rows["class"].unique():
        check_name(name, "class", str(manifest))
    _refuse(manifest, rows["split"], ~rows["split"].isin(SPLITS), f"is no split. Expected one of: {', '.join(SPLITS)}")
    away = rows["file"].str.contains(r"^[/\\]|\.\.|:")  # may lead away; a path for each of a million rows takes long
    away[away] = rows["file"][away].map(_leads_away)
    _refuse(manifest, rows["file"], away, "leads out of the data set's folder")
    twice = rows["file"].duplicated(keep=False)
    if twice.any():
        numbers = " and ".join(str(row + 2) for row in np.flatnonzero(rows["file"] == rows["file"][twice].iloc[0]))
        raise UserError(f"{manifest} names '{rows['file'][twice].iloc[0]}' in rows {numbers}. Leave one.")
    return rows, parameters


def _numbers(manifest: Path, column: "pd.Series[str]") -> "pd.Series[float]":
    """The numbers of a column, NaN where a cell is empty."""
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    known = ~column.str.strip().str.lower().isin(["", "nan"])
    _refuse(manifest, column, known & numbers.isna(), "is no number")
    _refuse(manifest, column, numbers.abs() > MAX_MAGNITUDE, "is infinite or too large")
    return numbers


def _refuse(manifest: Path, column: "pd.Series[str]", wrong: "pd.Series[bool]", problem: str) -> None:
    """Names the first row whose cell is wrong, as a spreadsheet counts."""
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UserError(f"{manifest}, row {row + 2}: {column.name} '{column.iloc[row]}' {problem}.")


def _leads_away(file: str) -> bool:
    """Whether a path is no path below a folder, on any system."""
    path = PureWindowsPath(file)  # knows both kinds of slashes
    return bool(path.root) or ".." in path.parts or bool(Path(file).drive)


def _missing(path: Path, files: "pd.Series[str]") -> list[str]:
    """Those that are not there. Each folder is listed once: a million questions would take minutes on a network.

    Raises:
        UserError: One is a link that leads out of the data set's folder.
    """
    there: dict[str, set[str]] = {}
    missing = []
    for file in files:
        folder, _, name = file.rpartition("/")
        if folder not in there:
            there[folder] = _names_in(path, folder)
        if name not in there[folder]:
            missing.append(file)
    return missing


def _names_in(path: Path, folder: str) -> set[str]:
    """What is in a folder of a data set."""
    root = path.resolve()
    if not (path / folder).is_dir():
        return set()
    with os.scandir(path / folder) as entries:
        names = {entry.name: entry.is_symlink() for entry in entries}
    for target in [folder, *(f"{folder}/{name}" for name, is_link in names.items() if is_link)]:
        if not (path / target.lstrip("/")).resolve().is_relative_to(root):
            raise UserError(
                f"{path / target.lstrip('/')} leads out of the data set's folder. Put the file itself there."
            )
    return set(names)


def conditions_in(rows: pd.DataFrame, parameters: list[str]) -> Conditions:
    """Classes and parameter ranges of the training rows (a class only in `val` could never be learned)."""
    train = rows[rows["split"] == "train"]
    ranges = {}
    for name in parameters:
        known = train[train[name].notna()]
        if len(known):
            ranges[name] = ParameterRange(
                low=float(known[name].min()),
                high=float(known[name].max()),
                classes=tuple(sorted(known["class"].unique())),
            )
    return Conditions(classes=tuple(sorted(train["class"].unique())), parameters=ranges)


def evenly_spaced(count: int, limit: int) -> np.ndarray:
    """At most `limit` of the numbers from 0 to `count - 1`, evenly spread: `(min(count, limit),)` int64, in order."""
    return np.linspace(0, count - 1, min(count, limit)).round().astype(int)


def check_classes(dataset: Dataset, rows: pd.DataFrame) -> None:
    """Refuses rows of classes that training does not have.

    Raises:
        UserError: Such a row; its file is named.
    """
    unknown = rows[~rows["class"].isin(dataset.conditions.classes)]
    if len(unknown):
        row = unknown.iloc[0]
        raise UserError(
            f"{dataset.path}: '{row['file']}' is of class '{row['class']}', which has no training rows. "
            f"Trained classes: {', '.join(dataset.conditions.classes)}."
        )


def unigram_nll(train: np.ndarray, measured: np.ndarray, codebook_size: int) -> np.ndarray:
    """How well one could do without listening: by knowing only how often each code is used.

    Args:
        train: `(K, T)`, codes to count.
        measured: `(K, T')`, codes to predict.
        codebook_size: `V`.

    Returns:
        `(K,)`, mean negative log-likelihood in nats per code, one added to every count.
    """
    counts = np.stack([np.bincount(row, minlength=codebook_size) for row in train]) + 1.0  # (K, V)
    log_probability = np.log(counts / counts.sum(axis=1, keepdims=True))
    return -np.take_along_axis(log_probability, measured, axis=1).mean(axis=1)
