"""Files: written whole or not at all, with the umask's permissions, under names that work on every system.

Also the one reader of the state that a training continues from.
"""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dacformer.errors import UserError, WriteError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LOCK_FILE = ".lock"
MAX_NAME_BYTES = 255
"""The longest file name of common file systems, in bytes."""
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]|^[. ]|[. ]$|[\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # device names of Windows


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path and moves it to `path` at the end, unless an exception occurs.

    The file gets the permissions of the umask, even from a writer that makes private files (safetensors).

    Args:
        path: The file to make; its folder is made if needed.

    Yields:
        A hidden path beside it, to write to.

    Raises:
        WriteError: The system refuses the write; an older file stays as it was.
    """
    path = Path(path)
    part = _part(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        mode = part.stat().st_mode
        yield part
        if part.stat().st_mode != mode:
            part.chmod(mode)
        os.replace(part, path)
    except UserError:
        raise
    except OSError as error:
        raise WriteError(f"Cannot write {path}: {error.strerror or error}.", error.errno) from error
    finally:
        with contextlib.suppress(OSError):  # the parent may be no folder
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_files(folder: str | Path) -> Iterator[Path]:
    """Yields a temporary folder and moves its files into `folder` at the end, unless an exception occurs.

    Moving needs no space, so a full disk leaves the older files as they were.

    Args:
        folder: Where the files go; made if needed. Other files in it stay.

    Yields:
        A hidden folder in it, to write to.

    Raises:
        WriteError: The system refuses the write; older files stay as they were.
    """
    folder = Path(folder)
    new = not folder.exists()
    part = folder / f".{folder.name}.{os.getpid()}.part"
    try:
        part.mkdir(parents=True, exist_ok=True)
        yield part
        for file in sorted(part.iterdir()):
            os.replace(file, folder / file.name)
    except UserError:
        raise
    except OSError as error:
        raise WriteError(f"Cannot write {folder}: {error.strerror or error}.", error.errno) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if new:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only where nothing was written into it


def _part(path: Path) -> Path:
    """Returns the hidden path beside a file where it is written; hashed if the name would be too long."""
    part = path.with_name(f".{path.name}.part")
    if len(os.fsencode(part.name)) <= MAX_NAME_BYTES:
        return part
    return path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.part")


def write_text(path: str | Path, text: str) -> None:
    """Writes text, whole or not at all: the same bytes on every system."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_safetensors(path: str | Path, tensors: "dict[str, Tensor]", metadata: dict[str, str] | None = None) -> None:
    """Writes tensors of any device and layout as `.safetensors`, whole or not at all.

    Args:
        path: The file to write.
        tensors: Tensors by name.
        metadata: Texts for the file's header.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as part:
        try:
            save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, part, metadata)
        except SafetensorError as error:  # it tells of the system's errors only in words
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise WriteError(f"Cannot write {path}: {os.strerror(int(number[1]))}.", int(number[1])) from error


def read_training_state(path: Path, device: "torch.device | str") -> Any:
    """Reads a file of `torch.save` without executing its pickle, for a training to continue from.

    Args:
        path: The file.
        device: Device to put its tensors on.

    Raises:
        ValueError: A tensor claims more elements than its file holds; no training writes such.
        Exception: Whatever torch raises for a damaged or hostile file.
    """
    import torch

    state = torch.load(path, map_location=device, weights_only=True)
    _refuse_overlaps(state)
    return state


def _refuse_overlaps(state: Any) -> None:
    import torch

    if isinstance(state, Mapping | list | tuple):
        for each in state.values() if isinstance(state, Mapping) else state:
            _refuse_overlaps(each)
    elif isinstance(state, torch.Tensor) and state.numel() * state.element_size() > state.untyped_storage().nbytes():
        raise ValueError("a tensor has more elements than its file holds")


def sync(path: Path) -> None:
    """Syncs a file or folder to disk, so that it survives a power cut; on Windows only files."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def training_folder(run: Path) -> Iterator[None]:
    """Makes the folder of a training and locks it against other trainings.

    The lock ends with its process, even if that is killed.

    Args:
        run: The folder.

    Raises:
        UserError: The folder cannot be made or written to, now or later, or another process trains there.
    """
    from filelock import FileLock, Timeout

    try:
        run.mkdir(parents=True, exist_ok=True)
        with FileLock(run / LOCK_FILE, timeout=0):
            yield
    except Timeout:
        raise UserError(f"Another training is writing to {run}. Choose another folder: run=runs/NAME") from None
    except OSError as error:
        raise UserError(
            f"{run} cannot be written ({error.strerror or error}). Make room, then go on with --resume, "
            f"or choose another folder: run=runs/NAME"
        ) from error


def check_writable(path: str | Path) -> None:
    """Checks that a file can be written, before the work that makes it. Creates and changes nothing.

    Args:
        path: The file; its folder need not exist.

    Raises:
        UserError: The path is a folder or read-only, or its folder cannot be made or written to.
    """
    path = Path(path)
    try:
        for name in (path, _part(path)):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                name.lstat()  # raises for a name that is too long or invalid here
        if path.exists() and not path.is_file():
            raise UserError(f"Cannot write {path}: it is a folder or a device. Give the name of a file.")
        if path.exists() and not os.access(path, os.W_OK):
            raise UserError(f"Cannot write {path}: it is there and may not be changed. Give another name.")
        folder = next((each for each in path.absolute().parents if each.exists()), None)
        if folder is None:
            raise UserError(f"Cannot write {path}: there is no such drive.")
        if not folder.is_dir():
            raise UserError(f"Cannot write {path}: {folder} is a file, not a folder.")
        with tempfile.TemporaryFile(dir=folder):
            pass  # only a real file shows whether the system permits it
    except UserError:
        raise
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"Cannot write {path}: {reason}.") from error


def new_file(path: Path) -> Path:
    """Returns the path, or with a number added if it exists."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}_{number}")
    return free


def safe_names(names: Iterable[str], max_bytes: int = 200) -> dict[str, str]:
    """Makes distinct file names (without suffix) from any texts, valid on every system.

    A text that is a valid file name stays as it is.

    Args:
        names: Distinct texts, such as names of classes.
        max_bytes: Longest file name in UTF-8 bytes; leaves room for a suffix.

    Returns:
        The file name for each text. Names that would differ only in upper and lower case, or in replaced
        characters, get numbers.
    """
    stems = {name: _UNSAFE.sub("_", name).encode()[:max_bytes].decode(errors="ignore") or "_" for name in names}
    safe: dict[str, str] = {}
    taken: set[str] = set()
    for name, stem in sorted(stems.items(), key=lambda pair: pair[0] != pair[1]):  # names that can stay come first
        stem = f"_{stem}" if _RESERVED.fullmatch(stem) else stem
        number, free = 1, stem
        while (folded := unicodedata.normalize("NFC", free).casefold()) in taken:
            number += 1
            free = f"{stem}_{number}"
        taken.add(folded)
        safe[name] = free
    return safe
