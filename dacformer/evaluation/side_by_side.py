"""Generated beside real, as pictures and sounds: for the eye and the ear, where no descriptor speaks."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from dacformer.audio import write_audio
from dacformer.codec import Codec
from dacformer.data import Dataset
from dacformer.errors import UserError
from dacformer.generation import Synthesizer
from dacformer.pictures import plot_sounds


def write_side_by_side(
    synth: Synthesizer, dataset: Dataset, folder: Path, seconds: float = 5.0, seed: int = 0, **sampling: Any
) -> list[Path]:
    """For each class, a validation clip through the codec and two generated takes.

    Args:
        synth: The model.
        dataset: Of the real clips, of the model's codec.
        folder: Receives `<class>_real.wav`, `<class>_generated_<n>.wav` and `side_by_side.png`.
        seconds: Length of the takes.
        seed: Of the takes.
        **sampling: As in `Synthesizer.generate`.

    Returns:
        What was written, the picture last.

    Raises:
        UserError: The data set is of another codec, or lacks one of the model's classes.
    """
    classes = synth.conditions.classes
    if lacking := sorted(set(classes) - set(dataset.rows["class"])):
        raise UserError(f"{dataset.path} has no clips of class '{lacking[0]}', which the model knows.")
    takes = synth.generate_batch(
        seconds, [{"class": name} for name in classes for _ in range(2)], seed=seed, **sampling
    )
    rate = synth.facts.sample_rate
    sounds: dict[str, np.ndarray] = {}
    for i, name in enumerate(classes):
        rows = dataset.rows[dataset.rows["class"] == name]
        rows = rows.sort_values("split", ascending=False, kind="stable")  # those of validation first
        sounds[f"{name} real"] = real_clip(dataset, str(rows["file"].iloc[0]), synth.codec, seconds)
        sounds[f"{name} generated 1"] = takes[2 * i].audio
        sounds[f"{name} generated 2"] = takes[2 * i + 1].audio
    paths = [write_audio(folder / f"{title.replace(' ', '_')}.wav", audio, rate) for title, audio in sounds.items()]
    picture = folder / "side_by_side.png"
    plot_sounds(sounds, rate, columns=3).savefig(picture, dpi=70)
    return [*paths, picture]


def real_clip(dataset: Dataset, file: str, codec: Codec, seconds: float) -> np.ndarray:
    """The first seconds of a data set's file as the codec renders them; an hour of sound is not decoded for that.

    Args:
        dataset: Where it is from.
        file: As in the manifest.
        codec: The data set's own.
        seconds: At most so much of it.

    Returns:
        `(N,)` float32 at the codec's rate, at its original loudness.

    Raises:
        UserError: The codec is not the one that the data set was made with.
    """
    facts = dataset.facts
    if codec.identity != facts.codec:
        raise UserError(
            f"{dataset.path} was made with the codec {facts.codec}, but this one is {codec.identity}: it would play "
            "noise. Give that codec, or encode the sounds again."
        )
    whole = dataset.read(file)
    num_frames = min(whole.num_frames, max(1, round(seconds * facts.frame_rate)))
    length = round(whole.original_length * codec.sample_rate / whole.sample_rate)
    start = dataclasses.replace(
        whole,
        codes=whole.codes[:, : facts.num_codebooks, :num_frames],
        sample_rate=codec.sample_rate,
        original_length=min(length, num_frames * codec.hop_length),
    )
    return codec.decode_file(start)[:, 0]
