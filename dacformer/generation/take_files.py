"""Files of takes: a sound file or a `.dac` file that contains the recipe, or a folder with everything."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import soundfile
import yaml

from dacformer import audio as sound
from dacformer.codec import DacFile, read_dac, write_dac
from dacformer.codec.dac_file import DAC_SUFFIX
from dacformer.errors import UserError, first_line
from dacformer.files import check_writable, replacing, replacing_files, write_text
from dacformer.generation.original import OriginalAudio
from dacformer.generation.recipe import Recipe, parse_recipe
from dacformer.plain_yaml import parse_typed_yaml

if TYPE_CHECKING:
    from dacformer.generation.take import Take

AUDIO_FILE, CODES_FILE, PICTURE_FILE, ORIGINAL_FILE = "audio.wav", "codes.dac", "picture.png", "original.wav"
CONTROLS_FILE, RECIPE_FILE = "controls.yaml", "recipe.yaml"


def save_take(take: "Take", path: str | Path) -> Path:
    """Writes a take, see `Take.save`."""
    path = Path(path)
    if path.suffix.lower() == DAC_SUFFIX:
        return write_dac(path, to_dac(take))
    if not path.suffix:
        return _save_folder(take, path)
    recipe = json.dumps(take.recipe.to_json())
    fits = len(recipe) <= sound.MAX_COMMENT
    if not fits:
        _write_beside(path.with_suffix(".json"), recipe)
    return sound.write_audio(path, take.audio, take.sample_rate, comment=recipe if fits else None)


def to_dac(take: "Take") -> DacFile:
    """Converts a take to the contents of a `.dac` file: its codes and its recipe, without audio."""
    audio = take.audio
    return DacFile(
        codes=take.codes[None],
        sample_rate=take.sample_rate,
        original_length=len(audio),
        input_db=sound.loudness_db(audio, take.sample_rate),  # decoding restores this loudness
        chunk_length=take.codes.shape[1],
        codec=take.recipe.codec,
        recipe=json.dumps(take.recipe.to_json()),
    )


def check_savable(path: str | Path) -> None:
    """Raises an error for a path that `Take.save` could not write. To be called before anything is generated.

    Args:
        path: As in `Take.save`.

    Raises:
        UserError: The suffix is not a sound format, the folder holds other files than a take's, or as in
            `check_writable`.
    """
    path = Path(path)
    if path.suffix:
        check_writable(path)
        if path.suffix.lower() != DAC_SUFFIX:
            sound.format_of(path)
        return
    check_writable(path / RECIPE_FILE)
    if (
        path.exists()
        and not (path / RECIPE_FILE).is_file()
        and any(not each.name.startswith(".") for each in path.iterdir())
    ):
        raise UserError(f"{path} holds something else than a take. Give a new folder.")


def _save_folder(take: "Take", folder: Path) -> Path:
    check_savable(folder)
    # All files are written under other names before any is replaced. So a full disk leaves an older take intact.
    with replacing_files(folder) as part:
        recipe = take.recipe.to_json()
        controls = recipe.pop("controls")
        write_text(part / RECIPE_FILE, yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
        write_text(part / CONTROLS_FILE, yaml.safe_dump(controls, sort_keys=False, allow_unicode=True))
        write_dac(part / CODES_FILE, to_dac(take))
        sound.write_audio(part / AUDIO_FILE, take.audio, take.sample_rate, subtype="FLOAT")
        if take.original is not None:
            (part / ORIGINAL_FILE).write_bytes(take.original.to_bytes())
        with replacing(part / PICTURE_FILE) as picture:
            take.plot().savefig(picture, dpi=150, format="png")
    return folder


def _write_beside(path: Path, recipe: str) -> None:
    """Writes a recipe that is too long for a comment. An existing file is replaced only if it is a recipe."""
    if path.exists():
        try:
            parse_recipe(path.read_text(encoding="utf-8"), str(path))
        except (UserError, OSError, UnicodeDecodeError):
            raise UserError(f"{path}, where the recipe is to go, is something else. Give another name.") from None
    write_text(path, recipe)


class TakeContents(NamedTuple):
    """Contents of a take's folder; fields as in `Take`."""

    audio: np.ndarray
    codes: np.ndarray
    sample_rate: int
    hop_length: int
    recipe: Recipe
    original: OriginalAudio | None


def read_folder(folder: str | Path) -> TakeContents:
    """Reads a folder that `save_take` wrote.

    Raises:
        UserError: A file is missing, is damaged, or does not match the other files.
    """
    folder = Path(folder)
    if not (folder / RECIPE_FILE).is_file():
        raise UserError(f"{folder} is no take's folder: it has no {RECIPE_FILE}. Make one with take.save(folder).")
    tree = _read_yaml(folder / RECIPE_FILE) | {"controls": _read_yaml(folder / CONTROLS_FILE)}
    recipe = parse_recipe(tree, str(folder / RECIPE_FILE))
    file = read_dac(folder / CODES_FILE)
    try:
        audio, sample_rate = soundfile.read(folder / AUDIO_FILE, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise UserError(f"{folder / AUDIO_FILE} cannot be read as audio: {error.error_string}") from error
    hop_length, rest = divmod(len(audio), file.num_frames)
    if rest or audio.ndim > 1 or len(audio) != file.original_length or file.codec != recipe.codec:
        raise UserError(
            f"In {folder}, {AUDIO_FILE}, {CODES_FILE} and {RECIPE_FILE} are not of one take. Save it again."
        )
    original = folder / ORIGINAL_FILE
    return TakeContents(
        audio=audio,
        codes=file.codes[0],
        sample_rate=sample_rate,
        hop_length=hop_length,
        recipe=recipe,
        original=_read_original(original) if original.is_file() else None,
    )


def _read_original(path: Path) -> OriginalAudio:
    try:
        return OriginalAudio.from_bytes(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}.") from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = parse_typed_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as YAML: {first_line(error)}.") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path} holds {type(tree).__name__}, expected names and values, as take.save writes them.")
    return tree
