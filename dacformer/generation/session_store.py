"""Storage of a session's takes: a folder, or any mapping from text keys to bytes.

A take has up to three keys. `ID.dac` holds its codes and recipe. `ID.wav` holds the original samples of the sound that
it continues, if it continues one. `ID.json` holds the id of its parent. `ID.json` is written last, so a take that has
one is complete. Keys are only added, never changed or removed, so several processes may write to one store.
"""

import json
import re
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import NamedTuple

from dacformer.codec.dac_file import DacFile, dac_bytes, parse_dac
from dacformer.errors import UserError, first_line, shown
from dacformer.files import replacing
from dacformer.generation.original import OriginalAudio
from dacformer.generation.take import Take
from dacformer.generation.take_files import to_dac

Store = MutableMapping[str, bytes]
"""A key-value store: a `dict`, a `FolderStore`, or a client of a server."""

_KEY = re.compile(r"([0-9a-f]{32})\.(json|dac|wav)")


class FolderStore(MutableMapping[str, bytes]):
    """Key-value store in a folder: one file per key. A value is written completely or not at all."""

    def __init__(self, folder: str | Path) -> None:
        """Opens a folder.

        Args:
            folder: Path of the folder. It is created when the first value is written.
        """
        self.folder = Path(folder)

    def __getitem__(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            raise KeyError(key) from None
        except OSError as error:
            raise UserError(f"{self._path(key)} cannot be read: {first_line(error)}.") from error

    def __setitem__(self, key: str, value: bytes) -> None:
        with replacing(self._path(key)) as part:
            part.write_bytes(value)

    def __delitem__(self, key: str) -> None:
        try:
            self._path(key).unlink()
        except FileNotFoundError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[str]:
        if self.folder.is_dir():
            yield from (path.name for path in self.folder.iterdir() if _KEY.fullmatch(path.name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise KeyError(key)
        return self.folder / key


def as_store(store: Store | str | Path) -> Store:
    """Opens a folder as a store; a store is returned as it is."""
    return FolderStore(store) if isinstance(store, str | Path) else store


class StoredTake(NamedTuple):
    """A take as a store holds it, without audio: the audio is decoded from the codes.

    Attributes:
        file: Codes and recipe.
        parent_id: Id of the take that it was made from, or None.
        original: Samples of the sound that it continues, or None.
    """

    file: DacFile
    parent_id: str | None
    original: OriginalAudio | None


def take_ids(store: Store) -> list[str]:
    """Returns the ids of all complete takes, in the order in which they were made."""
    return sorted(match[1] for key in store if (match := _KEY.fullmatch(key)) and match[2] == "json")


def write_take(store: Store, take: Take) -> None:
    """Writes a take to a store."""
    store[f"{take.id}.dac"] = dac_bytes(to_dac(take))
    if take.original is not None:
        store[f"{take.id}.wav"] = take.original.to_bytes()
    about = {"parent": take.parent_id, "original": take.original is not None}
    store[f"{take.id}.json"] = json.dumps(about).encode()


def read_parent(store: Store, take_id: str) -> str | None:
    """Reads the id of a take's parent; None if it has no parent.

    Raises:
        UserError: The store does not have the take, or its entry is damaged.
    """
    return _about(store, take_id)[0]


def read_stored(store: Store, take_id: str) -> StoredTake:
    """Reads a take from a store.

    Raises:
        UserError: The store does not have the take, or one of its values is missing or damaged.
    """
    parent_id, has_original = _about(store, take_id)
    try:
        file = parse_dac(store[f"{take_id}.dac"], f"{take_id}.dac")
        sound = OriginalAudio.from_bytes(store[f"{take_id}.wav"], f"{take_id}.wav") if has_original else None
    except KeyError as error:
        raise UserError(f"The session has no {error}, which belongs to a take of it.") from None
    return StoredTake(file, parent_id, sound)


def _about(store: Store, take_id: str) -> tuple[str | None, bool]:
    try:
        text = store[f"{take_id}.json"]
    except KeyError:
        raise UserError(f"The session has no take {shown(take_id)}.") from None
    try:
        about = json.loads(text)
        parent_id, has_original = about["parent"], about["original"]
        if not isinstance(has_original, bool) or not isinstance(parent_id, str | None) or parent_id == take_id:
            raise ValueError
        return parent_id, has_original
    except (ValueError, TypeError, LookupError, RecursionError):
        raise UserError(f"{take_id}.json of the session is damaged.") from None
