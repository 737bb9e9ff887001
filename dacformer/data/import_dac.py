"""From a folder of `.dac` files that are there already to a data set: label, compare with the codec, split, copy.

DACSynthformer's users have such folders, with a table of labels. Their codes are taken as they are. `python -m dac`
does not write into a file which codec made it, so the person says it, and what the file says of itself must fit.
"""

import logging
import math
import shutil
import sys
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from dacformer import audio as sound
from dacformer.codec import Codec, DacFile, load_codec, read_dac
from dacformer.codec.codec import PRETRAINED
from dacformer.codec.dac_file import same_codec
from dacformer.config import load_config, save_config
from dacformer.data.dataset import FRAMES_COLUMN, INFO_FILE, MANIFEST_FILE, DatasetInfo
from dacformer.data.encode import split_recordings
from dacformer.data.labels import Label, label_files
from dacformer.errors import UserError
from dacformer.files import replacing, write_text

logger = logging.getLogger(__name__)

MOST_CODEBOOKS = 4
"""A data set uses so many codebooks, as `load_codec` does, or as many as its files have."""

LEVEL_FILES, LEVEL_SECONDS, MOST_DB = 8, 20.0, 60.0
"""How many files of a class are decoded, how much of each, to learn how much louder they are than the recordings."""

MOST_OVERLAP = 1.5
"""Chunks of `python -m dac` overlap: together they have up to so many times the frames of the sound."""


@dataclass(frozen=True)
class Sizes:
    """What a codec's codes look like: Hz, samples per frame, `K` at most, and `V`."""

    sample_rate: int
    hop_length: int
    num_codebooks: int
    codebook_size: int


PUBLISHED = {
    "44khz": Sizes(44_100, 512, 9, 1024),
    "24khz": Sizes(24_000, 320, 32, 1024),
    "16khz": Sizes(16_000, 320, 12, 1024),
}
"""Those of descript-audio-codec, known without their weights."""


@dataclass(frozen=True)
class ImportReport:
    """What became of a folder of codes: how many files were taken, and which were skipped, and why."""

    taken: int
    skipped: dict[str, str]


def find_codes(folder: str | Path) -> list[Path]:
    """Lists the `.dac` files below a folder that holds no sounds; none where it holds sounds, too, with a warning."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    visible = [path for path in folder.rglob("*") if not any(p.startswith(".") for p in path.relative_to(folder).parts)]
    codes = sorted(path for path in visible if path.suffix.lower() == ".dac" and path.is_file())
    if codes and any(path.suffix.lower() in sound.AUDIO_SUFFIXES and path.is_file() for path in visible):
        warnings.warn(
            f"{folder} holds sounds and {len(codes)} .dac files: the sounds are encoded, the .dac files left out. "
            "Put these in a folder of their own to make a data set of them",
            stacklevel=2,
        )
        return []
    return codes


def import_folder(
    folder: str | Path,
    output: str | Path,
    codec_name: str | None,
    labels: str | Path | None = None,
    validation: float = 0.15,
    seed: int = 0,
    strict: bool = False,
    device: str = "cpu",
) -> ImportReport:
    """Turns a folder of `.dac` files into a data set.

    Args:
        folder: The folder; nested folders are searched.
        output: The data set's folder; `folder` itself, to use the files where they are.
        codec_name: What made the codes, as `load_codec` takes it; None if the person did not say.
        labels: A table of labels; else names and folders speak (see `label_files`).
        validation: Share of each class's recordings kept for validation, in [0, 1).
        seed: Chooses which.
        strict: Make a broken file an error instead of skipping it.
        device: Where a few files are decoded, to learn their level.

    Returns:
        What was done.

    Raises:
        UserError: No `.dac` file, a label that is missing, codes of more than one codec, of another one than named,
            or of an unknown one where none is named; another data set in the way; or (`strict`) a broken file.
    """
    folder, output = Path(folder), Path(output)
    paths = [path for path in find_codes(folder) if folder == output or not path.is_relative_to(output)]
    if not paths:
        raise UserError(f"No .dac file below {folder} that can be taken.")
    found = label_files(paths, folder, None if labels is None else Path(labels))
    made_by = f"dacformer encode {folder} {output}" + (f" --codec {codec_name}" if codec_name else "")
    _check_places(folder, output, made_by)
    files, skipped = _read_all(paths, strict)
    stated = _stated_codec(files, codec_name)
    codec, sizes = _load(codec_name or "small", device)
    identity = codec.identity if codec else str(codec_name)
    if stated and not same_codec(stated, identity):
        raise UserError(f"{folder} holds codes of {stated}, not of {identity}. Give that one: --codec.")
    _drop_misfits(files, skipped, sizes, identity, strict)
    info = DatasetInfo(
        codec=identity if codec else stated or identity,
        codec_name=codec_name or "small",
        sample_rate=sizes.sample_rate,
        hop_length=sizes.hop_length,
        num_codebooks=min(MOST_CODEBOOKS, *(file.num_codebooks for file in files.values())),
        codebook_size=sizes.codebook_size,
        made_by=made_by,
    )
    kept = [(path, label) for path, label in zip(paths, found, strict=True) if path in files]
    if codec is not None:
        info = info.model_copy(update={"level_offset_db": _gains_db(kept, files, codec, info.num_codebooks)})
    _write(folder, output, info, kept, files, split_recordings(kept, validation, seed))
    return ImportReport(len(files), skipped)


def _check_places(folder: Path, output: Path, made_by: str) -> None:
    """Refuses to make a data set of a data set, or in the place of another one."""
    for place in (folder, output):
        info = place / INFO_FILE
        if info.is_file() and (made := load_config(info, kind=DatasetInfo).made_by) != made_by:
            raise UserError(f"{place} is a data set already (made by '{made}'). Choose another folder, or delete it.")


def _read_all(paths: Sequence[Path], strict: bool) -> tuple[dict[Path, DacFile], dict[str, str]]:
    """The files that can be read, and the problems of the others."""
    files: dict[Path, DacFile] = {}
    skipped: dict[str, str] = {}
    for path in tqdm(paths, desc="reading", unit="file", file=sys.stderr):
        try:
            files[path] = read_dac(path)
        except UserError as error:
            if strict:
                raise
            skipped[str(path)] = str(error)
    return files, skipped


def _stated_codec(files: dict[Path, DacFile], codec_name: str | None) -> str:
    """The one codec that files state; '' where none does and the person has named it."""
    by_codec = {file.codec: path for path, file in files.items()}
    stated = sorted(set(by_codec) - {""})
    if len(stated) > 1:
        one, other = (f"'{by_codec[name]}' of {name}" for name in stated[:2])
        raise UserError(f"The .dac files are of more than one codec: {one}, {other}. Make a data set of each.")
    if "" in by_codec and codec_name is None:
        raise UserError(
            f"{by_codec['']} does not say which codec made its codes, and with another one they are noise. Name it: "
            "--codec 44khz is the usual one of `python -m dac` and of DACSynthformer."
        )
    return stated[0] if stated else ""


def _load(name: str, device: str) -> tuple[Codec | None, Sizes]:
    """The codec and its sizes; None for a published one whose weights cannot be had, as codes do without them."""
    try:
        codec = load_codec(name, None).to(device)
    except UserError as error:
        if name not in PRETRAINED:
            raise
        warnings.warn(f"{error} The codes are taken without it; their level is not measured", stacklevel=3)
        return None, PUBLISHED[name]
    return codec, Sizes(codec.sample_rate, codec.hop_length, codec.num_codebooks, codec.codebook_size)


def _drop_misfits(
    files: dict[Path, DacFile], skipped: dict[str, str], sizes: Sizes, identity: str, strict: bool
) -> None:
    """Moves what cannot be of the codec from the files to the skipped, and names all of these."""
    for path in list(files):
        if problem := _misfit(files[path], sizes):
            skipped[str(path)] = f"{path} does not fit {identity}: {problem}."
            if strict:
                raise UserError(skipped[str(path)])
            del files[path]
    if not files:
        raise UserError(f"None of the {len(skipped)} .dac files can be taken: {next(iter(skipped.values()))}")
    for problem in skipped.values():
        logger.warning("skipped: %s", problem)


def _misfit(file: DacFile, sizes: Sizes) -> str:
    """What in a file cannot be of a codec; '' if nothing."""
    if file.num_codebooks > sizes.num_codebooks or file.codes.max() >= sizes.codebook_size:
        return (
            f"it has {file.num_codebooks} codebooks and codes up to {file.codes.max()}, "
            f"the codec K={sizes.num_codebooks}, V={sizes.codebook_size}"
        )
    seconds = file.original_length / file.sample_rate
    frames, chunk = seconds * sizes.sample_rate / sizes.hop_length, file.chunk_length
    if file.padding:
        fits = abs(file.num_frames - frames) <= 2
    else:
        fits = file.num_frames % chunk == 0 and frames - 2 <= file.num_frames <= MOST_OVERLAP * frames + chunk + 2
    rate = sizes.sample_rate / sizes.hop_length
    return "" if fits else f"{file.num_frames} frames for {seconds:.2f} s are not the codec's {rate:.1f} a second"


def _gains_db(
    kept: Sequence[tuple[Path, Label]], files: dict[Path, DacFile], codec: Codec, num_codebooks: int
) -> dict[str, float]:
    """How much louder the codes of each class sound than the recordings, in the mean over a few files."""
    of_class: dict[str, list[DacFile]] = defaultdict(list)
    for path, label in kept:
        of_class[label.class_name].append(files[path])
    gains = {}
    for name, members in sorted(of_class.items()):
        louder = []
        for file in members[:: math.ceil(len(members) / LEVEL_FILES)]:
            frames = math.ceil(LEVEL_SECONDS * codec.frame_rate)
            codes = torch.from_numpy(file.codes[:1, :num_codebooks, :frames])
            level = sound.loudness_db(codec.decode(codes)[0, 0].cpu().numpy(), codec.sample_rate)
            if min(level, file.input_db) > sound.MIN_LOUDNESS_DB:  # it is not silent
                louder.append(np.clip(level - file.input_db, -MOST_DB, MOST_DB))
        gains[name] = round(float(np.mean(louder)), 2) if louder else 0.0
    return gains


def _write(
    folder: Path,
    output: Path,
    info: DatasetInfo,
    kept: Sequence[tuple[Path, Label]],
    files: dict[Path, DacFile],
    sides: Sequence[str],
) -> None:
    """Copies the files, and writes the manifest when all are there."""
    rows: list[dict[str, Any]] = []
    chunked = [path for path, _ in kept if not files[path].padding]
    if chunked:
        warnings.warn(
            f"{len(chunked)} files, such as {chunked[0]}, are chunks that overlap: some frames are there twice at each "
            "joint. Encode the sounds again for codes without joints",
            stacklevel=3,
        )
    for (path, label), side in zip(kept, sides, strict=True):
        target = path.relative_to(folder)
        if (output / target).resolve() != path.resolve():
            with replacing(output / target) as part:
                shutil.copyfile(path, part)
        row = {"file": target.as_posix(), "class": label.class_name, "split": side}
        rows.append(row | {FRAMES_COLUMN: files[path].num_frames} | label.parameters)
    save_config(info, output / INFO_FILE)
    write_text(output / MANIFEST_FILE, pd.DataFrame(rows).to_csv(index=False))
