"""Views of a training in a notebook: a live plot of the metrics, and the latest samples."""

import time
from pathlib import Path

from IPython.display import DisplayHandle
from matplotlib.figure import Figure

from dacformer.checkpoint import Checkpoint
from dacformer.codec import Codec
from dacformer.config import Config
from dacformer.evaluation.samples import SampleWriter
from dacformer.notebook.audio_grid import grid_of_takes
from dacformer.notebook.plots import plot_training
from dacformer.training.metrics import read_metrics


class LivePlot:
    """Live plot of loss and validation: pass it to `train` as `on_metrics`. Use one for each training.

    Attributes:
        figure: The figure as it was last drawn; None before the first time.
    """

    def __init__(self, config: Config, every_seconds: float = 2.0) -> None:
        """Prepare; nothing is drawn before the first step.

        Args:
            config: Settings of the training.
            every_seconds: Shortest time between two drawings. It grows so that drawing takes at most 5 % of the time.
        """
        self.figure: Figure | None = None
        self._config = config
        self._every_seconds = every_seconds
        self._handle = DisplayHandle()
        self._metrics: list[dict[str, float]] = []
        self._speed = 0.0  # frames per second
        self._next_time = 0.0

    def __call__(self, line: dict[str, float]) -> None:
        """Process the metrics of a step or a validation. Validations are drawn at once."""
        if self.figure is None:  # a resumed run has earlier lines; the file also has this one
            self._metrics = read_metrics(self._config.run) or [line]
        else:
            self._metrics.append(line)
        self._speed = line.get("frames_per_second", self._speed)
        if "val_nll" in line or time.monotonic() >= self._next_time:
            self._draw(int(line["step"]))

    def _draw(self, step: int) -> None:
        started = time.monotonic()
        show = self._handle.display if self.figure is None else self._handle.update
        self.figure = plot_training(self._metrics, self._status(step))
        show(self.figure)
        finished = time.monotonic()
        self._next_time = finished + max(self._every_seconds, 20.0 * (finished - started))

    def _status(self, step: int) -> str:
        steps = self._config.training.steps
        status = f"step {step} of {steps}"
        if self._speed:
            frames = (steps - step) * self._config.data.batch_size * self._config.data.segment_frames
            minutes, seconds = divmod(round(frames / self._speed), 60)
            status += f" · {self._speed:,.0f} frames/s · " + (f"{minutes}:{seconds:02d} left" if frames else "done")
        return status


class LiveSamples(SampleWriter):
    """Writes samples during a training and shows the latest ones: pass it to `train` as `on_sample`."""

    def __init__(self, codec: Codec | None = None, max_classes: int = 8) -> None:
        """Prepare; the arguments are those of `SampleWriter`."""
        super().__init__(codec, max_classes)
        self._handle: DisplayHandle | None = None

    def __call__(self, checkpoint: Checkpoint, run: Path) -> None:
        """Write the samples, and show them in place of the previous ones."""
        super().__call__(checkpoint, run)
        step = checkpoint.metadata.step
        sheet = grid_of_takes({f"{name}, step {step}": take for name, take in self.latest.items()})
        if self._handle is None:
            self._handle = DisplayHandle()
            self._handle.display(sheet)
        else:
            self._handle.update(sheet)
