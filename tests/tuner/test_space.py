"""The space: it holds its start, its way back is exact."""

from __future__ import annotations

import optuna
import pytest

from advisor.catalog.methods import methods
from advisor.domain.recipe import Recipe
from advisor.domain.tuning import Dimension
from advisor.domain.workload import Workload
from advisor.errors import BadRequest
from advisor.tuner.search.space import METHOD, apply, make_dimensions, start_params, suggest
from advisor.tuner.tune_request import Start

WORK = Workload(model="m", task="causal-lm", samples=500, seq_len=64, epochs=3, effective_batch_size=16)
CORE = [m for m in methods() if m.core]


def start(name: str, **fields: object) -> Start:
    return Start(recipe=Recipe(method=name, learning_rate=1e-3, micro_batch_size=4, **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", CORE, ids=lambda m: m.name)
def test_every_core_method_has_a_space_that_holds_its_start(method):
    dimensions = make_dimensions([start(method.name)], WORK)
    names = [d.name for d in dimensions]
    assert "learning_rate" in names
    for d in dimensions:
        if d.kind != "choice":
            assert d.low <= d.start <= d.high


@pytest.mark.parametrize("method", CORE, ids=lambda m: m.name)
def test_the_start_leads_back_to_the_recipe_it_came_from(method):
    one = start(method.name)
    dimensions = make_dimensions([one], WORK)
    recipe, workload = apply(start_params(dimensions), dimensions, [one], WORK)
    assert recipe.learning_rate == one.recipe.learning_rate
    assert (workload.epochs, workload.effective_batch_size) == (WORK.epochs, WORK.effective_batch_size)
    assert recipe.micro_batch_size * recipe.gradient_accumulation == WORK.effective_batch_size


def test_whatever_the_sampler_says_is_a_legal_recipe_of_the_effective_batch():
    starts = [start("lora"), start("full"), start("ia3")]
    dimensions = make_dimensions(starts, WORK)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(60):
        params = suggest(study.ask(), dimensions)
        recipe, workload = apply(params, dimensions, starts, WORK)
        assert recipe.method == params[METHOD]
        assert recipe.micro_batch_size * recipe.gradient_accumulation == workload.effective_batch_size
        assert recipe.micro_batch_size <= 4
        assert ("rank" in recipe.options) == (recipe.method == "lora")
        own = [k for k in params if "." in k]
        assert all(k.startswith(f"{recipe.method}.") for k in own)


def test_alpha_follows_the_rank():
    one = start("lora")
    dimensions = make_dimensions([one], WORK)
    params = {**start_params(dimensions), "rank": 8, "alpha_over_rank": 4.0}
    assert apply(params, dimensions, [one], WORK)[0].options["alpha"] == 32


def test_batches_are_tried_to_both_sides_and_none_below_the_smallest():
    found = {d.name: d for d in make_dimensions([start("lora")], WORK)}["effective_batch_size"]
    assert found.choices == (4, 8, 16, 32, 64)
    small = WORK.model_copy(update={"effective_batch_size": 4, "samples": 100})
    found = {d.name: d for d in make_dimensions([start("lora")], small)}["effective_batch_size"]
    assert found.choices == (4, 8, 16)


def test_a_setting_the_method_does_not_have_is_refused():
    with pytest.raises(BadRequest, match="cannot search 'rank': full has no such setting"):
        make_dimensions([start("full")], WORK, ["learning_rate", "rank"])


def test_a_range_without_its_start_is_refused():
    with pytest.raises(ValueError, match="lies outside"):
        Dimension(name="x", kind="float", start=5.0, low=0.0, high=1.0)
    with pytest.raises(ValueError, match="above 0"):
        Dimension(name="x", kind="float", start=0.0, low=0.0, high=1.0, log=True)
    with pytest.raises(ValueError, match="two choices"):
        Dimension(name="x", kind="choice", start="a", choices=("a",))


def test_a_heads_own_rate_is_searched_where_it_has_one():
    work = WORK.model_copy(update={"task": "sequence-classification"})
    one = start("lora", head_learning_rate=7e-3)
    found = {d.name: d for d in make_dimensions([one], work)}
    rate = found["head_learning_rate"]
    assert rate.start == 7e-3
    assert rate.low < 7e-3 / 5 < 7e-3 * 5 < rate.high
    params = {**start_params(tuple(found.values())), "head_learning_rate": 2e-3}
    recipe = apply(params, tuple(found.values()), [one], work)[0]
    assert (recipe.head_learning_rate, recipe.learning_rate) == (2e-3, 1e-3)
    assert "head_learning_rate" not in {d.name for d in make_dimensions([start("lora")], work)}
    with pytest.raises(BadRequest) as refused:
        make_dimensions([start("lora")], work, ["head_learning_rate"])
    assert any("--head-learning-rate RATE" in hint for hint in refused.value.hints)
