"""Generated and real sounds side by side, for listening and as spectrograms."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dacformer.audio import write_audio
from dacformer.data.dataset import Dataset
from dacformer.display.audio_plots import plot_sounds
from dacformer.errors import UserError
from dacformer.evaluation.references import load_reference_clip
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
        """The number of sounds."""
        return f"{len(self.sounds)} sounds"


def make_side_by_side(
    synth: Synthesizer, dataset: Dataset, seconds: float = 5.0, seed: int = 0, **sampling: Any
) -> SideBySide:
    """Makes sounds to compare: for each class, a validation clip (decoded) and two generated takes.

    Args:
        synth: The model.
        dataset: The data set of the real clips; it must have the model's codec.
        seconds: Length of the takes.
        seed: Seed of the takes.
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
