"""Makes a dataset from a folder of sounds: label, split, encode, write. It can be interrupted and repeated."""

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dacformer import audio as sound
from dacformer.codec import Codec, read_dac
from dacformer.config import load_config, save_config
from dacformer.data.dataset import COLUMNS, FRAMES_COLUMN, INFO_FILE, MANIFEST_FILE, DatasetInfo
from dacformer.data.encoder import EncodedFile, Encoder, encode_file, names_no_table_can_keep, printable
from dacformer.data.labels import Label, label_files
from dacformer.data.levels import Leveled, class_gains
from dacformer.data.sources import Sources
from dacformer.errors import UserError
from dacformer.files import write_text

__all__ = ["EncodingReport", "encode_file", "encode_folder", "split_recordings"]


@dataclass(frozen=True)
class EncodingReport:
    """Result of encoding a folder of sounds.

    Attributes:
        encoded: Number of `.dac` files made now.
        reused: Number of `.dac` files that existed already.
        skipped: Sounds that could not be encoded, with the reasons.
        renewed: Number of `encoded` that replaced files of other bytes or settings, or damaged ones.
        gone: Number of sounds that have left the folder since, and now the dataset.
        kept: Number of rows of the dataset that are of other folders.
        left_out: Other files in the folder, in words.
    """

    encoded: int
    reused: int
    skipped: dict[str, str]
    renewed: int = 0
    gone: int = 0
    kept: int = 0
    left_out: str = ""

    @classmethod
    def of(
        cls, encoded: list[EncodedFile], skipped: dict[str, str], gone: int, kept: int, left_out: str
    ) -> "EncodingReport":
        """Counts what was done to each file."""
        how = Counter(one.how for one in encoded)
        return cls(len(encoded) - how["reused"], how["reused"], skipped, how["renewed"], gone, kept, left_out)

    def remarks(self) -> list[str]:
        """Returns remarks for the user, one sentence each."""
        sentences = [
            (self.renewed, f"encoded again, as sound or settings have changed or codes were damaged: {self.renewed}"),
            (self.gone, f"no longer in the folder, and taken out of the dataset: {self.gone}"),
            (self.kept, f"of other folders, and left as they are: {self.kept}"),
            (self.left_out, f"left out: {self.left_out}"),
        ]
        return [sentence for true, sentence in sentences if true]


def encode_folder(
    sounds: str | Path,
    output: str | Path,
    codec: Codec,
    codec_name: str,
    labels: str | Path | None = None,
    validation: float = 0.15,
    seed: int = 0,
    trim: bool = True,
    strict: bool = False,
    shifts: int = 1,
    root: str | Path | None = None,
) -> EncodingReport:
    """Makes a dataset of a folder of sounds, or adds the folder to a dataset.

    A sound that was encoded before, with the same bytes and settings, is not encoded again. Rows of other folders stay.

    Args:
        sounds: The folder; nested folders are searched.
        output: The folder of the dataset.
        codec: The codec that encodes.
        codec_name: Name by which `load_codec` finds it.
        labels: A table of labels; without one, file names and folders give the labels (see `label_files`).
        validation: Share of each class's recordings kept for validation, in [0, 1).
        seed: Seed of the split.
        trim: Cut the digital silence at the sounds' ends.
        strict: Make a broken file an error instead of skipping it.
        shifts: How many times to encode each training sound, each from a fraction of a frame later: an augmentation.
        root: The folder that names are relative to, and that holds `sounds`; `sounds` itself if None.

    Returns:
        The numbers of files, and what was skipped.

    Raises:
        UserError: No sound, a missing label, a dataset of another codec, codes of unknown origin, or a full disk.
    """
    sounds, output = Path(sounds), Path(output)
    root = Path(root) if root is not None else sounds if sounds.is_dir() else sounds.parent
    listing = sound.list_folder(sounds)
    paths = [path for path in listing.sounds if not _within_dataset(path, output, root)]
    paths, nameless = _nameable(paths, strict)
    found = label_files(paths, root, None if labels is None else Path(labels))
    before, manifest = _open(output, codec)
    info = _info(codec, codec_name, made_by=f"dacformer encode {sounds} {output} --codec {codec_name}")
    encoder = Encoder(output, root.resolve(), codec, trim, shifts, Sources(output))
    sides = split_recordings(list(zip(paths, found, strict=True)), validation, seed)
    todo = encoder.plan(paths, root, found, sides, manifest)
    own = encoder.sources_below(sounds.relative_to(root))
    kept = manifest[~manifest["file"].isin(list(own))]
    save_config(before or info, output / INFO_FILE)
    encoder.sources.save()
    encoded, skipped = encoder.encode_all(todo, strict)
    skipped = {**nameless, **skipped}
    _refuse_nothing(encoded, skipped, sounds)
    encoder.sources.save()
    _write_manifest(output, kept, encoded)
    gains = _gains(output, encoded, kept, encoder.sources, codec, strict)
    save_config(_joined(info, before or info, gains, set(kept["class"])), output / INFO_FILE)
    left = {own[file].path for file in manifest["file"] if file in own} - {one.place for one in todo}
    return EncodingReport.of(encoded, skipped, len(left), len(kept), listing.left_out)


def _refuse_nothing(encoded: list[EncodedFile], skipped: dict[str, str], sounds: Path) -> None:
    if not encoded:
        reason = next(iter(skipped.values()), "all lie in the dataset's own folder")
        raise UserError(f"None of the {len(skipped)} sounds in {sounds} could be encoded: {reason}")


def _nameable(paths: list[Path], strict: bool) -> tuple[list[Path], dict[str, str]]:
    """The paths that a table can hold, and why it cannot hold each of the others, which are warned of."""
    nameless = names_no_table_can_keep(paths)
    if nameless and strict:
        raise UserError(next(iter(nameless.values())))
    for reason in nameless.values():
        warnings.warn(f"skipped: {printable(reason)}", stacklevel=3)
    return [path for path in paths if str(path) not in nameless], nameless


def split_recordings(files: list[tuple[Path, Label]], validation: float, seed: int) -> list[str]:
    """Splits files into training and validation, class by class; parts of one recording stay on one side.

    Args:
        files: Paths and labels.
        validation: Share of each class's recordings for validation; a single recording is for training.
        seed: Seed of the split.

    Returns:
        `train` or `val` for each file.
    """
    recordings = [f"{path.parent}/{sound.recording_of(path)}" for path, _ in files]
    by_class: dict[str, dict[str, None]] = {}
    for (_, label), recording in zip(files, recordings, strict=True):
        by_class.setdefault(label.class_name, {})[recording] = None
    held: set[str] = set()
    for name in sorted(by_class):
        members = sorted(by_class[name])
        count = min(max(1, round(validation * len(members))), len(members) - 1) if validation > 0 else 0
        order = np.random.default_rng([seed, len(members)]).permutation(len(members))
        held.update(members[i] for i in order[:count])
    return ["val" if recording in held else "train" for recording in recordings]


def _within_dataset(path: Path, output: Path, root: Path) -> bool:
    """Tells whether a sound lies in the dataset's own folder, if that is inside the folder of sounds."""
    home, top = output.resolve(), root.resolve()
    return home != top and home.is_relative_to(top) and (top / path.relative_to(root)).is_relative_to(home)


def _open(output: Path, codec: Codec) -> tuple[DatasetInfo | None, pd.DataFrame]:
    """Reads info and rows of a dataset to add to; None and no rows if there is none."""
    facts_file, manifest = output / INFO_FILE, output / MANIFEST_FILE
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file. Give the folder of the dataset to make.")
    if not facts_file.is_file():
        if manifest.exists():
            raise UserError(f"{manifest} is of no dataset: there is no {INFO_FILE}. Choose another folder.")
        return None, pd.DataFrame(columns=list(COLUMNS))
    info = load_config(facts_file, kind=DatasetInfo)
    if info.codec != codec.identity:
        raise UserError(
            f"{output} holds codes of {info.codec}, which are noise to {codec.identity}. "
            f"Choose another folder, or delete this one."
        )
    if not manifest.is_file():
        return info, pd.DataFrame(columns=list(COLUMNS))
    try:
        rows = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{manifest} cannot be read as a table: {error}. Delete it to have it made anew.") from error
    if missing := [name for name in COLUMNS if name not in rows]:
        raise UserError(f"{manifest} has no column '{missing[0]}'. Delete it to have it made anew.")
    return info, rows


def _info(codec: Codec, codec_name: str, made_by: str) -> DatasetInfo:
    return DatasetInfo(
        codec=codec.identity,
        codec_name=codec_name,
        sample_rate=codec.sample_rate,
        hop_length=codec.hop_length,
        num_codebooks=codec.num_codebooks,
        codebook_size=codec.codebook_size,
        made_by=made_by.encode(errors="backslashreplace").decode(),  # a path may be invalid Unicode
    )


def _joined(info: DatasetInfo, before: DatasetInfo, gains: dict[str, float], others: set[str]) -> DatasetInfo:
    """Merges the new info and level offsets with those that are kept for the dataset's other classes."""
    kept = {name: gain for name, gain in before.level_offset_db.items() if name in others}
    made_by = info.made_by
    if others:
        made_by = before.made_by if made_by in before.made_by else f"{before.made_by} && {made_by}"
    return info.model_copy(update={"level_offset_db": dict(sorted((kept | gains).items())), "made_by": made_by})


def _train_all_classes(encoded: list[EncodedFile], kept: pd.DataFrame) -> None:
    """Moves a class to training if all of its training sounds were skipped, so that it can be learned."""
    trained = {one.row["class"] for one in encoded if one.row["split"] == "train"}
    trained |= set(kept[kept["split"] == "train"]["class"])
    for one in encoded:
        if one.row["class"] not in trained:
            one.row["split"] = "train"


def _write_manifest(output: Path, kept: pd.DataFrame, encoded: list[EncodedFile]) -> None:
    _train_all_classes(encoded, kept)
    table = pd.DataFrame([one.row for one in encoded])
    if len(kept):
        if FRAMES_COLUMN not in kept:
            kept = kept.assign(**{FRAMES_COLUMN: [read_dac(output / file).num_frames for file in kept["file"]]})
        table = pd.concat([kept, table])
    write_text(output / MANIFEST_FILE, table.to_csv(index=False))


def _gains(
    output: Path, encoded: list[EncodedFile], kept: pd.DataFrame, sources: Sources, codec: Codec, strict: bool
) -> dict[str, float]:
    """Measures the level offsets of the classes that were encoded now, with their files of other folders."""
    files = [
        Leveled(one.row["class"], one.gain_db, output / one.row["file"], None if one.shift else one.sound.path)
        for one in encoded
    ]
    classes = {file.class_name for file in files}
    for file, name in zip(kept["file"], kept["class"], strict=True):
        if name in classes:
            source = sources.of_file(file)
            at_hand = source.path if source and source.shift == "0" and source.path.is_file() else None
            files.append(Leveled(name, read_dac(output / file).gain_db, output / file, at_hand))
    return class_gains(files, codec, strict)
