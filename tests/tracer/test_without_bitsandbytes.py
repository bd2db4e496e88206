"""A plain install has no bitsandbytes: the shipped traces of quantised bases answer all the same."""

from __future__ import annotations

import pytest

from advisor import store
from advisor.domain.recipe import Recipe
from advisor.domain.trace.trace_schema import Trace
from advisor.domain.workload import Workload
from advisor.tracer import trace as tracer
from tests.tracer.models import DECODER


def test_the_shipped_traces_were_made_with_the_version_that_is_taken_where_none_is_installed() -> None:
    shipped = [store.read_cache(Trace, path) for path in sorted(tracer.SHIPPED.glob("*.json.gz"))]
    made_with = {one.versions["bitsandbytes"] for one in shipped if one is not None and one.settings["base"] != "dtype"}
    assert made_with == {tracer.SHIPPED_WITH["bitsandbytes"]}


@pytest.mark.parametrize("base", ["nf4", "int8"])
def test_a_plain_install_asks_for_the_shipped_trace(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(method="lora", base=base)  # type: ignore[arg-type]
    others = {k: v for k, v in tracer.versions().items() if k != "bitsandbytes"}
    monkeypatch.setattr(tracer, "versions", lambda: others)
    plain = tracer.trace_key(DECODER, Workload(model="m"), recipe)
    monkeypatch.setattr(tracer, "versions", lambda: {**others, **tracer.SHIPPED_WITH})
    assert plain == tracer.trace_key(DECODER, Workload(model="m"), recipe)
    monkeypatch.setattr(tracer, "versions", lambda: {**others, "bitsandbytes": "0.1"})
    assert plain != tracer.trace_key(DECODER, Workload(model="m"), recipe)
