"""Performance: generates a take chunk by chunk from the current controls, and records these as curves."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from dacformer.arguments import check_seed, finite_number
from dacformer.config import SamplingConfig
from dacformer.errors import UserError, shown
from dacformer.generation.controls import Controls
from dacformer.generation.curves import Curve, Points
from dacformer.generation.instrument import Instrument
from dacformer.generation.render import AudioStream, render_generated
from dacformer.generation.sampling import Sampling, parse_sampling
from dacformer.generation.session import Session
from dacformer.generation.take import Take

CHUNK_FRAMES = 3  # 35 ms: shorter ones cost more messages, longer ones delay the controls


@dataclass(frozen=True)
class ControlState:
    """Values of all controls at one moment. They are checked when the object is made.

    Attributes:
        classes: Weight of each class, 0 or more; classes that are not named have weight 0.
        parameters: Value of each parameter, in its own units; parameters that are not named are unset.
        temperature: As in `SamplingConfig`, one for all codebooks.
        guidance: As in `SamplingConfig`, one for all channels.
    """

    classes: Mapping[str, float]
    parameters: Mapping[str, float]
    temperature: float
    guidance: float

    def __post_init__(self) -> None:
        """Checks that all values are finite numbers. Names and ranges are checked by `Performance.check`.

        Raises:
            UserError: A value is not a finite number.
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
        """Classes and parameters as `Controls`."""
        return Controls(self.classes, self.parameters)

    @property
    def sampling(self) -> dict[str, float]:
        """Temperature and guidance by name."""
        return {"temperature": self.temperature, "guidance": self.guidance}


def _number(name: str, value: object) -> float:
    number = finite_number(value)
    if number is None:
        raise UserError(f"'{name}' is {shown(value)}. Expected a finite number.")
    return number


class Performance:
    """Generates a take chunk by chunk and records the controls.

    `Synthesizer.generate` with the recipe of the take gives the same codes.

    Attributes:
        num_frames: Number of frames generated so far.
    """

    def __init__(self, synth: Instrument, seed: int = 0) -> None:
        """Starts before the first frame.

        Args:
            synth: The model and codec.
            seed: As in `Synthesizer.generate`.
        """
        self._synth = synth
        self._seed = seed = check_seed(seed)
        self._checked: tuple[ControlState, SamplingConfig] | None = None
        still = Curve([(0.0, 1.0)], step=True)  # a curve, so that guidance may change later
        self._stream = AudioStream(synth, seed, Sampling(synth.sampling, {"guidance": still}))
        self._lock = threading.Lock()  # one thread may read `take` while another calls `play`
        self._codes: list[np.ndarray] = []
        self._points: dict[str, dict[str, Points]] = {}
        self.num_frames = 0

    def check(self, control_state: ControlState) -> SamplingConfig:
        """Checks controls against the model.

        Args:
            control_state: The controls.

        Returns:
            The sampling settings that result from them.

        Raises:
            UserError: A class or parameter is unknown, or a value is not allowed.
        """
        latest = self._checked
        if latest is not None and latest[0] is control_state:
            return latest[1]
        control_state.controls.check(self._synth.conditions)
        settings = parse_sampling(self._synth.sampling, control_state.sampling).still
        self._checked = control_state, settings
        return settings

    def play(self, control_state: ControlState, num_frames: int = CHUNK_FRAMES) -> np.ndarray:
        """Generates the next frames under constant controls, and records both.

        Not thread-safe: calls must come from one thread at a time.

        Args:
            control_state: The controls of these frames.
            num_frames: Number of frames, 1 or more.

        Returns:
            The audio that is complete now, `(n,)` float32. It lags behind the frames by the codec's `delay_frames`.
            The concatenated pieces are the audio of the take.

        Raises:
            UserError: As in `check`.
        """
        settings = self.check(control_state)
        times = self._synth.times(self.num_frames, self.num_frames + num_frames)
        codes, audio = self._stream.play(control_state.controls, times, [settings] * num_frames)
        conditions = self._synth.conditions
        with self._lock:
            classes = {name: control_state.classes.get(name, 0.0) for name in conditions.classes}
            parameters = {name: control_state.parameters.get(name) for name in conditions.parameters}
            sampling = control_state.sampling
            for kind, values in (("classes", classes), ("parameters", parameters), ("sampling", sampling)):
                self._note(kind, values, float(times[0]))
            self._codes.append(codes.astype(np.int32))
            self.num_frames += num_frames
        return audio

    def _note(self, kind: str, values: Mapping[str, float | None], seconds: float) -> None:
        """Records the values that differ from the latest recorded ones."""
        for name, value in values.items():
            points = self._points.setdefault(kind, {}).setdefault(name, [])
            if not points or points[-1][1] != value:
                points.append((seconds, value))

    @property
    def take(self) -> Take:
        """The take of all frames so far. It is decoded again at each access, as the root of a new session.

        Raises:
            UserError: Nothing has been generated yet.
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
    """Converts recorded points to curves, without the names that always had the value `unset`."""
    asked = {name: each for name, each in points.items() if {value for _, value in each} != {unset}}
    return {name: Curve(each, step=True) for name, each in asked.items()}
