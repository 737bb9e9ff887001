"""Generated beside real, as pictures and sounds: for the eye and the ear, where no descriptor speaks."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from dacformer.audio import write_audio
from dacformer.data import Dataset
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
    """
    classes = synth.conditions.classes
    takes = synth.generate_batch(
        seconds, [{"class": name} for name in classes for _ in range(2)], seed=seed, **sampling
    )
    rate = synth.facts.sample_rate
    sounds: dict[str, np.ndarray] = {}
    for i, name in enumerate(classes):
        rows = dataset.rows[dataset.rows["class"] == name].sort_values("split", ascending=False)  # val first
        codes = torch.from_numpy(dataset.codes(rows["file"].iloc[0]))[None]
        sounds[f"{name} real"] = synth.codec.decode(codes)[0, 0].cpu().numpy()
        sounds[f"{name} generated 1"] = takes[2 * i].audio
        sounds[f"{name} generated 2"] = takes[2 * i + 1].audio
    paths = [write_audio(folder / f"{title.replace(' ', '_')}.wav", audio, rate) for title, audio in sounds.items()]
    picture = folder / "side_by_side.png"
    plot_sounds(sounds, rate, columns=3).savefig(picture, dpi=70)
    return [*paths, picture]
