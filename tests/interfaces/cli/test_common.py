"""Numbers for readers, values for programs."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.domain.quantity import Quantity
from advisor.domain.recipe import Recipe
from advisor.domain.request.verb_options import names_in
from advisor.domain.units import GIB, MIB
from advisor.interfaces.amounts import amount, show
from advisor.interfaces.cli.click_options import given as typed
from advisor.interfaces.cli.output import emit, plain


def quantity(low, mid, high, unit="B", basis="calibrated"):
    return Quantity(low=low, mid=mid, high=high, unit=unit, basis=basis, why="by hand")


def test_a_quantity_reads_as_number_interval_and_basis():
    assert show(quantity(20.3 * GIB, 21 * GIB, 21.8 * GIB)) == "21.0 GiB (20.3–21.8) calibrated"


def test_the_ends_are_said_in_the_unit_of_the_middle():
    assert show(quantity(900 * MIB, 1.1 * GIB, 1.3 * GIB)) == "1.1 GiB (0.9–1.3) calibrated"
    assert show(quantity(900 * MIB, 1000 * MIB, 1.3 * GIB)) == "1000 MiB (900–1331) calibrated"
    assert show(quantity(0.8, 1.2, 95, "s"), basis=False) == "1.2 s (0.8–95)"
    assert show(quantity(45, 120, 5400, "s"), basis=False) == "2 m (0.75–90)"
    assert show(quantity(3000, 6720, 9000, "s"), basis=False) == "1 h 52 m (0 h 50 m to 2 h 30 m)"


def test_an_exact_number_has_no_interval():
    assert show(quantity(5, 5, 5, "USD", "assumed")) == "5.00 USD assumed"


def test_what_is_not_known_is_not_a_number():
    assert show(None) == "unknown"


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0, "B", "0 MiB"),
        (6720, "s", "1 h 52 m"),
        (0.117, "s", "117 ms"),
        (5.6, "USD", "5.60 USD"),
        (12345.6, "USD", "12,346 USD"),
        (0.0031, "USD", "0.003 USD"),
        (0.0, "USD", "0.00 USD"),
        (0.3, "score", "+0.3"),
        (-0.3, "score", "-0.3"),
        (1234.5, "tokens/s", "1,234 tokens/s"),
        (3, "count", "3"),
    ],
)
def test_each_unit_reads_as_people_write_it(value, unit, said):
    assert amount(value, unit) == said


@given(st.lists(st.floats(0, 1e15), min_size=3, max_size=3), st.sampled_from(["B", "s", "USD", "score", "tokens/s"]))
def test_any_interval_can_be_read(ends, unit):
    low, mid, high = sorted(ends)
    text = show(quantity(low, mid, high, unit))
    assert text.endswith("calibrated")
    assert ("(" in text) == (low < high)


def test_what_is_emitted_is_one_json_document(capsys):
    emit({"recipe": Recipe(method="lora"), "many": (1, 2)}, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["recipe"]["method"] == "lora"
    assert said["many"] == [1, 2]


def test_a_number_that_is_none_is_never_emitted():
    with pytest.raises(ValueError, match="JSON compliant"):
        emit({"x": math.nan}, as_json=True)


def test_plain_text_is_printed_as_it_is(capsys):
    emit("[a] b", as_json=False, table=lambda value: value)
    assert capsys.readouterr().out == "[a] b\n"


def test_stored_values_carry_their_schema():
    from advisor.domain.profile import Calibration

    assert plain(Calibration(device="l40s", fitted_on={}))["schema"] == "calibration/1"


def test_only_what_was_typed_is_passed_on():
    assert typed({"a": None, "b": (), "c": 0, "d": False, "e": ""}) == {"c": 0, "d": False, "e": ""}


def test_names_may_be_repeated_or_joined_by_commas():
    assert names_in(["lora, dora", "full", ""]) == ("lora", "dora", "full")
