"""Curves in seconds, controls as they are typed, and what the model is told."""

import json
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dacformer.conditions.labels import Conditions, ParameterRange
from dacformer.errors import UserError
from dacformer.generation.controls import Controls
from dacformer.generation.curves import Curve

CONDITIONS = Conditions(
    classes=("bees", "rain", "wind"),
    parameters={
        "density": ParameterRange(low=0.0, high=1.0, classes=("rain",)),
        "strength": ParameterRange(low=10.0, high=30.0, classes=("wind",)),
    },
)
numbers = st.floats(-1e6, 1e6)
times = st.integers(-10_000, 10_000).map(lambda milliseconds: milliseconds / 1000)
points = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8, unique_by=lambda point: point[0]).map(sorted)


@given(points, st.booleans(), st.floats(-2e6, 2e6))
def test_a_curve_stays_between_its_points(points: list[tuple[float, float]], step: bool, seconds: float) -> None:
    values = [value for _, value in points]
    slack = 1e-9 * max(map(abs, values))
    assert min(values) - slack <= Curve(points, step)(seconds) <= max(values) + slack


@given(points, st.booleans())
def test_a_curve_goes_through_its_points(points: list[tuple[float, float]], step: bool) -> None:
    curve = Curve(points, step)
    assert [curve(time) for time, _ in points] == [value for _, value in points]


@given(points, st.booleans(), st.floats(0, 1e6))
def test_a_curve_stays_where_it_begins_and_where_it_ends(
    points: list[tuple[float, float]], step: bool, beyond: float
) -> None:
    curve = Curve(points, step)
    assert curve(points[0][0] - beyond) == points[0][1]
    assert curve(points[-1][0] + beyond) == points[-1][1]


def test_a_curve_is_a_line_between_points_or_a_step() -> None:
    assert [Curve([(0, 0), (10, 5)])(t) for t in (0, 1, 5, 10)] == [0, 0.5, 2.5, 5]
    assert [Curve([(0, 0), (10, 5)], step=True)(t) for t in (0, 1, 9.999, 10)] == [0, 0, 0, 5]


def test_two_points_at_one_time_are_a_jump() -> None:
    jump = Curve([(0, 1), (5, 2), (5, 8), (10, 9)])
    assert jump(5 - 1e-9) == pytest.approx(2) and jump(5) == 8 and jump(7.5) == 8.5


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(1, 0), (0, 0)],
        [(0, float("nan"))],
        [(float("inf"), 0)],
        [(0,)],
        5,
        None,
        [("a", 1)],
        [("0", 1)],
        [(0, True)],
    ],
)
def test_what_is_no_curve_is_refused(points: list[tuple[float, float]]) -> None:
    with pytest.raises(UserError, match=r"[Cc]urve"):
        Curve(points)


def test_an_unknown_class_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(UserError, match=r"Unknown class 'rian'\. Did you mean 'rain'\? Known: bees, rain, wind\."):
        Controls.of({"class": "rian"}).check(CONDITIONS)


def test_an_unknown_parameter_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(
        UserError, match=r"Unknown parameter 'strenght'\. Did you mean 'strength'\? .*density, strength"
    ):
        Controls.of({"strenght": 12}).check(CONDITIONS)


@pytest.mark.parametrize("value", ["12", None, True, [1, 2], float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"'strength' is .* Expected a finite number or a Curve"):
        Controls.of({"strength": value}).check(CONDITIONS)
    with pytest.raises(UserError, match=r"'class wind' is .* Expected a finite number or a Curve"):
        Controls.of({"class": {"wind": value}}).check(CONDITIONS)


@pytest.mark.parametrize("value", [3, None, ["rain"], Curve([(0, 1)])])
def test_a_class_that_is_no_name_is_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"'class' is .* Expected a name, or {name: weight"):
        Controls.of({"class": value}).check(CONDITIONS)


@pytest.mark.parametrize("value", [9, 31, Curve([(0, 20), (1, 50)])])
def test_outside_the_trained_range_warns_and_says_it(value: float | Curve) -> None:
    with pytest.warns(UserWarning, match="'strength' leaves what was trained, 10 to 30"):
        Controls.of({"class": "wind", "strength": value}).check(CONDITIONS)


@pytest.mark.parametrize("step", ["no", 1, None])
def test_a_step_that_is_neither_true_nor_false_is_refused(step: object) -> None:
    with pytest.raises(UserError, match=r"step of a curve"):
        Curve([(0, 1)], step)  # pyright: ignore[reportArgumentType]


def test_numbers_of_any_kind_have_a_plain_form_that_comes_back() -> None:
    given = Controls(
        {"rain": np.float32(1), "wind": Decimal("0.5")},  # pyright: ignore[reportArgumentType]
        {
            "density": Curve(np.array([[0, 0.25], [1, 0.5]]), step=np.True_),  # pyright: ignore[reportArgumentType]
            "strength": Fraction(21, 2),
            "size": np.array(1),
        },  # pyright: ignore[reportArgumentType]
    )
    plain = json.loads(json.dumps(given.to_json()))
    assert plain["classes"] == {"rain": 1.0, "wind": 0.5}
    assert plain["parameters"]["strength"] == 10.5 and plain["parameters"]["size"] == 1.0
    assert Controls.from_json(plain) == given


@pytest.mark.parametrize(
    "controls", [{"strength": 1e300}, {"strength": -1e30}, {"class": {"rain": 1e300}}, {"strength": Curve([(0, 1e30)])}]
)
def test_values_that_the_model_cannot_compute_with_are_refused(controls: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"far from what was trained|at most 1e\+06"):
        Controls.of(controls).check(CONDITIONS)


@pytest.mark.parametrize("controls", [{3: 1}, {None: 1}, {("a", "b"): 1}, {"class": {3: 1}}])
def test_names_that_are_no_text_are_unknown(controls: dict[object, object]) -> None:
    with pytest.raises(UserError, match="Unknown"):
        Controls.of(controls).check(CONDITIONS)  # pyright: ignore[reportArgumentType]


def test_a_class_and_a_parameter_of_one_name_are_both_kept() -> None:
    curves = Controls({"wind": 1.0}, {"wind": 0.25}).at(np.zeros(2))
    assert list(curves.classes["wind"]) == [1, 1] and list(curves.parameters["wind"]) == [0.25, 0.25]
    assert {name: curve[0] for name, curve in curves.labelled().items()} == {"wind": 1.0, "wind (parameter)": 0.25}


@pytest.mark.parametrize(
    "tree",
    [
        {"parameters": {"a": {"points": [[0, 1]], "more": 1}}},
        {"classes": {"a": {"b": 1}}},
        {"parameters": {"a": {"points": [[0]]}}},
    ],
)
def test_what_is_no_curve_in_a_recipe_is_refused(tree: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"curve"):
        Controls.from_json(tree)


@pytest.mark.parametrize("tree", [None, [], "rain", {"class": "rain"}, {"classes": ["rain"]}, {"parameters": {3: 1}}])
def test_what_are_no_controls_in_a_recipe_is_refused(tree: object) -> None:
    with pytest.raises(UserError, match=r"controls are|Controls in a recipe are|of controls are"):
        Controls.from_json(tree)


def test_a_parameter_of_another_class_warns() -> None:
    with pytest.warns(UserWarning, match="'density' was never trained with wind, only with rain"):
        Controls.of({"class": "wind", "density": 0.5}).check(CONDITIONS)


def test_what_was_trained_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Controls.of({}).check(CONDITIONS)
        Controls.of({"class": "wind", "strength": np.float32(10.0)}).check(CONDITIONS)
        Controls.of({"class": {"wind": 0.5, "rain": Curve([(0, 1)])}, "density": 1, "strength": 30}).check(CONDITIONS)


def test_the_model_is_told_weights_normalised_values_and_what_is_known() -> None:
    times = np.array([0.0, 1.0, 2.0])
    controls = {"class": "wind", "strength": Curve([(0, 10), (2, 30)])}
    np.testing.assert_array_equal(
        Controls.of(controls).condition_at(times, CONDITIONS),
        [[0, 0, 1, 0, -1, 0, 1], [0, 0, 1, 0, 0, 0, 1], [0, 0, 1, 0, 1, 0, 1]],
    )
    assert not Controls.of({}).condition_at(times, CONDITIONS).any()


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_morph_gives_each_class_its_weight(weight: float, seconds: float) -> None:
    morph = {"class": {"rain": 1 - weight, "wind": weight}}
    condition = Controls.of(morph).condition_at(np.zeros(4), CONDITIONS)
    assert condition.shape == (4, 7) and condition.dtype == np.float32
    np.testing.assert_allclose(condition[:, :3], np.tile([0, 1 - weight, weight], (4, 1)), atol=1e-7)
    moving = {"class": {"rain": Curve([(0, 1), (1, 0)]), "wind": Curve([(0, 0), (1, 1)])}}
    there = Controls.of(moving).condition_at(np.array([seconds]), CONDITIONS)
    np.testing.assert_allclose(there[0, :3], [0, 1 - seconds, seconds], atol=1e-6)


def test_what_is_plotted_is_in_the_units_of_the_controls() -> None:
    curves = Controls({"rain": 0.25}, {"strength": Curve([(0, 10), (1, 30)])}).at(np.array([0.0, 0.5]))
    assert {name: curve.tolist() for name, curve in curves.classes.items()} == {"rain": [0.25, 0.25]}
    assert {name: curve.tolist() for name, curve in curves.parameters.items()} == {"strength": [10, 20]}
    assert Controls.of({"class": "rain"}) == Controls({"rain": 1.0})


def test_controls_have_a_plain_form() -> None:
    controls = Controls({"rain": Curve([(0, 1)])}, {"density": 0.5})
    plain = {"classes": {"rain": {"points": [[0, 1]], "step": False}}, "parameters": {"density": 0.5}}
    assert controls.to_json() == plain


def some_curves(values: st.SearchStrategy[float | None]) -> st.SearchStrategy[Curve]:
    drawn = st.dictionaries(times, values, min_size=1, max_size=6)
    return st.builds(Curve, drawn.map(lambda each: sorted(each.items(), key=lambda point: point[0])), st.booleans())


weighty = st.floats(0.0, 1e6)
weights = st.one_of(weighty, some_curves(weighty))
values = st.one_of(numbers, some_curves(st.none() | numbers))
some_controls = st.builds(
    Controls,
    st.dictionaries(st.sampled_from(["rain", "wind", "points"]), weights),
    st.dictionaries(st.sampled_from(["density", "strength"]), values),
)


@given(some_controls)
def test_controls_come_back_from_their_plain_form(controls: Controls) -> None:
    assert Controls.from_json(json.loads(json.dumps(controls.to_json()))) == controls


@given(some_controls, some_controls, st.integers(1, 20).map(float))
def test_joined_controls_are_the_first_and_then_the_others(before: Controls, after: Controls, moment: float) -> None:
    both = before.then(after, moment)
    early, late = np.linspace(0.0, moment, 20, endpoint=False), np.linspace(0.0, 50.0, 20)
    nothing = dict.fromkeys({**before.classes, **after.classes}, 0.0)
    unknown = dict.fromkeys(["density", "strength"], np.nan)
    for controls, own, times in ((before, early, early), (after, late, late + moment)):
        expected, found = controls.at(own).labelled(), both.at(times).labelled()
        for name in found:
            usual = np.full(20, (unknown | nothing)[name])
            np.testing.assert_allclose(found[name], expected.get(name, usual), rtol=1e-6, atol=1e-6)


def test_controls_that_are_delayed_wait_where_they_begin() -> None:
    later = Controls({"rain": 1.0}, {"density": Curve([(-1, 0), (1, 1)])}).delayed(10.0)
    np.testing.assert_allclose(
        later.at(np.array([0.0, 10.0, 10.5, 11.0, 12.0])).parameters["density"], [0.5, 0.5, 0.75, 1, 1]
    )


def test_a_parameter_may_be_left_open_for_a_while() -> None:
    curve = Curve([(0, 20), (1, None), (2, 30), (3, None)])
    assert [curve(t) for t in (0, 0.5, 2, 2.5)] == [20, 20, 30, 30]
    assert np.isnan([curve(1), curve(1.5), curve(3), curve(9)]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Controls.of({"strength": curve}).check(CONDITIONS)
    known = Controls.of({"strength": curve}).condition_at(np.array([0.5, 1.5]), CONDITIONS)[:, -1]
    assert list(known) == [1, 0]
    with pytest.raises(UserError, match=r"class rain.*finite number"):
        Controls.of({"class": {"rain": curve}}).check(CONDITIONS)


def test_a_class_cannot_be_left_open() -> None:
    with pytest.raises(UserError, match="class wind"):
        Controls.of({"class": {"wind": Curve([(0, 1.0), (1, None)], step=True)}}).check(CONDITIONS)


@pytest.mark.parametrize(
    ("controls", "said"),
    [
        ("rain", "Controls are 'rain'. Expected"),
        ({"class": {"rain": -1.0}}, "weight of class 'rain' is -1.0. Expected 0 or more"),
        ({"class": {"rain": Curve([(0, 1), (1, -0.1)])}}, "weight of class 'rain' is -0.1"),
    ],
)
def test_what_cannot_be_meant_is_refused(controls: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Controls.of(controls).check(CONDITIONS)  # pyright: ignore[reportArgumentType]
