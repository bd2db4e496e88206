"""Whoever asks for more gets no less: batch, length, accumulation, rank, precision, samples; and the sums are right."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.laws.conftest import law
from tests.laws.questions import recipes, sizes
from tests.laws.size_laws import BETWEEN_TRACES, OF_ONE_TRACE


@law(5)
@given(recipe=recipes, drawn=st.lists(sizes, min_size=3, max_size=3))
def test_more_of_anything_takes_no_less_and_the_sums_are_right(recipe: dict[str, Any], drawn: list[dict[str, Any]]):
    """All laws of one recipe at once: they share its trace, which costs most."""
    assert [fault for one in OF_ONE_TRACE for size in drawn for fault in one(recipe, size)] == []


@law(2)
@given(recipe=recipes, drawn=st.lists(sizes, min_size=1, max_size=1))
def test_checkpointing_rank_and_precision_keep_their_order(recipe: dict[str, Any], drawn: list[dict[str, Any]]):
    assert [fault for one in BETWEEN_TRACES for size in drawn for fault in one(recipe, size)] == []
