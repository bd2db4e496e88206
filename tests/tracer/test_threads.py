"""Several threads trace at once and get what one gets: while a step is traced, parts of the libraries are others."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from advisor.assembly.without_bitsandbytes import stand_in as door
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.tracer import trace
from tests.tracer.models import DECODER, TASKS

RECIPES = [Recipe(method="lora", base=base) for base in ("dtype", "nf4", "dtype", "nf4")]


def made(recipe: Recipe) -> str:
    task = Workload(model="m", task=TASKS["decoder"])
    return trace.make_trace(DECODER, task, recipe, key="k").model_dump_json()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_threads_trace_what_one_traces(monkeypatch: pytest.MonkeyPatch):
    """Without bitsandbytes, whose stand-in lies among the modules of the whole process."""
    inside: list[int] = []
    most: list[int] = []
    real = trace._make

    def counted(*given):
        inside.append(threading.get_ident())
        most.append(len(inside))
        try:
            return real(*given)
        finally:
            inside.pop()

    monkeypatch.setattr(trace, "_make", counted)
    alone = {recipe.base: made(recipe) for recipe in RECIPES[:2]}
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(made, RECIPES))
    assert together == [alone[recipe.base] for recipe in RECIPES]
    assert set(most) == {1}


@pytest.mark.slow
def test_only_a_recipe_of_bitsandbytes_meets_its_stand_in(monkeypatch: pytest.MonkeyPatch):
    entered: list[str] = []
    monkeypatch.setattr("advisor.tracer.record_step.stand_in", lambda: entered.append("") or door.stand_in())
    made(RECIPES[0])
    assert not entered
    made(RECIPES[1])
    assert entered
    assert not hasattr(sys.modules["bitsandbytes"], "stands_in")
