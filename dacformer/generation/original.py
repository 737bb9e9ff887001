"""The sound that a take continues, as it came."""

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
    """Sound as it came: neither resampled, nor mixed, nor through the codec.

    Attributes:
        samples: `(n, channels)` float32.
        sample_rate: In Hz.
    """

    samples: np.ndarray = dataclasses.field(repr=False)
    sample_rate: int

    @classmethod
    def read(cls, path: str | Path) -> "OriginalAudio":
        """Reads a whole sound file.

        Raises:
            UserError: It cannot be read.
        """
        with open_sound(path) as file:
            blocks = []
            while len(block := file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
                blocks.append(block)
            return cls(np.concatenate(blocks), file.samplerate)

    def to_bytes(self) -> bytes:
        """A `.wav` file of 32-bit floats."""
        file = io.BytesIO()
        soundfile.write(file, self.samples, self.sample_rate, subtype="FLOAT", format="WAV")
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "OriginalAudio":
        """Reads what `to_bytes` made: the same samples.

        Raises:
            UserError: Something else; the message calls it by the name.
        """
        try:
            samples, sample_rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise UserError(f"{name} cannot be read as audio: {error.error_string}") from error
        return cls(samples, sample_rate)

    def first(self, seconds: float) -> "OriginalAudio":
        """Its beginning, at most so long."""
        return OriginalAudio(self.samples[: round(seconds * self.sample_rate)], self.sample_rate)

    def followed_by(self, audio: np.ndarray, sample_rate: int) -> np.ndarray:
        """Continues the original samples, which stay as they are.

        Args:
            audio: `(n,)`, the continuation.
            sample_rate: Of the continuation, in Hz.

        Returns:
            `(m, channels)` float32 at the original's rate; the continuation is the same in every channel.
        """
        added = resample(audio, sample_rate, self.sample_rate)
        return np.concatenate([self.samples, np.repeat(added[:, None], self.samples.shape[1], axis=1)])
