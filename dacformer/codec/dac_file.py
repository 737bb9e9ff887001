"""`.dac` files, as `python -m dac` writes them, read without executing what they contain.

A `.dac` file is a NumPy `.npy` file whose one element is a pickled dict with `codes` and `metadata`. A
pickle can run code. The unpickler here knows NumPy arrays and scalars, dicts, lists and strings, and
refuses everything else.
"""

import io
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dacformer.errors import UserError, first_line
from dacformer.files import replacing

DAC_SUFFIX = ".dac"

DAC_VERSION = "1.0.0"
"""Version that descript-audio-codec writes into its files and requires when it reads them."""

MOST_RATE, MOST_DB, MOST_SAMPLES = 1_000_000, 200.0, 2**53
"""Largest sample rate in Hz, distance of a level from 0 dB, and length in samples. Larger values are refused,
because decoding them would fill the memory."""

_MAGIC = b"\x93NUMPY"
_SOUNDS = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"FORM", b"ID3", b".snd", b"caff", b"\xff\xfb")
"""First bytes of sound files."""


@dataclass(frozen=True)
class DacFile:
    """Codes, and what is needed to decode them to the original length, rate and level.

    Attributes:
        codes: `(channels, K, T)` int64 in `[0, V)`.
        sample_rate: Sample rate of the original sound, in Hz.
        original_length: Length of the original sound, in samples at `sample_rate`.
        input_db: Loudness of the original in LUFS; decoding restores it.
        chunk_length: Frames that are decoded together.
        channels: Channels of the original sound.
        padding: True: the codes are one sequence, one frame per hop. False (`python -m dac` on sounds
            longer than its window): chunks that overlap, to be decoded one by one without padding.
        gain_db: Gain applied before encoding; 0 if not known.
        codec: Identity of the codec that made the codes; '' if not known (files of `python -m dac`).
        recipe: How generated codes were made, as JSON; '' for encoded ones.
    """

    codes: np.ndarray
    sample_rate: int
    original_length: int
    input_db: float
    chunk_length: int
    channels: int = 1
    padding: bool = True
    gain_db: float = 0.0
    codec: str = ""
    recipe: str = ""

    @property
    def num_codebooks(self) -> int:
        """Number of codebooks, `K`."""
        return self.codes.shape[1]

    @property
    def num_frames(self) -> int:
        """Number of frames, `T`."""
        return self.codes.shape[2]


def same_codec(one: str, other: str) -> bool:
    """Tells whether two identities are of one codec.

    An identity is a name and a hash of the weights. For codes that were imported without the weights it is
    only a name, such as `44khz`, which stands for the published weights.
    """
    names = {one.rpartition("-")[0], other.rpartition("-")[0]} - {""}
    return one == other or bool({one, other} & names)


def write_dac(path: str | Path, file: DacFile) -> Path:
    """Writes a `.dac` file that `python -m dac decode` reads too; whole or not at all.

    Args:
        path: Path of the file; must end in `.dac`.
        file: Contents.

    Returns:
        The path.

    Raises:
        UserError: The contents are impossible, so the file could not be read again. Nothing is written.
    """
    path = Path(path)
    try:
        data = dac_bytes(file)
    except ValueError as error:
        raise UserError(f"Cannot write {path}: {error}.") from None
    with replacing(path) as part:
        part.write_bytes(data)
    return path


def dac_bytes(file: DacFile) -> bytes:
    """The contents of a `.dac` file.

    Raises:
        ValueError: No sound could be like that.
    """
    _check(file)
    artifacts = {
        "codes": file.codes.astype(np.uint16),
        "metadata": {
            "input_db": np.atleast_1d(np.float32(file.input_db)),
            "original_length": int(file.original_length),
            "sample_rate": int(file.sample_rate),
            "chunk_length": int(file.chunk_length),
            "channels": int(file.channels),
            "padding": bool(file.padding),
            "dac_version": DAC_VERSION,
        },
        # `dac` reads only the two above.
        "dacformer": {"gain_db": float(file.gain_db), "codec": file.codec, "recipe": file.recipe},
    }
    stream = io.BytesIO()
    np.save(stream, np.array(artifacts, dtype=object), allow_pickle=True)
    return stream.getvalue()


def read_dac(path: str | Path) -> DacFile:
    """Reads a `.dac` file of dacformer or `python -m dac`, without executing its pickle.

    Args:
        path: The file.

    Returns:
        Its contents, checked.

    Raises:
        UserError: The file is missing, truncated, malicious, or not a `.dac` file.
    """
    return parse_dac(_read_whole(Path(path)), str(path))


def parse_dac(data: bytes, name: str) -> DacFile:
    """Reads the contents of a `.dac` file, see `read_dac`.

    Args:
        data: The contents.
        name: What they are called in messages.
    """
    try:
        artifacts = _unpickle_npy(data)
        codes = np.asarray(artifacts["codes"])
        meta, about = artifacts["metadata"], artifacts.get("dacformer", {})
        if meta["dac_version"] != DAC_VERSION:
            raise ValueError(f"version {meta['dac_version']!r}, expected {DAC_VERSION!r}")
        if codes.ndim != 3 or codes.dtype.kind not in "ui" or 0 in codes.shape or codes.nbytes > len(data):
            raise ValueError(f"codes of shape {codes.shape} and type {codes.dtype}, expected (channels, K, T) integers")
        file = DacFile(
            codes=codes.astype(np.int64),
            sample_rate=int(meta["sample_rate"]),
            original_length=int(meta["original_length"]),
            input_db=float(np.ravel(meta["input_db"])[0]),
            chunk_length=int(meta["chunk_length"]),
            channels=int(meta["channels"]),
            padding=bool(meta["padding"]),
            gain_db=float(about.get("gain_db", 0.0)),
            codec=str(about.get("codec", "")),
            recipe=str(about.get("recipe", "")),
        )
        _check(file)
        return file
    except KeyError as error:
        raise UserError(f"{name} is not a whole .dac file (it has no {error}). Encode the sound again.") from error
    except Exception as error:  # a hostile or cut-off pickle can fail in any way; all mean the same to the user
        reason = first_line(error) if isinstance(error, ValueError | pickle.UnpicklingError) else "it is damaged"
        raise UserError(f"{name} is not a whole .dac file ({reason}). Encode the sound again.") from error


def _read_whole(path: Path) -> bytes:
    """The bytes of a file that begins as a `.dac` file does."""
    try:
        if not path.exists():
            raise UserError(f"{path} cannot be read: there is no such file.")
        if not path.is_file():
            raise UserError(f"{path} cannot be read: it is a folder or a device. Give a .dac file.")
        with path.open("rb") as stream:
            start = stream.read(len(_MAGIC))
            if start.startswith(_SOUNDS):
                raise UserError(f"{path} is a sound already, not a .dac file: there is nothing to decode.")
            if start != _MAGIC:
                what = "it is empty" if not start else "it holds something else"
                raise UserError(f"{path} is not a whole .dac file ({what}). Give what `dacformer encode` writes.")
            return start + stream.read()
    except UserError:
        raise
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise UserError(f"{path} cannot be read: {first_line(error)}.") from error


def _check(file: DacFile) -> None:
    """Raises a ValueError where no sound could be like that."""
    lengths = file.original_length, file.chunk_length
    if not 1 <= file.sample_rate <= MOST_RATE or not 1 <= min(lengths) <= max(lengths) <= MOST_SAMPLES:
        raise ValueError("a rate or a length in it is impossible")
    if not (abs(file.input_db) <= MOST_DB and abs(file.gain_db) <= MOST_DB):
        raise ValueError(f"a loudness of {file.input_db:g} LUFS, amplified by {file.gain_db:g} dB, is impossible")
    low, high = file.codes.min(), file.codes.max()
    if file.channels != len(file.codes) or low < 0 or high > np.iinfo(np.uint16).max:
        raise ValueError(f"codes of {len(file.codes)} channels from {low} to {high} for {file.channels} channels")


def _unpickle_npy(data: bytes) -> dict[str, Any]:
    """Returns the dict in an object-typed `.npy` file; raises on anything else."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, _, dtype = read_header(stream)
    if shape != () or not dtype.hasobject:
        raise ValueError(f"an array of shape {shape} and type {dtype}, expected one dict")
    array = _NumpyUnpickler(stream).load()
    contents = array[()] if isinstance(array, np.ndarray) else array
    if not isinstance(contents, dict):
        raise ValueError(f"holds {type(contents).__name__}, expected a dict")
    return contents


class _ArrayType:
    """Stands for `numpy.ndarray` in a pickle, which may name the type but not make an array of any size."""

    def __init__(self, *_: object) -> None:
        raise pickle.UnpicklingError("it makes an array without contents: refused")


def _empty_array(kind: type, shape: tuple[int, ...], _: bytes) -> np.ndarray:
    """Replaces `numpy.core.multiarray._reconstruct`: makes only the empty array that NumPy's own pickles make."""
    if kind is not _ArrayType or shape != (0,):
        raise pickle.UnpicklingError(f"it makes an array of shape {shape} without contents: refused")
    return np.empty(0)


class _NumpyUnpickler(pickle._Unpickler):
    """Unpickles NumPy arrays and scalars in plain containers, and nothing that could run code.

    It extends Python's pure-Python unpickler, which is slow. The one in C cannot be extended this far and
    allocates whatever size a file claims.
    """

    # NumPy 1 and 2 name the same functions differently. None of them runs code from the pickle.
    _ALLOWED = frozenset(
        (module, name)
        for module, names in {
            "numpy": ("ndarray", "dtype"),
            "numpy.core.multiarray": ("_reconstruct", "scalar"),
            "numpy._core.multiarray": ("_reconstruct", "scalar"),
            "numpy.core.numeric": ("_frombuffer",),
            "numpy._core.numeric": ("_frombuffer",),
            "_codecs": ("encode",),
        }.items()
        for name in names
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no .dac file needs: refused")
        return {"ndarray": _ArrayType, "_reconstruct": _empty_array}.get(name) or super().find_class(module, name)

    stack: list[Any]
    read: Callable[[int], bytes]
    append: Callable[[Any], None]

    def _load_build(self) -> None:
        """Sets an object's state. A false state of a dtype would make NumPy read data as pointers."""
        state, target = self.stack[-1], self.stack[-2]
        if isinstance(target, np.dtype):
            own = target.__reduce__()[2]
            if (state[0], *state[2:]) != (own[0], *own[2:]):  # the byte order, at 1, may differ
                raise pickle.UnpicklingError(f"it makes up a NumPy type, {state!r}: refused")
        elif isinstance(target, np.ndarray):
            if math.prod(state[1]) > len(state[4]):
                raise pickle.UnpicklingError(f"it makes up an array of shape {state[1]}: refused")
        else:
            raise pickle.UnpicklingError(f"it sets the state of {type(target).__name__}: refused")
        pickle._Unpickler.dispatch[pickle.BUILD[0]](self)  # pyright: ignore[reportArgumentType]

    def _load_bytearray8(self) -> None:
        """Reads an array of bytes. Python's own method allocates whatever length the file claims."""
        length = int.from_bytes(self.read(8), "little")
        data = self.read(length)
        if len(data) != length:
            raise pickle.UnpicklingError("it is cut off")
        self.append(bytearray(data))

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: _load_build,
        pickle.BYTEARRAY8[0]: _load_bytearray8,
    }
