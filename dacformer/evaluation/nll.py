"""Likelihood: NLL per codebook of held-out clips, and of the model's own takes.

The model's own frames should have about the same NLL as real ones. If it is much lower, the model repeats itself or
hums. If it is much higher, free running has left the training data.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from dacformer.data.dataset import Dataset, evenly_spaced, unigram_nll
from dacformer.errors import UserError
from dacformer.evaluation.references import row_to_controls
from dacformer.evaluation.tables import with_mean, write_result
from dacformer.generation.synthesizer import Synthesizer
from dacformer.model.heads import nll_per_code


@dataclass(frozen=True)
class NllResult:
    """Negative log-likelihoods (NLL) of held-out and generated codes.

    Attributes:
        summary: One row per codebook, nats per code: `held_out`; `own`, of free-running takes under the same
            conditions; `unigram`, of held-out clips, by how often each code occurs in training.
        over_time: `(T,)` by `held_out` and `own`: the mean over clips and codebooks, frame by frame.
    """

    summary: pd.DataFrame
    over_time: dict[str, np.ndarray]

    def to_text(self) -> str:
        """The summary as a table, with the means."""
        return with_mean(self.summary).round(3).to_string()


def measure_nll(
    synth: Synthesizer, dataset: Dataset, seconds: float = 5.0, max_clips: int = 64, seed: int = 0, **sampling: Any
) -> NllResult:
    """Scores held-out clips, and takes under their conditions, without guidance.

    Args:
        synth: The model.
        dataset: The data set that it was trained on.
        seconds: Length of each clip and take; shorter clips are left out.
        max_clips: Most clips; evenly spaced among the held-out ones.
        seed: Seed of the takes.
        **sampling: Sampling of the takes, as in `Synthesizer.generate`.

    Returns:
        The figures.

    Raises:
        UserError: The data set holds no clip out that is long enough.
    """
    num_frames = round(seconds * synth.info.frame_rate)
    rows = dataset.split("val")
    codes = {file: dataset.codes(file) for file in rows["file"]}
    rows = rows[[codes[file].shape[1] >= num_frames for file in rows["file"]]]
    if not len(rows):
        raise UserError(f"{dataset.path} holds no clip of {seconds:g} s or more out. Ask for fewer --seconds.")
    rows = rows.iloc[evenly_spaced(len(rows), max_clips)]
    controls = [row_to_controls(synth.conditions, row) for _, row in rows.iterrows()]
    conditions = np.stack([dataset.condition(row) for _, row in rows.iterrows()])
    played = {
        "held_out": np.stack([codes[file][:, :num_frames] for file in rows["file"]]),
        "own": synth.generate_codes(seconds, controls, seed, **sampling),
    }
    nll = {name: _score(synth, each, conditions) for name, each in played.items()}  # (B, K, T)
    known = np.concatenate([dataset.codes(file) for file in dataset.split("train")["file"]], axis=1)
    held_out = np.concatenate(list(played["held_out"]), axis=1)
    table = {name: each.mean(axis=(0, 2)) for name, each in nll.items()}
    table["unigram"] = np.asarray(unigram_nll(known, held_out, synth.info.codebook_size))
    summary = pd.DataFrame(table, index=pd.Index([f"codebook {k + 1}" for k in range(len(known))]))
    return NllResult(summary, {name: each.mean(axis=(0, 1)) for name, each in nll.items()})


@torch.inference_mode()
def _score(synth: Synthesizer, codes: np.ndarray, conditions: np.ndarray) -> np.ndarray:
    """Computes the NLL `(B, K, T)` of codes `(B, K, T)` under conditions `(B, 1, C)`, in nats per code."""
    pieces = []
    for start in tqdm(range(0, len(codes), 8), desc="scoring", unit="batch", leave=False):
        piece = torch.from_numpy(codes[start : start + 8].astype(np.int64)).to(synth.device)
        condition = torch.from_numpy(conditions[start : start + 8].astype(np.float32)).to(synth.device)
        pieces.append(nll_per_code(synth.model(piece, condition), piece).cpu().numpy())
    return np.concatenate(pieces)


def write_nll_report(result: NllResult, folder: Path) -> list[Path]:
    """Writes `nll.json` (the summary) and `nll.png`."""
    return write_result(folder, "nll", result.summary, plot_nll(result))


def plot_nll(result: NllResult) -> Figure:
    """Draws the NLL per codebook, and over time."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.2), width_ratios=(2, 3), layout="constrained")
    result.summary.plot.bar(ax=left, rot=0, color=["0.6", "C3", "0.85"])
    left.set(ylabel="nats per code")
    for (name, values), color in zip(result.over_time.items(), ("0.6", "C3"), strict=True):
        right.plot(values, color=color, label=name)
    right.set(xlabel="frame", title="mean over clips and codebooks")
    right.legend(fontsize="small")
    plt.close(figure)
    return figure
