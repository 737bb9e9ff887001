"""Numbers and names as people give them."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dacformer.arguments import MAX_SEED, check_seed, finite_number, parse_names, quoted, whole_number
from dacformer.errors import UserError

THREES = [
    3,
    3.0,
    np.int64(3),
    np.uint8(3),
    np.float32(3),
    np.array(3),
    np.array(3.0),
    Decimal(3),
    Fraction(3),
    torch.tensor(3),
]
NO_NUMBERS = [
    None, True, np.True_, np.array(True), "3", b"3", "", [3], (3,), {}, np.array([3]), 3j, float("nan"), float("inf"),
    -np.inf, Decimal("NaN"), 10**400, object(), np.array("3"), np.datetime64("2024-01-01"), np.array(None),
]  # fmt: skip


@pytest.mark.parametrize("value", THREES, ids=repr)
def test_every_kind_of_number_is_read(value: object) -> None:
    assert finite_number(value) == 3.0 and type(finite_number(value)) is float
    assert whole_number(value) == 3 and type(whole_number(value)) is int
    assert check_seed(value) == 3


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_finite_number_is_none(value: object) -> None:
    assert finite_number(value) is None and whole_number(value) is None
    with pytest.raises(UserError, match=r"^seed=[^\n]*: expected a whole number from 0[^\n]*$"):
        check_seed(value)


@pytest.mark.parametrize("number", [0, -1, 2**53 + 1, 2**63, 2**200])
def test_whole_numbers_are_exact(number: int) -> None:
    assert whole_number(number) == number and whole_number(Decimal(number)) == number


@pytest.mark.parametrize("seed", [-1, 2.5, MAX_SEED + 1, np.int64(-1)])
def test_seeds_out_of_range_are_refused(seed: float) -> None:
    with pytest.raises(UserError, match="expected a whole number from 0"):
        check_seed(seed)
    assert check_seed(np.uint64(MAX_SEED)) == MAX_SEED


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=1))
def test_quoted_names_are_parsed_back(names: list[str]) -> None:
    assert parse_names(quoted(names)) == names


def test_names_without_commas_need_no_quotes() -> None:
    assert parse_names('rain,5" pipe, wind,,') == ["rain", '5" pipe', " wind"] and parse_names("") == []
    assert quoted(["bees", "rain, heavy"]) == 'bees,"rain, heavy"'
