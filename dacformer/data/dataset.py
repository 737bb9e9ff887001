"""Dataset on disk: `dataset.yaml` (what all files share), `manifest.csv` (a row per file) and `.dac` files."""

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
"""The manifest's own columns; `frames` may be missing. Every other column is a parameter."""


Decibels = Annotated[float, Field(ge=-200.0, le=200.0)]


class DatasetInfo(Settings):
    """Properties that all files of a dataset share; stored in every checkpoint."""

    codec: str
    """Identity of the codec that made the codes."""
    codec_name: str
    """Name by which `load_codec` finds the codec."""
    sample_rate: PositiveInt
    hop_length: PositiveInt
    num_codebooks: PositiveInt
    codebook_size: PositiveInt
    made_by: str = ""
    """Command that made the dataset."""
    level_offset_db: dict[str, Decibels] = {}
    """Mean loudness of each class's codes minus that of its recordings, in dB; subtracted at generation."""

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length


@dataclass(frozen=True)
class Dataset:
    """An open dataset.

    Attributes:
        path: Its folder.
        info: From `dataset.yaml`.
        rows: From `manifest.csv`: `file`, `class`, `split` and a column per parameter (NaN: unknown).
        conditions: Classes and parameters, with their ranges in the training rows.
    """

    path: Path
    info: DatasetInfo
    rows: pd.DataFrame
    conditions: Conditions

    def split(self, name: str) -> pd.DataFrame:
        """Returns the rows of one split, `train` or `val`."""
        return self.rows[self.rows["split"] == name].reset_index(drop=True)

    def read(self, file: str) -> DacFile:
        """Reads a `.dac` file of the dataset and checks it against `info` and the manifest.

        Args:
            file: Path in the manifest.

        Returns:
            The contents of the file.

        Raises:
            UserError: The file is missing or damaged, or its codec, codebooks or length differ from what the dataset
                or the manifest states.
        """
        contents = read_dac(self.path / file)
        if contents.num_frames != self._stated_frames.get(file, contents.num_frames):
            raise UserError(
                f"{self.path / file} has {contents.num_frames} frames, but {MANIFEST_FILE} states "
                f"{self._stated_frames[file]}. Encode it again, or mend the manifest."
            )
        if contents.codec and not same_codec(contents.codec, self.info.codec):
            raise UserError(
                f"{self.path / file} holds codes of {contents.codec}, but the dataset is of {self.info.codec}. "
                f"Encode it again."
            )
        if contents.num_codebooks < self.info.num_codebooks or contents.codes.max() >= self.info.codebook_size:
            raise UserError(
                f"{self.path / file} has {contents.num_codebooks} codebooks and codes up to {contents.codes.max()}, "
                f"but the dataset is of K={self.info.num_codebooks}, V={self.info.codebook_size}. Encode it again."
            )
        return contents

    @cached_property
    def _stated_frames(self) -> dict[str, int]:
        """Frames by file; empty if the manifest does not state them."""
        if FRAMES_COLUMN not in self.rows:
            return {}
        return dict(zip(self.rows["file"], self.rows[FRAMES_COLUMN], strict=True))

    def codes(self, file: str) -> np.ndarray:
        """Reads the codes of one file (the first channel's), `(K, T)` int64."""
        return self.read(file).codes[0, : self.info.num_codebooks]

    def condition(self, row: "pd.Series[float]") -> np.ndarray:
        """Makes the condition of one row, `(1, C)` float32."""
        return self.encode_rows(row.to_frame().T)

    def encode_rows(self, rows: pd.DataFrame) -> np.ndarray:
        """Makes the conditions of rows, `(len(rows), C)` float32."""
        check_classes(self, rows)
        weights = {name: (rows["class"] == name).to_numpy(float) for name in self.conditions.classes}
        values = {name: rows[name].to_numpy(float) for name in self.conditions.parameters}
        return self.conditions.encode(weights, values)

    def frames_of(self, rows: pd.DataFrame) -> np.ndarray:
        """Returns the number of frames of rows, `(len(rows),)` int64; from the files if the manifest lacks them."""
        if FRAMES_COLUMN in rows:
            return rows[FRAMES_COLUMN].to_numpy(np.int64)
        return np.array([self.codes(file).shape[1] for file in rows["file"]])


def load_dataset(path: str | Path) -> Dataset:
    """Opens a dataset.

    Args:
        path: Its folder.

    Returns:
        The dataset; codes are read on demand.

    Raises:
        UserError: The folder, `dataset.yaml` or the manifest is missing or broken, a row names a file that does not
            exist, or there are no training rows.
    """
    path = Path(path)
    manifest = path / MANIFEST_FILE
    if not manifest.is_file() or not (path / INFO_FILE).is_file():
        raise UserError(
            f"{path} is no dataset (it needs {INFO_FILE} and {MANIFEST_FILE}). Make one: dacformer encode SOUNDS {path}"
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
    """Reads and checks the rows; returns them and the names of their parameter columns."""
    try:
        rows = pd.read_csv(manifest, dtype=str, keep_default_na=False).fillna("")  # as text: a class may be called None
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            # pandas renames columns with no name or the same name.
            header = next(filter(None, csv.reader(file)))
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{manifest} cannot be read as a table: {error}") from error
    if not isinstance(rows.index, pd.RangeIndex):  # pandas takes extra cells as names of rows
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
    away = rows["file"].str.contains(r"^[/\\]|\.\.|:")  # may lead away; a million paths take long to make
    away[away] = rows["file"][away].map(_leads_away)
    _refuse(manifest, rows["file"], away, "leads out of the dataset's folder")
    twice = rows["file"].duplicated(keep=False)
    if twice.any():
        numbers = " and ".join(str(row + 2) for row in np.flatnonzero(rows["file"] == rows["file"][twice].iloc[0]))
        raise UserError(f"{manifest} names '{rows['file'][twice].iloc[0]}' in rows {numbers}. Leave one.")
    return rows, parameters


def _numbers(manifest: Path, column: "pd.Series[str]") -> "pd.Series[float]":
    """Converts a column to numbers, NaN for an empty cell."""
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    known = ~column.str.strip().str.lower().isin(["", "nan"])
    _refuse(manifest, column, known & numbers.isna(), "is no number")
    _refuse(manifest, column, numbers.abs() > MAX_MAGNITUDE, "is infinite or too large")
    return numbers


def _refuse(manifest: Path, column: "pd.Series[str]", wrong: "pd.Series[bool]", problem: str) -> None:
    """Raises a `UserError` that names the first row with a wrong cell, counted as in a spreadsheet."""
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UserError(f"{manifest}, row {row + 2}: {column.name} '{column.iloc[row]}' {problem}.")


def _leads_away(file: str) -> bool:
    """Tells whether a path could lead out of its folder, on any system."""
    path = PureWindowsPath(file)  # accepts both kinds of slashes
    return bool(path.root) or ".." in path.parts or bool(Path(file).drive)


def _missing(path: Path, files: "pd.Series[str]") -> list[str]:
    """Returns the files that do not exist.

    It lists each folder once; asking for a million files one by one takes minutes on a network.

    Raises:
        UserError: A file is a link that leads out of the dataset's folder.
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
    """Returns the names in a folder of a dataset; refuses links that lead out of it."""
    root = path.resolve()
    if not (path / folder).is_dir():
        return set()
    with os.scandir(path / folder) as entries:
        names = {entry.name: entry.is_symlink() for entry in entries}
    for target in [folder, *(f"{folder}/{name}" for name, is_link in names.items() if is_link)]:
        if not (path / target.lstrip("/")).resolve().is_relative_to(root):
            raise UserError(
                f"{path / target.lstrip('/')} leads out of the dataset's folder. Put the file itself there."
            )
    return set(names)


def conditions_in(rows: pd.DataFrame, parameters: list[str]) -> Conditions:
    """Returns classes and parameter ranges of the training rows; a class only in `val` cannot be learned."""
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
    """Returns at most `limit` evenly spaced integers from 0 to `count - 1`: `(min(count, limit),)` int64, in order."""
    return np.linspace(0, count - 1, min(count, limit)).round().astype(int)


def check_classes(dataset: Dataset, rows: pd.DataFrame) -> None:
    """Refuses rows of classes that have no training rows.

    Raises:
        UserError: There is such a row; the message names its file.
    """
    unknown = rows[~rows["class"].isin(dataset.conditions.classes)]
    if len(unknown):
        row = unknown.iloc[0]
        raise UserError(
            f"{dataset.path}: '{row['file']}' is of class '{row['class']}', which has no training rows. "
            f"Trained classes: {', '.join(dataset.conditions.classes)}."
        )


def unigram_nll(train: np.ndarray, measured: np.ndarray, codebook_size: int) -> np.ndarray:
    """Computes the NLL of a unigram model, which predicts each code by how often it is used.

    Args:
        train: Codes to count, `(K, T)`.
        measured: Codes to predict, `(K, T')`.
        codebook_size: `V`.

    Returns:
        Mean NLL of each codebook in nats per code, `(K,)`; counts are smoothed by adding one.
    """
    counts = np.stack([np.bincount(row, minlength=codebook_size) for row in train]) + 1.0  # (K, V)
    log_probability = np.log(counts / counts.sum(axis=1, keepdims=True))
    return -np.take_along_axis(log_probability, measured, axis=1).mean(axis=1)
