"""What a data set's codes were made from: `sources.csv`, a row per `.dac` file.

A row is appended just before its `.dac` is written, so that work that was killed knows what it has done, and a `.dac`
without a row is not ours to replace.
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
"""In the names of codes that begin a fraction of a frame later."""


class Source(NamedTuple):
    """Where one `.dac` file comes from.

    Attributes:
        file: The codes, below the data set's folder.
        folder: The folder of sounds, absolute.
        source: The sound, below that folder.
        shift: Which of the sound's shifts, '0' the sound as it is.
        sha256: Of the sound's bytes.
        settings: What it was encoded with.
    """

    file: str
    folder: str
    source: str
    shift: str
    sha256: str
    settings: str

    @property
    def path(self) -> Path:
        """The sound."""
        return Path(self.folder, self.source)


class Sources:
    """The sources of a data set; what is added is on disk at once.

    Args:
        dataset: The data set's folder; need not exist.

    Raises:
        UserError: There is a `sources.csv` that is none.
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
        # A last line that was cut off has fewer cells, or a setting that nothing matches.
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
        """What a `.dac` file was made from; None where that is not known."""
        return self._by_file.get(file)

    def of_sound(self, path: Path, shift: int = 0) -> Source | None:
        """What was made from a sound, given its absolute path."""
        return self._by_sound.get((path, str(shift)))

    def add(self, record: Source) -> None:
        """Remembers a source, in memory and on disk."""
        self._keep(record)
        with self._file.open("a", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerow(record)

    def save(self) -> None:
        """Writes all of them anew, in order, whole or not at all."""
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([Source._fields, *sorted(self._by_file.values())])
        write_text(self._file, text.getvalue())

    def adopt(self, paths: list[Path], root: Path, may_move: Callable[[Source, Path], bool]) -> None:
        """Follows sounds to where they are now: the same bytes at the same place below another folder.

        Args:
            paths: The sounds, absolute.
            root: The folder that they are under, absolute.
            may_move: Whether the source of a `.dac` may become that sound.
        """
        elsewhere = {record.source: record for record in self if record.folder != str(root)}
        for path in paths:
            record = elsewhere.get(path.relative_to(root).as_posix())
            if record is None or self.of_sound(path) or not may_move(record, path):
                continue
            with contextlib.suppress(OSError):  # a sound that cannot be read is named when its turn comes
                if digest(path) == record.sha256:
                    for shift in itertools.count():
                        if (one := self.of_sound(record.path, shift)) is None:
                            break
                        self.add(one._replace(folder=str(root)))

    def name(self, paths: list[Path], root: Path, in_use: Iterable[str]) -> dict[Path, str]:
        """Names the codes of sounds: as each sound is called, unless another one has the name.

        Args:
            paths: The sounds, absolute.
            root: The folder that they are under, absolute.
            in_use: Further codes of the data set, below its folder.

        Returns:
            For each a name below the data set's folder; the one that it has already, if it has one.

        Raises:
            UserError: There are codes of that name, and nothing says what they were made from.
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
        """Names the codes of a shift of a sound, given the name of the sound's own."""
        if (record := self.of_sound(path, shift)) is not None:
            return record.file
        return self._free(f"{file.removesuffix('.dac')}{SHIFT_MARK}{shift}.dac") if shift else file

    def _free(self, wanted: str) -> str:
        """The name, or with a number behind it where it is taken."""
        stem = wanted.removesuffix(".dac")
        names = itertools.chain([wanted], (f"{stem}.{number}.dac" for number in itertools.count(2)))
        file = next(one for one in names if _alike(one) not in self._used)
        self._used.add(_alike(file))
        return file


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def _alike(name: str) -> str:
    """Equal for names that some file systems take for the same: other case, or another Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()
