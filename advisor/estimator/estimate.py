"""Memory, time, money and quality of one recipe on one machine."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Final, Unpack

from advisor.catalog.constants import load_constants
from advisor.catalog.models.checkpoint import notes_of
from advisor.catalog.objectives import find_objective, quality_unknown
from advisor.catalog.optimizer_names import quality_under
from advisor.catalog.training_precision import keeps_updates, loses_updates, precision_warning, rate_of
from advisor.domain.candidate import Candidate, Memory, Money, Quality, Time
from advisor.domain.hardware import Hardware
from advisor.domain.model import ModelSpec
from advisor.domain.profile import Profile
from advisor.domain.quantity import Quantity
from advisor.domain.recipe import Recipe
from advisor.domain.request.verb_options import EstimateOptions
from advisor.domain.trace.timeline import Timeline
from advisor.domain.trace.trace_schema import Trace
from advisor.domain.units import gib, plural
from advisor.domain.workload import Workload
from advisor.estimator.batch_lengths import lengths_of
from advisor.estimator.estimate_request import EstimateRequest, from_case, hardware_of, workload_of
from advisor.estimator.fitting.changes import in_words
from advisor.estimator.generation.completions import refuse_gathered, with_completions
from advisor.estimator.generation.generation_memory import engine_bytes
from advisor.estimator.measurements import calibration_of, pooled_for, profile_of
from advisor.estimator.memory.earlier_transformers import kept_logits_note
from advisor.estimator.memory.memory_prediction import fits_in, memory_of, overheads_of
from advisor.estimator.memory.replay import peak_allocated
from advisor.estimator.parallelism.sharded import job_of, memory_of_rank, nccl_bytes, time_of_job
from advisor.estimator.parallelism.strategies import traced_as
from advisor.estimator.precision_request import recipe_asked
from advisor.estimator.spending.interruptions import on_spot
from advisor.estimator.spending.money import money_of
from advisor.estimator.spending.search_cost import with_search
from advisor.estimator.step_time.time_prediction import is_causal, time_of
from advisor.estimator.step_time.torch_compile_bounds import as_compiled
from advisor.tracer.timelines import known_trace, releases_of, timeline_of, trace_of

if TYPE_CHECKING:
    from advisor.catalog.methods.method import Method

REPEAT_NOISE: Final = 0.012
"""Worst spread of step time over repeated runs of one recipe on one L40S; memory repeats to 0.07 %.

Source: feasibility study on peft's public method comparison.
"""


def estimate(model: str, gpu: str | None = None, **options: Unpack[EstimateOptions]) -> Candidate:
    """Memory, time, money and quality of one recipe on one machine; what is left out takes advisor's defaults.

    Lengths are in tokens: `seq_len` is the longest sample and decides memory, `mean_seq_len` decides time. The
    result says for each figure on what basis it stands, and `fits` whether the machine can hold it. With
    `torch_compile` the ranges reach down to what no fusion can save.

    Args:
        model: a Hub id, a name or alias of the catalogue, or a local folder.
        gpu: a name that `advisor gpus` knows, or `auto`, this machine's; one that is not listed is described by
            `gpu_memory` ("24GB") and `gpu_like`, the card whose rates it shares.
        options: see `advisor.domain.request.verb_options.EstimateOptions`; they are the command line's
            options and the keys of a line of `--from`. None counts as left out.

    Returns:
        The candidate: bytes, seconds, USD and points, each with its interval, basis and reason. Of one that does not
        fit, `facts["to_fit"]` says which changes of it do, `facts["to_fit_note"]` which do not or were not tried.

    Raises:
        BadRequest: a value that makes no sense; UnknownName and IllegalRecipe are of this kind.
        BadFile: the adapter config, a profile or a calibration cannot be read.

    Example:
        advisor.estimate("meta-llama/Llama-3.2-3B", "L40S", method="lora", rank=32, batch_size=4, seq_len=683)
    """
    return answer_with_changes(from_case({"model": model, "gpu": gpu, **options}))


def quick_estimate(model: str, gpu: str | None = None, **options: Unpack[EstimateOptions]) -> Candidate | None:
    """As `estimate`, with a wider range of the reserved memory; None where the step would have to be traced first.

    Args:
        model, gpu, options: as of `estimate`.

    Raises:
        as `estimate`.
    """
    from advisor.catalog.models import resolve_model

    request = from_case({"model": model, "gpu": gpu, **options})
    hardware, spec = hardware_of(request), resolve_model(request.model, denoisers=True)
    recipe, _ = recipe_asked(request, spec, hardware.gpu)
    workload, _ = workload_of(request, spec, recipe)
    traced = recipe if hardware.sharding is None else traced_as(recipe, hardware.sharding)
    if known_trace(workload, traced, hardware, spec) is None:
        return None
    return answer_on(request, hardware, spec, thorough=False)


def answer(request: EstimateRequest) -> Candidate:
    """The candidate a request describes. Raises as `estimate`."""
    from advisor.catalog.models import resolve_model

    return answer_on(request, hardware_of(request), resolve_model(request.model, denoisers=True))


def answer_with_changes(request: EstimateRequest) -> Candidate:
    """As `answer`; on one device also the changes that make fit what does not. Raises as `estimate`."""
    from advisor.catalog.models import resolve_model

    hardware, spec = hardware_of(request), resolve_model(request.model, denoisers=True)
    found = answer_on(request, hardware, spec)
    if found.fits or hardware.count > 1:
        return found
    said, note = in_words(found, hardware, spec, price, largest_micro_batch)
    return found.model_copy(update={"facts": {**found.facts, "to_fit": said, "to_fit_note": note}})


def answer_on(
    request: EstimateRequest,
    hardware: Hardware,
    spec: ModelSpec,
    *,
    use_measured: bool = True,
    thorough: bool = True,
) -> Candidate:
    """The candidate of a request whose machine and model are known already, with every check of a user's question.

    Args:
        use_measured, thorough: as in `price`.

    Raises:
        as `estimate`.
    """
    from advisor.catalog.gpus import check_attention
    from advisor.catalog.methods import check_recipe

    recipe, precision = recipe_asked(request, spec, hardware.gpu)
    check_attention(hardware.gpu, recipe.attention)
    workload, notes = workload_of(request, spec, recipe)
    method = check_recipe(spec, recipe, workload)
    candidate = price(workload, recipe, hardware, spec, use_measured=use_measured, thorough=thorough)
    if request.torch_compile:
        candidate = as_compiled(candidate)
    if request.trials is not None:
        candidate = with_search(candidate, request.trials)
    resolved = [note for note in (hardware.note, *precision, spec.where, method.notice) if note]
    return candidate.model_copy(update={"assumptions": (*notes, *resolved, *candidate.assumptions)})


def price(
    workload: Workload,
    recipe: Recipe,
    hardware: Hardware,
    spec: ModelSpec,
    *,
    thorough: bool = True,
    use_measured: bool = True,
    today: date | None = None,
) -> Candidate:
    """One recipe on one machine.

    Args:
        thorough: replay the caching allocator event by event; without it the reserved peak is the allocated one
            times the usual fragmentation, which is a hundred times faster and serves to compare many recipes.
        use_measured: where this very run is in the store, its measured figures stand instead of predictions.
    """
    from advisor.catalog.methods import batching_warning, find_method

    traced = recipe if hardware.sharding is None else traced_as(recipe, hardware.sharding)
    trace = trace_of(workload, traced, hardware, spec)
    timeline = timeline_of(trace)
    job = None if hardware.sharding is None else job_of(hardware, recipe, traced, spec)
    step = timeline if job is None else job.rank(timeline)
    lengths = lengths_of(workload, recipe)
    calibration = calibration_of(hardware.gpu.name)
    memory, allocator = memory_of(
        step,
        lengths,
        recipe,
        hardware.gpu,
        calibration,
        thorough=thorough,
        model=workload.model,
        limit=hardware.limit_bytes - round(nccl_bytes(hardware.count)),
    )
    fitted = calibration or pooled_for(hardware.gpu)
    time, notes = time_of(step, lengths, workload, recipe, hardware.gpu, fitted, causal=is_causal(spec))
    if job is not None:
        if job.layout.weights:
            refuse_gathered(workload, hardware)
        memory = memory_of_rank(memory, job)
        time, notes = time_of_job(time, timeline, workload, job), (*job.notes(), *notes)
    if workload.rollout is not None:
        sized = spec if spec.parameters else spec.model_copy(update={"parameters": trace.total_parameters})
        memory, time = with_completions(memory, time, timeline, sized, workload, recipe, hardware, fitted)
    alone = job is None and use_measured
    measured = profile_of(workload, recipe, hardware.gpu.name, spec) if alone else None
    if measured is not None:
        memory, time = _as_measured(memory, time, measured, workload)
    time, money = _priced(time, hardware, today or date.today())
    method = find_method(recipe.method)
    warning = precision_warning(method, recipe, workload.task)
    warnings = tuple(said for said in (warning, batching_warning(recipe)) if said)
    unstudied = quality_unknown(workload)
    return Candidate(
        workload=workload,
        recipe=recipe,
        gpu=hardware.gpu.name,
        gpu_count=hardware.count,
        nodes=hardware.nodes,
        sharding=hardware.sharding,
        trainable_parameters=trace.trainable_parameters,
        total_parameters=trace.total_parameters,
        memory=memory,
        fits=memory.peak_device.mid <= hardware.limit_bytes,
        limit_bytes=hardware.limit_bytes,
        time=time,
        money=money,
        quality=_quality(workload, recipe, spec, trace, warning),
        assumptions=(
            *warnings,
            *([f"quality: {unstudied}"] if unstudied else ()),
            lengths.says,
            *allocator,
            *notes,
            *notes_of(spec, workload),
            *releases_of(trace, workload, traced, hardware, spec),
            *([] if job else kept_logits_note(memory, lengths.largest, workload, recipe, spec)),
            *trace.assumptions,
        ),
        warnings=warnings,
        versions=trace.versions,
        facts=_facts(method, recipe, spec, trace),
    )


def _priced(time: Time, hardware: Hardware, today: date) -> tuple[Time, Money]:
    """The time with a spot machine's interruptions, where these were said, and the money of both."""
    from advisor.catalog.prices import offers

    wall = None if time.training is None else on_spot(time.training, hardware)
    each = hardware.count // hardware.nodes
    money = money_of(time.training, hardware, offers(hardware.gpu.name, each), today=today, on_spot=wall)
    return (time if wall is None else time.model_copy(update={"on_spot": wall})), money


def _facts(method: Method, recipe: Recipe, spec: ModelSpec, trace: Trace) -> dict[str, Any]:
    """What else a reader or a program asks of the recipe, by names that stay."""
    from advisor.catalog.methods import options_of

    return {
        "model_asked": spec.asked,
        # what the recipe leaves open stands at the method's defaults: rank, alpha, dropout ...
        "options": {} if recipe.adapter_config is not None else options_of(method, recipe.options),
        "family": method.family,
        # merging into a weight that two modules share would change both
        "mergeable": method.mergeable and not trace.settings.get("tied"),
        "inference_overhead": method.inference_overhead,
        "start_up": method.start_up,
    }


def largest_micro_batch(
    workload: Workload, recipe: Recipe, hardware: Hardware, spec: ModelSpec, at_most: int
) -> int | None:
    """The largest divisor of `at_most` that fits as a micro-batch, the rest left to gradient accumulation; or None.

    The search compares rounded live bytes times the usual fragmentation; the allocator is then replayed for
    the batch found and, where that says no, for the next smaller ones.

    Args:
        at_most: the effective batch size.
    """
    limit = hardware.limit_bytes - round(nccl_bytes(hardware.count)) - engine_bytes(workload, hardware.gpu)
    overheads = overheads_of(hardware.gpu, calibration_of(hardware.gpu.name))
    usual = load_constants("memory")["fragmentation"].low
    timeline: Timeline | None = None
    fewest = find_objective(workload.objective).fewest_rows
    for size in sorted((d for d in range(fewest, at_most + 1) if at_most % d == 0), reverse=True):
        tried = recipe.model_copy(update={"micro_batch_size": size, "gradient_accumulation": at_most // size})
        if timeline is None or hardware.sharding is not None:
            # how shards are reduced depends on accumulation; on one device one trace serves all sizes
            timeline = _of_rank(workload, tried, hardware, spec)[1]
        lengths = lengths_of(workload, tried)
        quick = peak_allocated(
            timeline, lengths.largest, workspace_bytes=overheads.workspace, accumulation=tried.gradient_accumulation
        )
        if quick.peak * usual + overheads.context.mid > limit:
            continue
        if fits_in(timeline, lengths, tried, hardware.gpu, calibration_of(hardware.gpu.name), limit):
            return size
    return None


def quick_peak(
    workload: Workload, recipe: Recipe, hardware: Hardware, spec: ModelSpec, known: dict[tuple[object, ...], float]
) -> float:
    """Bytes on the device at the peak: rounded live bytes times the usual fragmentation, and the context.

    `known` keeps what does not depend on the card, for the next one: live bytes by trace, shape and workspace.
    """
    overheads = overheads_of(hardware.gpu, calibration_of(hardware.gpu.name))
    key, timeline = _of_rank(workload, recipe, hardware, spec)
    lengths, accumulation = lengths_of(workload, recipe), recipe.gradient_accumulation
    asked = (key, lengths.largest, overheads.workspace, accumulation > 1, hardware.count, hardware.sharding)
    if asked not in known:
        known[asked] = peak_allocated(
            timeline, lengths.largest, workspace_bytes=overheads.workspace, accumulation=accumulation
        ).peak
    usual = load_constants("memory")["fragmentation"].value
    beside = nccl_bytes(hardware.count) + engine_bytes(workload, hardware.gpu)
    return known[asked] * usual + overheads.context.mid + beside


def _of_rank(workload: Workload, recipe: Recipe, hardware: Hardware, spec: ModelSpec) -> tuple[str, Timeline]:
    """The step that one GPU runs, and the key of its trace."""
    sharding = hardware.sharding
    traced = recipe if sharding is None else traced_as(recipe, sharding)
    trace = trace_of(workload, traced, hardware, spec)
    if sharding is None:
        return trace.key, timeline_of(trace)
    return trace.key, job_of(hardware, recipe, traced, spec).rank(timeline_of(trace))


def _quality(workload: Workload, recipe: Recipe, spec: ModelSpec, trace: Trace, warning: str) -> Quality | None:
    """None without a number of samples, which the effect hangs on, of what does not train at all, and unstudied."""
    if workload.samples is None or quality_unknown(workload) or quality_under(recipe.optimizer):
        return None
    if warning and recipe.dtype == "float16":
        return None
    return quality_of(workload, recipe, spec, trace.total_parameters, trace.trainable_parameters, workload.samples)


def quality_of(
    workload: Workload, recipe: Recipe, spec: ModelSpec, total: int, trainable: int, samples: int | None
) -> Quality:
    """Expected effect against full fine-tuning, the recipe's precision considered.

    Args:
        total, trainable: numbers of parameters.
        samples: of the training; None averages over sizes.
    """
    from advisor.catalog.methods import find_method
    from advisor.literature.evidence_architecture import evidence_architecture
    from advisor.literature.quality.precision import with_kahan_summation, with_lost_updates
    from advisor.literature.quality.quality_prediction import predict_quality

    predicted = predict_quality(
        recipe.method,
        architecture=evidence_architecture(spec),
        model_parameters=total,
        task_type=workload.task_type,
        samples=samples,
        trainable_parameters=trainable,
        options=recipe.options,
        learning_rate_tuned=True,
        own_method=False,
    )
    if keeps_updates(recipe) and loses_updates(find_method(recipe.method), rate_of(find_method(recipe.method), recipe)):
        return with_kahan_summation(predicted)
    return with_lost_updates(predicted, precision_warning(find_method(recipe.method), recipe, workload.task))


def _as_measured(memory: Memory, time: Time, run: Profile, workload: Workload) -> tuple[Memory, Time]:
    """Measured figures in the place of predicted ones; what the run did not record stays predicted."""
    why = f"this very run was measured on {run.device}: {run.source or run.id}"

    def bytes_of(predicted: Quantity, value: int | None) -> Quantity:
        return predicted if value is None else Quantity.around(value, 0.0007, 0.0007, "B", "measured", why)

    reserved = bytes_of(memory.peak_reserved, run.peak_reserved_bytes)
    context = memory.peak_device.mid - memory.peak_reserved.mid
    allocated = bytes_of(memory.peak_allocated, run.peak_allocated_bytes)
    breakdown = dict(memory.breakdown)
    breakdown["fragmentation"] += round(reserved.mid - memory.peak_reserved.mid)
    memory = memory.model_copy(
        update={
            "peak_reserved": reserved,
            "peak_allocated": allocated,
            "allocated_after_step": bytes_of(memory.allocated_after_step, run.allocated_after_step_bytes),
            "peak_device": Quantity(
                low=reserved.low + memory.peak_device.low - memory.peak_reserved.low,
                mid=reserved.mid + context,
                high=reserved.high + memory.peak_device.high - memory.peak_reserved.high,
                unit="B",
                basis=memory.peak_device.basis if run.context_bytes is None else "measured",
                why=f"{gib(reserved.mid)} reserved as measured, and the CUDA context",
            ),
            "breakdown": breakdown,
        }
    )
    if not run.step_seconds:
        return memory, time
    mean = sum(run.step_seconds) / len(run.step_seconds)
    step = Quantity.around(mean, REPEAT_NOISE, REPEAT_NOISE, "s", "measured", why)
    scale = mean / time.step.mid
    steps = workload.optimizer_steps()
    tokens = time.tokens_per_second.mid * time.step.mid
    rate = Quantity.around(tokens / mean, REPEAT_NOISE, REPEAT_NOISE, time.tokens_per_second.unit, "measured", why)
    time = time.model_copy(
        update={
            "step": step,
            "tokens_per_second": rate,
            "training": None if steps is None else step.times(steps, "s", plural(steps, "step")),
            "phases": {name: seconds * scale for name, seconds in time.phases.items()},
        }
    )
    return memory, time


__all__ = ["EstimateRequest", "answer", "estimate", "from_case", "largest_micro_batch", "price"]
