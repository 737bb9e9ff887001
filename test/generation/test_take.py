"""Takes that are worked on: longer, shorter, branched, undone, kept; what was there stays."""

import dataclasses
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dacformer.codec import read_dac, write_dac
from dacformer.errors import UserError
from dacformer.generation.controls import Controls
from dacformer.generation.curves import Curve
from dacformer.generation.recipe import parse_recipe
from dacformer.generation.synthesizer import Synthesizer
from dacformer.generation.take import Branches, Take, read_take

MOVING = {"class": "wind", "strength": Curve([(0, 0.1), (1, 0.9)])}
OTHER = {"class": {"pistons": 1.0}, "rate": Curve([(0, 0), (0.2, 1)])}
SECOND = 86 * 512 / 44100  # 86 frames; the model of these tests looks 30 frames back
few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def synth(untrained: Synthesizer) -> Synthesizer:
    return untrained


@pytest.fixture
def take(synth: Synthesizer) -> Take:
    return synth.generate(SECOND, MOVING, seed=3)


@pytest.fixture
def delay(synth: Synthesizer) -> int:
    """Samples that the decoder looks ahead."""
    return synth.codec.delay_frames * 512


@pytest.mark.parametrize("sampling", [{}, {"guidance": 1.0, "precision": "float32"}, {"temperature": 0.0}])
def test_a_take_that_is_extended_is_one_long_take(synth: Synthesizer, sampling: dict[str, Any]) -> None:
    whole = synth.generate(2 * SECOND, MOVING, seed=3, **sampling)
    half = synth.generate(SECOND, MOVING, seed=3, **sampling)
    longer = half.extend(SECOND)
    np.testing.assert_array_equal(longer.codes, whole.codes)
    np.testing.assert_allclose(longer.audio, whole.audio, atol=1e-5)
    # Heard again, as far back as the model looks, it is the same to the last bit.
    again = half.extend(SECOND)
    np.testing.assert_array_equal(again.codes, whole.codes)
    np.testing.assert_array_equal(again.audio, longer.audio)


def test_what_was_there_stays_bit_for_bit(take: Take, delay: int) -> None:
    codes, audio = take.codes.copy(), take.audio
    longer = take.extend(0.5, OTHER, seed=9)
    np.testing.assert_array_equal(longer.codes[:, :86], codes)
    np.testing.assert_array_equal(longer.audio[: len(audio) - delay], audio[:-delay])
    np.testing.assert_array_equal(take.audio, audio)
    assert longer.seconds == pytest.approx(129 * 512 / 44100) and len(longer.audio) == 129 * 512
    assert np.shares_memory(longer.audio_chunks[0], take.audio_chunks[0])


@few
@given(edits=st.lists(st.tuples(st.sampled_from(["extend", "cut", "branch"]), st.floats(0.02, 0.4)), max_size=5))
def test_after_any_edits_the_audio_is_that_of_the_codes(synth: Synthesizer, edits: list[tuple[str, float]]) -> None:
    take = synth.generate(0.2, {"class": "wind"}, seed=1)
    for edit, amount in edits:
        before = take
        if edit == "cut":
            take = take.cut(max(0.01, take.seconds * amount))
        else:
            take = take.extend(amount) if edit == "extend" else take.branch(2, amount)[1]
        shared = min(take.codes.shape[1], before.codes.shape[1])
        np.testing.assert_array_equal(take.codes[:, :shared], before.codes[:, :shared])
    decoded = synth.codec.decode(torch.from_numpy(take.codes)[None])[0, 0].numpy()
    gain = 10 ** (-synth.info.level_offset_db["wind"] / 20)
    np.testing.assert_allclose(take.audio, np.clip(gain * decoded, -1, 1), atol=1e-4)
    assert len(take.recipe.edits) == 1 + len(edits)


def test_what_was_cut_off_comes_again_with_the_same_seed_and_else_with_another(take: Take) -> None:
    short = take.cut(0.4)
    assert short.codes.shape == (4, 34)
    np.testing.assert_array_equal(short.extend(52 / 86 * SECOND).codes, take.codes)
    assert not np.array_equal(short.extend(52 / 86 * SECOND, seed=4).codes, take.codes)


@pytest.mark.parametrize("at", [0.0, -1.0, 1.1, float("nan"), float("inf"), "0.5", True, None])
def test_a_cut_that_is_not_within_the_take_is_refused(take: Take, at: Any) -> None:
    with pytest.raises(UserError, match="expected a time within the take"):
        take.cut(at)


def test_new_controls_start_where_the_take_ends(synth: Synthesizer, take: Take) -> None:
    longer = take.extend(0.5, OTHER)
    weights, rate = longer.curves.classes, longer.curves.parameters["rate"]
    assert list(weights["wind"][[85, 86]]) == [1, 0] and list(weights["pistons"][[85, 86]]) == [0, 1]
    np.testing.assert_allclose(rate[[86, -1]], [0, 1])
    assert np.isnan(rate[:86]).all()
    # What was recorded is rendered again, to the same codes.
    np.testing.assert_array_equal(synth.generate(longer.seconds, longer.controls, seed=3).codes, longer.codes)


def test_branches_have_one_past_and_different_futures(take: Take) -> None:
    branches = take.branch(3, 0.3, seed=5)
    assert branches._repr_html_().count("<audio") == 3 and repr(branches[0]).startswith("<Take of 1.30 s")
    for branch in branches:
        np.testing.assert_array_equal(branch.codes[:, :86], take.codes)
        assert branch.parent is take and branch.codes.shape == (4, 112)
    assert len({branch.codes.tobytes() for branch in branches}) == 3
    np.testing.assert_array_equal(take.branch(3, 0.3, seed=5)[1].codes, branches[1].codes)
    for count in (0, -1, 1.5, "2", True, None):
        with pytest.raises(UserError, match="at least 1"):
            take.branch(count, 0.3)  # pyright: ignore[reportArgumentType]


class CountedSteps:
    """A model's step that counts the frames it makes or hears."""

    def __init__(self, synth: Synthesizer) -> None:
        self.step, self.count = synth.compiled_step("int8"), 0

    def __call__(self, *args: object) -> torch.Tensor:
        self.count += 1
        return self.step(*args)  # type: ignore[arg-type]


@pytest.fixture
def counted(synth: Synthesizer, monkeypatch: pytest.MonkeyPatch) -> CountedSteps:
    steps = CountedSteps(synth)
    monkeypatch.setattr(synth, "compiled_step", lambda _: steps)
    return steps


def test_the_twentieth_extension_costs_what_the_first_does(counted: CountedSteps, take: Take) -> None:
    costs, decoded = [], []
    for _ in range(20):
        before, counted.count = take, 0
        take = take.extend(0.1)
        costs.append(counted.count)
        decoded.append(len(take.audio_chunks[-1]) // 512)
        assert all(np.shares_memory(a, b) for a, b in zip(take.audio_chunks[:-1], before.audio_chunks, strict=False))
    assert set(costs[1:]) == {9}
    assert set(decoded) == {9 + 11}
    counted.count = 0
    take.parent.extend(0.1)  # type: ignore[union-attr]
    assert counted.count == 9 + 2 * 15  # heard again as far as two layers look


def test_nothing_is_lost_by_undoing(take: Take) -> None:
    longer = take.extend(0.1)
    other = longer.undo().cut(0.5)
    assert longer.undo() is take and take.children == [longer, other]
    history = other.history
    assert list(history.takes) == [take, longer, other] and history[1] is longer and len(history) == 3
    lines = str(history).splitlines()
    assert lines[0] == "0: generate seconds=0.998458 seed=3, 1.00 s"
    assert lines[2] == "   2: cut at_seconds=0.5, 0.50 s ◀"
    assert history._repr_html_().count("<audio") == 3
    with pytest.raises(UserError, match="nothing to undo"):
        take.undo()


def test_a_prompt_is_undone_to_the_prompt(synth: Synthesizer, take: Take) -> None:
    heard = synth.continue_from(take.codes, 0.2, MOVING, seed=1)
    assert heard.undo().codes.shape == (4, 86)
    strength = heard.curves.parameters["strength"]
    assert np.isnan(strength[:86]).all() and strength[86] == pytest.approx(0.1)
    longer = heard.cut(heard.seconds - 0.1).extend(9 / 86 * SECOND)
    np.testing.assert_array_equal(longer.codes, heard.codes)


curves = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5).map(
    lambda points: Curve(sorted(points), step=len(points) % 2 == 0)
)


@few
@given(strength=st.one_of(st.floats(0, 1), curves), seed=st.integers(0, 2**31), later=st.booleans())
def test_a_folder_gives_back_the_take(synth: Synthesizer, strength: object, seed: int, later: bool) -> None:
    take = synth.generate(0.2, {"class": "wind", "strength": strength}, seed)
    take = take.extend(0.1, OTHER, top_k=9) if later else take
    with tempfile.TemporaryDirectory() as folder:
        opened = synth.load_take(take.save(Path(folder) / "take"))
    np.testing.assert_array_equal(opened.audio, take.audio)
    np.testing.assert_array_equal(opened.codes, take.codes)
    assert opened.recipe == take.recipe
    for name, curve in take.curves.labelled().items():
        np.testing.assert_array_equal(opened.curves.labelled()[name], curve)
    np.testing.assert_array_equal(opened.extend(0.1).codes, take.extend(0.1).codes)


def test_a_folder_holds_what_another_person_can_open(take: Take, tmp_path: Path) -> None:
    folder = take.save(tmp_path / "new" / "take")
    names = {"audio.wav", "codes.dac", "controls.yaml", "picture.png", "recipe.yaml"}
    assert {path.name for path in folder.iterdir()} == names
    assert yaml.safe_load((folder / "controls.yaml").read_text())["classes"] == {"wind": 1.0}
    take.cut(0.5).save(folder)  # a take may take a take's place
    assert read_take(folder).seconds == pytest.approx(43 * 512 / 44100)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="something else than a take"):
        take.save(tmp_path / "else")


def test_without_a_model_a_take_is_seen_and_heard_but_not_changed(take: Take, tmp_path: Path) -> None:
    opened = read_take(take.save(tmp_path / "take"))
    assert "<audio" in opened._repr_html_() and len(opened.plot().axes) >= 2
    for change in (lambda: opened.extend(1.0), lambda: opened.cut(0.5), lambda: opened.branch(2, 1.0)):
        with pytest.raises(UserError, match=r"without a model.*synth\.load_take"):
            change()


def test_codes_with_a_recipe_are_a_take(synth: Synthesizer, take: Take, tmp_path: Path) -> None:
    path = take.extend(0.1, OTHER).save(tmp_path / "take.dac")
    opened = synth.load_take(path)
    np.testing.assert_array_equal(opened.extend(0.1).codes, take.children[0].extend(0.1).codes)
    write_dac(path, dataclasses.replace(read_dac(path), recipe=""))
    with pytest.raises(UserError, match="tells no recipe"):
        synth.load_take(path)


def test_a_take_of_another_checkpoint_says_so_and_of_another_codec_is_refused(
    synth: Synthesizer, take: Take, tmp_path: Path
) -> None:
    folder = dataclasses.replace(take, recipe=take.recipe.model_copy(update={"checkpoint": "other/1"})).save(
        tmp_path / "a"
    )
    with pytest.warns(UserWarning, match="was made with other/1"):
        synth.load_take(folder)
    other = take.recipe.model_copy(update={"codec": "other-0"})
    folder = dataclasses.replace(take, recipe=other).save(tmp_path / "b")
    with pytest.raises(UserError, match="codes of other-0"):
        synth.load_take(folder)


@pytest.mark.parametrize(
    ("name", "contents", "said"),
    [
        ("recipe.yaml", "", "expected names and values"),
        ("recipe.yaml", "{edits: 3}", "edits"),
        ("recipe.yaml", "[", "YAML"),
        ("controls.yaml", "{parameters: {strength: loud}}", "finite number"),
        ("controls.yaml", "{classes: {wnd: 1}}", "Did you mean 'wind'"),
        ("codes.dac", "no codes", "not a whole .dac file"),
        ("audio.wav", "no sound", "cannot be read as audio"),
    ],
)
def test_a_damaged_folder_says_what_is_wrong(
    synth: Synthesizer, take: Take, tmp_path: Path, name: str, contents: str, said: str
) -> None:
    folder = take.save(tmp_path / "take")
    (folder / name).write_text(contents)
    with pytest.raises(UserError, match=said):
        synth.load_take(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=name):
        synth.load_take(folder)


def mutated(recipe: object, place: int, value: object) -> object:
    """A recipe with another value at one of its places, counted through all its branches."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            walk(node[key])

    copy = json.loads(json.dumps(recipe))
    walk(copy)
    node, key = places[place % len(places)]
    node[key] = value
    return copy


SCRIPT = "<script>alert(1)</script>"
junk = st.sampled_from(
    [SCRIPT, None, True, -1, 0, 10**30, 1e300, float("nan"), [], {}, [[1, 2]], {"points": 3}, {"points": [], "step": 1},
     {"points": [[0, SCRIPT]], "step": False}, {SCRIPT: 1}, "\n", [None], {"classes": {SCRIPT: 1}}]
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1000), junk)
@pytest.mark.filterwarnings("ignore")
def test_a_recipe_of_somebody_else_is_one_line_or_a_take_that_shows_no_script(
    synth: Synthesizer, take_file: Path, place: int, value: object
) -> None:
    file = read_dac(take_file)
    recipe = json.dumps(mutated(json.loads(file.recipe), place, value))
    path = write_dac(take_file.with_name("mutated.dac"), dataclasses.replace(file, recipe=recipe))
    try:
        opened = synth.load_take(path)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return
    shown = opened.history._repr_html_() + Branches([opened])._repr_html_()
    assert "<script" not in shown and repr(opened) and repr(opened.history)
    assert opened.curves.labelled() is not None and opened.loops in (True, False)


@pytest.fixture(scope="module")
def take_file(synth: Synthesizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A take of every kind of edit."""
    take = synth.continue_from(np.zeros((4, 5), int), 0.05, MOVING, seed=3).extend(0.1, OTHER, temperature=0.5)
    take = take.branch(2, 0.2)[1].cut(0.3).loop(0.2, n=1)
    return take.save(tmp_path_factory.mktemp("takes") / "take.dac")


def test_a_recipe_of_every_edit_is_opened_as_it_was(synth: Synthesizer, take_file: Path) -> None:
    opened = synth.load_take(take_file)
    assert opened.recipe.to_json() == json.loads(read_dac(take_file).recipe)
    assert [edit.edit for edit in opened.recipe.edits] == [
        "prompt", "extend", "extend", "branch", "cut", "extend", "loop",
    ]  # fmt: skip


def test_recipes_of_seeds_below_zero_are_opened(synth: Synthesizer, take_file: Path, tmp_path: Path) -> None:
    file = read_dac(take_file)
    recipe = json.loads(file.recipe) | {"seed": -1}
    path = write_dac(tmp_path / "old.dac", dataclasses.replace(file, recipe=json.dumps(recipe)))
    assert synth.load_take(path).extend(0.05).recipe.seed == -1


@pytest.mark.parametrize("recipe", ["[" * 100_000, '{"seed": ' + "1" * 5000 + "}", "3", "null", '"text"'])
def test_what_is_no_recipe_is_said_in_one_line(recipe: str) -> None:
    with pytest.raises(UserError, match=r"^a\.dac tells no recipe[^\n]*$"):
        parse_recipe(recipe, "a.dac")


def test_a_recipe_takes_no_place_but_that_of_another(take: Take, tmp_path: Path) -> None:
    long = take.extend(0.1, {"class": "wind", "strength": Curve([(i / 100, i % 2) for i in range(300)])})
    (tmp_path / "x.json").write_text('{"my": "notes"}')
    with pytest.raises(UserError, match=r"x\.json, where the recipe is to go, is something else"):
        long.save(tmp_path / "x.wav")
    assert (tmp_path / "x.json").read_text() == '{"my": "notes"}'
    for _ in range(2):
        long.save(tmp_path / "y.wav")


@pytest.mark.parametrize("name", ["$x$", r"$\bad{$", "_hidden", "🐝"])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_names_of_any_kind_are_drawn(take: Take, tmp_path: Path, name: str) -> None:
    controls = Controls({name: 1.0}, {name: 0.5})
    figure = dataclasses.replace(take, recipe=take.recipe.model_copy(update={"controls": controls})).plot()
    figure.savefig(tmp_path / "x.png")
    (legend,) = [legend for axes in figure.axes if (legend := axes.get_legend())]
    assert len(legend.get_texts()) == 2


def test_a_folder_of_two_takes_is_refused(synth: Synthesizer, take: Take, tmp_path: Path) -> None:
    folder = take.save(tmp_path / "take")
    take.cut(0.5).save(folder / "codes.dac")
    with pytest.raises(UserError, match="not of one take"):
        synth.load_take(folder)


def test_extending_says_what_is_wrong_and_leaves_the_take(synth: Synthesizer, take: Take) -> None:
    with pytest.raises(UserError, match="Unknown class 'wnd'"):
        take.extend(0.1, {"class": "wnd"})
    with pytest.raises(UserError, match="length above 0"):
        take.extend(0)
    with pytest.raises(UserError, match="Did you mean 'temperature'"):
        take.extend(0.1, temprature=1)
    assert take.children == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        take.extend(0.1)
