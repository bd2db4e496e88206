"""Whoever asks for more gets no less: batch, length, accumulation, rank, precision, samples; and the sums are right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.laws.conftest import law
from tests.laws.questions import recipes, sizes
from tests.laws.size_laws import BETWEEN_TRACES, OF_ONE_TRACE, Comparisons, Law


def compared(laws: tuple[Law, ...], recipe: dict[str, Any], drawn: list[dict[str, Any]], made: Comparisons) -> None:
    for one in laws:
        for size in drawn:
            one(recipe, size, made)
    assert made.faults == []


@pytest.mark.exhaustive
@pytest.mark.slow
def test_more_of_anything_takes_no_less_and_the_sums_are_right():
    """All laws of one recipe at once: they share its trace, which costs most."""
    made = Comparisons()

    @law(5)
    @given(recipe=recipes, drawn=st.lists(sizes, min_size=3, max_size=3))
    def asked(recipe: dict[str, Any], drawn: list[dict[str, Any]]) -> None:
        compared(OF_ONE_TRACE, recipe, drawn, made)

    asked()
    made.check()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_checkpointing_rank_and_precision_keep_their_order():
    made = Comparisons()

    @law(2)
    @given(recipe=recipes, drawn=st.lists(sizes, min_size=1, max_size=1))
    def asked(recipe: dict[str, Any], drawn: list[dict[str, Any]]) -> None:
        compared(BETWEEN_TRACES, recipe, drawn, made)

    asked()
    made.check()
