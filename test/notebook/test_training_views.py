"""The plot and the samples that a notebook shows while a model trains."""

import re

import numpy as np

from dacformer.codec import Codec
from dacformer.config import Config
from dacformer.notebook import (
    LivePlot,
    LiveSamples,
)
from dacformer.training.trainer import train


def test_live_plot_and_samples_follow_a_training(config: Config, codec: Codec) -> None:
    plot, samples = LivePlot(config, every_seconds=0.0), LiveSamples(codec)
    run = train(config, on_metrics=plot, on_sample=samples)
    assert plot.figure is not None
    assert re.match(r"step 4 of 4 · [\d,]+ frames/s · done", plot.figure.axes[0].get_title(loc="left"))
    assert list(samples.latest) == ["pistons", "wind"]
    assert (run / "samples" / "step_0000004" / "wind.wav").is_file()


def test_live_plot_draws_seldom_but_every_validation(config: Config) -> None:
    plot = LivePlot(config, every_seconds=1000.0)
    plot({"step": 1, "loss": 5.0, "frames_per_second": 32.0})
    first = plot.figure
    plot({"step": 2, "loss": 4.0, "frames_per_second": 32.0})
    assert plot.figure is first is not None
    plot({"step": 2, "val_nll": 4.0, "unigram_nll": 5.0})
    assert plot.figure is not None and plot.figure is not first
    assert plot.figure.axes[0].get_title(loc="left") == "step 2 of 4 · 32 frames/s · 0:04 left"


def test_live_plot_of_a_resumed_run_shows_earlier_steps(config: Config) -> None:
    train(config)
    longer = config.model_copy(update={"training": config.training.model_copy(update={"steps": 6})})
    plot = LivePlot(longer)
    train(longer, resume=True, on_metrics=plot)
    assert plot.figure is not None
    assert np.asarray(plot.figure.axes[0].lines[0].get_xdata()).tolist() == [1, 2, 3, 4, 5, 6]
