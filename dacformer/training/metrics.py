"""What a training tells of itself: `metrics.jsonl`, TensorBoard, and the progress bar."""

import contextlib
import json
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm.auto import tqdm

from dacformer.config import Config, TrainingConfig
from dacformer.errors import UserError
from dacformer.files import write_text
from dacformer.signals import StopRequest

METRICS_FILE = "metrics.jsonl"
FLUSH_EVERY = 10
"""Steps whose losses stay on the device, so that logging seldom waits for it."""

OnMetrics = Callable[[dict[str, float]], None]
"""Called with each line of `metrics.jsonl` as it is written."""


def read_metrics(run: str | Path) -> list[dict[str, float]]:
    """All whole lines of a run's `metrics.jsonl`, oldest first; what is not a training's is passed over."""
    path = Path(run) / METRICS_FILE
    text = path.read_bytes().decode("utf-8-sig", errors="replace") if path.is_file() else ""
    return [line for line in map(_parse, text.splitlines()) if line is not None]


def _parse(line: str) -> dict[str, float] | None:
    """A line's figures; None where it was cut off by a kill, or is somebody else's."""
    try:
        result = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(result, dict) or not all(map(_is_number, result.values())):
        return None
    step = result.get("step", -1)
    return result if 0 <= step < 2**53 and step == int(step) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


def came_apart(what: str, step: int, training: TrainingConfig) -> UserError:
    """The error for figures that are not finite."""
    return UserError(
        f"{what} at step {step}: training has come apart. "
        f"Lower training.learning_rate (now {training.learning_rate:g}) or gradient_clip."
    )


class MetricsLog:
    """`metrics.jsonl`, TensorBoard and the progress bar, of the main process only.

    After a resume, lines of steps that are trained again are gone.
    """

    def __init__(
        self, config: Config, step: int, active: bool, on_metrics: OnMetrics | None, stop: StopRequest
    ) -> None:
        """Opens the files.

        Args:
            config: Of the training.
            step: Where it goes on.
            active: Whether this is the main process.
            on_metrics: Hears of each line; a stop signal breaks it off.
            stop: Takes note of that.
        """
        self._active, self._on_metrics, self._stop = active, on_metrics, stop
        self._training = config.training
        self._frames_per_step = config.data.batch_size * config.data.segment_frames
        self._pending: list[tuple[int, float, Tensor]] = []  # step, learning rate, loss and gradient norm
        self._bar = tqdm(
            total=config.training.steps, initial=step, desc=config.run.name, unit="step", disable=not active
        )
        self._board: SummaryWriter | None = None
        if active:
            path = config.run / METRICS_FILE
            kept = [line for line in read_metrics(config.run) if line["step"] <= step]
            write_text(path, "".join(f"{json.dumps(line)}\n" for line in kept))
            self._file = path.open("a", encoding="utf-8", newline="\n")
            self._board = SummaryWriter(str(config.run), purge_step=step + 1)
        self.start_clock()

    def start_clock(self) -> None:
        """Forgets the time spent on anything but training."""
        self._started = time.monotonic()

    def later(self, step: int, rate: float, loss: Tensor, norm: Tensor) -> None:
        """Takes a step's figures as they lie on the device, and writes them when there are enough to wait for it."""
        self._pending.append((step, rate, torch.stack([loss, norm])))
        self._show(self._bar.update)
        if len(self._pending) >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Writes the steps since the last time.

        Raises:
            UserError: A loss or a gradient is not finite.
        """
        if not self._pending:
            return
        result = torch.stack([tensor for *_, tensor in self._pending]).tolist()  # waits for the device
        seconds = max(time.monotonic() - self._started, 1e-9)
        speed = len(self._pending) * self._frames_per_step / seconds
        for loss, norm in result:
            step, rate, _ = self._pending.pop(0)
            self.write(step, {"loss": loss, "gradient_norm": norm, "learning_rate": rate, "frames_per_second": speed})
            if not math.isfinite(loss + norm):
                raise came_apart(f"The loss is {loss} and its gradient {norm}", step, self._training)
        self._show(self._bar.set_postfix, loss=f"{loss:.3f}", frames_per_second=f"{speed:.0f}")
        self.start_clock()

    def write(self, step: int, result: dict[str, float]) -> None:
        """Writes one line."""
        if not self._active:
            return
        line = {"step": step, **result}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        try:
            for name, value in result.items():
                if self._board:
                    self._board.add_scalar(name, value, step)
        except OSError as error:  # of the thread that writes; what counts is in `metrics.jsonl` too
            self._board = None
            warnings.warn(f"TensorBoard's file cannot be written ({error}): it ends here.", stacklevel=2)
        if self._on_metrics:
            with self._stop.interruptible():
                self._on_metrics(line)

    def say(self, text: str) -> None:
        """Prints without disturbing the bar."""
        if self._active:
            self._show(self._bar.write, text)

    def close(self) -> None:
        """Closes the files."""
        self._show(self._bar.close)
        if self._active:
            self._show(self._file.close)
            if self._board:
                self._show(self._board.close)

    def _show(self, call: Callable[..., Any], *words: Any, **more: Any) -> None:
        """Calls; that the terminal is gone (SIGHUP) or a disk full is no reason to lose a training."""
        with contextlib.suppress(OSError):
            call(*words, **more)
