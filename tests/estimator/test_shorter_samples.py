"""A law of every trainer, method and accumulation: shorter samples never need more, more tokens never need less."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.catalog.methods import methods
from advisor.domain.request.vocabulary import TRAINERS
from advisor.errors import AdvisorError
from advisor.estimator.batch_lengths import Shape
from advisor.estimator.estimate_request import from_case, hardware_of, recipe_of, workload_of
from advisor.estimator.memory.replay import replay
from advisor.tracer.timelines import timeline_of, trace_of
from tests.selection import one_in

pytestmark = pytest.mark.slow

MODEL = "EleutherAI/pythia-14m"
BLOCK = 2**20
"""A large block may stay a mebibyte too long, unsplit: so much each of the largest tensors may differ by."""


@cache
def timeline(trainer, method, checkpointing=False, **options):
    """The traced step of a tiny model, or None where the recipe is refused."""
    from advisor.catalog.models import resolve_model

    try:
        request = from_case(
            {
                "model": MODEL,
                "gpu": "A100",
                "method": method,
                "trainer": trainer,
                "seq_len": 512,
                "gradient_checkpointing": checkpointing,
                **options,
            }
        )
        spec, recipe = resolve_model(MODEL), recipe_of(request)
        workload, _ = workload_of(request, spec, recipe)
        return timeline_of(trace_of(workload, recipe, hardware_of(request), spec))
    except AdvisorError:
        return None


def peaks(line, batches, accumulation):
    played = replay(line, batches, accumulation=accumulation, workspace_bytes=2**23)
    return played.peak_allocated, played.peak_reserved, played.after_steps


ASKED = [("hf", m.name) for m in methods()] + [(t, m) for t in TRAINERS for m in ("full", "lora", "ia3") if t != "hf"]


@pytest.mark.parametrize(("trainer", "method"), one_in(27, ASKED))
def test_steps_of_any_method_leave_behind_what_the_step_before_left(trainer, method):
    line = timeline(trainer, method)
    if line is None:
        pytest.skip("refused for this model")
    for accumulation in (1, 3):
        _, _, after = peaks(line, [Shape(1, 512.0)] * 5, accumulation)
        assert max(after[1:]) - min(after[1:]) <= BLOCK, f"{accumulation} accumulated: {after}"


lengths = st.lists(st.integers(8, 511).map(float), min_size=1, max_size=5)


@pytest.mark.parametrize("trainer", one_in(3, TRAINERS))
@pytest.mark.parametrize(("method", "checkpointing"), [("full", True), ("lora", False)])
@settings(max_examples=5, deadline=None)
@given(shorter=lengths, batch=st.integers(1, 4), accumulation=st.sampled_from([1, 2, 16]))
def test_shorter_samples_among_the_longest_never_need_more(
    trainer, method, checkpointing, shorter, batch, accumulation
):
    line = timeline(trainer, method, checkpointing)
    assert line is not None
    longest = Shape(batch, 512.0)
    fixed = peaks(line, [longest, longest, longest], accumulation)
    mixed = peaks(line, [longest, *(Shape(batch, s) for s in shorter), longest], accumulation)
    only = peaks(line, [Shape(batch, s) for s in shorter], accumulation)
    slack = 24 * BLOCK
    assert mixed[0] <= fixed[0] + slack
    assert only[0] <= fixed[0] + slack


@pytest.mark.parametrize("trainer", TRAINERS)
@settings(max_examples=5, deadline=None)
@given(
    length=st.integers(8, 512), more=st.integers(0, 512), batch=st.integers(1, 4), wider=st.integers(0, 4),
    accumulation=st.sampled_from([1, 4]),
)  # fmt: skip
def test_more_tokens_or_samples_never_need_less(trainer, length, more, batch, wider, accumulation):
    line = timeline(trainer, "lora")
    assert line is not None
    small, large = Shape(batch, float(length)), Shape(batch + wider, float(length + more))
    assert peaks(line, [small] * 2, accumulation)[0] <= peaks(line, [large] * 2, accumulation)[0] + 24 * BLOCK


@pytest.mark.exhaustive
@pytest.mark.parametrize("trainer", one_in(5, TRAINERS))
def test_a_higher_rank_never_needs_less(trainer):
    found = [peaks(timeline(trainer, "lora", rank=rank), [Shape(2, 512.0)] * 2, 2)[0] for rank in (4, 16, 64)]
    assert found == sorted(found)
