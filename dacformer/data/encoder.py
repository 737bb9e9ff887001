"""Encodes sounds one after the other and records the source of each `.dac` file."""

import contextlib
import errno
import math
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from dacformer import audio as sound
from dacformer.codec import Codec, DacFile, read_dac, write_dac
from dacformer.data.dataset import FRAMES_COLUMN
from dacformer.data.labels import Label
from dacformer.data.sources import Source, Sources, digest
from dacformer.errors import UserError

LEVEL_DB = -16.0
"""Loudness of sounds before encoding, in LUFS; the same as in `python -m dac encode`."""

BLOCK_SECONDS = 30.0
"""Length of a sound that is in memory at a time."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # end the work, because no other file could be written either


def encode_file(path: Path, codec: Codec, trim: bool = True, skip_samples: int = 0) -> DacFile:
    """Encodes one sound of any length, rate and channel count (mixed to mono), in bounded memory.

    Args:
        path: The sound.
        codec: The codec.
        trim: Cut the digital silence at its end.
        skip_samples: Samples at the codec's rate to leave out at the beginning; at least one sample stays.

    Returns:
        Codes and metadata; `input_db` restores the level when decoded.

    Raises:
        UserError: The sound is broken, empty, or without usable sound (`Measured.problem`).
    """
    level, peak, length, original_rate = _survey(path, codec.sample_rate, trim)
    gain = min(10.0 ** ((LEVEL_DB - level) / 20.0), 1.0 / peak)  # as `dac` does: to its level, but without clipping
    first = min(skip_samples, length - 1)

    def prepared() -> Iterator[np.ndarray]:
        at = 0
        for block in sound.read_blocks(path, codec.sample_rate, BLOCK_SECONDS):
            yield block[max(first - at, 0) : max(length - at, 0)] * gain
            at += len(block)

    codes = np.concatenate(list(codec.encode_blocks(prepared())), axis=1)
    return DacFile(
        codes=codes[None],
        sample_rate=original_rate,
        original_length=round((length - first) * original_rate / codec.sample_rate),
        input_db=level,
        chunk_length=codes.shape[1],
        gain_db=20.0 * math.log10(gain),
        codec=codec.identity,
    )


def _survey(path: Path, sample_rate: int, trim: bool) -> tuple[float, float, int, int]:
    """Reads a sound once and measures loudness in LUFS, peak, the length to encode in samples, and its own rate."""
    peak, length, loud_until, measured = 0.0, 0, 0, sound.Measured()

    def blocks() -> Iterator[np.ndarray]:
        nonlocal peak, length, loud_until
        for block in sound.read_blocks(path, sample_rate, BLOCK_SECONDS, measured):
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
            loud = np.flatnonzero(np.abs(block) > sound.SILENCE)
            loud_until = length + int(loud[-1]) + 1 if len(loud) else loud_until
            length += len(block)
            yield block

    level = sound.blockwise_loudness_db(blocks(), sample_rate)
    if problem := measured.problem():
        raise UserError(f"{path} {problem}")
    if peak == 0.0:
        raise UserError(f"{path} is silent at {sample_rate} Hz (its own rate is {measured.sample_rate} Hz). Remove it.")
    return level, peak, (loud_until or length) if trim else length, measured.sample_rate


@dataclass(frozen=True)
class PlannedSound:
    """A sound to encode: its path as given and absolute, its label, its split, and the name of its codes."""

    path: Path
    place: Path
    label: Label
    split: str
    file: str


@dataclass(frozen=True)
class EncodedFile:
    """An encoded file: its row in the manifest, and `how` it was made: `new`, `renewed` or `reused`."""

    sound: PlannedSound
    shift: int
    row: dict[str, Any]
    gain_db: float
    how: str


@dataclass(frozen=True)
class Encoder:
    """Encodes the sounds below the absolute folder `root` into the dataset `output`; keeps codes that are current."""

    output: Path
    root: Path
    codec: Codec
    trim: bool
    shifts: int
    sources: Sources

    def plan(
        self, paths: list[Path], root: Path, labels: list[Label], sides: list[str], manifest: pd.DataFrame
    ) -> list[PlannedSound]:
        """Names the codes of each sound; raises `UserError` if codes of unknown origin are in the way."""
        places = [self.root / path.relative_to(root) for path in paths]
        class_of = {place: label.class_name for place, label in zip(places, labels, strict=True)}
        classes = dict(zip(manifest["file"], manifest["class"], strict=True))

        def may_move(source: Source, place: Path) -> bool:
            return not source.path.exists() or classes.get(source.file) == class_of[place]

        self.sources.adopt(places, self.root, may_move)
        names = self.sources.name(places, self.root, manifest["file"])
        return [
            PlannedSound(path, place, label, side, names[place])
            for path, place, label, side in zip(paths, places, labels, sides, strict=True)
        ]

    def sources_below(self, folder: Path) -> dict[str, Source]:
        """The sounds below a folder, relative to the root, that were encoded before; by the name of their codes."""
        return {each.file: each for each in self.sources if each.path.is_relative_to(self.root / folder)}

    def encode_all(self, sounds: list[PlannedSound], strict: bool) -> tuple[list[EncodedFile], dict[str, str]]:
        """Encodes sounds; returns the codes and, by path, why a sound has none."""
        encoded: list[EncodedFile] = []
        skipped: dict[str, str] = {}
        progress = tqdm(sounds, desc="encoding", unit="file", file=sys.stderr)
        for one in progress:
            try:
                encoded += self._encode(one)
            except Exception as error:  # of any library: it concerns this file alone
                if isinstance(error, OSError) and error.errno in _NO_ROOM:
                    problem = f"{self.output} cannot be written: {os.strerror(error.errno)}."
                    raise UserError(f"{problem} Make room and run it again: it goes on.") from error
                reason = str(error) if isinstance(error, UserError) else f"{one.path} cannot be encoded: {_say(error)}"
                if strict:
                    raise UserError(reason) from error
                skipped[str(one.path)] = reason
                progress.write(f"skipped: {printable(reason)}", file=sys.stderr)
        return encoded, skipped

    def _encode(self, one: PlannedSound) -> list[EncodedFile]:
        """Encodes a sound and its shifts; returns all of them or raises."""
        sha256, encoded = digest(one.place), []
        for shift in range(self.shifts if one.split == "train" else 1):
            skip = shift * self.codec.hop_length // self.shifts
            record = Source(
                file=self.sources.name_shift(one.place, shift, one.file),
                folder=str(self.root),
                source=one.place.relative_to(self.root).as_posix(),
                shift=str(shift),
                sha256=sha256,
                settings=f"level={LEVEL_DB:g} trim={self.trim} skip={skip}",
            )
            target, before = self.output / record.file, self.sources.of_file(record.file)
            with contextlib.suppress(FileNotFoundError):
                os.lstat(target)  # raises before the work if the name is too long
            file, how = self._encoded_before(target, record), "reused"
            if file is None:
                file, how = encode_file(one.path, self.codec, self.trim, skip), "new" if before is None else "renewed"
                target.unlink(missing_ok=True)  # otherwise a kill here would leave the new row with the old codes
                self.sources.add(record)
                write_dac(target, file)
            row = {"file": record.file, "class": one.label.class_name, "split": one.split}
            row |= {FRAMES_COLUMN: file.num_frames} | one.label.parameters
            encoded.append(EncodedFile(one, shift, row, file.gain_db, how))
        return encoded

    def _encoded_before(self, target: Path, record: Source) -> DacFile | None:
        """Returns a sound's codes of an earlier run; None if it or a setting has changed, or the codes are damaged."""
        before = self.sources.of_file(record.file)
        if before is None or (before.sha256, before.settings) != (record.sha256, record.settings):
            return None
        try:
            file = read_dac(target)
        except UserError:
            return None
        if file.codec != self.codec.identity:
            return None
        if before != record:  # the same sound, reached through another folder
            self.sources.add(record)
        return file


def names_no_table_can_keep(paths: Iterable[Path]) -> dict[str, str]:
    """Returns the paths that are not UTF-8 or hold a carriage return, each with what to do."""
    return {
        str(path): f"{path} has a name that no table can keep (not UTF-8, or a line break). Rename it."
        for path in paths
        if any(letter == "\r" or "\ud800" <= letter <= "\udfff" for letter in str(path.absolute()))
    }


def printable(text: str) -> str:
    """Returns text on one line, with unprintable characters as escape sequences."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _say(error: Exception) -> str:
    """Returns the message of an exception, or its type if it has none."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
