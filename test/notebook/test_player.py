"""The kernel's side of the player: what it makes of what a page says, and of what a person does in Python."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from dacformer.conditions.labels import Conditions
from dacformer.errors import UserError
from dacformer.generation.controls import Controls
from dacformer.generation.synthesizer import Synthesizer
from dacformer.notebook import PlayerWidget, play


class Page:
    """What a browser does: it asks for sound, plays what comes at once, and says so."""

    def __init__(self, player: PlayerWidget, name: str = "page") -> None:
        self.player, self.name = player, name
        self.chunks: list[tuple[dict[str, Any], np.ndarray]] = []
        self.ended = False

    def say(self, kind: str, **message: Any) -> None:
        self.player._handle_custom_msg({"type": kind, "page": self.name, **message}, [])

    def receive(self, message: dict[str, Any], buffers: list[memoryview] | None = None) -> None:
        if message["page"] != self.name:
            return
        if message["type"] == "ended":
            self.ended = True
        elif buffers:
            audio = np.frombuffer(buffers[0], np.float32)
            self.chunks.append((message, audio))
            self.report(message["first"] + len(audio))

    def report(
        self, played: int | None, is_playing: bool = True, underruns: int = 0, delay: float | None = None
    ) -> None:
        self.say("report", played=played, is_playing=is_playing, underruns=underruns, delay=delay)

    def wait_for_seconds(self, seconds: float) -> None:
        wait_until(lambda: sum(len(audio) for _, audio in self.chunks) >= seconds * self.player.info["rate"])


def wait_until(there: Callable[[], bool]) -> None:
    import time

    end = time.monotonic() + 60
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def player(synth: Synthesizer) -> Iterator[PlayerWidget]:
    player = play(synth, seed=4)
    yield player
    player.close()


@pytest.fixture
def page(player: PlayerWidget, monkeypatch: pytest.MonkeyPatch) -> Page:
    page = Page(player)
    monkeypatch.setattr(player, "send", page.receive)
    return page


def test_it_starts_with_the_first_class_and_the_settings_of_the_run(player: PlayerWidget, synth: Synthesizer) -> None:
    assert player.weights == {"pistons": 1.0, "wind": 0.0} and player.active == ["rate"]
    assert player.control_state.parameters == {"rate": 2.5}
    assert player.temperature == 1.0 and player.guidance == synth.sampling.guidance and player.seed == 4
    assert player.info["ranges"] == {"rate": (0.5, 4.5), "force": (0.1, 0.9)}
    assert not player.sounds and player.performances == []
    with pytest.raises(UserError, match="Press play"):
        _ = player.take


def test_only_parameters_of_the_weighed_classes_are_sent(player: PlayerWidget) -> None:
    player.weights = {"wind": 0.5}
    assert player.weights == {"pistons": 1.0, "wind": 0.5} and player.active == ["rate", "force"]
    player.unset = ["rate"]
    assert player.control_state.parameters == {"force": 0.5}
    player.weights = {"pistons": 0.0, "wind": 0.0}
    assert player.active == ["rate", "force"]  # any class: any parameter


def test_what_the_model_does_not_know_is_refused(player: PlayerWidget) -> None:
    with pytest.raises(UserError, match=r"Unknown class 'wnd'. Did you mean 'wind'"):
        player.weights = {"wnd": 1.0}
    with pytest.raises(UserError, match="Unknown parameter 'rat'"):
        player.parameters = {"rat": 1.0}
    with pytest.warns(UserWarning, match="leaves what was trained"):
        player.parameters = {"rate": 9.0}


def test_a_page_hears_steers_and_stops(player: PlayerWidget, page: Page, synth: Synthesizer) -> None:
    page.say("play")
    page.wait_for_seconds(0.2)
    player.set_state({"parameters": player.parameters | {"rate": 4.0}, "moves": 1})
    wait_until(lambda: page.chunks[-1][0]["change"] == 1)
    page.report(page.chunks[-1][0]["first"], underruns=2, delay=0.21)
    page.say("stop")
    assert page.ended and not player.sounds and player.status == ""
    assert player.delay_seconds == 0.21 and player.underruns == 2 and player.buffer_seconds > 0.08
    take, frame = player.take, page.chunks[-1][0]["effective_from"] // synth.info.hop_length
    assert take.curves.parameters["rate"][frame - 1] == 2.5 and take.curves.parameters["rate"][frame] == 4.0
    received = np.concatenate([audio for _, audio in page.chunks])
    np.testing.assert_allclose(received, take.audio[: len(received)], atol=1e-4)


def test_each_press_of_play_is_a_take(player: PlayerWidget, page: Page) -> None:
    for count in (1, 2):
        page.say("play")
        wait_until(lambda: player.performances[-1].num_frames > 0)
        page.say("stop")
        assert len(player.performances) == count
    one, other = (performance.take.codes[:, :3] for performance in player.performances)
    np.testing.assert_array_equal(one, other)  # the same seed


def test_another_page_takes_over_where_the_first_was(player: PlayerWidget, page: Page) -> None:
    page.say("play")
    page.wait_for_seconds(0.1)
    page.name = "another"
    before = page.chunks[-1][0]
    page.say("play")
    wait_until(lambda: page.chunks[-1][0]["page"] == "another")
    first = next(message for message, _ in page.chunks if message["page"] == "another")
    assert first["first"] > before["first"] and len(player.performances) == 1
    player._handle_custom_msg({"type": "stop", "page": "page"}, [])  # the old one has no say
    assert player.sounds


def test_a_second_player_stops_the_first(player: PlayerWidget, page: Page, synth: Synthesizer) -> None:
    page.say("play")
    other = PlayerWidget(synth)
    Page(other).say("play")
    assert not player.sounds and page.ended and other.sounds
    assert player.status == "Stopped: another player was started."
    other.close()
    assert not other.sounds


def test_a_model_without_parameters_plays(synth: Synthesizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synth, "conditions", Conditions(classes=("a", "b")))
    player = PlayerWidget(synth)
    assert player.active == [] and player.control_state.parameters == {} and player.info["ranges"] == {}


def test_knobs_move_it(player: PlayerWidget) -> None:
    player.unset = ["force"]
    player.set("class", "wind")
    player.set("force", 0.25)
    assert player.control_state.controls == Controls({"pistons": 0.0, "wind": 1.0}, {"force": 0.25})
    with pytest.raises(UserError, match="Unknown class 'rain'"):
        player.set("class", "rain")
