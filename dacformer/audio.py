"""Sound files: find, read, resample, measure loudness, write. Knows nothing of codes.

Shapes: `audio` is `(N,)`, mono float32 in [-1, 1], unless said otherwise.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyloudnorm
import soundfile
import soxr

from dacformer.decoding import MOST_FRAMES_PER_BYTE, SILENCE, Measured, mono_blocks, open_sound
from dacformer.errors import UserError
from dacformer.files import replacing

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".mp3", ".au", ".caf"})

MIN_LOUDNESS_DB = -70.0
"""Absolute gate of ITU-R BS.1770, in LUFS: softer sound counts as silence."""

MAX_COMMENT = 2000
"""Longest comment in characters that every format holds; libsndfile does not read longer ones from a `.wav`."""

_BLOCK_SECONDS = 60.0  # length of the blocks in which files are read
_COUNTED_BYTES = 16_000_000  # files up to this size are decoded to find their length


@dataclass(frozen=True)
class Listing:
    """Contents of a folder of sounds.

    Attributes:
        sounds: The sound files, sorted.
        left_out: Kinds and numbers of other files, in words; '' if there are none.
    """

    sounds: list[Path]
    left_out: str


def list_folder(folder: str | Path) -> Listing:
    """Finds the sound files in a folder and all its subfolders.

    Leaves out hidden files and folders, links to folders, broken links and special files such as pipes.

    Args:
        folder: Any folder, also a hidden one. A single sound file gives a list of one.

    Returns:
        The sound files, in the same order on every system, and what was left out.

    Raises:
        UserError: The folder does not exist, or holds no sound.
    """
    folder = Path(folder)
    if os.path.isfile(folder):
        return Listing([folder], "")
    if not os.path.isdir(folder):
        raise UserError(f"There is no folder {folder}. Give the folder that holds your recordings.")
    sounds: list[Path] = []
    left_out, kinds = Counter[str](), Counter[str]()

    def unreadable(_: OSError) -> None:
        left_out["unreadable folder"] += 1

    for parent, folders, files in os.walk(folder, onerror=unreadable):
        left_out["hidden folder"] += sum(name.startswith(".") for name in folders)
        folders[:] = [name for name in folders if not name.startswith(".")]
        left_out["linked folder"] += sum(os.path.islink(os.path.join(parent, name)) for name in folders)
        for path in (Path(parent, name) for name in files):
            if path.name.startswith("."):
                left_out["hidden file"] += 1
            elif path.suffix.lower() not in AUDIO_SUFFIXES:
                kinds[path.suffix.lower() or "no suffix"] += 1
            elif not os.path.isfile(path):
                left_out["broken link" if path.is_symlink() else "special file"] += 1
            else:
                sounds.append(path)
    words = [f"{count} {name}{'s' if count > 1 else ''}" for name, count in sorted(left_out.items()) if count]
    if kinds:
        names, count = ", ".join(sorted(kinds, key=lambda name: (-kinds[name], name))[:8]), kinds.total()
        words.insert(0, f"{count} file{'s' if count > 1 else ''} of other kinds ({names})")
    if not sounds:
        known = " ".join(sorted(AUDIO_SUFFIXES))
        found = f" There is: {', '.join(words)}." if words else ""
        raise UserError(f"No sound file below {folder}. Expected files that end in one of: {known}.{found}")
    return Listing(sorted(sounds), ", ".join(words))


def find_audio(folder: str | Path, exclude: Sequence[str] = ()) -> list[Path]:
    """Lists the sound files below a folder.

    Args:
        folder: As in `list_folder`.
        exclude: Words; paths that contain one of them are left out.

    Returns:
        The paths, in the same order on every system.

    Raises:
        UserError: As in `list_folder`.
    """
    return [path for path in list_folder(folder).sounds if not any(word in str(path) for word in exclude)]


def recording_of(path: str | Path) -> str:
    """Returns the recording that a file is a part of: `2-82367-A.ogg` and `2-82367-B.ogg` are both of `2-82367`."""
    return re.sub(r"-[A-Z]$", "", Path(path).stem)


def split_by_recording(paths: list[Path], held_out: float, seed: int) -> tuple[list[Path], list[Path]]:
    """Holds out a share of the recordings; parts of one recording stay on one side.

    Args:
        paths: Sound files.
        held_out: Share of the recordings to hold out, in [0, 1].
        seed: Seed of the choice.

    Returns:
        The files to train on and the held-out files, each in the given order.
    """
    recordings = sorted({recording_of(path) for path in paths})
    order = np.random.default_rng(seed).permutation(len(recordings))
    chosen = {recordings[i] for i in order[: round(held_out * len(recordings))]}
    return [p for p in paths if recording_of(p) not in chosen], [p for p in paths if recording_of(p) in chosen]


def read_blocks(
    path: str | Path,
    sample_rate: int | None,
    block_seconds: float = _BLOCK_SECONDS,
    measured: Measured | None = None,
) -> Iterator[np.ndarray]:
    """Reads a sound file in blocks: mixed to mono, resampled, in bounded memory.

    Args:
        path: A sound file of any channel count and length, with a rate from 1 kHz to 1 MHz.
        sample_rate: Rate of the output in Hz; None for the file's own.
        block_seconds: Length of file that is in memory at a time, in seconds.
        measured: Filled in with the properties of what was read, if given.

    Yields:
        Consecutive blocks `(n,)` float32 of varying length; together, all that the decoder delivers.

    Raises:
        UserError: The file cannot be read, is empty, or holds NaN or infinite samples.
    """
    with open_sound(path) as file:
        resampler = soxr.ResampleStream(file.samplerate, sample_rate or file.samplerate, 1, dtype="float32")
        # One block is held back, because the resampler must know which one is the last.
        held: np.ndarray | None = None
        for block in mono_blocks(file, max(1, int(block_seconds * file.samplerate)), measured or Measured()):
            if held is not None:
                yield resampler.resample_chunk(held)
            held = block
        if held is not None:
            yield resampler.resample_chunk(held, last=True)


def read_audio(path: str | Path, sample_rate: int) -> np.ndarray:
    """Reads a whole sound file as mono at a sample rate.

    Args:
        path: A sound file of any rate, channel count and length.
        sample_rate: Rate of the output in Hz.

    Returns:
        `(N,)` float32.

    Raises:
        UserError: As in `read_blocks`.
    """
    return np.concatenate(list(read_blocks(path, sample_rate)))


def read_start(path: str | Path, sample_rate: int, seconds: float) -> np.ndarray:
    """Reads the beginning of a sound file as mono at a sample rate, without reading the rest.

    Args:
        path: A sound file of any rate, channel count and length.
        sample_rate: Rate of the output in Hz.
        seconds: Length of the beginning, in seconds; less if the file is shorter.

    Returns:
        `(N,)` float32.

    Raises:
        UserError: As in `read_blocks`.
    """
    wanted, pieces, length = round(seconds * sample_rate), [], 0
    for piece in read_blocks(path, sample_rate, seconds):
        pieces.append(piece)
        length += len(piece)
        if length >= wanted:
            break
    return np.concatenate(pieces)[:wanted]


def resample(audio: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resamples `(N,)` or `(N, channels)` audio between two rates in Hz."""
    return audio if from_rate == to_rate else soxr.resample(audio, from_rate, to_rate)


def format_of(path: str | Path) -> str:
    """Returns libsndfile's name of the format that a path's suffix names.

    Raises:
        UserError: The suffix names no format that can be written.
    """
    kind = Path(path).suffix.lstrip(".").upper()
    if kind not in soundfile.available_formats() or soundfile.default_subtype(kind) is None:
        raise UserError(f"Cannot write {path}: '{Path(path).suffix}' is no sound format. Use .wav, .flac or .ogg.")
    return kind


def write_audio(
    path: str | Path, audio: np.ndarray, sample_rate: int, comment: str | None = None, subtype: str | None = None
) -> Path:
    """Writes a sound file, whole or not at all.

    Args:
        path: Path of the file; the suffix chooses the format (`.wav` as 16-bit PCM, `.flac`, `.ogg`, ...).
        audio: `(N,)` or `(N, channels)` float; clipped to [-1, 1].
        sample_rate: In Hz.
        comment: Text for the file's comment field.
        subtype: Encoding of the samples, such as `FLOAT`; the format's default if None.

    Returns:
        The path.

    Raises:
        UserError: The suffix names no format that can be written, the format does not support the rate or
            channel count, or the disk is full.
    """
    path, kind = Path(path), format_of(path)
    audio = np.clip(audio, -1.0, 1.0)
    channels = 1 if audio.ndim == 1 else audio.shape[1]
    with replacing(path) as part:
        part.touch()  # an error of the system says more than one of libsndfile
        try:
            with soundfile.SoundFile(part, "w", sample_rate, channels, subtype, format=kind) as file:
                if comment is not None:
                    file.comment = comment
                # libsndfile's Vorbis encoder overflows its stack on very long single writes.
                for start in range(0, len(audio), sample_rate):
                    file.write(audio[start : start + sample_rate])
        except soundfile.LibsndfileError as error:
            _try_to_grow(part)
            raise UserError(f"Cannot write {path}: {error.error_string}") from error
        if soundfile.info(part).frames < len(audio):  # libsndfile reports no error if the disk is full at the end
            _try_to_grow(part)
            raise UserError(f"Cannot write {path}: it was cut off.")
    return path


def _try_to_grow(part: Path) -> None:
    """Raises the system's error if a file cannot grow (no space, no quota); libsndfile says only "System error"."""
    with part.open("ab") as file:
        file.write(bytes(2**16))
        file.flush()
        os.fsync(file.fileno())


def read_comment(path: str | Path) -> str:
    """Returns the comment of a sound file, '' if it has none.

    Raises:
        UserError: The file is missing or is no sound file.
    """
    with open_sound(path) as file:
        return file.comment


def loudness_db(audio: np.ndarray, sample_rate: int) -> float:
    """Measures integrated loudness (ITU-R BS.1770-4, by `pyloudnorm`).

    Args:
        audio: `(N,)` or `(N, channels)`; padded with silence to the meter's block of 0.4 s.
        sample_rate: In Hz.

    Returns:
        Loudness in LUFS, at least `MIN_LOUDNESS_DB`.
    """
    return blockwise_loudness_db([audio], sample_rate)


def blockwise_loudness_db(blocks: Iterable[np.ndarray], sample_rate: int) -> float:
    """Measures the loudness of a sound from its blocks, in bounded memory.

    It is the mean power of the blocks' integrated loudnesses, weighted by their lengths, with the
    relative gate of BS.1770 (blocks 10 LU below the mean do not count). For one block it is exact.

    Args:
        blocks: Consecutive blocks `(n,)` or `(n, channels)` of the sound.
        sample_rate: In Hz.

    Returns:
        Loudness in LUFS, at least `MIN_LOUDNESS_DB`.
    """
    meter = pyloudnorm.Meter(sample_rate)
    shortest = math.ceil(meter.block_size * sample_rate) + 1
    levels, lengths = [], []
    for block in blocks:
        missing = (0, max(0, shortest - len(block)))
        padded = np.pad(block.astype(np.float64), [missing, *[(0, 0)] * (block.ndim - 1)])
        with np.errstate(divide="ignore"):
            levels.append(meter.integrated_loudness(padded))
        lengths.append(len(block))
    power = 10.0 ** (np.array(levels) / 10.0)
    weight = np.array(lengths) * (power > 10.0 ** (MIN_LOUDNESS_DB / 10.0))
    if not weight.any():
        return MIN_LOUDNESS_DB
    mean = np.average(power, weights=weight)
    mean = np.average(power, weights=weight * (power >= mean / 10.0))
    return max(float(10.0 * np.log10(mean)), MIN_LOUDNESS_DB)


def trim_trailing_silence(audio: np.ndarray) -> np.ndarray:
    """Cuts the silence at the end of audio: `(N,)` to `(M,)`, `M <= N`. Silent audio is returned unchanged."""
    loud = np.flatnonzero(np.abs(audio) > SILENCE)
    return audio[: loud[-1] + 1] if len(loud) else audio


def describe_file(path: str | Path) -> str:
    """Describes a sound file in one line.

    The length is counted in files of up to 16 MB; in larger files it is what the header states.

    Raises:
        UserError: The file is missing or is no sound file.
    """
    with open_sound(path) as file:
        form = f"{file.samplerate} Hz, {file.channels} channel(s), {file.format} {file.subtype}"
        if (size := os.path.getsize(path)) > _COUNTED_BYTES:
            stated = 0 < file.frames <= MOST_FRAMES_PER_BYTE * size
            return f"{f'{file.frames / file.samplerate:.2f} s' if stated else 'no length'} by its header at {form}"
        measured = Measured()
        for _ in mono_blocks(file, file.samplerate, measured):
            pass
    return f"{measured.frames / measured.sample_rate:.2f} s at {form}"
