"""Metrics of a training: `metrics.jsonl`, TensorBoard, and the progress bar."""

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

from dacformer.config import Config
from dacformer.files import write_text
from dacformer.signals import StopRequest
from dacformer.training.problems import came_apart

METRICS_FILE = "metrics.jsonl"
FLUSH_EVERY = 10
"""Number of steps whose losses are collected on the device before they are written, so that it rarely has to wait."""

OnMetrics = Callable[[dict[str, float]], object]
"""Called with each line of `metrics.jsonl` as it is written; what it returns is not used."""


def read_metrics(run: str | Path) -> list[dict[str, float]]:
    """Reads a run's `metrics.jsonl`, oldest line first. Incomplete and foreign lines are skipped."""
    path = Path(run) / METRICS_FILE
    text = path.read_bytes().decode("utf-8-sig", errors="replace") if path.is_file() else ""
    return [line for line in map(_parse, text.splitlines()) if line is not None]


def _parse(line: str) -> dict[str, float] | None:
    """Parses a line; None if it is incomplete (the training was killed) or not of a training."""
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


class MetricsLog:
    """Writes `metrics.jsonl`, TensorBoard and the progress bar, in the main process only.

    When a training is resumed, lines of the steps that are trained again are removed.
    """

    def __init__(
        self, config: Config, step: int, active: bool, on_metrics: OnMetrics | None, stop: StopRequest
    ) -> None:
        """Opens the files.

        Args:
            config: Settings of the training.
            step: The last step that is already trained; 0 for a new training.
            active: Whether this is the main process. Others write nothing.
            on_metrics: Called with each line. A stop signal interrupts the call.
            stop: Records stop signals.
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
        """Restarts the timer of the training speed, after time that was spent on something else."""
        self._started = time.monotonic()

    def later(self, step: int, rate: float, loss: Tensor, norm: Tensor) -> None:
        """Queues the metrics of a step without waiting for the device. Every `FLUSH_EVERY` steps they are written.

        Args:
            step: Number of the step, from 1.
            rate: Learning rate.
            loss: A scalar on any device.
            norm: Norm of the gradient, a scalar on the same device.
        """
        self._pending.append((step, rate, torch.stack([loss, norm])))
        self._show(self._bar.update)
        if len(self._pending) >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Writes the queued steps.

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
        """Writes one line to `metrics.jsonl`, TensorBoard and `on_metrics`."""
        if not self._active:
            return
        line = {"step": step, **result}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        try:
            for name, value in result.items():
                if self._board:
                    self._board.add_scalar(name, value, step)
        except OSError as error:  # raised later by TensorBoard's writer thread; `metrics.jsonl` has all metrics, too
            self._board = None
            warnings.warn(f"TensorBoard's file cannot be written ({error}): it ends here.", stacklevel=2)
        if self._on_metrics:
            with self._stop.interruptible():
                self._on_metrics(line)

    def say(self, text: str) -> None:
        """Prints a line above the progress bar."""
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
        """Calls a function and ignores `OSError`: a closed terminal or a full disk must not end a training."""
        with contextlib.suppress(OSError):
            call(*words, **more)
