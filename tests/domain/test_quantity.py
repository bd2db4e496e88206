"""Laws of a number with its interval: never surer than its parts, never out of order."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from advisor.domain.quantity import Quantity
from advisor.domain.units import WEAKER, weakest

ends = st.lists(st.floats(-1e12, 1e12), min_size=3, max_size=3).map(sorted)
quantities = st.builds(
    lambda e, basis: Quantity(low=e[0], mid=e[1], high=e[2], unit="s", basis=basis, why="x"),
    ends,
    st.sampled_from(WEAKER),
)


def width(quantity: Quantity) -> float:
    return quantity.high - quantity.low


@given(a=quantities, b=quantities)
def test_a_sum_is_never_surer_than_its_parts(a, b):
    total = a.plus(b, why="both")
    assert width(total) >= max(width(a), width(b)) * (1 - 1e-9) - 1e-3
    assert WEAKER.index(total.basis) == max(WEAKER.index(a.basis), WEAKER.index(b.basis))
    assert total.mid == a.mid + b.mid


@given(a=quantities, factor=st.floats(0, 1e6))
def test_a_factor_keeps_order_and_relative_width(a, factor):
    scaled = a.times(factor, "USD", "price")
    assert scaled.low <= scaled.mid <= scaled.high
    assert scaled.unit == "USD"
    assert width(scaled) == pytest.approx(width(a) * factor, rel=1e-9, abs=1e-3)
    assert a.times(factor, "USD", "price", "assumed").basis == "assumed"


@given(mid=st.floats(-1e9, 1e9), below=st.floats(0, 1), above=st.floats(0, 10))
def test_around_holds_its_middle_on_either_side_of_0(mid, below, above):
    made = Quantity.around(mid, below, above, "score", "modelled", "x")
    assert made.low <= made.mid <= made.high


@pytest.mark.parametrize("wrong", [(2, 1, 3), (1, 3, 2), (math.nan, 1, 2), (0, 1, math.inf), (-math.inf, 0, 1)])
def test_an_interval_out_of_order_or_without_end_is_not_born(wrong):
    low, mid, high = wrong
    with pytest.raises(ValidationError):
        Quantity(low=low, mid=mid, high=high, unit="s", basis="measured", why="x")


def test_what_makes_no_sense_is_refused():
    second = Quantity.exact(1, "s", "measured", "x")
    with pytest.raises(ValueError, match="cannot add"):
        second.plus(Quantity.exact(1, "B", "measured", "x"), "both")
    for factor in (-1.0, math.nan):
        with pytest.raises(ValueError, match="factor"):
            second.times(factor, "s", "x")
    with pytest.raises(ValidationError):
        Quantity.model_validate({**second.model_dump(), "confidence": 0.9})


@given(quantities)
def test_a_quantity_survives_json_and_pickle(a):
    assert Quantity.model_validate_json(a.model_dump_json()) == a
    assert pickle.loads(pickle.dumps(a)) == a


@given(st.lists(st.sampled_from(WEAKER), min_size=1))
def test_the_weakest_basis_is_one_of_those_given_and_none_is_weaker(bases):
    found = weakest(*bases)
    assert found in bases
    assert all(WEAKER.index(basis) <= WEAKER.index(found) for basis in bases)
