"""MIDI and OSC: knobs, keys and messages move parameters and classes, by a mapping in YAML that can be learned.

They move anything with `set(name, value)`: a `ManualControls`, which `Synthesizer.stream` plays from, or a player.
Needs `pip install "dacformer[live]"` (mido, python-rtmidi, python-osc).
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Field

from dacformer.arguments import unknown_name
from dacformer.conditions.labels import Conditions
from dacformer.config import Settings, load_config, save_config
from dacformer.errors import UserError
from dacformer.extras import require_extra
from dacformer.generation.controls import Controls

Number = Annotated[int, Field(ge=0, le=127)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
LARGEST = 127.0  # of a MIDI controller


class ControllerMapping(Settings):
    """What a controller moves."""

    name: str
    """A parameter."""
    low: Finite | None = None
    """Its value with the knob down, in its own units; the lowest that was trained if left out."""
    high: Finite | None = None
    """Its value with the knob up; the highest that was trained if left out. May be below `low`."""


class LiveMapping(Settings):
    """Which controller, key or message moves what."""

    midi_port: str | None = None
    """A part of the port's name; the first port if left out."""
    osc_host: str = "127.0.0.1"
    """Where OSC messages are listened for; `0.0.0.0` lets other machines in."""
    osc_port: Annotated[int, Field(ge=0, le=65535)] = 9000
    """0 takes a free one."""
    controllers: dict[Number, ControllerMapping] = {}
    """MIDI controller number -> parameter."""
    notes: dict[Number, str] = {}
    """MIDI note number -> class."""
    osc: dict[str, ControllerMapping] = {}
    """OSC address -> parameter, its argument from 0 to 1. `/class NAME` and `/PARAMETER VALUE` (in the parameter's own
    units) are always understood."""


class Settable(Protocol):
    """What can be steered; called from other threads."""

    def set(self, name: str, value: Any) -> None:
        """Sets a parameter in its own units, or `class` to a name."""
        ...


class ManualControls:
    """Controls that stand still until they are set; give it to `Synthesizer.stream` as `controls`."""

    def __init__(self, conditions: Conditions) -> None:
        """Starts with nothing asked for.

        Args:
            conditions: What the model knows.
        """
        self._conditions = conditions
        self._lock = threading.Lock()
        self._controls: dict[str, Any] = {}

    def set(self, name: str, value: Any) -> None:
        """Sets a control, as in `Controls`.

        Raises:
            UserError: Not known to the model, or no value.
        """
        Controls.of({name: value}).check(self._conditions)
        with self._lock:
            self._controls[name] = value

    def __call__(self, seconds: float = 0.0) -> Controls:
        """How all stand, now."""
        with self._lock:
            return Controls.of(self._controls)


def load_mapping(path: str | Path, conditions: Conditions) -> LiveMapping:
    """Reads a mapping.

    Args:
        path: A YAML file, such as `params/live.yaml`.
        conditions: What the model knows.

    Returns:
        The mapping.

    Raises:
        UserError: Not a mapping, or of parameters or classes that the model does not know.
    """
    mapping = load_config(path, kind=LiveMapping)
    check_mapping(mapping, conditions, str(path))
    return mapping


def check_mapping(mapping: LiveMapping, conditions: Conditions, source: str = "The mapping") -> None:
    """Refuses names that the model does not know.

    Raises:
        UserError: A parameter or a class is unknown; the known ones are listed.
    """
    parameters = [knob.name for knob in (*mapping.controllers.values(), *mapping.osc.values())]
    for names, known, what in (
        (parameters, conditions.parameters, "parameter"),
        (mapping.notes.values(), conditions.classes, "class"),
    ):
        if unknown := [name for name in names if name not in known]:
            raise UserError(f"{source} names the {what} '{unknown[0]}'. Known: {', '.join(known) or 'none'}.")


class LiveControls:
    """Listens to MIDI and OSC and sets what they move; a context manager.

    A message that names what the model does not know is not an error on stage: it is kept in `problem`.

    Attributes:
        mapping: Grows with `learn`.
        problem: What was last wrong with a message; empty if nothing was.
    """

    def __init__(self, target: Settable, conditions: Conditions, mapping: LiveMapping | None = None) -> None:
        """Prepares; `listen_midi` and `listen_osc` begin.

        Args:
            target: What is steered.
            conditions: What the model knows.
            mapping: Nothing but OSC's own addresses if None.

        Raises:
            UserError: The mapping names what the model does not know.
        """
        self.mapping = mapping or LiveMapping()
        self.problem = ""
        check_mapping(self.mapping, conditions)
        self._target, self._conditions = target, conditions
        self._learning: str | None = None
        self._close: list[Callable[[], None]] = []

    def learn(self, name: str) -> None:
        """The next knob that is moved, or key that is pressed, is this parameter's or class's from then on.

        Args:
            name: A parameter or a class.

        Raises:
            UserError: It is neither.
        """
        if name not in self._conditions.parameters and name not in self._conditions.classes:
            raise unknown_name("parameter or class", name, [*self._conditions.parameters, *self._conditions.classes])
        self._learning = name

    def save(self, path: str | Path) -> None:
        """Writes the mapping, with what it has learned, as YAML."""
        save_config(self.mapping, path)

    def midi(self, message: Any) -> None:
        """Takes a MIDI message, a `mido.Message`; kinds that move nothing are ignored."""
        if message.type == "control_change":
            if self._learning in self._conditions.parameters:
                learned = {message.control: ControllerMapping(name=str(self._learning))}
                self._grow(controllers=self.mapping.controllers | learned)
            if knob := self.mapping.controllers.get(message.control):
                self._turn(knob, message.value / LARGEST)
        if message.type == "note_on" and message.velocity > 0:
            if self._learning in self._conditions.classes:
                self._grow(notes=self.mapping.notes | {message.note: str(self._learning)})
            if name := self.mapping.notes.get(message.note):
                self._set("class", name)

    def osc(self, address: str, *values: Any) -> None:
        """Takes an OSC message: an address of the mapping, `/class`, or a slash and a parameter's name."""
        if len(values) != 1:
            self.problem = f"{address} came with {len(values)} values. Expected one."
        elif knob := self.mapping.osc.get(address):
            self._turn(knob, values[0])
        else:
            self._set(address.removeprefix("/"), values[0])

    def listen_midi(self) -> str:
        """Opens the MIDI port.

        Returns:
            Its name.

        Raises:
            UserError: No mido, no MIDI on this machine, or no such port.
        """
        with require_extra("live"):
            import mido
        try:
            names: list[str] = mido.get_input_names()
        except Exception as error:  # each backend raises its own kind
            raise UserError(f"MIDI is not to be had on this machine: {error}") from error
        wanted = self.mapping.midi_port or ""
        fitting = [name for name in names if wanted.lower() in name.lower()]
        if not fitting:
            raise UserError(f"No MIDI port has '{wanted}' in its name. There are: {', '.join(names) or 'none'}.")
        port = mido.open_input(fitting[0], callback=self.midi)
        self._close.append(port.close)
        return fitting[0]

    def listen_osc(self) -> int:
        """Opens the OSC port.

        Returns:
            Its number.

        Raises:
            UserError: No python-osc, or the port is taken.
        """
        with require_extra("live"):
            from pythonosc.dispatcher import Dispatcher
            from pythonosc.osc_server import ThreadingOSCUDPServer

        dispatcher = Dispatcher()
        dispatcher.set_default_handler(self.osc)
        address = self.mapping.osc_host, self.mapping.osc_port
        try:
            server = ThreadingOSCUDPServer(address, dispatcher)
        except OSError as error:
            raise UserError(
                f"Cannot listen for OSC at {address[0]}:{address[1]}: {error}. Give another port."
            ) from error
        threading.Thread(target=server.serve_forever, name="dacformer-osc", daemon=True).start()
        self._close += [server.shutdown, server.server_close]
        return server.server_address[1]

    def close(self) -> None:
        """Stops listening."""
        while self._close:
            self._close.pop(0)()

    def __enter__(self) -> "LiveControls":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _grow(self, **changes: Any) -> None:
        self.mapping, self._learning = self.mapping.model_copy(update=changes), None

    def _turn(self, knob: ControllerMapping, share: Any) -> None:
        trained = self._conditions.parameters[knob.name]
        low = trained.low if knob.low is None else knob.low
        high = trained.high if knob.high is None else knob.high
        try:
            up = min(max(float(share), 0.0), 1.0)
            self._set(knob.name, (1.0 - up) * low + up * high)  # both ends exactly
        except (TypeError, ValueError):
            self.problem = f"'{knob.name}' was sent {share!r}. Expected a number from 0 to 1."

    def _set(self, name: str, value: Any) -> None:
        try:
            self._target.set(name, value)
            self.problem = ""
        except UserError as error:
            self.problem = str(error)
