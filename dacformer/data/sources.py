"""`sources.csv`: the sound and the settings that each `.dac` file of a dataset was made from.

A row is appended just before its `.dac` is written. So work that was killed can continue, and a `.dac` without a
row is of unknown origin and never replaced.
"""

import contextlib
import csv
import hashlib
import io
import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dacformer.errors import UserError
from dacformer.files import write_text

SOURCES_FILE = "sources.csv"

SHIFT_MARK = "--shift"
"""Mark in the names of shifts: codes that begin a fraction of a frame later."""


class Source(NamedTuple):
    """Source of one `.dac` file.

    Attributes:
        file: Path of the codes, relative to the dataset's folder.
        folder: Absolute path of the folder of sounds.
        source: Path of the sound, relative to that folder.
        shift: Number of the shift; '0' is the sound itself.
        sha256: SHA-256 of the sound file.
        settings: Settings of the encoding.
    """

    file: str
    folder: str
    source: str
    shift: str
    sha256: str
    settings: str

    @property
    def path(self) -> Path:
        """Absolute path of the sound."""
        return Path(self.folder, self.source)


class Sources:
    """Sources of a dataset's files; additions are written to disk at once.

    Args:
        dataset: The dataset's folder; it need not exist.

    Raises:
        UserError: `sources.csv` exists and cannot be read.
    """

    def __init__(self, dataset: Path) -> None:
        self._dataset = dataset
        self._file = dataset / SOURCES_FILE
        self._by_file: dict[str, Source] = {}
        self._by_sound: dict[tuple[Path, str], Source] = {}
        self._used: set[str] = set()
        if self._file.exists():
            for record in self._read():
                self._keep(record)

    def _read(self) -> list[Source]:
        try:
            lines = list(csv.reader(io.StringIO(self._file.read_text(encoding="utf-8"), newline="")))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{self._file} cannot be read: {error}. Encode into another folder.") from error
        if not lines or lines[0] != list(Source._fields):
            raise UserError(f"{self._file} lacks the columns {', '.join(Source._fields)}. Encode into another folder.")
        # A truncated last line has fewer cells, or settings that match nothing.
        return [Source(*line) for line in lines[1:] if len(line) == len(Source._fields)]

    def _keep(self, record: Source) -> None:
        if (before := self._by_file.get(record.file)) is not None:
            self._by_sound.pop((before.path, before.shift), None)
        self._by_file[record.file] = record
        self._by_sound[record.path, record.shift] = record
        self._used.add(_alike(record.file))

    def __iter__(self) -> Iterator[Source]:
        return iter(list(self._by_file.values()))

    def of_file(self, file: str) -> Source | None:
        """Returns the source of a `.dac` file, or None if it is not known."""
        return self._by_file.get(file)

    def of_sound(self, path: Path, shift: int = 0) -> Source | None:
        """Returns the record of a sound's shift, given the sound's absolute path, or None."""
        return self._by_sound.get((path, str(shift)))

    def add(self, record: Source) -> None:
        """Adds a source, in memory and on disk."""
        self._keep(record)
        with self._file.open("a", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerow(record)

    def save(self) -> None:
        """Rewrites the file, sorted, whole or not at all."""
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([Source._fields, *sorted(self._by_file.values())])
        write_text(self._file, text.getvalue())

    def adopt(self, paths: list[Path], root: Path, may_move: Callable[[Source, Path], bool]) -> None:
        """Updates the records of sounds that moved: the same bytes at the same place below another folder.

        Args:
            paths: Absolute paths of the sounds.
            root: Absolute path of their folder.
            may_move: Function `(record, sound) -> bool`: whether the record may move to that sound.
        """
        elsewhere = {record.source: record for record in self if record.folder != str(root)}
        for path in paths:
            record = elsewhere.get(path.relative_to(root).as_posix())
            if record is None or self.of_sound(path) or not may_move(record, path):
                continue
            with contextlib.suppress(OSError):  # a sound that cannot be read is reported when it is encoded
                if digest(path) == record.sha256:
                    for shift in itertools.count():
                        if (one := self.of_sound(record.path, shift)) is None:
                            break
                        self.add(one._replace(folder=str(root)))

    def name(self, paths: list[Path], root: Path, in_use: Iterable[str]) -> dict[Path, str]:
        """Names the codes of sounds after the sounds, with a number if another one has the name.

        Args:
            paths: Absolute paths of the sounds.
            root: Absolute path of their folder.
            in_use: Further codes of the dataset, relative to its folder.

        Returns:
            A path relative to the dataset's folder for each sound; the existing one, if the sound has one.

        Raises:
            UserError: Codes of that name exist, and their source is not known.
        """
        unknown = {_alike(file) for file in in_use if file not in self._by_file}
        self._used |= unknown
        plain = {path: path.relative_to(root).with_suffix(".dac").as_posix() for path in paths}
        count = Counter(map(_alike, plain.values()))
        names = {}
        for path, file in plain.items():
            if (record := self.of_sound(path)) is not None:
                names[path] = record.file
            elif count[_alike(file)] > 1:  # `a.wav` and `a.flac`: both keep their suffix
                names[path] = self._free(str(PurePosixPath(file).with_name(f"{path.name}.dac")))
            else:
                if _alike(file) in unknown or (file not in self._by_file and os.path.exists(self._dataset / file)):
                    raise UserError(
                        f"{self._dataset / file} is there already, and {SOURCES_FILE} does not say what it was made "
                        f"from. Encode into another folder, or move it away."
                    )
                names[path] = self._free(file)
        return names

    def name_shift(self, path: Path, shift: int, file: str) -> str:
        """Names the codes of a shift of a sound, given the name of the sound's own codes."""
        if (record := self.of_sound(path, shift)) is not None:
            return record.file
        return self._free(f"{file.removesuffix('.dac')}{SHIFT_MARK}{shift}.dac") if shift else file

    def _free(self, wanted: str) -> str:
        """Returns the wanted name, with a number added if it is taken, and marks it as taken."""
        stem = wanted.removesuffix(".dac")
        names = itertools.chain([wanted], (f"{stem}.{number}.dac" for number in itertools.count(2)))
        file = next(one for one in names if _alike(one) not in self._used)
        self._used.add(_alike(file))
        return file


def digest(path: Path) -> str:
    """Computes the SHA-256 of a file, in hexadecimal digits."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def _alike(name: str) -> str:
    """Returns a key that is equal for names that some file system takes for the same (case, Unicode form)."""
    return unicodedata.normalize("NFC", name).casefold()
