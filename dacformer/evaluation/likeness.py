"""Is what is generated like what was recorded, and is it new? On any data set, class by class.

Likeness: distances of texture statistics and of codec latents between generated and held-out clips, beside the same
between two halves of the held-out clips, the floor that no model can pass. Novelty: how far an excerpt is from the
nearest one of the training clips, beside the same of held-out clips, which cannot be copies.

Everything is heard through the codec, the real clips as well: what the codec takes away is lost to both.

`F` frames, `D` dimensions of a latent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from matplotlib.figure import Figure
from sklearn.neighbors import NearestNeighbors
from tqdm import tqdm

from dacformer.audio import find_audio, read_start
from dacformer.codec import Codec
from dacformer.conditions.labels import Conditions
from dacformer.data.dataset import Dataset
from dacformer.data.sources import Sources
from dacformer.errors import UserError
from dacformer.evaluation.control import with_mean, write_figures
from dacformer.evaluation.frechet import frechet_between, frechet_distance
from dacformer.evaluation.side_by_side import load_reference_clip
from dacformer.evaluation.texture_statistics import texture_distance, texture_statistics
from dacformer.generation.synthesizer import Synthesizer

Embed = Callable[[np.ndarray, int], np.ndarray]
"""One's own embedding (VGGish, CLAP, ...): audio `(N,)` float32 and its rate in Hz, to vectors `(F, D)` or `(D,)`."""
MIN_CLIPS = 4
"""Held-out clips that a class needs: two halves of two."""
EXCERPT_FRAMES, EXCERPT_HOP = 43, 4
"""Length of what is looked up in the training clips, half a second, and the frames from one excerpt to the next."""
HALVINGS = 20
"""Ways of drawing halves that a texture distance is the mean of."""


@dataclass(frozen=True)
class LikenessResult:
    """What was measured.

    Attributes:
        summary: One row per class: `texture`, generated against held-out; `texture_floor`, held-out against held-out,
            as many clips; `texture_ratio`, the one over the other; `frechet` and its 95 % interval `frechet_low`,
            `frechet_high`; `frechet_floor`, between halves of the held-out clips; `novelty`, median distance of
            generated excerpts to the nearest training excerpt over that of held-out ones (1: as new as the unheard);
            `variety`, the same from half of the takes to the other half, over that of held-out clips (below 1: seeds
            sound more alike than recordings do). With an embedding also `embedded` (Fréchet), its interval and floor.
            With the recordings also `recorded_ratio`, texture distance of generated to recorded over recorded to
            recorded, and `recorded_codec`, the same of held-out clips through the codec: the ceiling.
        kinds: The texture distances by kind of statistic: one row per class and kind.
        nearest: Distance of each excerpt to the nearest training excerpt: `class`, `source` (`generated`, `held out`),
            `distance`.
    """

    summary: pd.DataFrame
    kinds: pd.DataFrame
    nearest: pd.DataFrame

    def to_text(self) -> str:
        """The summary as a table, with the means."""
        return with_mean(self.summary).round(3).to_string()


def measure_likeness(
    synth: Synthesizer,
    dataset: Dataset,
    classes: Sequence[str] = (),
    seconds: float = 5.0,
    max_clips: int = 32,
    seed: int = 0,
    embed: Embed | None = None,
    recordings: Path | None = None,
    **sampling: Any,
) -> LikenessResult:
    """Generates a take for each held-out clip, under the same conditions, and compares.

    Args:
        synth: The model.
        dataset: That it was trained on, with clips held out.
        classes: Which; all that have enough clips held out, if empty.
        seconds: Length of the takes, and what is heard of each clip at most.
        max_clips: Of each class.
        seed: Of the takes, and of the halves.
        embed: A pretrained embedding, for a Fréchet distance in its vectors as well.
        recordings: The folder that the data set was encoded from, to hear also what the codec takes away.
        **sampling: As in `Synthesizer.generate`.

    Returns:
        The figures.

    Raises:
        UserError: The data set is of another codec, lacks a class, or holds too few clips out; or a clip's recording
            is not in the folder.
    """
    held_out = dataset.split("val")
    counts = held_out["class"].value_counts()
    enough = [name for name in synth.conditions.classes if counts.get(name, 0) >= MIN_CLIPS]
    for name in classes:
        if name not in enough:
            raise UserError(
                f"{dataset.path} holds {counts.get(name, 0)} clips of '{name}' out; {MIN_CLIPS} are needed. "
                f"There are enough of: {', '.join(enough) or 'no class'}."
            )
    if not enough:
        raise UserError(f"{dataset.path} holds out fewer than {MIN_CLIPS} clips of every class that the model knows.")
    chosen = list(classes) or enough
    asked = held_out[held_out["class"].isin(chosen)]
    originals = None if recordings is None else _originals(recordings, dataset.path, list(asked["file"]))
    summary, kinds, nearest = {}, [], []
    for name in tqdm(chosen, desc="comparing", unit="class"):
        rows = held_out[held_out["class"] == name].iloc[:max_clips]
        controls = [row_to_controls(synth.conditions, row) for _, row in rows.iterrows()]
        takes = synth.generate_batch(seconds, controls, seed=seed, **sampling)
        rate, frames = synth.info.sample_rate, takes[0].codes.shape[1]
        real = [load_reference_clip(dataset, file, synth.codec, seconds) for file in rows["file"]]
        made_audio = [take.audio for take in takes]
        of_real, of_made = _statistics(real, rate), _statistics(made_audio, rate)
        against, floor = _texture(of_made, of_real, seed)
        kinds += [{"class": name, "kind": kind, "texture": against[kind], "floor": floor[kind]} for kind in against]
        latents = [codebook_latents(synth.codec, dataset.codes(file)[:, :frames]) for file in rows["file"]]
        made = [codebook_latents(synth.codec, take.codes) for take in takes]
        train = dataset.split("train")
        known = [codebook_latents(synth.codec, dataset.codes(file)) for file in train[train["class"] == name]["file"]]
        distances = _nearest(made, known), _nearest(latents, known)
        for source, values in zip(("generated", "held out"), distances, strict=True):
            nearest += [{"class": name, "source": source, "distance": value} for value in values]
        summary[name] = {
            "clips": len(rows),
            "texture": against["overall"],
            "texture_floor": floor["overall"],
            "texture_ratio": against["overall"] / floor["overall"],
            **_frechet("frechet", made, latents, seed),
            "novelty": float(np.median(distances[0]) / np.median(distances[1])),
            "variety": _variety(made) / _variety(latents),
        }
        if originals is not None:
            heard = frames / synth.info.frame_rate
            of_recorded = _statistics([read_start(originals[file], rate, heard) for file in rows["file"]], rate)
            for column, sounds in (("recorded_ratio", of_made), ("recorded_codec", of_real)):
                against, floor = _texture(sounds, of_recorded, seed)
                summary[name][column] = against["overall"] / floor["overall"]
        if embed is not None:
            of_made, of_real = (
                [np.atleast_2d(embed(audio, rate)) for audio in sounds] for sounds in (made_audio, real)
            )
            summary[name] |= _frechet("embedded", of_made, of_real, seed)
    return LikenessResult(pd.DataFrame.from_dict(summary, orient="index"), pd.DataFrame(kinds), pd.DataFrame(nearest))


def write_likeness_report(result: LikenessResult, folder: Path) -> list[Path]:
    """Writes `likeness.json` (the summary), `likeness_kinds.csv` and `likeness.png`."""
    return write_figures(folder, "likeness", result.summary, plot_likeness(result), {"likeness_kinds": result.kinds})


def plot_likeness(result: LikenessResult) -> Figure:
    """Texture distances by kind, generated over floor, and distances to the nearest training excerpt."""
    classes = list(result.summary.index)
    ratios = result.kinds.assign(ratio=result.kinds["texture"] / result.kinds["floor"])
    table = ratios.pivot(index="class", columns="kind", values="ratio").loc[classes, list(ratios["kind"].unique())]
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 1.5 + 0.42 * len(classes)), layout="constrained")
    left.imshow(np.log2(table), vmin=-2, vmax=2, cmap="coolwarm", aspect="auto")
    left.set_xticks(range(len(table.columns)), list(table.columns), rotation=40, ha="right", fontsize="small")
    left.set_yticks(range(len(classes)), classes)
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        left.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize="small")
    left.set(title="texture distance to held-out clips, over held-out to held-out")
    for at, name in enumerate(classes):
        chosen = result.nearest[result.nearest["class"] == name]
        for source, color, shift in (("held out", "0.6", 0.18), ("generated", "C3", -0.18)):
            values = chosen[chosen["source"] == source]["distance"]
            right.boxplot(
                values, positions=[at + shift], widths=0.3, orientation="horizontal", showfliers=False,
                manage_ticks=False, patch_artist=True, boxprops={"facecolor": color}, medianprops={"color": "k"},
            )  # fmt: skip
    right.set_yticks(range(len(classes)), classes)
    right.invert_yaxis()
    right.set(title="to the nearest training excerpt (grey: from held-out clips)", xlabel="latent units")
    plt.close(figure)
    return figure


def row_to_controls(conditions: Conditions, row: "pd.Series[Any]") -> dict[str, Any]:
    """What the manifest's row says of a clip, as controls."""
    parameters = {name: row[name] for name in conditions.parameters if name in row and not pd.isna(row[name])}
    return {"class": row["class"], **{name: float(value) for name, value in parameters.items()}}


def _originals(recordings: Path, dataset: Path, files: Sequence[str]) -> dict[str, Path]:
    """All recordings in a folder, by the names of their codes; each of a data set's files must be among them."""
    found = {path.relative_to(recordings).with_suffix(".dac").as_posix(): path for path in find_audio(recordings)}
    found |= {one.file: recordings / one.source for one in Sources(dataset) if (recordings / one.source).is_file()}
    missing = [file for file in files if file not in found]
    if missing:
        raise UserError(
            f"{recordings} has no recording of {missing[0]} ({len(missing)} of {len(files)} clips are missing). "
            "Give the folder that the data set was encoded from."
        )
    return found


def _statistics(sounds: list[np.ndarray], sample_rate: int) -> list[Any]:
    return list(Parallel(n_jobs=-1)(delayed(texture_statistics)(audio, sample_rate) for audio in sounds))


def _texture(made: list[Any], real: list[Any], seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Distances by kind between halves: generated against held-out, held-out against held-out."""
    rng, half = np.random.default_rng(seed), len(real) // 2
    against, floor = [], []
    for _ in range(HALVINGS):
        order, other = rng.permutation(len(real)), rng.permutation(len(made))
        first = [real[i] for i in order[:half]]
        floor.append(texture_distance(first, [real[i] for i in order[half : 2 * half]]))
        against.append(texture_distance(first, [made[i] for i in other[:half]]))
    mean = [pd.DataFrame(draws).mean().to_dict() for draws in (against, floor)]
    return mean[0], mean[1]


def _frechet(name: str, made: list[np.ndarray], real: list[np.ndarray], seed: int) -> dict[str, float]:
    """Between clips of vectors `(F, D)`: the distance, its 95 % interval, and that between halves of the real ones."""
    half = np.random.default_rng(seed).permutation(len(real))
    distance, low, high = frechet_between(made, real)
    floor = frechet_distance(*(np.concatenate([real[i] for i in half[j::2]]) for j in (0, 1)))
    return {name: distance, f"{name}_low": low, f"{name}_high": high, f"{name}_floor": floor}


def _variety(clips: list[np.ndarray]) -> float:
    """How far excerpts of every second clip are from the nearest of the others."""
    return float(np.median(_nearest(clips[::2], clips[1::2])))


@torch.inference_mode()
def codebook_latents(codec: Codec, codes: np.ndarray) -> np.ndarray:
    """The codebooks' own vectors for codes `(K, F)`, side by side: `(F, D)` float32."""
    whole = torch.from_numpy(codes.astype(np.int64))[None].to(codec.device)
    return codec.model.quantizer.from_codes(whole)[1][0].T.cpu().numpy()


def _nearest(clips: Sequence[np.ndarray], known: Sequence[np.ndarray]) -> np.ndarray:
    """Distance of each excerpt of `clips` to the nearest of `known`, both `(F, D)`; root mean square over frames."""
    index = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(_excerpts(known))
    return index.kneighbors(_excerpts(clips))[0][:, 0] / np.sqrt(EXCERPT_FRAMES)


def _excerpts(clips: Sequence[np.ndarray]) -> np.ndarray:
    """All excerpts of clips `(F, D)`, `(number, EXCERPT_FRAMES * D)`; a clip that is shorter than one is repeated."""
    long = [np.resize(clip, (max(len(clip), EXCERPT_FRAMES), clip.shape[1])) for clip in clips]
    views = [np.lib.stride_tricks.sliding_window_view(clip, EXCERPT_FRAMES, axis=0)[::EXCERPT_HOP] for clip in long]
    return np.concatenate([view.reshape(len(view), -1) for view in views])
