"""What processors measured, kept in profiles/: each recorded run replayed against today's trace of it."""

from __future__ import annotations

import pytest

from advisor import store
from advisor.assembly.base_model import load_config
from advisor.catalog.models import resolve_model
from advisor.domain.profile import Profile
from advisor.domain.trace.expand import expand
from advisor.profiler.profile_job import config_sha256
from advisor.tracer.trace import trace
from tests.profiler.test_measure import AFTER_ERROR, alive_in_steps
from tests.selection import one_in

SHIPPED = store.shipped("profiles")
RECORDED = [
    store.read(Profile, path)
    for path in (store.listing(SHIPPED) if SHIPPED else [])
    if path.parent.name.startswith("cpu-")
]
COMPARABLE = [p for p in RECORDED if p.status == "complete" and p.recipe.trainer != "trl"]
"""On a processor TRL folds its tiles in torch, on a GPU in a kernel that needs no copies: another peak."""


def spec_of(profile: Profile):
    spec = resolve_model(profile.workload.model)
    return spec.model_copy(update={"config": {**spec.config, **profile.config_overrides}})


def bounds(profile: Profile) -> tuple[float, float]:
    """Least and most that a processor may allocate, as a share of what the trace says a GPU does.

    Kernels' own temporaries are 0.4 % of these peaks. Optimizers go tensor by tensor on a processor, all at once on
    a GPU, which is 1.7 % where full fine-tuning peaks there. Where a model drops out, a processor keeps masks of
    four bytes instead of one, and whole attention matrices: 18 % in the one that does both.
    """
    config = load_config(spec_of(profile)).to_dict()
    drops = any("drop" in name and isinstance(value, float) and value > 0 for name, value in config.items())
    return 0.98 if profile.recipe.method == "full" else 0.99, 1.25 if drops else 1.01


def test_a_processor_was_measured():
    assert len(COMPARABLE) >= 5
    assert {p.workload.task for p in COMPARABLE} == {"causal-lm", "sequence-classification", "seq2seq"}


@pytest.mark.parametrize("profile", RECORDED, ids=lambda p: p.id)
def test_a_recorded_run_tells_where_when_and_with_what(profile):
    assert profile.device_reported
    assert profile.measured_on
    assert {"torch", "transformers", "peft"} <= set(profile.versions)
    assert profile.model_config_sha256 == config_sha256(spec_of(profile).config)
    assert len(profile.step_seconds) == profile.steps > 0


@pytest.mark.slow
@pytest.mark.parametrize("profile", one_in(6, COMPARABLE), ids=lambda p: p.id)
def test_todays_trace_allocates_what_was_measured(profile):
    made = trace(spec_of(profile), profile.workload, profile.recipe)
    peak, after = alive_in_steps(expand(made), profile.recipe, profile.workload)
    assert made.trainable_parameters == profile.trainable_parameters
    least, most = bounds(profile)
    assert profile.peak_allocated_bytes is not None
    assert least <= profile.peak_allocated_bytes / peak <= most
    assert profile.allocated_after_step_bytes == pytest.approx(after, rel=AFTER_ERROR)
