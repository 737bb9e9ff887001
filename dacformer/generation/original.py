"""Original audio: the unchanged samples of the sound file that a take continues."""

import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from dacformer.audio import resample
from dacformer.decoding import open_sound
from dacformer.errors import UserError

_BLOCK_FRAMES = 1 << 18  # read at once


@dataclass(frozen=True, eq=False)
class OriginalAudio:
    """Samples of a sound file: not resampled, not mixed to mono, and not passed through the codec.

    Attributes:
        samples: `(N, channels)` float32.
        sample_rate: In Hz.
    """

    samples: np.ndarray = dataclasses.field(repr=False)
    sample_rate: int

    @classmethod
    def read(cls, path: str | Path) -> "OriginalAudio":
        """Reads a whole sound file.

        Raises:
            UserError: The file cannot be read.
        """
        with open_sound(path) as file:
            blocks = []
            while len(block := file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
                blocks.append(block)
            return cls(np.concatenate(blocks), file.samplerate)

    def to_bytes(self) -> bytes:
        """Returns the bytes of a `.wav` file with 32-bit floats."""
        file = io.BytesIO()
        soundfile.write(file, self.samples, self.sample_rate, subtype="FLOAT", format="WAV")
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "OriginalAudio":
        """Reads the bytes that `to_bytes` returned. The samples are the same.

        Args:
            data: The bytes.
            name: Where they are from, for messages.

        Raises:
            UserError: The bytes are not a sound file.
        """
        try:
            samples, sample_rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise UserError(f"{name} cannot be read as audio: {error.error_string}") from error
        return cls(samples, sample_rate)

    def first(self, seconds: float) -> "OriginalAudio":
        """Returns the first `seconds`, or everything if it is shorter."""
        return OriginalAudio(self.samples[: round(seconds * self.sample_rate)], self.sample_rate)

    def followed_by(self, audio: np.ndarray, sample_rate: int) -> np.ndarray:
        """Appends a mono continuation to the original samples, which are not changed.

        Args:
            audio: The continuation, `(n,)`.
            sample_rate: Sample rate of the continuation, in Hz.

        Returns:
            `(m, channels)` float32 at the rate of the original. All channels have the same continuation.
        """
        added = resample(audio, sample_rate, self.sample_rate)
        return np.concatenate([self.samples, np.repeat(added[:, None], self.samples.shape[1], axis=1)])
