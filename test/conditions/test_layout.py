"""Channels in a condition: packed where the layout says, and masked by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dacformer.conditions.labels import Conditions, ParameterRange
from dacformer.conditions.layout import Channel, ConditionLayout
from dacformer.errors import UserError

LAYOUT = ConditionLayout([Channel("class", 3), Channel("parameters", 2, 2), Channel("text", 16, 1)])


def test_pack_puts_values_before_flags_channel_by_channel() -> None:
    text = np.arange(16.0)[None].repeat(2, axis=0)
    condition = LAYOUT.pack({"class": np.eye(3)[:2], "text": text}, {"text": np.array([[1.0], [0.0]])})
    assert condition.shape == (2, LAYOUT.dim) == (2, 24) and condition.dtype == np.float32
    np.testing.assert_array_equal(condition[0], [1, 0, 0, *[0] * 4, *range(16), 1])
    np.testing.assert_array_equal(condition[1, :7], [0, 1, 0, 0, 0, 0, 0])
    assert condition[1, -1] == 0


def test_pack_of_nothing_is_the_null_condition() -> None:
    np.testing.assert_array_equal(LAYOUT.pack({}, {}), np.zeros((1, 24)))


@given(st.lists(st.sampled_from(sorted(LAYOUT.channels)), unique=True))
def test_mask_keeps_the_named_channels_and_masks_of_all_add_up(names: list[str]) -> None:
    rest = [name for name in LAYOUT.channels if name not in names]
    np.testing.assert_array_equal(LAYOUT.mask(names), ~LAYOUT.mask(rest))
    assert LAYOUT.mask(names).sum() == sum(sum(LAYOUT.channels[name][1:]) for name in names)


def test_an_unknown_channel_names_the_nearest() -> None:
    with pytest.raises(
        UserError, match=r"Unknown channel 'txt'\. Did you mean 'text'\? Known: class, parameters, text"
    ):
        LAYOUT.mask(["txt"])


def test_classes_and_parameters_are_two_channels() -> None:
    ranges = {"rate": ParameterRange(low=0.0, high=10.0), "force": ParameterRange(low=-1.0, high=1.0)}
    conditions = Conditions(classes=("rain", "wind"), parameters=ranges)
    condition = conditions.encode({"wind": 1.0}, {"rate": 10.0})
    np.testing.assert_array_equal(condition, [[0, 1, 1, 0, 1, 0]])
    np.testing.assert_array_equal(condition * conditions.layout.mask(["class"]), [[0, 1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(condition * conditions.layout.mask(["parameters"]), [[0, 0, 1, 0, 1, 0]])


@pytest.mark.parametrize(
    ("values", "known"),
    [
        ({"text": np.ones((2, 16))}, {}),  # flags are missing
        ({"text": np.ones((2, 1))}, {"text": np.ones((2, 1))}),  # one value would be spread
        ({}, {"text": np.ones((2, 1))}),
    ],
)
def test_pack_refuses_what_does_not_fit(values: dict[str, np.ndarray], known: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="flags"):
        LAYOUT.pack(values, known)


def test_two_channels_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        ConditionLayout([Channel("class", 1), Channel("class", 2)])
