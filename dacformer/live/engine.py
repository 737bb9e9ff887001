"""Real-time generation: a background thread generates audio chunks from the current controls and records each change.

`Performance` generates chunk by chunk and records the controls. `BufferController` says when the next chunk is due.
`LiveEngine` runs both in a thread and hands the audio to its client.
"""

import atexit
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
import torch

from dacformer.arguments import check_seed, finite_number
from dacformer.config import SamplingConfig
from dacformer.errors import UserError, shown
from dacformer.generation.controls import Controls
from dacformer.generation.curves import Curve, Points
from dacformer.generation.instrument import Instrument
from dacformer.generation.render import AudioStream
from dacformer.generation.sampling import Sampling, parse_sampling
from dacformer.generation.session import Session, render_generated
from dacformer.generation.take import Take

CHUNK_FRAMES = 3  # 35 ms: shorter ones cost more messages, longer ones delay the controls
LEAST_AHEAD, MOST_AHEAD = 0.06, 3.0  # seconds of sound that the listener holds

CALM_SECONDS = 10.0  # without an under-run, before less is held again; twice as long after each
LONGEST_CALM_SECONDS = 300.0
SILENCE_SECONDS = 10.0  # without a word from the listener, before nothing more is made for it


@dataclass(frozen=True)
class ControlState:
    """All controls at one moment, checked when it is made.

    Attributes:
        classes: The weight of each class; one that is not named has the weight 0.
        parameters: In their own units; one that is not named is unset.
        temperature: As in `SamplingConfig`, one for all codebooks.
        guidance: As in `SamplingConfig`, one for all channels.
    """

    classes: Mapping[str, float]
    parameters: Mapping[str, float]
    temperature: float
    guidance: float

    def __post_init__(self) -> None:
        """Refuses what is no number; whether a model knows the names is for `Performance.check`.

        Raises:
            UserError: A value is no finite number.
        """
        for name in ("classes", "parameters"):
            given = getattr(self, name)
            if not isinstance(given, Mapping):
                raise UserError(f"The {name} of a control state are {shown(given)}. Expected {{name: value, ...}}.")
            object.__setattr__(self, name, {each: _number(each, value) for each, value in given.items()})
        for name in ("temperature", "guidance"):
            object.__setattr__(self, name, _number(name, getattr(self, name)))

    @cached_property
    def controls(self) -> Controls:
        """As the model is steered."""
        return Controls(self.classes, self.parameters)


def _number(name: str, value: object) -> float:
    number = finite_number(value)
    if number is None:
        raise UserError(f"'{name}' is {shown(value)}. Expected a finite number.")
    return number


class Performance:
    """A take in the making: rendering it again by its recipe, with `Synthesizer.generate`, gives the same codes."""

    def __init__(self, synth: Instrument, seed: int = 0) -> None:
        """Starts from nothing.

        Args:
            synth: What plays.
            seed: As in `Synthesizer.generate`.
        """
        self._synth = synth
        self._seed = seed = check_seed(seed)
        self._checked: tuple[ControlState, SamplingConfig] | None = None
        still = Curve([(0.0, 1.0)], step=True)  # moves, so that any guidance may be asked for later
        self._stream = AudioStream(synth, seed, Sampling(synth.sampling, {"guidance": still}))
        self._lock = threading.Lock()  # a take may be asked for while another thread plays
        self._codes: list[np.ndarray] = []
        self._points: dict[str, dict[str, Points]] = {}
        self.num_frames = 0

    def check(self, control_state: ControlState) -> SamplingConfig:
        """Refuses what cannot be played.

        Args:
            control_state: What is to steer.

        Returns:
            How frames are drawn then.

        Raises:
            UserError: The model does not know a class or a parameter, or a value is one that it cannot have.
        """
        latest = self._checked
        if latest is not None and latest[0] is control_state:
            return latest[1]
        control_state.controls.check(self._synth.conditions)
        draws = {"temperature": control_state.temperature, "guidance": control_state.guidance}
        settings = parse_sampling(self._synth.sampling, draws).still
        self._checked = control_state, settings
        return settings

    def play(self, control_state: ControlState, num_frames: int = CHUNK_FRAMES) -> np.ndarray:
        """Goes on.

        Args:
            control_state: What steers these frames.
            num_frames: How many.

        Returns:
            `(n,)` float32: the sound that they complete. Laid end to end, the pieces are the take's sound.

        Raises:
            UserError: As in `check`.
        """
        settings = self.check(control_state)
        times = np.arange(self.num_frames, self.num_frames + num_frames) / self._synth.info.frame_rate
        codes, audio = self._stream.play(control_state.controls, times, [settings] * num_frames)
        conditions = self._synth.conditions
        with self._lock:
            classes = {name: control_state.classes.get(name, 0.0) for name in conditions.classes}
            parameters = {name: control_state.parameters.get(name) for name in conditions.parameters}
            draws = {"temperature": control_state.temperature, "guidance": control_state.guidance}
            for kind, values in (("classes", classes), ("parameters", parameters), ("sampling", draws)):
                self._note(kind, values, float(times[0]))
            self._codes.append(codes.astype(np.int32))
            self.num_frames += num_frames
        return audio

    def _note(self, kind: str, values: Mapping[str, float | None], seconds: float) -> None:
        """Keeps what has changed."""
        for name, value in values.items():
            points = self._points.setdefault(kind, {}).setdefault(name, [])
            if not points or points[-1][1] != value:
                points.append((seconds, value))

    @property
    def take(self) -> Take:
        """All that was played so far, its sound decoded anew.

        Raises:
            UserError: Nothing was.
        """
        with self._lock:
            if not self._codes:
                raise UserError("Nothing was played yet, so there is no take. Press play first.")
            codes = torch.from_numpy(np.concatenate(self._codes, axis=1).astype(np.int64))[None]
            points = {kind: dict(each) for kind, each in self._points.items()}
        controls = Controls(_curves(points["classes"], 0.0), _curves(points["parameters"], None))
        sampling = Sampling(self._synth.sampling, _curves(points["sampling"], None))
        (take,) = render_generated(self._synth, codes, [controls], sampling, self._seed)
        return Session(self._synth).add(take)


def _curves(points: Mapping[str, Points], unset: float | None) -> dict[str, Curve]:
    """The curves of all that was ever set."""
    asked = {name: each for name, each in points.items() if {value for _, value in each} != {unset}}
    return {name: Curve(each, step=True) for name, each in asked.items()}


class BufferController:
    """Adaptive buffer controller: targets the smallest client buffer that avoids underruns.

    The target grows by half after an underrun and shrinks by a fifth after a calm period. Between the client's reports
    the playback position is extrapolated from the clock.
    """

    def __init__(self, sample_rate: int) -> None:
        """Begins with nothing made and no listener.

        Args:
            sample_rate: In Hz.
        """
        self._rate = sample_rate
        self._made = self._played = 0.0  # samples; the latter as of the last report
        self._runs = False
        self._reported = -math.inf
        self._calm_since, self._calm = -math.inf, CALM_SECONDS
        self.underruns = 0
        self.target_seconds = LEAST_AHEAD

    def made(self, samples: int) -> None:
        """So much more is on its way."""
        self._made += samples

    def report(self, now: float, played: float, runs: bool, underruns: int) -> None:
        """What the listener says.

        Args:
            now: Seconds of any clock that does not jump.
            played: Samples, since the beginning.
            runs: The sound runs now (it does not before the first buffer is full, nor after an under-run).
            underruns: New ones.
        """
        guess = self._played_by(now)
        # A report that was held up tells of the past, so one that is below the guess is believed slowly.
        self._played = played if not runs or underruns or played > guess else guess + 0.1 * (played - guess)
        if now - self._reported > SILENCE_SECONDS:
            self._calm_since = now
        self._reported, self._runs = now, runs
        self.underruns += underruns
        if underruns:
            self.target_seconds, self._calm_since = min(1.5 * self.target_seconds, MOST_AHEAD), now
            self._calm = min(2.0 * self._calm, LONGEST_CALM_SECONDS)
        elif now - self._calm_since > self._calm:
            self.target_seconds, self._calm_since = max(0.8 * self.target_seconds, LEAST_AHEAD), now

    def due_in(self, now: float) -> float:
        """Seconds until more is to be made; infinite while nobody listens."""
        if now - self._reported > SILENCE_SECONDS:
            return math.inf
        return max(0.0, (self._made - self._played_by(now)) / self._rate - self.target_seconds)

    def _played_by(self, now: float) -> float:
        since = (now - self._reported) * self._rate if self._runs else 0.0
        return min(self._made, self._played + since)


class Chunk(NamedTuple):
    """A piece of sound on its way to the listener.

    Attributes:
        audio: `(n,)` float32.
        first: Where it begins, in samples since the beginning.
        change: The number of the change of controls that is in force.
        effective_from: Where that change is first audible, in samples; later than this piece, by the codec's delay.
        target_seconds: How much the listener is to hold.
    """

    audio: np.ndarray
    first: int
    change: int
    effective_from: int
    target_seconds: float


class LiveEngine:
    """A performance that goes on in a thread of its own until it is stopped. Only one of a process sounds at a time."""

    _sounding: ClassVar["LiveEngine | None"] = None

    def __init__(
        self,
        synth: Instrument,
        control_state: ControlState,
        seed: int,
        send: Callable[[Chunk], None],
        ended: Callable[[str], None],
    ) -> None:
        """Prepares; `start` begins.

        Args:
            synth: What plays.
            control_state: Where the controls stand.
            seed: As in `Synthesizer.generate`.
            send: Takes the sound, in the thread.
            ended: Told why, when no more will come: empty where `stop` was asked to.

        Raises:
            UserError: Controls that the model cannot play, or a seed that is none.
        """
        self.performance = Performance(synth, seed)
        self.performance.check(control_state)
        self.flow = BufferController(synth.info.sample_rate)
        self._hop = synth.info.hop_length
        self._send, self._ended = send, ended
        self._control_state, self._change = control_state, 0
        self._samples = 0
        self._effective = 0, 0  # the latest change in force, and from which sample on
        self._why: str | None = None  # why it ends
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="dacformer-live", daemon=True)

    @property
    def sounds(self) -> bool:
        """Whether it goes on; it may wait for its listener."""
        return self._thread.is_alive() and self._why is None

    def start(self) -> None:
        """Begins, and ends the one that sounded before.

        Raises:
            UserError: It was started before.
        """
        if self._thread.ident is not None:
            raise UserError("This performance was started before. Make a new LiveEngine to play again.")
        before, LiveEngine._sounding = LiveEngine._sounding, self
        if before is not None and before.sounds:
            before.stop("Stopped: another player was started.")
        self._thread.start()
        self.listen(0, False, 0)

    def move(self, control_state: ControlState, change: int) -> None:
        """Changes the controls, from the next chunk on.

        Args:
            control_state: Where they stand now.
            change: A number, to tell this change by.

        Raises:
            UserError: The model cannot play it, or the performance has ended; what sounds goes on as it was.
        """
        self.performance.check(control_state)
        with self._news:
            if self._why is not None:
                raise UserError(f"This performance has ended{self._why and f': {self._why}'}. Start a new one.")
            self._control_state, self._change = control_state, change

    def listen(self, played: int | None, runs: bool, underruns: int) -> None:
        """Takes a client's report, several times a second, see `BufferController.report`; `played` is None if new."""
        with self._news:
            self.flow.report(time.monotonic(), self._samples if played is None else played, runs, underruns)
            self._news.notify()

    def stop(self, why: str = "") -> None:
        """Ends it. What was played stays.

        Args:
            why: What the listener is told.
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
                seconds = self.flow.due_in(time.monotonic())
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
            self.flow.made(len(audio))
            return Chunk(audio, first, *self._effective, self.flow.target_seconds)


@atexit.register
def _silence() -> None:
    """Stops what sounds: Python cannot end while a thread is inside torch."""
    if LiveEngine._sounding is not None:
        LiveEngine._sounding.stop()
