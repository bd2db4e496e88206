"""The model that is priced is the checkpoint that loads: every catalogue model has the parameters its entry says."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from advisor.assembly.adapters.module_search import heads
from advisor.assembly.base_model import build
from advisor.catalog.models import models
from advisor.catalog.models.index import ModelEntry
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload


def on_meta(spec: ModelSpec, **recipe: Any) -> Any:
    workload = Workload(model=spec.name, task=spec.task, num_labels=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build(spec, workload, Recipe(**{"method": "full", **recipe}))


def count(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


def spec_of(entry: ModelEntry) -> ModelSpec:
    from advisor.catalog.models.resolve import _of_catalogue  # pyright: ignore[reportPrivateUsage]

    return _of_catalogue(entry, entry.id, "")


def first_of_each_type() -> set[str]:
    return set({entry.model_type: entry.id for entry in reversed(models())}.values())


def entries() -> list[Any]:
    quick = first_of_each_type()
    return [pytest.param(entry, id=entry.id, marks=() if entry.id in quick else pytest.mark.slow) for entry in models()]


@pytest.mark.parametrize("entry", entries())
def test_a_catalogue_model_has_the_parameters_that_are_published(entry: ModelEntry) -> None:
    model = on_meta(spec_of(entry))
    built = count(model)
    assert built == entry.parameters
    head = sum(count(model.get_submodule(name)) for name in heads(model))
    said = {
        "total": built,
        "total-classifier": built - head,
        "total+stored_tied_head": built + count(model.get_input_embeddings()),
        "AutoModel": count(model.base_model),
    }
    if entry.count_rule in said:
        assert said[entry.count_rule] == entry.published_parameters
    elif entry.verified == "rounded":
        assert built == pytest.approx(entry.published_parameters, rel=0.03)
