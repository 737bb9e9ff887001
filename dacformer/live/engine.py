"""Real-time generation: a background thread generates audio chunks from the current controls for a client.

`Performance` generates and records. `BufferController` decides when the next chunk is due. `LiveEngine` runs both.
"""

import atexit
import math
import threading
import time
import weakref
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dacformer.errors import UserError
from dacformer.generation.instrument import Instrument
from dacformer.live.buffering import BufferController
from dacformer.live.performance import ControlState, Performance


class Chunk(NamedTuple):
    """Piece of audio for the client.

    Attributes:
        audio: `(n,)` float32; may be empty.
        first: Index of its first sample since the start.
        change: Number of the latest change of controls that has been applied, see `LiveEngine.move`.
        effective_from: Index of the first sample that this change affects. It may lie after this piece, because audio
            lags behind codes by the codec's delay.
        target_seconds: Length of audio that the client should buffer.
    """

    audio: np.ndarray
    first: int
    change: int
    effective_from: int
    target_seconds: float


class LiveEngine:
    """Runs a performance in a background thread until it is stopped. Several may run in one process."""

    def __init__(
        self,
        instrument: Instrument,
        control_state: ControlState,
        seed: int,
        send: Callable[[Chunk], None],
        ended: Callable[[str], None],
    ) -> None:
        """Prepares a performance. `start` starts the thread.

        Args:
            instrument: The model and codec.
            control_state: The first values of the controls.
            seed: As in `Synthesizer.generate`.
            send: Called with each chunk, in the thread.
            ended: Called once in the thread after the last chunk, with the reason; empty after a plain `stop()`.

        Raises:
            UserError: As in `Performance.check`, or the seed is not allowed.
        """
        self.performance = Performance(instrument, seed)
        self.performance.check(control_state)
        self.buffer = BufferController(instrument.info.sample_rate)
        self._hop = instrument.info.hop_length
        self._send, self._ended = send, ended
        self._control_state, self._change = control_state, 0
        self._samples = 0
        self._effective = 0, 0  # number of the latest applied change, and the first sample that it affects
        self._why: str | None = None  # reason why it ends; None while it runs
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="dacformer-live", daemon=True)

    @property
    def is_running(self) -> bool:
        """Whether the performance has started and not ended. It may be waiting for its client."""
        return self._thread.is_alive() and self._why is None

    def start(self) -> None:
        """Starts the thread.

        Raises:
            UserError: It was started before.
        """
        if self._thread.ident is not None:
            raise UserError("This performance was started before. Make a new LiveEngine to play again.")
        _running.add(self)
        self._thread.start()
        self.listen(0, False, 0)

    def move(self, control_state: ControlState, change: int) -> None:
        """Changes the controls, from the next chunk on.

        Args:
            control_state: The new values of all controls.
            change: Number that identifies this change in `Chunk.change`.

        Raises:
            UserError: As in `Performance.check` (the old controls stay), or the performance has ended.
        """
        self.performance.check(control_state)
        with self._news:
            if self._why is not None:
                raise UserError(f"This performance has ended{self._why and f': {self._why}'}. Start a new one.")
            self._control_state, self._change = control_state, change

    def listen(self, played: int | None, runs: bool, underruns: int) -> None:
        """Passes on the report of the client, which is expected several times a second.

        Args:
            played: As in `BufferController.report`. None for a client that has just connected.
            runs: As in `BufferController.report`.
            underruns: As in `BufferController.report`.
        """
        with self._news:
            self.buffer.report(time.monotonic(), self._samples if played is None else played, runs, underruns)
            self._news.notify()

    def stop(self, why: str = "") -> None:
        """Ends the performance and waits for the thread. The take stays available.

        Args:
            why: Reason that is passed to `ended`.
        """
        with self._news:
            self._why = self._why or why
            self._news.notify()
        if self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        try:
            while self._wait():
                self._send(self._chunk())
        except Exception as error:  # a notebook does not show a thread's traceback, so pass the message on
            self._why = f"{type(error).__name__}: {error}"
            raise
        finally:
            self._ended(self._why or "")

    def _wait(self) -> bool:
        """Waits until the next chunk is due. Returns False if the performance ends instead."""
        with self._news:
            while self._why is None:
                seconds = self.buffer.due_in(time.monotonic())
                if seconds == 0.0:
                    return True
                self._news.wait(None if math.isinf(seconds) else seconds)
        return False

    def _chunk(self) -> Chunk:
        with self._news:
            control_state, change = self._control_state, self._change
        if change != self._effective[0]:
            self._effective = change, self.performance.num_frames * self._hop
        audio = self.performance.play(control_state)
        with self._news:
            first = self._samples
            self._samples += len(audio)
            self.buffer.made(len(audio))
            return Chunk(audio, first, *self._effective, self.buffer.target_seconds)


_running: "weakref.WeakSet[LiveEngine]" = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Stops every engine: Python cannot end while a thread is inside torch."""
    for engine in list(_running):
        engine.stop()
