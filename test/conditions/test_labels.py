import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dacformer.conditions.labels import Conditions, ParameterRange
from dacformer.errors import UserError

CONDITIONS = Conditions(
    classes=("rain", "wind"),
    parameters={"rate": ParameterRange(low=2, high=6, classes=("rain",)), "depth": ParameterRange(low=-1, high=-1)},
)
"""Laid out as rain, wind, rate, depth, rate known, depth known."""

finite = st.floats(-1e3, 1e3)


def test_encode_equals_condition_by_hand() -> None:
    assert CONDITIONS.dim == 6
    encoded = CONDITIONS.encode({"wind": 1.0}, {"rate": 5.0})
    assert encoded.dtype == np.float32 and encoded.tolist() == [[0, 1, 0.5, 0, 1, 0]]


def test_encode_nothing_gives_null_condition() -> None:
    assert not CONDITIONS.encode({}, {}).any()


@given(finite, finite)
def test_normalize_maps_range_to_minus_one_and_one(low: float, width: float) -> None:
    scale = ParameterRange(low=low, high=low + abs(width) + 1e-3)
    assert scale.normalize(scale.low) == pytest.approx(-1)
    assert scale.normalize(scale.high) == pytest.approx(1)
    assert scale.normalize((scale.low + scale.high) / 2) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("limit", ["inf", "-inf", "nan"])
def test_parameter_range_refuses_infinite_limits(limit: str) -> None:
    with pytest.raises(ValueError, match="finite"):
        ParameterRange(low=0.0, high=float(limit))


@given(finite)
def test_normalize_of_single_value_range_is_finite(value: float) -> None:
    assert np.isfinite(CONDITIONS.encode({}, {"depth": value})).all()


@given(st.floats(0, 1, width=32), st.one_of(finite, st.just(float("nan"))))
def test_encode_morph_and_unset_parameter(weight: float, rate: float) -> None:
    encoded = CONDITIONS.encode({"rain": weight, "wind": 1 - weight}, {"rate": rate})[0]
    known = not np.isnan(rate)
    np.testing.assert_allclose(encoded[:2], [weight, 1 - weight], atol=1e-6)
    assert encoded[4] == known and np.isfinite(encoded).all()
    assert encoded[2] == pytest.approx((rate - 4) / 2 if known else 0, rel=1e-5, abs=1e-5)


@given(st.lists(st.tuples(st.floats(0, 1), finite, st.booleans()), min_size=1, max_size=20))
def test_encode_of_curves_equals_encode_per_frame(frames: list[tuple[float, float, bool]]) -> None:
    weights = np.array([weight for weight, _, _ in frames])
    rates = np.array([rate if known else np.nan for _, rate, known in frames])
    curve = CONDITIONS.encode({"rain": weights, "wind": 0.5}, {"rate": rates})
    single = [CONDITIONS.encode({"rain": w, "wind": 0.5}, {"rate": r}) for w, r in zip(weights, rates, strict=True)]
    np.testing.assert_array_equal(curve, np.concatenate(single))


@pytest.mark.parametrize(
    ("weights", "values", "said"),
    [
        ({"hail": 1.0}, {}, "class 'hail'. Known: rain, wind"),
        ({}, {"hue": 1.0}, "parameter 'hue'. Known: rate, depth"),
    ],
)
def test_encode_lists_known_names_for_unknown_name(weights: dict, values: dict, said: str) -> None:
    with pytest.raises(UserError, match=f"Unknown {said}"):
        CONDITIONS.encode(weights, values)


@given(st.lists(st.booleans(), min_size=2, max_size=2))
def test_dropped_parameter_equals_unset_parameter(dropped: list[bool]) -> None:
    values = {"rate": 3.0, "depth": 7.0}
    left = {name: value for (name, value), drop in zip(values.items(), dropped, strict=True) if not drop}
    full = CONDITIONS.encode({"rain": 1.0}, values)
    given_full = full.copy()
    np.testing.assert_array_equal(
        CONDITIONS.drop_parameters(full, np.array(dropped)), CONDITIONS.encode({"rain": 1.0}, left)
    )
    np.testing.assert_array_equal(full, given_full)
