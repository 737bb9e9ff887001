"""MIDI and OSC: messages move controls, a moved knob is learned, and what is wrong is said."""

import importlib
import socket
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType

import mido
import numpy as np
import pytest
from pythonosc.udp_client import SimpleUDPClient

from dacformer.errors import UserError
from dacformer.generation.controls import Controls
from dacformer.generation.synthesizer import Synthesizer
from dacformer.live.midi_osc import ControllerMapping
from dacformer.notebook import LiveControls, LiveMapping, ManualControls, load_mapping

# A backend of mido that has no hardware: what is sent to its port is what a keyboard would send.
BACKEND = """
import mido

sounding = []

class Input(mido.ports.BaseInput):
    def __init__(self, name=None, callback=None, **_):
        super().__init__(name)
        self.callback = callback
        sounding.append(self)

def get_devices():
    return [{"name": name, "is_input": True, "is_output": False} for name in ("Through", "Grand Faders 8")]
"""


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "no_hardware.py").write_text(BACKEND)
    monkeypatch.syspath_prepend(tmp_path)
    before = mido.backend
    mido.set_backend("no_hardware", load=True)
    yield importlib.import_module("no_hardware")
    mido.set_backend(before)
    sys.modules.pop("no_hardware")


@pytest.fixture
def hand(synth: Synthesizer) -> ManualControls:
    return ManualControls(synth.conditions)


def listening(synth: Synthesizer, hand: ManualControls, **mapping: object) -> LiveControls:
    return LiveControls(hand, synth.conditions, LiveMapping.model_validate({"osc_port": 0} | mapping))


def test_knobs_and_keys_move_what_they_are_mapped_to(
    synth: Synthesizer, hand: ManualControls, backend: ModuleType
) -> None:
    knobs = {7: ControllerMapping(name="rate"), 8: {"name": "force", "low": 0.9, "high": 0.1}}
    mapping = {"midi_port": "faders", "controllers": knobs}
    with listening(synth, hand, **mapping, notes={36: "wind"}) as live:
        assert live.listen_midi() == "Grand Faders 8"
        send = backend.sounding[-1].callback
        for message in (
            mido.Message("control_change", control=7, value=127),
            mido.Message("control_change", control=8, value=127),
            mido.Message("control_change", control=99, value=1),
            mido.Message("note_on", note=36),
            mido.Message("note_on", note=37),
            mido.Message("note_off", note=36),
            mido.Message("pitchwheel", pitch=3),
        ):
            send(message)
        assert hand() == Controls({"wind": 1.0}, {"rate": 4.5, "force": 0.1})
        assert live.problem == ""
    assert backend.sounding[-1].closed


def test_a_knob_that_is_moved_is_learned_and_kept(synth: Synthesizer, hand: ManualControls, tmp_path: Path) -> None:
    live = listening(synth, hand)
    live.learn("rate")
    live.midi(mido.Message("note_on", note=5))  # not a knob: goes on waiting
    live.midi(mido.Message("control_change", control=21, value=0))
    live.midi(mido.Message("control_change", control=22, value=0))
    live.learn("wind")
    live.midi(mido.Message("note_on", note=60))
    assert live.mapping.controllers == {21: ControllerMapping(name="rate")} and live.mapping.notes == {60: "wind"}
    assert hand() == Controls({"wind": 1.0}, {"rate": 0.5})
    live.save(tmp_path / "learned.yaml")
    assert load_mapping(tmp_path / "learned.yaml", synth.conditions) == live.mapping
    with pytest.raises(
        UserError,
        match="Unknown parameter or class 'wnd'. Did you mean 'wind'? Known: rate, force, pistons, wind".replace(
            ".", r"\."
        ).replace("?", r"\?"),
    ):
        live.learn("wnd")


def arrives(hand: ManualControls, expected: Controls) -> bool:
    """Whether the controls soon become these."""
    deadline = time.monotonic() + 10.0
    while hand() != expected and time.monotonic() < deadline:
        time.sleep(0.01)
    return hand() == expected


def test_an_osc_client_moves_parameters_and_classes(synth: Synthesizer, hand: ManualControls) -> None:
    with listening(synth, hand, osc={"/1/fader1": {"name": "rate"}}) as live:
        client = SimpleUDPClient("127.0.0.1", live.listen_osc())
        client.send_message("/1/fader1", 0.5)
        assert arrives(hand, Controls({}, {"rate": 2.5}))
        client.send_message("/force", 0.25)
        assert arrives(hand, Controls({}, {"rate": 2.5, "force": 0.25}))
        client.send_message("/class", "wind")
        assert arrives(hand, Controls({"wind": 1.0}, {"rate": 2.5, "force": 0.25}))


@pytest.mark.parametrize(
    ("address", "values", "said"),
    [
        ("/gain", [1.0], "Unknown parameter 'gain'"),
        ("/class", ["wnd"], "Did you mean 'wind'"),
        ("/rate", ["loud"], "finite number"),
        ("/rate", [], "0 values"),
        ("/fader", ["loud"], "from 0 to 1"),
    ],
)
def test_a_wrong_message_is_kept_as_a_problem_and_moves_nothing(
    synth: Synthesizer, hand: ManualControls, address: str, values: list[object], said: str
) -> None:
    live = listening(synth, hand, osc={"/fader": {"name": "rate"}})
    live.osc(address, *values)
    assert said in live.problem and hand() == Controls()
    live.osc("/rate", 1.0)
    assert live.problem == ""


def test_a_hand_plays_a_stream(synth: Synthesizer, hand: ManualControls) -> None:
    hand.set("class", "wind")
    first = np.concatenate(list(islice(synth.stream(hand, chunk_seconds=0.1), 2)))
    assert np.isfinite(first).all()
    with pytest.raises(UserError, match="Unknown parameter"):
        hand.set("gain", 1.0)


def test_what_the_model_does_not_know_is_refused_before_the_show(
    synth: Synthesizer, hand: ManualControls, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"names the parameter 'gain'\. Known: rate, force"):
        listening(synth, hand, controllers={1: {"name": "gain"}})
    with pytest.raises(UserError, match=r"names the class 'rain'\. Known: pistons, wind"):
        listening(synth, hand, notes={1: "rain"})
    path = tmp_path / "live.yaml"
    for text, said in (
        ("controllers: {128: {name: rate}}", "127"),
        ("osc_port: 99999", "osc_port"),
        ("knobs: {}", "unknown setting 'knobs'"),
        ("controllers: {1: {name: gain}}", "live.yaml names the parameter 'gain'"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=said):
            load_mapping(path, synth.conditions)


def test_ports_that_are_not_there_are_named(synth: Synthesizer, hand: ManualControls, backend: ModuleType) -> None:
    with pytest.raises(
        UserError,
        match="No MIDI port has 'launch' in its name. There are: Through, Grand".replace(".", r"\.").replace(
            "?", r"\?"
        ),
    ):
        listening(synth, hand, midi_port="launch").listen_midi()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UserError, match="Cannot listen for OSC at 127"):
            listening(synth, hand, osc_port=taken.getsockname()[1]).listen_osc()


def test_without_the_extra_it_says_what_to_install(
    synth: Synthesizer, hand: ManualControls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mido", None)
    with pytest.raises(UserError, match=r"pip install \"dacformer\[live\]\""):
        listening(synth, hand).listen_midi()
