"""From choices to runs: what is refused, what tells runs apart, in what order they are measured."""

from __future__ import annotations

from typing import Annotated

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from advisor.errors import BadRequest, IllegalRecipe, UnknownName
from advisor.profiler.campaign import Campaign, Grid
from advisor.profiler.planning import cut_down, order_runs, plan_jobs
from advisor.profiler.profile_job import ProfileJob
from tests.profiler.conftest import CPU, make_job, tiny_spec


def campaign(**axes):
    return Campaign(
        name="x", grids=(Grid.model_validate({"method": "lora", "model": "EleutherAI/pythia-14m", **axes}),)
    )


def test_equal_runs_have_equal_ids_and_files():
    assert make_job().digest == make_job().digest
    assert make_job().stem == make_job().stem


@pytest.mark.parametrize(
    "axes",
    [
        {"batch_size": 3},
        {"seq_len": 65},
        {"method": "ia3"},
        {"options": {"rank": 9}},
        {"gradient_checkpointing": True},
        {"dtype": "bfloat16"},
        {"optimizer": "sgd"},
        {"trainer": "loop"},
        {"attention": "eager"},
        {"layers": 2},
        {"spec": tiny_spec(hidden_size=128)},
        {"campaign": {"steps": 3}},
        {"campaign": {"warmup": 3}},
        {"campaign": {"threads": 2}},
        {"campaign": {"evaluation": True}},
        {"memory_limit_bytes": 2**30},
    ],
)
def test_whatever_changes_a_measurement_changes_the_id(axes):
    assert make_job(**axes).id != make_job().id


def test_other_library_versions_are_another_run():
    job = make_job()
    assert job.model_copy(update={"versions": {**job.versions, "torch": "2.99"}}).id != job.id


def test_a_method_that_cannot_run_on_one_model_is_left_out_with_the_reason():
    both = campaign(model=["EleutherAI/pythia-14m", "google-bert/bert-base-uncased"], method=["lora", "llama-adapter"])
    jobs, left_out = plan_jobs(both, CPU)
    ran = {(job.spec.name, job.recipe.method) for job in jobs}
    out = {(one.choice.model, one.choice.method) for one in left_out}
    assert ("google-bert/bert-base-uncased", "llama-adapter") in out
    assert ran.isdisjoint(out)
    assert len(ran) + len(out) == 4
    assert all(one.reason for one in left_out)


def test_a_plan_of_which_nothing_can_run_says_why():
    with pytest.raises(IllegalRecipe):
        plan_jobs(campaign(method="lora", base="nf4", options={"rank": -1}), CPU)


@pytest.mark.parametrize("axes", [{"method": "lorra"}, {"model": "EleutherAI/pythia-14x"}])
def test_a_name_nobody_knows_is_an_error_even_beside_good_ones(axes):
    mixed = {name: ["EleutherAI/pythia-14m" if name == "model" else "lora", value] for name, value in axes.items()}
    with pytest.raises(UnknownName):
        plan_jobs(campaign(**mixed), CPU)


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"seq_len": 10**6}, "longer than the context"),
        ({"model": "google-bert/bert-base-uncased", "trainer": "trl"}, "SFTTrainer"),
        ({"model": "google-bert/bert-base-uncased", "task": "causal-lm"}, "cannot be trained for"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused_before_it_starts(axes, says):
    with pytest.raises(BadRequest, match=says):
        plan_jobs(campaign(**axes), CPU)


def test_a_method_brings_its_base_and_its_optimizer():
    (qlora,), _ = plan_jobs(campaign(method="qlora"), CPU)
    (plus,), _ = plan_jobs(campaign(method="lora-plus"), CPU)
    assert qlora.recipe.base == "nf4"
    assert plus.recipe.optimizer != "adamw_torch"


@given(st.integers(1, 12))
def test_a_model_cut_down_has_at_most_so_many_layers_and_says_what_changed(layers):
    spec = tiny_spec(layer_types=["full_attention"] * 4)
    cut, overrides = cut_down(spec, layers)
    assert cut.layers == min(4, layers)
    assert len(cut.config["layer_types"]) == min(4, layers)
    assert {**spec.config, **overrides} == cut.config
    assert (overrides == {}) == (layers >= 4)


def test_every_layer_without_a_depth():
    assert cut_down(tiny_spec(), None) == (tiny_spec(), {})


grids = st.builds(
    lambda batches, lengths, methods, checkpointing: Campaign(
        name="x",
        grids=(
            Grid(
                model="EleutherAI/pythia-14m",
                method=methods,
                batch_size=batches,
                seq_len=lengths,
                gradient_checkpointing=checkpointing,
            ),
        ),
    ),
    st.lists(st.sampled_from([1, 2, 8, 64]), min_size=1, max_size=3, unique=True),
    st.lists(st.sampled_from([16, 128, 512]), min_size=1, max_size=2, unique=True),
    st.lists(st.sampled_from(["lora", "full", "ia3"]), min_size=1, max_size=3, unique=True),
    st.lists(st.booleans(), min_size=1, max_size=2, unique=True),
)


@given(grids)
@settings(max_examples=25, deadline=None)
def test_ordering_loses_no_run_and_invents_none(described):
    jobs, _ = plan_jobs(described, CPU)
    ordered = order_runs(jobs)
    assert sorted(job.id for job in ordered) == sorted(job.id for job in jobs)
    assert ordered == order_runs(jobs)


@given(grids)
@settings(max_examples=25, deadline=None)
def test_the_first_runs_cover_every_method_before_any_repeats_a_neighbour(described):
    jobs, _ = plan_jobs(described, CPU)
    ordered = order_runs(jobs)
    methods = {job.recipe.method for job in jobs}
    checkpointing = {job.recipe.gradient_checkpointing for job in jobs}
    first = ordered[: 2 * len(methods) * len(checkpointing) + 2]
    assert {job.recipe.method for job in first} == methods
    assert {job.recipe.gradient_checkpointing for job in first} == checkpointing


def test_what_is_known_already_comes_last_among_its_like():
    jobs, _ = plan_jobs(campaign(method=["lora", "ia3"], seq_len=[128, 256]), CPU)
    known = [job for job in jobs if job.recipe.method == "lora" and job.workload.seq_len == 128]
    rest = [job for job in jobs if job not in known]
    assert order_runs(rest, known=known)[0].recipe.method == "ia3"
    assert order_runs(rest, known=known)[0].workload.seq_len == 256


@pytest.mark.slow
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=4, max_size=4))
def test_scores_decide_the_order(scores):
    jobs, _ = plan_jobs(campaign(batch_size=[1, 2, 4, 8]), CPU)
    ordered = order_runs(jobs, scores)
    by_id = {job.id: score for job, score in zip(jobs, scores, strict=True)}
    assert [by_id[job.id] for job in ordered] == sorted(scores, reverse=True)


@pytest.mark.parametrize("scores", [[], [1.0], [1.0, float("nan")], [float("inf"), 0.0]])
def test_wrong_scores_are_a_mistake_of_the_caller(scores):
    jobs, _ = plan_jobs(campaign(batch_size=[1, 2]), CPU)
    with pytest.raises(ValueError, match="scores"):
        order_runs(jobs, scores)


@pytest.mark.parametrize(("field", "least", "most"), [("steps", 1, 10**5), ("warmup", 1, 10**4), ("threads", 1, 4096)])
def test_a_run_measures_one_step_or_more(field, least, most):
    """And warms up: the first step allocates what later ones find."""
    limits = ProfileJob.model_fields[field].metadata
    checked = TypeAdapter(Annotated[int, *limits])
    assert [checked.validate_python(value) for value in (least, most)] == [least, most]
    for value in (least - 1, most + 1):
        with pytest.raises(ValidationError):
            checked.validate_python(value)
