"""Likeness and novelty: whether generated sound resembles the recordings, and is not a copy. For each class.

Likeness is the distance between generated and held-out clips, of texture statistics and of codec latents. It is
compared with the distance between two halves of the held-out clips, a floor for any model. Novelty is the distance of
an excerpt to the nearest training excerpt. It is compared with that of held-out clips, which cannot be copies.

Real clips, too, are encoded and decoded by the codec, so losses of the codec affect both sides.

`F` frames, `D` dimensions of a latent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.neighbors import NearestNeighbors
from tqdm import tqdm

from dacformer.audio import find_audio, read_start
from dacformer.codec.latents import codebook_latents
from dacformer.data.dataset import Dataset
from dacformer.data.sources import Sources
from dacformer.errors import UserError
from dacformer.evaluation.frechet import frechet_between, frechet_distance
from dacformer.evaluation.parallel import parallel_map
from dacformer.evaluation.references import load_reference_clip, row_to_controls
from dacformer.evaluation.tables import with_mean, write_result
from dacformer.evaluation.texture_statistics import texture_distance, texture_statistics
from dacformer.generation.synthesizer import Synthesizer

Embed = Callable[[np.ndarray, int], np.ndarray]
"""One's own embedding (VGGish, CLAP, ...): audio `(N,)` float32 and its rate in Hz, to vectors `(F, D)` or `(D,)`."""
MIN_CLIPS = 4
"""Fewest held-out clips of a class: two halves of two."""
EXCERPT_FRAMES, EXCERPT_HOP = 43, 4
"""Length of an excerpt (half a second), and the step from one excerpt to the next, in frames."""
HALVINGS = 20
"""Number of random splits into halves over which a texture distance is averaged."""


@dataclass(frozen=True)
class LikenessResult:
    """Likeness and novelty of generated clips.

    Attributes:
        summary: One row per class: `texture`, generated against held-out; `texture_floor`, held-out against held-out,
            as many clips; `texture_ratio`, the one over the other; `frechet` and its 95 % interval `frechet_low`,
            `frechet_high`; `frechet_floor`, between halves of the held-out clips; `novelty`, median distance of
            generated excerpts to the nearest training excerpt over that of held-out ones (1: as new as these);
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
        dataset: The data set that it was trained on, with held-out clips.
        classes: Names of classes; if empty, all that have enough held-out clips.
        seconds: Length of the takes, and most seconds of each clip.
        max_clips: Most clips of each class.
        seed: Seed of the takes and of the halves.
        embed: A pretrained embedding; adds a Fréchet distance of its vectors.
        recordings: Folder that the data set was encoded from; adds a comparison with the original recordings.
        **sampling: As in `Synthesizer.generate`.

    Returns:
        The figures.

    Raises:
        UserError: The data set is of another codec, lacks a class, or holds too few clips out; or a clip's recording
            is not in the folder.
    """
    held_out = dataset.split("val")
    chosen = _choose_classes(synth, dataset, classes)
    wanted = held_out[held_out["class"].isin(chosen)]
    originals = None if recordings is None else _originals(recordings, dataset.path, list(wanted["file"]))
    summary, kinds, nearest = {}, [], []
    for name in tqdm(chosen, desc="comparing", unit="class"):
        rows = held_out[held_out["class"] == name].iloc[:max_clips]
        controls = [row_to_controls(synth.conditions, row) for _, row in rows.iterrows()]
        takes = synth.generate_batch(seconds, controls, seed=seed, **sampling)
        frames = takes[0].codes.shape[1]
        generated = _Clips.of(synth, [take.audio for take in takes], [take.codes for take in takes])
        real_audio = [load_reference_clip(dataset, file, synth.codec, seconds) for file in rows["file"]]
        real = _Clips.of(synth, real_audio, [dataset.codes(file)[:, :frames] for file in rows["file"]])
        distances = _training_distances(synth, dataset, name, {"generated": generated, "held out": real})
        nearest += [{"class": name, "source": source, "distance": d} for source in distances for d in distances[source]]
        summary[name], by_kind = _compare(generated, real, distances, seed)
        kinds += [{"class": name, **each} for each in by_kind]
        if originals is not None:
            paths = [originals[file] for file in rows["file"]]
            summary[name] |= _compare_recordings(synth, paths, frames, {"ratio": generated, "codec": real}, seed)
        if embed is not None:
            embedded = [_embed(synth, embed, clips.audio) for clips in (generated, real)]
            summary[name] |= _frechet("embedded", embedded[0], embedded[1], seed)
    return LikenessResult(pd.DataFrame.from_dict(summary, orient="index"), pd.DataFrame(kinds), pd.DataFrame(nearest))


def _choose_classes(synth: Synthesizer, dataset: Dataset, classes: Sequence[str]) -> list[str]:
    """The classes to compare: those asked for, or all that have enough clips held out."""
    counts = dataset.split("val")["class"].value_counts()
    enough = [name for name in synth.conditions.classes if counts.get(name, 0) >= MIN_CLIPS]
    for name in classes:
        if name not in enough:
            raise UserError(
                f"{dataset.path} holds {counts.get(name, 0)} clips of '{name}' out; {MIN_CLIPS} are needed. "
                f"There are enough of: {', '.join(enough) or 'no class'}."
            )
    if not enough:
        raise UserError(f"{dataset.path} holds out fewer than {MIN_CLIPS} clips of every class that the model knows.")
    return list(classes) or enough


@dataclass(frozen=True)
class _Clips:
    """Clips of one class and source: audio `(N,)`, texture statistics, and latents `(F, D)` of each."""

    audio: list[np.ndarray]
    statistics: list[Any]
    latents: list[np.ndarray]

    @classmethod
    def of(cls, synth: Synthesizer, audio: list[np.ndarray], codes: list[np.ndarray]) -> "_Clips":
        """Measures clips, given their audio `(N,)` and codes `(K, F)`."""
        statistics = parallel_map(texture_statistics, audio, synth.info.sample_rate)
        return cls(audio, statistics, [codebook_latents(synth.codec, each) for each in codes])


def _training_distances(
    synth: Synthesizer, dataset: Dataset, name: str, clips: dict[str, _Clips]
) -> dict[str, np.ndarray]:
    """Distances of the clips' excerpts to the nearest training excerpt of the class, by source."""
    train = dataset.split("train")
    known = [codebook_latents(synth.codec, dataset.codes(file)) for file in train[train["class"] == name]["file"]]
    return {source: _nearest(each.latents, known) for source, each in clips.items()}


def _compare(
    generated: _Clips, real: _Clips, distances: dict[str, np.ndarray], seed: int
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The row of a class in the summary, without embedding and recordings, and its texture distances by kind."""
    against, floor = _texture(generated.statistics, real.statistics, seed)
    row = {
        "clips": len(real.audio),
        "texture": against["overall"],
        "texture_floor": floor["overall"],
        "texture_ratio": against["overall"] / floor["overall"],
        **_frechet("frechet", generated.latents, real.latents, seed),
        "novelty": float(np.median(distances["generated"]) / np.median(distances["held out"])),
        "variety": _variety(generated.latents) / _variety(real.latents),
    }
    return row, [{"kind": kind, "texture": against[kind], "floor": floor[kind]} for kind in against]


def _compare_recordings(
    synth: Synthesizer, paths: Sequence[Path], frames: int, clips: dict[str, _Clips], seed: int
) -> dict[str, float]:
    """Texture distances of clips to recordings, over those between the recordings: `recorded_<name of the clips>`."""
    rate, seconds = synth.info.sample_rate, frames / synth.info.frame_rate
    recorded = parallel_map(texture_statistics, [read_start(path, rate, seconds) for path in paths], rate)
    ratios = {}
    for name, each in clips.items():
        against, floor = _texture(each.statistics, recorded, seed)
        ratios[f"recorded_{name}"] = against["overall"] / floor["overall"]
    return ratios


def _embed(synth: Synthesizer, embed: Embed, sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.atleast_2d(embed(audio, synth.info.sample_rate)) for audio in sounds]


def write_likeness_report(result: LikenessResult, folder: Path) -> list[Path]:
    """Writes `likeness.json` (the summary), `likeness_kinds.csv` and `likeness.png`."""
    return write_result(folder, "likeness", result.summary, plot_likeness(result), {"likeness_kinds": result.kinds})


def plot_likeness(result: LikenessResult) -> Figure:
    """Draws texture distances by kind, generated over floor, and distances to the nearest training excerpt."""
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


def _nearest(clips: Sequence[np.ndarray], known: Sequence[np.ndarray]) -> np.ndarray:
    """Distance of each excerpt of `clips` to the nearest of `known`, both `(F, D)`; root mean square over frames."""
    index = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(_excerpts(known))
    return index.kneighbors(_excerpts(clips))[0][:, 0] / np.sqrt(EXCERPT_FRAMES)


def _excerpts(clips: Sequence[np.ndarray]) -> np.ndarray:
    """All excerpts of clips `(F, D)`, `(number, EXCERPT_FRAMES * D)`; a clip that is shorter than one is repeated."""
    long = [np.resize(clip, (max(len(clip), EXCERPT_FRAMES), clip.shape[1])) for clip in clips]
    views = [np.lib.stride_tricks.sliding_window_view(clip, EXCERPT_FRAMES, axis=0)[::EXCERPT_HOP] for clip in long]
    return np.concatenate([view.reshape(len(view), -1) for view in views])
