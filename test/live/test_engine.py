"""What was played can be rendered again; the flow holds as little as goes well; the thread ends when it is told to."""

import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from dacformer.errors import UserError
from dacformer.generation.recipe import parse_recipe
from dacformer.generation.synthesizer import Synthesizer
from dacformer.generation.take import Take
from dacformer.live.buffering import CALM_SECONDS, LEAST_AHEAD, SILENCE_SECONDS, BufferController
from dacformer.live.engine import Chunk, LiveEngine
from dacformer.live.performance import CHUNK_FRAMES, ControlState, Performance

WIND = ControlState({"wind": 1.0}, {"strength": 0.5}, temperature=1.0, guidance=2.0)
MOVES = [
    WIND,
    WIND,
    ControlState({"wind": 1.0}, {"strength": 0.0}, 1.0, 2.0),
    ControlState({"wind": 0.4, "pistons": 0.6}, {"strength": 0.9, "rate": 0.3}, 0.0, 1.0),
    ControlState({"pistons": 1.0}, {"rate": 0.3}, 1.3, 1.0),
    ControlState({}, {}, 0.7, 3.5),
    WIND,
]


def perform(synth: Synthesizer, seed: int, moves: list[ControlState] = MOVES) -> tuple[Take, np.ndarray]:
    performance = Performance(synth, seed)
    heard = [performance.play(control_state) for control_state in moves for _ in range(3)]
    return performance.take, np.concatenate(heard)


def render(synth: Synthesizer, take: Take) -> Take:
    recipe = parse_recipe(json.dumps(take.recipe.to_json()), "a file")
    return synth.generate(take.seconds, recipe.controls, recipe.seed, **recipe.sampling.changes())


def test_what_was_played_is_rendered_again(synth: Synthesizer) -> None:
    take, _ = perform(synth, seed=5)
    again = render(synth, take)
    assert take.codes.shape == (4, 3 * CHUNK_FRAMES * len(MOVES))
    np.testing.assert_array_equal(again.codes, take.codes)
    np.testing.assert_array_equal(again.audio, take.audio)
    for name, curve in take.curves.labelled().items():
        np.testing.assert_array_equal(again.curves.labelled()[name], curve)
    assert again.recipe == take.recipe


def test_every_move_is_in_the_curves(synth: Synthesizer) -> None:
    curves = perform(synth, seed=5)[0].curves
    each = slice(None, None, 3 * CHUNK_FRAMES)
    np.testing.assert_array_equal(curves.classes["wind"][each], [1, 1, 1, 0.4, 0, 0, 1])
    np.testing.assert_array_equal(curves.parameters["strength"][each], [0.5, 0.5, 0, 0.9, math.nan, math.nan, 0.5])
    np.testing.assert_array_equal(curves.parameters["rate"][each], [math.nan] * 3 + [0.3, 0.3] + [math.nan] * 2)


def test_what_was_never_asked_for_is_not_in_the_recipe(synth: Synthesizer) -> None:
    take, _ = perform(synth, seed=1, moves=[ControlState({"wind": 1.0}, {"strength": 0.0}, 0.0, 2.0)])
    assert take.controls.parameters.keys() == {"strength"} and take.controls.classes.keys() == {"wind"}
    assert take.recipe.sampling.moving["temperature"].points == [(0.0, 0.0)]


def test_what_was_heard_is_the_sound_of_the_take(synth: Synthesizer) -> None:
    take, heard = perform(synth, seed=5)
    assert 0 < len(take.audio) - len(heard) <= 12 * take.hop_length  # the codec's delay
    np.testing.assert_allclose(heard, take.audio[: len(heard)], atol=1e-4)


def test_nothing_played_is_no_take(synth: Synthesizer) -> None:
    with pytest.raises(UserError, match="Press play"):
        _ = Performance(synth).take


def test_nothing_is_made_for_nobody() -> None:
    flow = BufferController(1000)
    assert flow.due_in(0.0) == math.inf
    flow.report(0.0, 0, False, 0)
    assert flow.due_in(0.0) == 0.0
    assert flow.due_in(SILENCE_SECONDS + 0.1) == math.inf
    flow.report(20.0, 0, False, 0)
    assert flow.due_in(20.0) == 0.0


def test_no_more_is_made_than_the_buffer_takes() -> None:
    flow = BufferController(1000)
    flow.report(0.0, 0, False, 0)
    flow.made(100)
    assert flow.due_in(5.0) == pytest.approx(0.1 - LEAST_AHEAD)  # it has not begun to play
    flow.report(5.0, 0, True, 0)
    assert flow.due_in(5.01) == pytest.approx(0.1 - LEAST_AHEAD - 0.01)
    assert flow.due_in(5.05) == 0.0


def test_a_report_that_was_held_up_does_not_fill_the_buffer_less() -> None:
    flow = BufferController(1000)
    flow.made(5000)
    flow.report(0.0, 0, True, 0)
    on_time = flow.due_in(1.0)
    flow.report(1.0, 500, True, 0)  # half a second old
    assert on_time <= flow.due_in(1.0) <= on_time + 0.051
    flow.report(1.0, 700, True, 1)  # it stood still: this one is to be believed
    assert flow.due_in(1.0) == pytest.approx(4.3 - flow.target_seconds)


def test_the_buffer_grows_with_under_runs_and_shrinks_in_calm() -> None:
    flow = BufferController(1000)
    flow.report(0.0, 0, True, 0)
    assert flow.target_seconds == LEAST_AHEAD
    flow.report(1.0, 0, False, 1)
    assert flow.target_seconds == pytest.approx(1.5 * LEAST_AHEAD) and flow.underruns == 1
    for second in range(2, int(6 * CALM_SECONDS)):
        flow.report(second, 0, True, 0)
    assert flow.target_seconds == LEAST_AHEAD
    for second in range(100, 130):
        flow.report(second, 0, False, 1)
    assert flow.target_seconds == 3.0


class Listener:
    """Plays at once whatever comes."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.reasons: list[str] = []
        self.changed = threading.Condition()
        self.live: LiveEngine | None = None

    def receive(self, chunk: Chunk) -> None:
        with self.changed:
            self.chunks.append(chunk)
            self.changed.notify()
        if self.live is not None:
            self.live.listen(chunk.first + len(chunk.audio), True, 0)

    def wait_for(self, there: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(there, timeout=60)

    @property
    def seconds(self) -> float:
        return sum(len(chunk.audio) for chunk in self.chunks) / 44100


@pytest.fixture
def play(synth: Synthesizer) -> Iterator[Callable[[Listener], LiveEngine]]:
    made: list[LiveEngine] = []

    def start(listener: Listener) -> LiveEngine:
        live = LiveEngine(synth, WIND, 3, listener.receive, listener.reasons.append)
        made.append(live)
        live.start()
        return live

    yield start
    for live in made:
        live.stop()


def test_a_buffer_is_filled_and_no_more(play: Callable[[Listener], LiveEngine]) -> None:
    listener = Listener()  # which never says that it plays
    live = play(listener)
    listener.wait_for(lambda: listener.seconds >= LEAST_AHEAD)
    live.stop()
    assert listener.seconds < LEAST_AHEAD + 2 * CHUNK_FRAMES * 512 / 44100
    assert not live.is_running and listener.reasons == [""]


def test_live_moves_are_heard_recorded_and_rendered_again(synth: Synthesizer, play: Callable[..., LiveEngine]) -> None:
    listener = Listener()
    live = listener.live = play(listener)
    live.listen(0, True, 0)
    listener.wait_for(lambda: listener.seconds > 0.3)
    live.move(MOVES[3], change=7)
    listener.wait_for(lambda: listener.chunks[-1].change == 7 and listener.seconds > 0.6)
    live.stop()
    first = [chunk.first for chunk in listener.chunks]
    assert first == np.cumsum([0, *(len(chunk.audio) for chunk in listener.chunks[:-1])]).tolist()
    take = live.performance.take
    (effective_from,) = {chunk.effective_from for chunk in listener.chunks if chunk.change == 7}
    frame = effective_from // take.hop_length
    assert take.curves.classes["wind"][frame - 1] == 1.0 and take.curves.classes["wind"][frame] == 0.4
    np.testing.assert_array_equal(render(synth, take).codes, take.codes)


def test_unknown_names_are_refused_where_they_are_given(synth: Synthesizer, play: Callable[..., LiveEngine]) -> None:
    listener = Listener()
    live = play(listener)
    for control_state, said in (
        (ControlState({"wnd": 1.0}, {}, 1.0, 1.0), "Did you mean 'wind'"),
        (ControlState({}, {"gain": 1.0}, 1.0, 1.0), "Unknown parameter 'gain'"),
        (ControlState({"wind": -1.0}, {}, 1.0, 1.0), "0 or more"),
        (ControlState({"wind": 1.0}, {}, -1.0, 1.0), "'temperature'"),
        (ControlState({"wind": 1.0}, {}, 1.0, -1.0), "'guidance'"),
    ):
        with pytest.raises(UserError, match=said):
            live.move(control_state, 1)
        with pytest.raises(UserError, match=said):
            Performance(synth).play(control_state)
        with pytest.raises(UserError, match=said):
            LiveEngine(synth, control_state, 0, listener.receive, listener.reasons.append)
    assert live.is_running and listener.reasons == []


@pytest.mark.parametrize(
    "values",
    [
        ({"wind": "1"}, {}, 1, 1),
        ({}, {"rate": None}, 1, 1),
        ({}, {}, True, 1),
        ({}, {}, 1, math.nan),
        ("wind", {}, 1, 1),
    ],
)
def test_a_stance_is_made_of_numbers(values: tuple) -> None:
    with pytest.raises(UserError, match=r"Expected"):
        ControlState(*values)


def test_an_ended_engine_says_so(synth: Synthesizer, play: Callable[[Listener], LiveEngine]) -> None:
    live, other = play(Listener()), Listener()
    with pytest.raises(UserError, match="started before"):
        live.start()
    live.stop("Stopped by a test.")
    with pytest.raises(UserError, match=r"has ended: Stopped by a test\."):
        live.move(WIND, 1)
    unstarted = LiveEngine(synth, WIND, 0, other.receive, other.reasons.append)
    unstarted.stop()


def test_two_engines_play_at_once_what_each_would_alone(
    synth: Synthesizer, play: Callable[[Listener], LiveEngine]
) -> None:
    listeners = [Listener(), Listener()]
    engines = [play(listener) for listener in listeners]
    for engine, listener in zip(engines, listeners, strict=True):
        listener.live = engine
        engine.listen(0, True, 0)
    engines[1].move(MOVES[3], change=1)
    for listener in listeners:
        listener.wait_for(lambda listener=listener: listener.seconds > 0.5)
    assert all(engine.is_running for engine in engines)
    takes = [engine.performance.take for engine in engines if engine.stop() is None]
    assert not np.array_equal(takes[0].codes[:, :20], takes[1].codes[:, :20])
    for take in takes:
        np.testing.assert_array_equal(render(synth, take).codes, take.codes)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_goes_wrong_in_the_thread_is_told(synth: Synthesizer) -> None:
    def broken(_: Chunk) -> None:
        raise OSError("the line is cut")

    reasons: list[str] = []
    live = LiveEngine(synth, WIND, 0, broken, reasons.append)
    live.start()
    live._thread.join(timeout=60)
    assert not live.is_running and reasons == ["OSError: the line is cut"]


def test_a_stopped_one_stays_stopped_and_keeps_its_take(play: Callable[[Listener], LiveEngine]) -> None:
    listener = Listener()
    live = play(listener)
    listener.wait_for(lambda: len(listener.chunks) > 2)
    live.stop()
    count = len(listener.chunks)
    live.listen(0, True, 0)
    live.stop("again")
    assert len(listener.chunks) == count and live.performance.take.codes.shape[1] == count * CHUNK_FRAMES


@pytest.mark.heavy
def test_a_program_may_end_while_it_plays(trained: Path) -> None:
    program = f"""
from dacformer.generation.synthesizer import load
from dacformer.live.engine import LiveEngine
from dacformer.live.performance import ControlState
import threading
arrived = threading.Event()
def receive(chunk):
    live.listen(chunk.first + len(chunk.audio), True, 0)
    arrived.set()
live = LiveEngine(load({str(trained)!r}), ControlState({{"wind": 1.0}}, {{}}, 1.0, 2.0), 0, receive, print)
live.start()
assert arrived.wait(60)
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2], timeout=300)
