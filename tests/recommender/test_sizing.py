"""What is said of a method that stands on no base: each base's own reason, not the last one's."""

from __future__ import annotations

import pytest

from advisor.errors import BadRequest
from advisor.recommender.recipe_space import bases_to_try, methods_asked, said_by_base
from advisor.recommender.recommend_request import checked, resolve
from advisor.recommender.sizing import fit
from tests.recommender.conftest import make_candidate


class Refusing:
    """Costs that refuse a recipe by its base, with a reason for each, or one for all."""

    def __init__(self, reasons):
        self.reasons = reasons

    def largest_micro_batch(self, workload, recipe, hardware, spec, at_most):
        raise BadRequest(self.reasons[recipe.base])


class Tracing:
    """Costs that note each recipe they are asked of, none of which fits."""

    def __init__(self):
        self.asked = []

    def largest_micro_batch(self, workload, recipe, hardware, spec, at_most):
        self.asked.append((recipe.base, recipe.gradient_checkpointing))

    def price(self, workload, recipe, hardware, spec, *, thorough=True):
        return make_candidate(recipe.method, gib=90.0, base=recipe.base).model_copy(update={"fits": False})


def question(gpu="RTX-3090", **asked):
    return resolve(checked({"model": "meta-llama/Llama-3.1-8B", "gpu": gpu, "samples": 100, **asked}))


def test_each_base_keeps_its_reason():
    asked = question(method="qlora,lora")
    bases = list(bases_to_try(asked, next(m for m in methods_asked(asked)[0] if m.name == "lora")))
    assert len(bases) > 1
    reasons = {"dtype": "the first reason", "int8": "another reason", "nf4": "a third reason"}
    said = fit(asked, "lora", Refusing(reasons)).refusal.reason
    for base in bases:
        assert reasons[base] in said
    alike = fit(asked, "lora", Refusing(dict.fromkeys(reasons, "one reason"))).refusal.reason
    assert alike == "one reason"


@pytest.mark.parametrize(
    ("gpu", "asked"),
    [
        ("A100-40GB", [("dtype", False), ("dtype", True)]),
        ("T4", [("dtype", True)]),
    ],
)
def test_what_the_weights_alone_fill_is_traced_once(gpu, asked):
    """Of 16 GB of weights a T4 holds none, so the smallest step says what is missing."""
    costs = Tracing()
    found = fit(question(gpu=gpu, method="lora", base=("dtype",)), "lora", costs)
    assert (costs.asked, found.refusal.kind) == (asked, "does-not-fit")


def test_a_method_is_turned_away_only_where_no_base_of_it_runs():
    """bitsandbytes' int8 needs Turing; its nf4 runs on a V100, and a plain base too."""
    tried, refused = methods_asked(question(gpu="V100", base=("int8", "nf4"), method=("qlora", "lora", "bitfit")))
    assert ([m.name for m in tried], refused) == (["qlora", "lora", "bitfit"], [])
    tried, refused = methods_asked(question(gpu="V100", base=("int8",), method=("lora",)))
    assert tried == []
    assert "compute capability 7.5" in refused[0].reason


@pytest.mark.parametrize(
    ("reasons", "named", "said"),
    [
        ({}, False, ""),
        ({"dtype": "a", "int8": "a"}, False, "a"),
        ({"dtype": "a", "int8": "b", "nf4": "b"}, False, "base in its own type: a; base in int8 or nf4: b"),
        ({"nf4": "b"}, True, "base in nf4: b"),
    ],
)
def test_reasons_are_said_once_each(reasons, named, said):
    assert said_by_base(reasons, named=named) == said


class Timed:
    """Costs under which every recipe fits, checkpointed ones at the whole batch, and takes the hours given for it."""

    def __init__(self, make, plain, checkpointed):
        self.make, self.hours = make, {False: plain, True: checkpointed}

    def largest_micro_batch(self, workload, recipe, hardware, spec, at_most):
        return at_most if recipe.gradient_checkpointing else 1

    def price(self, workload, recipe, hardware, spec, *, thorough=True):
        # what is priced in haste is the whole batch at once, which decides whether checkpointing is tried
        hours = self.hours[recipe.gradient_checkpointing] if thorough else 0.1
        return self.make(recipe.method, hours=hours).model_copy(update={"recipe": recipe})


@pytest.mark.parametrize(("plain", "checkpointed"), [(1.0, 2.0), (2.0, 1.0)])
def test_of_two_ways_that_fit_the_faster_is_taken(candidate, plain, checkpointed):
    found = fit(question(method="lora"), "lora", Timed(candidate, plain, checkpointed)).candidate
    assert found.recipe.gradient_checkpointing == (checkpointed < plain)
