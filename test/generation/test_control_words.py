"""Controls as they are written on the command line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dacformer.arguments import quoted
from dacformer.conditions.labels import Conditions, ParameterRange
from dacformer.errors import UserError
from dacformer.generation.control_words import parse_control, parse_controls, parse_guidance
from dacformer.generation.curves import Curve

UNIT = ParameterRange(low=0.0, high=1.0)


def knowing(*classes: str, parameters: tuple[str, ...] = ()) -> Conditions:
    return Conditions(classes=classes, parameters=dict.fromkeys(parameters, UNIT))


PLAIN = knowing("rain", "wind", parameters=("strength",))
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("class=rain", "rain"),
        ("class=rian", "rian"),
        ("class=rain:0.5,wind:1.5", {"rain": 0.5, "wind": 1.5}),
        ("strength=0.3", 0.3),
        ("strength=-3e1", -30.0),
        ("strength=0:0.1,10:0.9", Curve([(0, 0.1), (10, 0.9)])),
        ("strength=step:0:0.1,5:0.9", Curve([(0, 0.1), (5, 0.9)], step=True)),
        ("other=1", 1.0),
    ],
)
def test_control_is_parsed(word: str, value: object) -> None:
    assert parse_control(word, PLAIN) == (word.partition("=")[0], value)


@pytest.mark.parametrize("name", ["a:b", "a:1", "rain, heavy", "a=b", "step:0:1", ' "', "🐝 bees", "-", "a\nb", "0.5"])
def test_class_of_any_name_is_reached(name: str) -> None:
    known = knowing("a", "b", name)
    assert parse_control(f"class={name}", known) == ("class", name)
    word = f"class={quoted([f'{name}:0.25', 'b:0.75'])}"
    assert parse_control(word, known) == ("class", {name: 0.25, "b": 0.75})


@given(st.lists(names, min_size=2, max_size=4, unique=True))
def test_every_class_is_reached_alone_and_in_a_morph(classes: list[str]) -> None:
    known = knowing(*classes)
    for name in classes:
        assert parse_control(f"class={name}", known) == ("class", name)
    weights = {name: (1 + i) / 8 for i, name in enumerate(classes)}
    word = quoted(f"{name}:{weight}" for name, weight in weights.items())
    assert parse_control(f"class={word}", known) == ("class", weights)


@pytest.mark.parametrize("name", ["a=b", "a:b", "a,b", "class=x", "step", "🐝", " a"])
def test_parameter_of_any_name_is_reached(name: str) -> None:
    assert parse_control(f"{name}=0:0.1,1:0.9", knowing("a", parameters=("a", name)))[0] == name


@pytest.mark.parametrize(
    "word",
    [
        "rain",
        "class=",
        "class=,",
        "strength=",
        "strength=loud",
        "strength=0:1,2",
        "class=rain:0.5,wind",
        "class=a:b",
        "",
    ],
)
def test_other_words_say_what_is_expected(word: str) -> None:
    with pytest.raises(UserError, match=r"is not understood\. Expected class=NAME.*SECONDS:VALUE"):
        parse_control(word, PLAIN)


def test_curve_out_of_order_says_so() -> None:
    with pytest.raises(UserError, match="in order of time"):
        parse_control("strength=5:0,1:1", PLAIN)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["class=rain", "class=wind"], "class=... is given twice.*class=rain:0.5,wind:0.5"),
        (["strength=1", "strength=0:1,1:0"], "strength=... is given twice"),
        (["class=rain:0.5,rain:0.7"], "'rain' twice"),
    ],
)
def test_same_control_twice_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_controls(words, PLAIN)


def test_different_controls_are_all_taken() -> None:
    assert parse_controls(["class=rain", "strength=1"], PLAIN) == {"class": "rain", "strength": 1.0}


@pytest.mark.parametrize(
    ("word", "guidance"),
    [("1.5", 1.5), ("0", 0.0), ("class=2,parameters=1.1", {"class": 2.0, "parameters": 1.1}), ("a=b=3", {"a=b": 3.0})],
)
def test_guidance_is_one_number_or_one_for_each_channel(word: str, guidance: object) -> None:
    assert parse_guidance(word) == guidance


@pytest.mark.parametrize("word", ["", "much", "class=", "=1", "class=1,class=2", "class=1,parameters"])
def test_other_guidance_says_what_is_expected(word: str) -> None:
    with pytest.raises(UserError, match=r"--guidance .* is not understood\. Expected a number, or CHANNEL=NUMBER"):
        parse_guidance(word)
