"""The pictures show what they say they show."""

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from dacformer.data.dataset import Dataset
from dacformer.notebook import plot_code_usage, plot_codes, plot_labels, plot_training


def test_the_label_map_counts_files_and_places_values(dataset: Dataset) -> None:
    files, rate, force = plot_labels(dataset).axes
    widths = [bar.get_width() for bar in files.patches if isinstance(bar, Rectangle)]
    assert [width for width in widths if width] == [2, 2, 1]  # train: both; val: pistons
    assert [np.asarray(line.get_xdata()).tolist() for line in rate.lines] == [[0.5, 4.5], [2.5]]
    assert [np.asarray(line.get_xdata()).tolist() for line in force.lines] == [[0.1, 0.9], []]


def test_the_label_map_does_without_parameters(dataset: Dataset) -> None:
    plain = dataset.conditions.model_copy(update={"parameters": {}})
    assert len(plot_labels(dataclasses.replace(dataset, conditions=plain)).axes) == 1


def test_code_usage_tells_how_many_codes_occur(dataset: Dataset) -> None:
    legend = plot_code_usage(dataset).axes[0].get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[0].startswith("codebook 1: 16 of 16 used, perplexity 1")
    assert len(labels) == 2


def test_a_codes_image_has_a_row_per_codebook_and_runs_in_seconds() -> None:
    codes = np.arange(12).reshape(3, 4)
    (axes,) = plot_codes(codes, frame_rate=2.0).axes
    np.testing.assert_array_equal(axes.images[0].get_array(), codes)
    assert axes.get_xlim() == (0.0, 2.0)


def test_a_training_that_has_just_begun_can_be_drawn() -> None:
    assert plot_training([]).axes
    assert plot_training([{"step": 1, "loss": 5.0}]).axes


def test_training_is_drawn_beside_the_unigram() -> None:
    metrics = [{"step": step, "loss": 5.0 / step} for step in range(1, 3000)]
    result = {"val_nll": 3.0, "unigram_nll": 4.0} | {
        f"{name}_nll_{k}": k for name in ("val", "unigram") for k in (1, 2)
    }
    whole, parts = plot_training([*metrics, {"step": 3000, **result}], "title").axes
    raw, _, validation, unigram = whole.lines
    assert 500 <= np.size(raw.get_xdata()) <= 1000  # thinned: a live plot must be quick
    assert np.asarray(validation.get_ydata()).tolist() == [3.0]
    assert set(np.asarray(unigram.get_ydata()).tolist()) == {4.0}
    assert len(parts.lines) == 4  # two codebooks, each with its unigram


def test_no_figure_stays_open(dataset: Dataset) -> None:
    """A notebook shows what is returned; a figure left open would be shown twice, and leak."""
    plot_labels(dataset)
    plot_code_usage(dataset)
    plot_training([])
    assert plt.get_fignums() == []
