"""The player as a person meets it: in JupyterLab, in a browser, with a mouse, and with things that go wrong."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .lab import Lab, Notebook, picture, write_notebook

pytestmark = pytest.mark.browser

PLAYER = ".dacformer-player"
BUTTON = f"{PLAYER} button.play"
LOAD = "import dacformer\nsynth = dacformer.load({run!r})"
# What the kernel sends, kept to be compared.
LISTEN = """
sent = []
send_chunk = player._send_chunk
player._send_chunk = lambda chunk: (sent.append(chunk.audio.copy()), send_chunk(chunk))
"""
# Taps the worklet: all that it plays from now on.
RECORD = """async () => {
    const { context, output } = document.querySelector(".dacformer-player").sound;
    const source = `registerProcessor("recorder", class extends AudioWorkletProcessor {
        process([[input]]) { if (input) this.port.postMessage(input.slice()); return true; }
    })`;
    await context.audioWorklet.addModule(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    const recorder = new AudioWorkletNode(context, "recorder");
    window.recorded = [];
    recorder.port.onmessage = ({ data }) => window.recorded.push(...data);
    output.node.connect(recorder);
}"""
# Waits until nothing more is made: a second is as long as thirty chunks.
PAUSED = """
import time
deadline, before = time.monotonic() + 60, -1
while player.performances[-1].num_frames != before:
    assert time.monotonic() < deadline, "it goes on without a page"
    before = player.performances[-1].num_frames
    time.sleep(1.0)
print(before, player.sounds)
"""
SOUND = 'document.querySelector(".dacformer-player").sound'

Open = Callable[..., Notebook]


@pytest.fixture
def open_notebook(lab: Lab, page: Any) -> Iterator[Open]:
    """Writes a notebook of these cells, opens it, runs it, and waits for its players."""
    opened: list[Notebook] = []

    def open_it(*cells: str, players: int = 1) -> Notebook:
        write_notebook(lab.folder / "player.ipynb", *cells)
        notebook = Notebook(lab, page, "player.ipynb")
        opened.append(notebook)
        notebook.run_all()
        notebook.wait_for(f"document.querySelectorAll('{PLAYER}').length == {players}")
        assert notebook.complaints == []
        return notebook

    yield open_it
    for notebook in opened:
        notebook.close()


def same_samples(recorded: np.ndarray, sent: np.ndarray) -> int:
    """How many recorded samples lie in what was sent, in stretches of at least 128."""
    count, i, sent_bytes = 0, 0, sent.tobytes()
    while i + 128 <= len(recorded):
        at = sent_bytes.find(recorded[i : i + 128].tobytes())
        if at < 0 or not recorded[i : i + 128].any():
            i += 1
            continue
        rest = min(len(recorded) - i, len(sent) - at // 4)
        differs = np.flatnonzero(recorded[i : i + rest] != sent[at // 4 : at // 4 + rest])
        length = int(differs[0]) if len(differs) else rest
        count, i = count + length, i + length
    return count


def test_played_steered_stopped_and_rendered_again(trained: Path, open_notebook: Open, page: Any, lab: Lab) -> None:
    """The browser plays, sample by sample, what the kernel sent; a move is audible; the take can be made again."""
    run = os.environ.get("PLAYER_RUN", trained)  # another run, to measure its delay
    notebook = open_notebook(
        LOAD.format(run=str(Path(run).resolve())), f"player = dacformer.play(synth, seed=3)\n{LISTEN}\nplayer"
    )
    page.click(BUTTON)
    page.wait_for_function(f"{SOUND}.state.isPlaying")
    page.evaluate(RECORD)
    page.wait_for_function("window.recorded.length > 44100")
    page.locator(f"{PLAYER} .classes input.slider").last.press("End")  # a morph: the last class beside the first
    page.wait_for_function(f"{SOUND}.delay !== null")
    page.wait_for_function(f"{SOUND}.moved.size === 0 && window.recorded.length > 88200")
    picture(page.locator(PLAYER), "player")
    state = page.evaluate(f"({{ ...{SOUND}.state, delay: {SOUND}.delay, target: {SOUND}.target }})")
    page.click(BUTTON)
    page.wait_for_function(f"!{SOUND}.isStarted")
    recorded = np.array(page.evaluate("window.recorded"), np.float32)

    notebook.run("import numpy as np; np.save('sent.npy', np.concatenate(sent))")
    sent = np.load(lab.folder / "sent.npy")
    same = same_samples(recorded, sent)
    print(f"{same} of {len(recorded)} samples the same, {state}")
    if state["underruns"] == 0:
        first = int(np.flatnonzero(recorded)[0])
        assert same >= len(recorded) - first - 128
    assert same >= 20_000

    # The sound changes where the move is recorded: the codec knows of it a few frames before.
    notebook.run(
        "take = player.take; recipe = take.recipe\n"
        "again = synth.generate(take.seconds, recipe.controls, recipe.seed, **recipe.sampling.changes())\n"
        "assert np.array_equal(again.codes, take.codes)\n"
        "first, *_, last = synth.conditions.classes\n"
        "values = {name: player.parameters[name] for name in synth.conditions.parameters_for([first])}\n"
        "still = synth.generate(take.seconds, {'class': first, **values}, recipe.seed, **recipe.sampling.changes())"
    )
    told = json.loads(
        notebook.run(
            "import json; print(json.dumps([int(np.argmax(take.curves.classes[last])),"
            "int(np.argmax(np.abs(still.audio[:len(sent)] - take.audio[:len(sent)]) > 1e-3)),"
            "player.delay_seconds, player.underruns, player.sounds]))".replace("len(sent)", str(len(sent)))
        )
    )
    frame, first_other, delay, underruns, sounds = told
    assert frame > 0 and abs(first_other / 512 - frame) <= 14
    assert delay == pytest.approx(state["delay"]) and not sounds
    assert delay < 0.3 + 2 * state["target"] + (5.0 if underruns else 0.0)
    print(f"control to sound: {1000 * delay:.0f} ms, {underruns} under-runs")


@pytest.mark.heavy
def test_where_no_worklet_is_allowed_buffers_are_scheduled(trained: Path, open_notebook: Open, page: Any) -> None:
    page.add_init_script("AudioWorklet.prototype.addModule = () => Promise.reject(new Error('no blobs here'))")
    notebook = open_notebook(LOAD.format(run=str(trained)), "player = dacformer.play(synth)\nplayer")
    page.click(BUTTON)
    page.wait_for_function(f"{SOUND}.state.played > 22050")
    said = "Scheduled buffers instead of an AudioWorklet: this page forbids an AudioWorklet."
    assert page.inner_text(f"{PLAYER} .status") == said
    page.locator(f"{PLAYER} .parameters input.slider:visible").press("ArrowRight")  # which JupyterLab knows, too
    page.wait_for_function(f"{SOUND}.delay !== null")
    page.click(BUTTON)
    page.wait_for_function(f"!{SOUND}.isStarted")
    assert notebook.run("print(player.sounds, player.take.seconds > 0.5)") == "False True"


def test_a_page_that_goes_away_pauses_and_another_goes_on(
    trained: Path, open_notebook: Open, page: Any, browser: Any, lab: Lab
) -> None:
    notebook = open_notebook(LOAD.format(run=str(trained)), "player = dacformer.play(synth)\nplayer")
    notebook.run("from dacformer.live import buffering; buffering.SILENCE_SECONDS = 2.0")
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    page.click(BUTTON)
    page.wait_for_function(f"{SOUND}.state.played > 0")
    page.goto("about:blank")
    Notebook.__init__(notebook, lab, page, "player.ipynb")
    paused, sounds = notebook.run(PAUSED).split()
    assert sounds == "True"
    page.wait_for_selector(BUTTON)
    page.click(BUTTON)
    # It goes on from there, and is not paused again by a page that counts from 0.
    page.wait_for_function(f"{SOUND}.state.played > {512 * int(paused) + 3 * 44100}")
    assert notebook.run("print(len(player.performances), player.sounds)") == "1 True"


@pytest.mark.heavy
def test_a_kernel_that_is_restarted_is_noticed(trained: Path, open_notebook: Open, page: Any) -> None:
    open_notebook(LOAD.format(run=str(trained)), "player = dacformer.play(synth)\nplayer")
    page.click(BUTTON)
    page.wait_for_function(f"{SOUND}.state.played > 0")
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    page.wait_for_function(f"document.querySelector('{PLAYER} .status').textContent.includes('run the cell again')")


def test_one_player_stops_the_other(trained: Path, open_notebook: Open, page: Any) -> None:
    notebook = open_notebook(
        LOAD.format(run=str(trained)),
        "one = dacformer.play(synth)\none",
        "two = dacformer.play(synth, 1)\ntwo",
        players=2,
    )
    first, second = page.locator(PLAYER).all()
    first.locator("button.play").click()
    page.wait_for_function(f"{SOUND}.state.played > 0")
    second.locator("button.play").click()
    page.wait_for_function(f"!{SOUND}.isStarted")
    page.wait_for_function(f"document.querySelector('{PLAYER} .status').textContent !== ''")
    assert first.locator(".status").inner_text() == "Stopped: another player was started."
    assert notebook.run("print(one.sounds, two.sounds)") == "False True"


@pytest.mark.heavy
def test_another_cell_runs_while_it_plays(trained: Path, open_notebook: Open, page: Any) -> None:
    """Neither waits for the other: JupyterLab speaks to widgets beside the cells."""
    notebook = open_notebook(LOAD.format(run=str(trained)), "player = dacformer.play(synth)\nplayer")
    page.click(BUTTON)
    page.wait_for_function(f"{SOUND}.state.played > 0")
    before = page.evaluate(f"{SOUND}.state.played")
    notebook.run("import time; time.sleep(3)")
    assert page.evaluate(f"{SOUND}.state.played") > before
    notebook.run("player.stop()")
    page.wait_for_function(f"!{SOUND}.isStarted")


@pytest.mark.parametrize(
    "parameters", [pytest.param(0, marks=pytest.mark.heavy), pytest.param(50, marks=pytest.mark.heavy)]
)
def test_any_number_of_parameters_fits(trained: Path, open_notebook: Open, page: Any, parameters: int) -> None:
    ranges = {
        f"a parameter with a long name {i}": {"low": -i, "high": i + 1, "classes": ("wind",)} for i in range(parameters)
    }
    open_notebook(
        LOAD.format(run=str(trained)),
        "from dacformer.conditions.labels import Conditions\n"
        "from dacformer.generation.synthesizer import Synthesizer\n"
        "from dacformer.checkpoint import Checkpoint\n"
        f"conditions = Conditions(classes=('wind',), parameters={ranges!r})\n"
        "metadata = synth.checkpoint.metadata.model_copy(update={'conditions': conditions})\n"
        "dacformer.play(Synthesizer(Checkpoint(metadata, metadata.build_model(), 'knows nothing')))",
    )
    rows = page.locator(f"{PLAYER} .parameters .rows")
    assert rows.is_visible() == bool(parameters)
    assert page.locator(f"{PLAYER} .parameters input.slider").count() == parameters
    assert page.evaluate(f"(e => e.scrollWidth <= e.clientWidth)(document.querySelector('{PLAYER}'))")
    assert page.locator(PLAYER).bounding_box()["height"] < 600
    if parameters:
        assert rows.evaluate("e => e.scrollHeight > 2 * e.clientHeight && e.scrollWidth <= e.clientWidth")
