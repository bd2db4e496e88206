"""Real steps of tiny models on this processor, against what the tracer says the same step allocates."""

from __future__ import annotations

import copy

import pytest
import torch

from advisor.assembly.base_model import build
from advisor.assembly.batch import make_batch
from advisor.assembly.objectives.referenced_losses import SFT_OUTPUTS, sft_loss
from advisor.assembly.training_step import Stepper
from advisor.domain.profile import Profile
from advisor.domain.recipe import Recipe
from advisor.domain.trace.expand import expand
from advisor.domain.trace.timeline import Timeline
from advisor.domain.workload import Workload
from advisor.profiler import measure_run as measuring
from advisor.profiler.measure_run import measure, out_of_memory
from advisor.profiler.meters.cpu import CpuMeter
from advisor.profiler.profile_job import ProfileJob
from advisor.tracer.trace import make_trace
from tests.conformance.tiny import ENCODER, ENCODER_DECODER, Tiny
from tests.profiler.conftest import make_job
from tests.selection import one_in

pytestmark = pytest.mark.slow

torch.set_num_threads(1)

PEAK_ERROR = 0.03
"""The trace is of a GPU, whose attention leaves its output in another layout than the processor's where there is no
mask: one more tensor a layer is saved. That is 2.1 % of these models' peak, and 0.3 % otherwise."""
AFTER_ERROR = 0.002
"""What outlives a step is the same tensors on every device; optimizers keep scalars of a few bytes elsewhere."""


def alive_in_steps(timeline: Timeline, recipe: Recipe, workload: Workload) -> tuple[int, int]:
    """Bytes by the trace alone: the peak of the first and the steady step, and what is alive after the latter."""
    born = timeline.bytes_of(recipe.micro_batch_size, workload.seq_len, workload.target_len or 0)
    alive: dict[int, int] = {}
    peak = now = 0
    for storage, size, step in zip(timeline.mem_storage, born, timeline.mem_step, strict=True):
        if int(storage) in alive:
            now -= alive.pop(int(storage))
        else:
            alive[int(storage)] = int(size)
            now += int(size)
        if step > 0:
            peak = max(peak, now)
    return peak, now


def timeline_of(job: ProfileJob) -> Timeline:
    return expand(make_trace(job.spec, job.workload, job.recipe))


@pytest.mark.parametrize(
    "axes",
    one_in(
        3,
        [
            {"method": "lora"},
            {"method": "lora", "trainer": "loop"},
            {"method": "lora", "gradient_checkpointing": True, "batch_size": 4, "seq_len": 128},
            {"method": "full", "optimizer": "adamw_torch_loop"},
            {"method": "full", "trainer": "loop", "optimizer": "sgd"},
            {"method": "ia3", "batch_size": 1},
            {"method": "prompt-tuning"},
            {"method": "adapter-houlsby"},
        ],
    ),
    ids=lambda axes: " ".join(str(value) for value in axes.values()),
)
def test_the_processor_allocates_what_the_tracer_said(axes):
    job = make_job(**axes)
    profile = measure(job)
    peak, after = alive_in_steps(timeline_of(job), job.recipe, job.workload)
    assert profile.status == "complete", profile.reason
    assert profile.peak_allocated_bytes == pytest.approx(peak, rel=PEAK_ERROR)
    assert profile.allocated_after_step_bytes == pytest.approx(after, rel=AFTER_ERROR)


@pytest.mark.exhaustive
def test_the_rate_at_which_the_processor_computes_is_a_processors():
    job = make_job(batch_size=4)
    profile = measure(job)
    timeline = timeline_of(job)
    values = timeline.values(4, 64)
    flop = values[timeline.op_flop][timeline.op_step == 2].sum()
    for seconds in profile.step_seconds:
        # far wider than any processor differs from another, far narrower than a wrong unit
        assert 1e7 < flop / seconds < 1e13


def test_phases_add_up_to_the_step():
    profile = measure(make_job(campaign={"steps": 4}))
    assert len(profile.step_seconds) == profile.steps == 4
    mean = sum(profile.step_seconds) / 4
    assert set(profile.phase_seconds) == {"between", "forward", "backward", "clip", "optimizer"}
    # marks themselves take microseconds, which belong to no phase
    assert sum(profile.phase_seconds.values()) == pytest.approx(mean, rel=0.05)
    assert all(seconds >= 0 for seconds in profile.phase_seconds.values())


@pytest.mark.slow
def test_evaluation_keeps_the_logits_of_two_batches():
    job = make_job(batch_size=8, campaign={"evaluation": True, "saving": True})
    profile = measure(job)
    logits = 8 * 64 * job.spec.config["vocab_size"] * 4
    assert profile.evaluation_peak_bytes is not None
    assert profile.allocated_after_step_bytes is not None
    assert profile.evaluation_peak_bytes >= profile.allocated_after_step_bytes + 2 * logits
    assert profile.saving_peak_bytes is not None
    assert profile.saving_peak_bytes >= profile.allocated_after_step_bytes * 0.99


@pytest.mark.parametrize("trainer", one_in(2, ["hf", "loop"]))
def test_accumulating_gradients_adds_tokens_and_not_memory_of_activations(trainer: str):
    one, four = measure(make_job(trainer=trainer)), measure(make_job(trainer=trainer, gradient_accumulation=4))
    assert four.status == "complete", four.reason
    assert four.tokens_per_step == 4 * one.tokens_per_step
    assert four.peak_allocated_bytes == pytest.approx(one.peak_allocated_bytes, rel=0.05)
    assert sum(four.step_seconds) > sum(one.step_seconds)


@pytest.mark.parametrize("trainer", ["hf", "loop"])
def test_a_step_of_several_micro_batches_takes_the_sum_of_their_gradients(trainer: str):
    """Two steps: the second must start from none, in a plain loop as well, which clears them before its first."""
    job = make_job(method="full", trainer=trainer, gradient_accumulation=2, optimizer="sgd")
    torch.manual_seed(0)
    model = build(job.spec, job.workload, job.recipe, device="cpu")
    twin = copy.deepcopy(model)
    batches = [make_batch(job.spec, job.workload, 2, 64, 1, padded=False, device="cpu", seed=s) for s in range(4)]
    recipe = job.recipe.model_copy(update={"max_grad_norm": 0.0})
    stepper = Stepper(model, torch.optim.SGD(model.parameters(), lr=0.1), recipe, mark=lambda phase: None)
    by_hand = torch.optim.SGD(twin.parameters(), lr=0.1)
    for first, last in (batches[:2], batches[2:]):
        stepper.micro_batch(lambda first=first: dict(first))
        stepper.step(lambda last=last: dict(last))
        by_hand.zero_grad()
        for inputs in (first, last):
            twin(**inputs).loss.backward()
        by_hand.step()
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_trls_fused_head_computes_the_models_own_loss():
    job = make_job(trainer="trl")
    torch.manual_seed(0)
    model = build(job.spec, job.workload, job.recipe, device="cpu")
    inputs = make_batch(job.spec, job.workload, 2, 64, 1, padded=False, device="cpu")
    plain = model(**inputs).loss
    measuring._add_trls_head(model, SFT_OUTPUTS)
    assert sft_loss(model, inputs).item() == pytest.approx(plain.item(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "reference"), one_in(2, [("dpo", "copy"), ("kto", "adapter-off"), ("orpo", None)])
)
def test_a_run_of_a_preference_objective_is_measured(objective: str, reference: str | None):
    job = make_job(trainer="trl")
    workload = job.workload.model_copy(update={"objective": objective})
    recipe = job.recipe.model_copy(update={"reference": reference})
    profile = measure(job.model_copy(update={"workload": workload, "recipe": recipe}))
    assert profile.status == "complete", profile.reason


@pytest.mark.slow
def test_a_run_as_trl_takes_it_is_measured():
    profile = measure(make_job(trainer="trl", campaign={"evaluation": True}))
    assert profile.status == "complete", profile.reason
    assert profile.trainable_parameters == measure(make_job()).trainable_parameters


def test_mixed_precision_computes_in_bfloat16_on_float32_weights():
    mixed = measure(make_job(method="full", dtype="float32", mixed_precision="bf16"))
    plain = measure(make_job(method="full", dtype="float32"))
    assert mixed.status == "complete", mixed.reason
    assert mixed.total_parameters == plain.total_parameters
    # weights, gradients and both moments stay in float32
    assert mixed.allocated_after_step_bytes == pytest.approx(plain.allocated_after_step_bytes, rel=0.01)


@pytest.mark.parametrize("tiny", [ENCODER, ENCODER_DECODER], ids=lambda tiny: tiny.name)
def test_every_kind_of_model_is_measured(tiny: Tiny):
    job = make_job(spec=tiny.spec, seq_len=16, campaign={"evaluation": True})
    profile = measure(job)
    assert profile.status == "complete", profile.reason
    assert profile.evaluation_peak_bytes is not None


def test_a_profile_says_where_and_with_what_it_was_measured():
    profile = measure(make_job())
    assert {"torch", "transformers", "peft", "torch_threads"} <= set(profile.versions)
    assert profile.versions["torch_threads"] == "1"
    assert profile.measured_on.endswith("+00:00")
    assert len(profile.model_config_sha256) == 64
    assert Profile.from_document(profile.to_document()) == profile
    assert profile.peak_reserved_bytes is None, "a processor has no caching allocator to reserve"


def broken(error: BaseException, at: int):
    """Let the model's `at`-th forward fail."""
    calls = 0
    real = measuring.make_batch

    def batch(*arguments, **keywords):
        nonlocal calls
        calls += 1
        if calls >= at:
            raise error
        return real(*arguments, **keywords)

    return batch


def test_out_of_memory_is_a_result_that_keeps_what_came_before(monkeypatch):
    monkeypatch.setattr(measuring, "make_batch", broken(torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB"), 2))
    profile = measure(make_job())
    assert profile.status == "oom"
    assert "warm-up" in profile.reason
    assert "2 GiB" in profile.reason
    assert profile.peak_allocated_bytes is not None
    assert profile.trainable_parameters is not None
    assert profile.step_seconds == ()


@pytest.mark.slow
def test_out_of_memory_in_evaluation_is_told_and_the_training_stays_complete(monkeypatch):
    error = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
    evaluate = measuring._MeasuredRun._evaluate

    def starved(run):
        with monkeypatch.context() as patch:
            patch.setattr(measuring, "make_batch", broken(error, 2))
            evaluate(run)

    monkeypatch.setattr(measuring._MeasuredRun, "_evaluate", starved)
    profile = measure(make_job(campaign={"evaluation": True}))
    assert profile.status == "complete"
    assert "evaluation runs out of memory" in profile.reason
    assert len(profile.step_seconds) == 2


def test_any_other_failure_is_a_result_with_its_reason(monkeypatch):
    monkeypatch.setattr(measuring, "make_batch", broken(ZeroDivisionError("a kernel\nbroke"), 4))
    profile = measure(make_job())
    assert (profile.status, profile.steps) == ("failed", 0)
    assert "timed steps" in profile.reason
    assert "a kernel" in profile.reason


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_running_out_of_memory_is_told_from_other_failures(error, is_memory):
    assert out_of_memory(error) is is_memory


def test_a_gpu_gets_a_batch_drawn_before_the_step_and_a_processor_a_new_one():
    job = make_job()
    elsewhere = measuring._MeasuredRun(job.model_copy(update={"device": "meta"}), CpuMeter(), {})
    first, second = elsewhere._batch(2), elsewhere._batch(2)
    assert first()["input_ids"].device.type == "meta"
    assert list(elsewhere.drawn) == [(2, 64)]
    assert first()["input_ids"] is not second()["input_ids"]
    here = measuring._MeasuredRun(job, CpuMeter(), {})
    assert here._batch(2)()["input_ids"].shape == (2, 64)
    assert here.drawn == {}
