"""Generated beside real, as pictures and sounds: for the eye and the ear, where no descriptor speaks."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dacformer.audio import write_audio
from dacformer.codec import Codec
from dacformer.codec.dac_file import same_codec
from dacformer.data.dataset import Dataset
from dacformer.display.audio_plots import plot_sounds
from dacformer.errors import UserError
from dacformer.generation.synthesizer import Synthesizer


@dataclass(frozen=True)
class SideBySide:
    """Sounds to compare.

    Attributes:
        sounds: `(N,)` float32 by `<class> real` and `<class> generated <n>`.
        sample_rate: In Hz.
    """

    sounds: dict[str, np.ndarray]
    sample_rate: int

    def to_text(self) -> str:
        """How much there is to hear."""
        return f"{len(self.sounds)} sounds"


def make_side_by_side(
    synth: Synthesizer, dataset: Dataset, seconds: float = 5.0, seed: int = 0, **sampling: Any
) -> SideBySide:
    """For each class, a validation clip through the codec and two generated takes.

    Args:
        synth: The model.
        dataset: Of the real clips, of the model's codec.
        seconds: Length of the takes.
        seed: Of the takes.
        **sampling: As in `Synthesizer.generate`.

    Returns:
        The sounds.

    Raises:
        UserError: The data set is of another codec, or lacks one of the model's classes.
    """
    classes = synth.conditions.classes
    if lacking := sorted(set(classes) - set(dataset.rows["class"])):
        raise UserError(f"{dataset.path} has no clips of class '{lacking[0]}', which the model knows.")
    takes = synth.generate_batch(
        seconds, [{"class": name} for name in classes for _ in range(2)], seed=seed, **sampling
    )
    sounds: dict[str, np.ndarray] = {}
    for i, name in enumerate(classes):
        rows = dataset.rows[dataset.rows["class"] == name]
        rows = rows.sort_values("split", ascending=False, kind="stable")  # those of validation first
        sounds[f"{name} real"] = load_reference_clip(dataset, str(rows["file"].iloc[0]), synth.codec, seconds)
        sounds[f"{name} generated 1"] = takes[2 * i].audio
        sounds[f"{name} generated 2"] = takes[2 * i + 1].audio
    return SideBySide(sounds, synth.info.sample_rate)


def write_side_by_side(result: SideBySide, folder: Path) -> list[Path]:
    """Writes `<class>_real.wav`, `<class>_generated_<n>.wav` and `side_by_side.png`, which comes last."""
    rate = result.sample_rate
    names = {title: f"{title.replace(' ', '_')}.wav" for title in result.sounds}
    paths = [write_audio(folder / names[title], audio, rate) for title, audio in result.sounds.items()]
    picture = folder / "side_by_side.png"
    plot_sounds(result.sounds, rate, columns=3).savefig(picture, dpi=70)
    return [*paths, picture]


def load_reference_clip(dataset: Dataset, file: str, codec: Codec, seconds: float) -> np.ndarray:
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
    info = dataset.info
    if not same_codec(codec.identity, info.codec):
        raise UserError(
            f"{dataset.path} was made with the codec {info.codec}, but this one is {codec.identity}: it would play "
            "noise. Give that codec, or encode the sounds again."
        )
    whole = dataset.read(file)
    num_frames = min(whole.num_frames, max(1, round(seconds * info.frame_rate)))
    length = round(whole.original_length * codec.sample_rate / whole.sample_rate)
    start = dataclasses.replace(
        whole,
        codes=whole.codes[:, : info.num_codebooks, :num_frames],
        sample_rate=codec.sample_rate,
        original_length=min(length, num_frames * codec.hop_length),
        codec=codec.identity,  # as the data set states it, where the file does not
    )
    return codec.decode_file(start)[:, 0]
