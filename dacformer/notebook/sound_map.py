"""Map of a data set's sounds in two dimensions: similar codec latents lie near each other. A click plays a sound."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import soundfile
import torch
from jinja2 import Environment
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from dacformer.codec import Codec, load_codec
from dacformer.data.dataset import Dataset, load_dataset
from dacformer.display.audio_plots import literal
from dacformer.errors import UserError
from dacformer.evaluation.references import load_reference_clip
from dacformer.files import write_text

COLORS = plt.get_cmap("tab10").colors + plt.get_cmap("Dark2").colors  # pyright: ignore[reportAttributeAccessIssue]

PAGE = Environment(autoescape=True).from_string("""<!doctype html><meta charset="utf-8"><title>{{ title }}</title>
<style>body { font: 14px sans-serif; margin: 8px; background: #fff; color: #222 }
circle { cursor: pointer; stroke: #fff; stroke-width: 1 } circle.now { stroke: #000; stroke-width: 2.5 }
svg { width: 100%; max-width: 700px; border: 1px solid #ccc } i { display: inline-block; width: .8em; height: .8em;
border-radius: 50%; margin: 0 .3em 0 1em }</style>
<div>{% for name, color in colors.items() %}<i style="background: {{ color }}"></i>{{ name }}{% endfor %}</div>
<svg viewBox="0 0 700 450">{% for dot in dots %}
<circle cx="{{ dot.x }}" cy="{{ dot.y }}" r="7" fill="{{ dot.color }}" data-sound="{{ dot.sound }}"
  data-title="{{ dot.title }}"><title>{{ dot.title }}</title></circle>{% endfor %}
</svg><div><audio controls></audio> <span>Click a sound.</span></div>
<script>
const player = document.querySelector("audio"), label = document.querySelector("span");
for (const dot of document.querySelectorAll("circle")) dot.addEventListener("click", () => {
  document.querySelectorAll(".now").forEach((other) => other.classList.remove("now"));
  dot.classList.add("now");
  label.textContent = dot.dataset.title;
  player.src = "data:audio/mpeg;base64," + dot.dataset.sound;
  player.play();
});
</script>""")


@dataclass(frozen=True)
class SoundMap:
    """Sounds with positions in a plane. A notebook shows dots that play when clicked, also without a kernel.

    Attributes:
        rows: One row per sound: `file`, `class`, `x`, `y`, and `title`.
        sounds: Audio of each row, `(N,)` float32.
        sample_rate: In Hz.
        axes: Labels of `x` and `y`.
    """

    rows: pd.DataFrame
    sounds: Sequence[np.ndarray]
    sample_rate: int
    axes: tuple[str, str]

    @property
    def colors(self) -> dict[str, str]:
        """A colour for each class."""
        names = sorted(self.rows["class"].unique())
        return {
            name: "#" + "".join(f"{round(255 * part):02x}" for part in COLORS[i % len(COLORS)])
            for i, name in enumerate(names)
        }

    def plot(self) -> Figure:
        """Draw the map without sounds, as one picture."""
        figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
        for name, color in self.colors.items():
            own = self.rows[self.rows["class"] == name]
            axes.scatter(own["x"], own["y"], color=color, label=literal(name), s=22, edgecolors="white", linewidths=0.5)
        axes.set(xlabel=self.axes[0], ylabel=self.axes[1])
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        plt.close(figure)
        return figure

    def to_html(self) -> str:
        """Return a complete HTML page that contains all sounds."""
        x, y = (_spread(self.rows[name].to_numpy(), size) for name, size in (("x", 700), ("y", 450)))
        colors = self.colors
        dots = [
            {"x": x[i], "y": 450 - y[i], "color": colors[row["class"]], "title": row["title"], "sound": self._mp3(i)}
            for i, (_, row) in enumerate(self.rows.iterrows())
        ]
        return PAGE.render(title="The map of sounds", colors=colors, dots=dots)

    def save(self, path: str | Path) -> Path:
        """Write the page.

        Args:
            path: An `.html` file.

        Returns:
            The path.
        """
        write_text(path, self.to_html())
        return Path(path)

    def _mp3(self, row: int) -> str:
        buffer = io.BytesIO()  # every browser plays MP3, and a page with a hundred sounds stays small
        soundfile.write(buffer, np.clip(self.sounds[row], -1.0, 1.0), self.sample_rate, format="MP3")
        return base64.b64encode(buffer.getvalue()).decode()

    def _repr_html_(self) -> str:
        page = html.escape(self.to_html())
        return f'<iframe srcdoc="{page}" style="width: 100%; max-width: 760px; height: 560px; border: 0"></iframe>'


def sound_map(
    dataset: Dataset | str | Path,
    codec: Codec | None = None,
    method: Literal["pca", "tsne"] = "pca",
    max_sounds: int = 120,
    seconds: float = 1.5,
    seed: int = 0,
) -> SoundMap:
    """Place a data set's sounds in a plane by mean and standard deviation of their codec latents.

    Args:
        dataset: The data set, or its folder.
        codec: The codec of the data set; loaded by its name if None.
        method: `pca` has axes with a meaning. `tsne` keeps neighbours together (van der Maaten & Hinton, 2008).
        max_sounds: Most sounds; of a larger data set, evenly spaced files are used.
        seconds: Length of each sound that is analysed and played, from its beginning.
        seed: Seed of `tsne`.

    Returns:
        The map.

    Raises:
        UserError: There are fewer than three sounds, the method is unknown, or the codec is not the data set's.
    """
    dataset = dataset if isinstance(dataset, Dataset) else load_dataset(dataset)
    info = dataset.info
    codec = codec or load_codec(info.codec_name, info.num_codebooks)
    rows = dataset.rows.iloc[:: -(-len(dataset.rows) // max_sounds)].reset_index(drop=True)
    if len(rows) < 3 or method not in ("pca", "tsne"):
        raise UserError(f"A map needs three sounds and method 'pca' or 'tsne', got {len(rows)} and '{method}'.")
    frames = max(1, round(seconds * info.frame_rate))
    features = []
    for file in rows["file"]:
        latents = codec.latents(torch.from_numpy(dataset.codes(file)[None, :, :frames]))[0].float().cpu().numpy()
        features.append(np.concatenate([latents.mean(axis=1), latents.std(axis=1)]))
    standard = StandardScaler().fit_transform(np.stack(features))
    pca = PCA(2, svd_solver="full")
    places = pca.fit_transform(standard)
    axes = tuple(
        f"component {i + 1} ({share:.0%} of the variance)" for i, share in enumerate(pca.explained_variance_ratio_)
    )
    if method == "tsne":
        perplexity = min(30.0, (len(rows) - 1) / 3)
        places = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(standard)
        axes = "t-SNE 1", "t-SNE 2"
    titles = [_title(row, list(dataset.conditions.parameters)) for _, row in rows.iterrows()]
    laid = rows[["file", "class"]].assign(x=places[:, 0], y=places[:, 1], title=titles)
    sounds = [load_reference_clip(dataset, str(file), codec, seconds) for file in rows["file"]]
    return SoundMap(laid, sounds, info.sample_rate, (axes[0], axes[1]))


def _title(row: "pd.Series[float]", parameters: list[str]) -> str:
    known = [f"{name} {row[name]:g}" for name in parameters if not pd.isna(row[name])]
    return ", ".join([str(row["class"]), *known, str(row["file"])])


def _spread(values: np.ndarray, size: float, margin: float = 20.0) -> np.ndarray:
    """Scale values to the width of a picture, with a margin at its edges."""
    low, high = values.min(), values.max()
    return np.round(margin + (size - 2 * margin) * (values - low) / ((high - low) or 1.0), 1)
