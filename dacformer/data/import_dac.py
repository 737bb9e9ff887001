"""Makes a dataset from a folder of existing `.dac` files: label, compare with the codec, split, copy.

Users of DACSynthformer have such folders, with a table of labels. Their codes are used as they are. A file of
`python -m dac` does not name its codec, so the user names it, and the file's sizes must fit that codec.
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
from dacformer.codec.dac_file import same_codec
from dacformer.codec.weight_files import PRETRAINED
from dacformer.config import load_config, save_config
from dacformer.data.dataset import FRAMES_COLUMN, INFO_FILE, MANIFEST_FILE, DatasetInfo
from dacformer.data.encode import split_recordings
from dacformer.data.labels import Label, label_files
from dacformer.errors import UserError
from dacformer.files import replacing, write_text

logger = logging.getLogger(__name__)

MOST_CODEBOOKS = 4
"""Most codebooks of a dataset, as in `load_codec`; fewer if its files have fewer."""

LEVEL_FILES, LEVEL_SECONDS, MOST_DB = 8, 20.0, 60.0
"""Level measurement: files decoded per class, seconds of each, and the largest difference in dB that counts."""

MOST_OVERLAP = 1.5
"""Most frames of a chunked file relative to its sound: the chunks of `python -m dac` overlap."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a codec: sample rate in Hz, samples per frame, most codebooks `K`, and `V`."""

    sample_rate: int
    hop_length: int
    num_codebooks: int
    codebook_size: int


PUBLISHED = {
    "44khz": Sizes(44_100, 512, 9, 1024),
    "24khz": Sizes(24_000, 320, 32, 1024),
    "16khz": Sizes(16_000, 320, 12, 1024),
}
"""Sizes of descript-audio-codec's published codecs, known without their weights."""


@dataclass(frozen=True)
class ImportReport:
    """Result of an import: the number of files taken, and the skipped files with the reasons."""

    taken: int
    skipped: dict[str, str]


def find_codes(folder: str | Path) -> list[Path]:
    """Lists the `.dac` files below a folder; none, with a warning, if the folder holds sounds as well."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    visible = [path for path in folder.rglob("*") if not any(p.startswith(".") for p in path.relative_to(folder).parts)]
    codes = sorted(path for path in visible if path.suffix.lower() == ".dac" and path.is_file())
    if codes and any(path.suffix.lower() in sound.AUDIO_SUFFIXES and path.is_file() for path in visible):
        warnings.warn(
            f"{folder} holds sounds and {len(codes)} .dac files: the sounds are encoded, the .dac files left out. "
            "Put these in a folder of their own to make a dataset of them",
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
    """Makes a dataset of a folder of `.dac` files.

    Args:
        folder: The folder; nested folders are searched.
        output: The folder of the dataset; `folder` itself, to use the files where they are.
        codec_name: The codec that made the codes, as in `load_codec`; None if the user did not name it.
        labels: A table of labels; without one, file names and folders give the labels (see `label_files`).
        validation: Share of each class's recordings kept for validation, in [0, 1).
        seed: Seed of the split.
        strict: Make a broken file an error instead of skipping it.
        device: Device that decodes a few files, to measure their level.

    Returns:
        The number of files taken, and the skipped ones.

    Raises:
        UserError: No `.dac` file, a missing label, codes of more than one codec, of another codec than the named one,
            or of an unnamed one; another dataset in the way; or (`strict`) a broken file.
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
    """Refuses a source that is a dataset already, and an output folder that holds another one."""
    for place in (folder, output):
        info = place / INFO_FILE
        if info.is_file() and (made := load_config(info, kind=DatasetInfo).made_by) != made_by:
            raise UserError(f"{place} is a dataset already (made by '{made}'). Choose another folder, or delete it.")


def _read_all(paths: Sequence[Path], strict: bool) -> tuple[dict[Path, DacFile], dict[str, str]]:
    """Reads all files; returns those that can be read, and the problems of the others."""
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
    """Returns the one codec that the files state; '' if they state none and the user has named it."""
    by_codec = {file.codec: path for path, file in files.items()}
    stated = sorted(set(by_codec) - {""})
    if len(stated) > 1:
        one, other = (f"'{by_codec[name]}' of {name}" for name in stated[:2])
        raise UserError(f"The .dac files are of more than one codec: {one}, {other}. Make a dataset of each.")
    if "" in by_codec and codec_name is None:
        raise UserError(
            f"{by_codec['']} does not say which codec made its codes, and with another one they are noise. Name it: "
            "--codec 44khz is the usual one of `python -m dac` and of DACSynthformer."
        )
    return stated[0] if stated else ""


def _load(name: str, device: str) -> tuple[Codec | None, Sizes]:
    """Loads the codec; returns None and the known sizes for a published one whose weights cannot be downloaded."""
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
    """Moves files that cannot be of the codec from `files` to `skipped`, and logs them."""
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
    """Says why a file cannot be of a codec; '' if it can."""
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
    """Measures the level offset of each class in dB, over a few of its files."""
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
            if min(level, file.input_db) > sound.MIN_LOUDNESS_DB:  # neither is silent
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
    """Copies the files, then writes `dataset.yaml` and the manifest."""
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
