"""Real-time generation: a background thread generates audio chunks from the current controls for a client.

`Performance` generates and records, `BufferController` says when the next chunk is due, `LiveEngine` runs both.
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
    """A piece of sound on its way to the listener.

    Attributes:
        audio: `(n,)` float32.
        first: Where it begins, in samples since the beginning.
        change: The number of the change of controls that is in force.
        effective_from: Where that change is first audible, in samples; later than this piece, by the codec's delay.
        target_seconds: How much the client is to hold.
    """

    audio: np.ndarray
    first: int
    change: int
    effective_from: int
    target_seconds: float


class LiveEngine:
    """A performance that goes on in a thread of its own until it is stopped. Several may run in one process."""

    def __init__(
        self,
        instrument: Instrument,
        control_state: ControlState,
        seed: int,
        send: Callable[[Chunk], None],
        ended: Callable[[str], None],
    ) -> None:
        """Prepares; `start` begins.

        Args:
            instrument: What plays.
            control_state: Where the controls stand.
            seed: As in `Synthesizer.generate`.
            send: Takes the sound, in the thread.
            ended: Told why, when no more will come: empty where `stop` was asked to.

        Raises:
            UserError: Controls that the model cannot play, or a seed that is none.
        """
        self.performance = Performance(instrument, seed)
        self.performance.check(control_state)
        self.buffer = BufferController(instrument.info.sample_rate)
        self._hop = instrument.info.hop_length
        self._send, self._ended = send, ended
        self._control_state, self._change = control_state, 0
        self._samples = 0
        self._effective = 0, 0  # the latest change in force, and from which sample on
        self._why: str | None = None  # why it ends
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="dacformer-live", daemon=True)

    @property
    def is_running(self) -> bool:
        """Whether it goes on; it may wait for its client."""
        return self._thread.is_alive() and self._why is None

    def start(self) -> None:
        """Begins.

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
            control_state: Where they stand now.
            change: A number, to tell this change by.

        Raises:
            UserError: The model cannot play it, or the performance has ended; what plays goes on as it was.
        """
        self.performance.check(control_state)
        with self._news:
            if self._why is not None:
                raise UserError(f"This performance has ended{self._why and f': {self._why}'}. Start a new one.")
            self._control_state, self._change = control_state, change

    def listen(self, played: int | None, runs: bool, underruns: int) -> None:
        """Takes a client's report, several times a second, see `BufferController.report`; `played` is None if new."""
        with self._news:
            self.buffer.report(time.monotonic(), self._samples if played is None else played, runs, underruns)
            self._news.notify()

    def stop(self, why: str = "") -> None:
        """Ends it. What was played stays.

        Args:
            why: What the client is told.
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
        except Exception as error:  # a thread's traceback is lost to the notebook: say it, then let it go on
            self._why = f"{type(error).__name__}: {error}"
            raise
        finally:
            self._ended(self._why or "")

    def _wait(self) -> bool:
        """Waits until the next chunk is due; whether there is to be one."""
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
