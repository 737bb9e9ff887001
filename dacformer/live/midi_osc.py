"""MIDI and OSC: controllers, keys and messages set parameters and classes. The mapping is YAML and can be learned.

The target is any object with `set(name, value)`: a `ManualControls` for `Synthesizer.stream`, or a player.
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
    """Parameter that a controller or an OSC address sets, and its range."""

    name: str
    """Name of the parameter."""
    low: Finite | None = None
    """Value at the lowest position, in the parameter's units; by default the lowest trained value."""
    high: Finite | None = None
    """Value at the highest position; by default the highest trained value. May be below `low`."""


class LiveMapping(Settings):
    """Mapping from MIDI controllers, MIDI notes and OSC addresses to parameters and classes."""

    midi_port: str | None = None
    """Part of the MIDI port's name; by default the first port."""
    osc_host: str = "127.0.0.1"
    """Address to listen on for OSC messages; `0.0.0.0` accepts messages of other machines."""
    osc_port: Annotated[int, Field(ge=0, le=65535)] = 9000
    """Port to listen on; 0 for any free port."""
    controllers: dict[Number, ControllerMapping] = {}
    """MIDI controller number -> parameter."""
    notes: dict[Number, str] = {}
    """MIDI note number -> class."""
    osc: dict[str, ControllerMapping] = {}
    """OSC address -> parameter, its argument from 0 to 1. `/class NAME` and `/PARAMETER VALUE` (in the parameter's own
    units) are always understood."""


class Settable(Protocol):
    """Interface of a target. `set` is called from other threads."""

    def set(self, name: str, value: Any) -> None:
        """Sets a parameter in its own units, or `class` to a name."""
        ...


class ManualControls:
    """Thread-safe current values of controls, for `Synthesizer.stream(controls)`."""

    def __init__(self, conditions: Conditions) -> None:
        """Starts with empty controls.

        Args:
            conditions: Classes and parameters of the model.
        """
        self._conditions = conditions
        self._lock = threading.Lock()
        self._controls: dict[str, Any] = {}

    def set(self, name: str, value: Any) -> None:
        """Sets a control.

        Args:
            name: Name of a parameter, or `class`.
            value: As in `Controls.of`.

        Raises:
            UserError: The name is unknown, or the value is not allowed.
        """
        Controls.of({name: value}).check(self._conditions)
        with self._lock:
            self._controls[name] = value

    def __call__(self, seconds: float = 0.0) -> Controls:
        """Returns the current controls. `seconds` is ignored."""
        with self._lock:
            return Controls.of(self._controls)


def load_mapping(path: str | Path, conditions: Conditions) -> LiveMapping:
    """Reads a mapping from YAML.

    Args:
        path: A YAML file, such as `params/live.yaml`.
        conditions: Classes and parameters of the model.

    Returns:
        The mapping.

    Raises:
        UserError: The file is not a mapping, or names unknown parameters or classes.
    """
    mapping = load_config(path, kind=LiveMapping)
    check_mapping(mapping, conditions, str(path))
    return mapping


def check_mapping(mapping: LiveMapping, conditions: Conditions, source: str = "The mapping") -> None:
    """Checks that the model knows all names of a mapping.

    Raises:
        UserError: A parameter or a class is unknown; the message lists the known ones.
    """
    parameters = [knob.name for knob in (*mapping.controllers.values(), *mapping.osc.values())]
    for names, known, what in (
        (parameters, conditions.parameters, "parameter"),
        (mapping.notes.values(), conditions.classes, "class"),
    ):
        if unknown := [name for name in names if name not in known]:
            raise UserError(f"{source} names the {what} '{unknown[0]}'. Known: {', '.join(known) or 'none'}.")


class LiveControls:
    """Receives MIDI and OSC messages and sets controls of a target. A context manager: leaving it stops listening.

    A message that cannot be applied does not raise an error, so that a concert is not interrupted. It is noted in
    `problem`.

    Attributes:
        mapping: The mapping; `learn` adds to it.
        problem: What was wrong with the latest message; empty if it was applied.
    """

    def __init__(self, target: Settable, conditions: Conditions, mapping: LiveMapping | None = None) -> None:
        """Prepares; `listen_midi` and `listen_osc` start listening.

        Args:
            target: Object whose `set` is called.
            conditions: Classes and parameters of the model.
            mapping: The mapping. If None, only OSC messages to `/class` and `/PARAMETER` are understood.

        Raises:
            UserError: The mapping names an unknown parameter or class.
        """
        self.mapping = mapping or LiveMapping()
        self.problem = ""
        check_mapping(self.mapping, conditions)
        self._target, self._conditions = target, conditions
        self._learning: str | None = None
        self._close: list[Callable[[], None]] = []

    def learn(self, name: str) -> None:
        """Assigns a parameter to the next controller that is moved, or a class to the next key that is pressed.

        Args:
            name: Name of a parameter or of a class.

        Raises:
            UserError: The name is neither.
        """
        if name not in self._conditions.parameters and name not in self._conditions.classes:
            raise unknown_name("parameter or class", name, [*self._conditions.parameters, *self._conditions.classes])
        self._learning = name

    def save(self, path: str | Path) -> None:
        """Writes the mapping, including what was learned, as YAML."""
        save_config(self.mapping, path)

    def midi(self, message: Any) -> None:
        """Handles a `mido.Message`: control changes and pressed notes; other types are ignored."""
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
        """Handles an OSC message with one value. The address is in the mapping, `/class`, or `/PARAMETER`."""
        if len(values) != 1:
            self.problem = f"{address} came with {len(values)} values. Expected one."
        elif knob := self.mapping.osc.get(address):
            self._turn(knob, values[0])
        else:
            self._set(address.removeprefix("/"), values[0])

    def listen_midi(self) -> str:
        """Opens the MIDI port and starts listening.

        Returns:
            Name of the port.

        Raises:
            UserError: mido is not installed, the machine has no MIDI, or there is no port of this name.
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
        """Opens the OSC port and starts listening.

        Returns:
            Number of the port.

        Raises:
            UserError: python-osc is not installed, or the port is taken.
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
