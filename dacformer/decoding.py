"""Decoding of sound files, block by block. No other module decodes them.

The length in a file's header may be wrong. libsndfile reports it, and `soundfile` returns that many frames
even if the decoder delivers fewer. So this module does not read `frames`, does not seek, and counts what the
decoder delivers.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from dacformer.errors import UserError

SILENCE = 1e-4
"""Largest peak that counts as silence (-80 dB); 16-bit dither stays below."""

RATES = (1_000, 1_000_000)
"""Lowest and highest accepted sample rate, in Hz. At lower rates, a small file would last for hours."""

MOST_FRAMES_PER_BYTE = 1_000
"""Most frames per byte; a file with more is refused. Pure silence has 340 in FLAC, 290 in Vorbis, 200 in Opus."""

MOST_PEAK = 10.0
"""Largest peak of float samples. Floats may exceed 1, but with more than 20 dB they are scaled like integers."""

_CANCELLED = 0.01  # share of the channels' mean peak in their mix (-40 dB): stereo recordings stay far above
_SLOWEST_HZ = 20  # a constant must last a period of this, to be told from a part of a wave
_STEPS = {"PCM_S8": 2.0**-7, "PCM_U8": 2.0**-7, "ALAW": 2.0**-12, "ULAW": 2.0**-12}  # of coarse formats
_VALUES = 1 << 20  # samples decoded at a time, of all channels together


@dataclass
class Measured:
    """Measurements of a sound file at its own rate; complete when all its blocks have been read.

    Attributes:
        sample_rate: Sample rate in the header, in Hz.
        channels: Number of channels, which are mixed to mono.
        frames: Number of samples per channel that the decoder delivered.
        low: Smallest sample of the mono mix.
        high: Largest sample of the mono mix.
        peak: Largest absolute sample of any channel.
        silence: Largest peak that counts as silence in this file.
    """

    sample_rate: int = 0
    channels: int = 0
    frames: int = 0
    low: float = np.inf
    high: float = -np.inf
    peak: float = 0.0
    silence: float = SILENCE

    def problem(self) -> str | None:
        """Says why the file holds no usable sound, or returns None."""
        mixed = max(self.high, -self.low)
        if self.peak > MOST_PEAK:
            return (
                f"reaches {self.peak:.4g} where full scale is 1: it holds integers written as floats. "
                f"Divide them by their full scale (32768 for 16 bits) and export it again."
            )
        if self.peak <= self.silence:
            level = f" (peak {20 * np.log10(self.peak):.0f} dB)" if self.peak > 0 else ""
            return f"is silent throughout{level}. Remove it."
        if mixed <= max(SILENCE, 2 * _CANCELLED * self.peak / self.channels):
            return (
                f"is silent when its {self.channels} channels are mixed to mono: they cancel each other out "
                f"(anti-phase). Invert one of them, or keep only one."
            )
        if self.high - self.low <= 2 * self.silence and self.frames >= self.sample_rate / _SLOWEST_HZ:
            return f"holds nothing but a constant ({mixed:.3g}). Remove it."
        return None


class _Forward(soundfile.SoundFile):
    """Sound file that is read without seeking. `SoundFile` seeks after each block, which some codecs cannot."""

    def seekable(self) -> bool:
        return False


@contextlib.contextmanager
def open_sound(path: str | Path) -> Iterator[soundfile.SoundFile]:
    """Opens a sound file for reading once, from beginning to end.

    Args:
        path: The file.

    Yields:
        The open file. Any exception while it is open becomes a `UserError` that names the file.

    Raises:
        UserError: The file is missing, is no regular file, cannot be decoded, or states an impossible rate.
    """
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):  # opening a pipe would block
            raise UserError(f"{path} cannot be read as audio: it is a folder, a pipe or a device.")
        if about.st_size == 0:
            raise UserError(f"{path} cannot be read as audio: it is empty (0 bytes). Remove it.")
        Path(path).open("rb").close()  # libsndfile would say "System error" instead of the reason
        with _Forward(path) as file:
            if not RATES[0] <= file.samplerate <= RATES[1]:
                raise UserError(
                    f"{path} states a sample rate of {file.samplerate} Hz. "
                    f"Expected {RATES[0]} to {RATES[1]} Hz. Export it again at its true rate."
                )
            yield file
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None
    except soundfile.LibsndfileError as error:
        raise UserError(f"{path} cannot be read as audio: {error.error_string}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read as audio: {error.strerror or error}") from error
    except Exception as error:  # decoders raise exceptions of any kind; each concerns this file alone
        raise UserError(f"{path} cannot be read as audio: {error or type(error).__name__}") from error


def mono_blocks(file: soundfile.SoundFile, block_frames: int, measured: Measured) -> Iterator[np.ndarray]:
    """Decodes an open sound file, mixed to mono, in memory bounded by one block.

    Args:
        file: From `open_sound`.
        block_frames: Length of a block in samples, at least 1.
        measured: Filled in while reading.

    Yields:
        Blocks `(block_frames,)` float32; the last one may be shorter, but not empty.

    Raises:
        UserError: The file delivers nothing, NaN, infinities, or more than its bytes can hold.
    """
    size = os.stat(file.name).st_size
    measured.sample_rate, measured.channels = file.samplerate, file.channels
    measured.silence = max(SILENCE, 2 * _STEPS.get(file.subtype, 0.0))
    at_once, pieces, missing = max(1, _VALUES // file.channels), [], block_frames
    while len(piece := file.read(min(missing, at_once), dtype="float32", always_2d=True)):
        with np.errstate(over="ignore", invalid="ignore"):
            mono = piece.mean(axis=1)
        if not np.isfinite(mono).all():
            raise UserError(f"{file.name} holds NaN or infinite samples. Export it again.")
        measured.frames += len(piece)
        if measured.frames > MOST_FRAMES_PER_BYTE * size:
            raise UserError(f"{file.name} unfolds to far more sound than its {size} bytes can hold. Export it again.")
        measured.peak = max(measured.peak, float(piece.max()), -float(piece.min()))
        measured.low, measured.high = min(measured.low, float(mono.min())), max(measured.high, float(mono.max()))
        pieces.append(mono)
        missing -= len(piece)
        if missing == 0:
            yield np.concatenate(pieces)
            pieces, missing = [], block_frames
    if pieces:
        yield np.concatenate(pieces)
    if measured.frames == 0:
        raise UserError(
            f"{file.name} holds no audio: its header says 0 samples, in {size} bytes. Remove it or export it again."
        )
