"""From a folder of sounds to a data set: label, split, encode, write. Can be interrupted and repeated."""

import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import torch
from tqdm import tqdm

from dacformer import audio as sound
from dacformer.codec import Codec, DacFile, read_dac, write_dac
from dacformer.config import load_config, save_config
from dacformer.data.dataset import FACTS_FILE, FRAMES_COLUMN, MANIFEST_FILE, Facts
from dacformer.data.labels import Label, label_files
from dacformer.errors import UserError
from dacformer.files import write_text

LEVEL_DB = -16.0
"""Loudness that sounds are brought to before encoding, in LUFS; the same as `python -m dac encode`."""

BLOCK_SECONDS = 30.0
"""How much of a sound is in memory at a time."""

LEVEL_FILES, LEVEL_SECONDS, MOST_LOST_DB = 8, 5.0, 20.0
"""How many files of a class are decoded again, how much of each, to learn how much softer the codec makes them; what it
takes beyond that is not level, but a sound that it does not know."""

SHIFT_MARK = "--shift"
"""In the names of codes that begin a fraction of a frame later."""


@dataclass(frozen=True)
class EncodingReport:
    """What became of a folder of sounds: how many were encoded now, were there already, or were skipped, and why."""

    encoded: int
    reused: int
    skipped: dict[str, str]


def encode_file(path: Path, codec: Codec, trim: bool = True, skip_samples: int = 0) -> DacFile:
    """Encodes one sound of any length, rate and channel count (mixed to mono), in bounded memory.

    Args:
        path: The sound.
        codec: The codec.
        trim: Cut the digital silence at its end.
        skip_samples: Begin so many samples of the codec's rate later, if that leaves anything.

    Returns:
        Codes and metadata; `input_db` restores the level when decoded.

    Raises:
        UserError: The sound is broken, empty, or silent throughout.
    """
    level, peak, length = _survey(path, codec.sample_rate, trim)
    if peak == 0.0:
        raise UserError(f"{path} is silent throughout. Remove it.")
    gain = min(10.0 ** ((LEVEL_DB - level) / 20.0), 1.0 / peak)  # as `dac` does: to its level, but never clipped
    first = min(skip_samples, length - 1)

    def prepared() -> Iterator[np.ndarray]:
        at = 0
        for block in sound.read_blocks(path, codec.sample_rate, BLOCK_SECONDS):
            yield block[max(first - at, 0) : max(length - at, 0)] * gain
            at += len(block)

    codes = np.concatenate(list(codec.encode_blocks(prepared())), axis=1)
    original_rate = soundfile.info(path).samplerate
    return DacFile(
        codes=codes[None],
        sample_rate=original_rate,
        original_length=round((length - first) * original_rate / codec.sample_rate),
        input_db=level,
        chunk_length=codes.shape[1],
        gain_db=20.0 * math.log10(gain),
        codec=codec.identity,
    )


def _survey(path: Path, sample_rate: int, trim: bool) -> tuple[float, float, int]:
    """A first pass: loudness in LUFS, peak, and the length in samples that is to be encoded."""
    peak, length, loud_until = 0.0, 0, 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal peak, length, loud_until
        for block in sound.read_blocks(path, sample_rate, BLOCK_SECONDS):
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
            loud = np.flatnonzero(np.abs(block) > sound.SILENCE)
            loud_until = length + int(loud[-1]) + 1 if len(loud) else loud_until
            length += len(block)
            yield block

    level = sound.blockwise_loudness_db(blocks(), sample_rate)
    return level, peak, (loud_until or length) if trim else length


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
) -> EncodingReport:
    """Turns a folder of sounds into a data set.

    Files that were encoded before, by the same codec, are not encoded again: interrupted work goes on.

    Args:
        sounds: The folder; nested folders are searched.
        output: The data set's folder.
        codec: What to encode with.
        codec_name: What `load_codec` finds it by.
        labels: A table of labels; else names and folders speak (see `label_files`).
        validation: Share of each class's recordings kept for validation, in [0, 1).
        seed: Chooses which.
        trim: Cut the digital silence at the sounds' ends.
        strict: Make a broken file an error instead of skipping it.
        shifts: Encode each sound for training so many times, each time a fraction of a frame later. To the codec that
            is another sound, to the ear the same: few recordings become more to learn from.

    Returns:
        What was done.

    Raises:
        UserError: No sound, a label that is missing, a data set of another codec in the way, or (`strict`) a broken
            file.
    """
    sounds, output = Path(sounds), Path(output)
    root = sounds if sounds.is_dir() else sounds.parent
    paths = sound.find_audio(sounds)
    found = label_files(paths, root, None if labels is None else Path(labels))
    facts_file = output / FACTS_FILE
    if facts_file.is_file():
        before = load_config(facts_file, kind=Facts)
        if before.codec != codec.identity:
            raise UserError(
                f"{output} holds codes of {before.codec}, which are noise to {codec.identity}. "
                f"Choose another folder, or delete this one."
            )
    facts = Facts(
        codec=codec.identity,
        codec_name=codec_name,
        sample_rate=codec.sample_rate,
        hop_length=codec.hop_length,
        num_codebooks=codec.num_codebooks,
        codebook_size=codec.codebook_size,
        made_by=f"dacformer encode {sounds} {output} --codec {codec_name}",
    )
    if not facts_file.is_file():
        save_config(facts, facts_file)

    kept: list[dict[str, Any]] = []
    gains: dict[str, list[float]] = {}
    sources: dict[str, list[tuple[Path, Path]]] = {}
    skipped: dict[str, str] = {}
    reused = 0
    targets = encoded_names(paths, root)
    splits = split_recordings(list(zip(paths, found, strict=True)), validation, seed)
    progress = tqdm(list(zip(paths, found, splits, strict=True)), desc="encoding", unit="file", file=sys.stderr)
    for path, label, split in progress:
        try:
            for shift in range(shifts if split == "train" else 1):
                target = targets[path]
                target = target.with_name(f"{target.stem}{SHIFT_MARK}{shift}.dac") if shift else target
                file = _encoded_before(output / target, path)
                reused += file is not None
                if file is None:
                    file = encode_file(path, codec, trim, shift * codec.hop_length // shifts)
                    write_dac(output / target, file)
                row = {"file": target.as_posix(), "class": label.class_name, "split": split}
                kept.append(row | {FRAMES_COLUMN: file.num_frames} | label.parameters)
                gains.setdefault(label.class_name, []).append(file.gain_db)
                if not shift:
                    sources.setdefault(label.class_name, []).append((path, output / target))
        except UserError as error:
            if strict:
                raise
            skipped[str(path)] = str(error)
            progress.write(f"skipped: {error}", file=sys.stderr)
    if not kept:
        raise UserError(f"None of the {len(paths)} sounds in {sounds} could be encoded.")
    table = pd.DataFrame(kept)
    write_text(output / MANIFEST_FILE, table.to_csv(index=False))
    louder = {
        name: round(float(np.mean(gains[name])) - _lost_db(pairs, codec), 2) for name, pairs in sorted(sources.items())
    }
    save_config(facts.model_copy(update={"gains_db": louder}), facts_file)
    return EncodingReport(encoded=len(kept) - reused, reused=reused, skipped=skipped)


def split_recordings(files: list[tuple[Path, Label]], validation: float, seed: int) -> list[str]:
    """Sides for training and validation: class by class, and pieces of one recording on one side.

    Args:
        files: Paths and labels.
        validation: Share of each class's recordings for validation; a class of one recording keeps it for training.
        seed: Chooses which.

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


def _lost_db(pairs: list[tuple[Path, Path]], codec: Codec) -> float:
    """How much softer the codec makes the beginnings of a few sounds, in the mean, given sounds and their codes."""
    lost = []
    for path, target in pairs[:: math.ceil(len(pairs) / LEVEL_FILES)]:
        start, file = sound.read_start(path, codec.sample_rate, LEVEL_SECONDS), read_dac(target)
        codes = torch.from_numpy(file.codes[..., : math.ceil(len(start) / codec.hop_length)])
        decoded = codec.decode(codes)[0, 0, : len(start)].cpu().numpy()
        before, after = (sound.loudness_db(audio, codec.sample_rate) for audio in (start, decoded))
        if min(before, after) > sound.MIN_LOUDNESS_DB:  # it does not begin with silence
            lost.append(np.clip(before + file.gain_db - after, -MOST_LOST_DB, MOST_LOST_DB))
    return float(np.mean(lost)) if lost else 0.0


def encoded_names(paths: list[Path], root: Path) -> dict[Path, Path]:
    """Where the codes of sounds go in a data set; two sounds that differ only in their suffix keep it in the name.

    Args:
        paths: The sounds.
        root: The folder that they are under.

    Returns:
        For each, a path in the data set's folder.
    """
    plain = [path.relative_to(root).with_suffix(".dac") for path in paths]
    count = Counter(plain)
    return {
        path: target if count[target] == 1 else target.with_name(f"{path.name}.dac")
        for path, target in zip(paths, plain, strict=True)
    }


def _encoded_before(target: Path, source: Path) -> DacFile | None:
    """What a sound was encoded to before; None where it was not, or has changed since, or its codes are damaged."""
    if not target.is_file() or target.stat().st_mtime < source.stat().st_mtime:
        return None
    try:
        return read_dac(target)
    except UserError:
        return None
