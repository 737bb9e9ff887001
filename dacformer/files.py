"""Writing files: whole or not at all, readable for whom the umask lets, under names that every system takes."""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dacformer.errors import UserError, WriteError

if TYPE_CHECKING:
    from torch import Tensor

LOCK_FILE = ".lock"
MAX_NAME_BYTES = 255
"""The longest name that common file systems take."""
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]|^[. ]|[. ]$|[\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # devices of Windows


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a place to write to; what was written there takes the place of `path`, unless something goes wrong.

    The file gets the permissions of the umask, also from a writer that makes private files (safetensors).

    Args:
        path: The file to make; its folder is made if need be.

    Yields:
        A hidden path beside it.

    Raises:
        WriteError: The system does not let it be written; what was there before is untouched.
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
        with contextlib.suppress(OSError):  # it may be the folder that is no folder
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_files(folder: str | Path) -> Iterator[Path]:
    """Gives a folder to write files to; they move into `folder` together, unless something goes wrong.

    Moving takes no room, so a full disk leaves the older files as they were.

    Args:
        folder: Where the files go; made if need be. Other files in it stay.

    Yields:
        A hidden folder in it.

    Raises:
        WriteError: The system does not let it be written; what was there before is untouched.
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
    """The hidden path beside a file where it is written; shorter than the file's where that would be too long."""
    part = path.with_name(f".{path.name}.part")
    if len(os.fsencode(part.name)) <= MAX_NAME_BYTES:
        return part
    return path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.part")


def write_text(path: str | Path, text: str) -> None:
    """Writes text, the same bytes on every system."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_safetensors(path: str | Path, tensors: "dict[str, Tensor]", metadata: dict[str, str] | None = None) -> None:
    """Writes tensors of any device and layout as `.safetensors`.

    Args:
        path: Where to.
        tensors: By name.
        metadata: Goes into the file's header.
    """
    from safetensors.torch import save_file

    with replacing(path) as part:
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, part, metadata)


def sync(path: Path) -> None:
    """Makes a file or folder survive a power cut (Windows syncs no folders, and only files that may be written)."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def training_folder(run: Path) -> Iterator[None]:
    """Makes the folder of a training and keeps other trainings out of it; a process that dies leaves no lock behind.

    Args:
        run: The folder.

    Raises:
        UserError: It cannot be made or written to, now or while it is in use, or another process trains there.
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
    """Refuses a file that could not be written, before the work that makes it. Nothing is made or changed.

    Args:
        path: The file; its folder may not be there yet.

    Raises:
        UserError: It is a folder, may not be changed, or its folder cannot be one or cannot be written to.
    """
    path = Path(path)
    try:
        for name in (path, _part(path)):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                name.lstat()  # says so of a name that is too long, or that this system does not have
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
            pass  # asks the system itself
    except UserError:
        raise
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"Cannot write {path}: {reason}.") from error


def new_file(path: Path) -> Path:
    """The path, or with a number behind it where it is taken."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}_{number}")
    return free


def safe_names(names: Iterable[str], max_bytes: int = 200) -> dict[str, str]:
    """Makes file names (without suffix) from any text: for each its own, whatever the system, and itself if it can be.

    Args:
        names: Distinct texts, such as names of classes.
        max_bytes: Longest file name to make, in UTF-8; leaves room for a suffix.

    Returns:
        The file name by text. Names that differ only in upper and lower case, or in what had to be replaced, get
        numbers.
    """
    stems = {name: _UNSAFE.sub("_", name).encode()[:max_bytes].decode(errors="ignore") or "_" for name in names}
    safe: dict[str, str] = {}
    taken: set[str] = set()
    for name, stem in sorted(stems.items(), key=lambda pair: pair[0] != pair[1]):  # those that can stay choose first
        stem = f"_{stem}" if _RESERVED.fullmatch(stem) else stem
        number, free = 1, stem
        while (folded := unicodedata.normalize("NFC", free).casefold()) in taken:
            number += 1
            free = f"{stem}_{number}"
        taken.add(folded)
        safe[name] = free
    return safe
