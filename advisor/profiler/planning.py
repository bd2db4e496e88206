"""From a campaign to runs in the order of what they tell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from advisor.assembly.base_model import cut_config, layer_fields
from advisor.catalog.methods import check_recipe, find_method
from advisor.catalog.models import resolve_model
from advisor.catalog.models.checkpoint import with_stored_base
from advisor.catalog.models.context_length import check_lengths
from advisor.catalog.models.tasks import task_for
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.request.validation import first_problem
from advisor.domain.workload import Workload
from advisor.errors import AdvisorError, BadRequest
from advisor.profiler.campaign import Campaign, Choice
from advisor.profiler.device import Device, library_versions
from advisor.profiler.profile_job import ProfileJob


@dataclass(frozen=True, slots=True)
class ExcludedRun:
    """A combination that cannot run, and why."""

    choice: Choice
    reason: str


def plan_jobs(
    campaign: Campaign, device: Device, memory_limit_bytes: int | None = None
) -> tuple[list[ProfileJob], list[ExcludedRun]]:
    """The runs of a campaign on a device, and the combinations that no run can be made of.

    A name nobody knows is an error at once; a method that merely cannot run on one of the models is left out,
    unless nothing else remains.

    Raises:
        UnknownName, UnsupportedModel: a model or method nobody has heard of.
        BadRequest: no combination can run; a size out of range.
    """
    jobs: dict[str, ProfileJob] = {}
    left_out: list[ExcludedRun] = []
    specs: dict[str, ModelSpec] = {}
    first: AdvisorError | None = None
    for choice in campaign.choices():
        if choice.model not in specs:
            specs[choice.model] = resolve_model(choice.model)
        try:
            job = job_of(choice, specs[choice.model], campaign, device, memory_limit_bytes)
        except BadRequest as error:
            if type(error).__name__ == "UnknownName":
                raise
            first = first or error
            left_out.append(ExcludedRun(choice, error.message))
            continue
        jobs.setdefault(job.digest, job)
    if not jobs and first is not None:
        raise first
    return list(jobs.values()), left_out


def job_of(
    choice: Choice, spec: ModelSpec, campaign: Campaign, device: Device, memory_limit_bytes: int | None = None
) -> ProfileJob:
    """One combination as a run.

    Raises:
        IllegalRecipe, BadRequest: it cannot run so.
    """
    cut, overrides = cut_down(spec, choice.layers)
    workload = _workload(choice, spec)
    recipe = with_stored_base(spec, _recipe(choice))
    check_recipe(cut, recipe, workload)
    if recipe.trainer == "trl" and (workload.task != "causal-lm" or spec.architecture != "decoder"):
        raise BadRequest(f"TRL's SFTTrainer trains causal language models, not {workload.task}", task=workload.task)
    return ProfileJob(
        spec=cut,
        workload=workload,
        recipe=recipe,
        config_overrides=overrides,
        device=device.kind,
        device_name=device.name,
        device_reported=device.reported,
        steps=choice.steps or campaign.steps,
        warmup=campaign.warmup,
        threads=campaign.threads,
        evaluation_batch_size=recipe.micro_batch_size if campaign.evaluation else 0,
        saving=campaign.saving,
        history=campaign.history if choice.history is None else choice.history,
        memory_limit_bytes=memory_limit_bytes,
        versions=library_versions(),
    )


def _workload(choice: Choice, spec: ModelSpec) -> Workload:
    check_lengths(spec, seq_len=choice.seq_len, target_len=choice.target_len)
    task = task_for(spec, choice.task)
    return Workload.model_validate(
        {
            "model": spec.name,
            "task": task,
            "seq_len": choice.seq_len,
            "mean_seq_len": choice.mean_seq_len,
            "target_len": choice.target_len or (max(1, choice.seq_len // 4) if task == "seq2seq" else None),
            "effective_batch_size": choice.batch_size * choice.gradient_accumulation,
            "lengths": "every sample of the measured batches has this length"
            if choice.mean_seq_len is None
            else "each measured batch has a length drawn from a gamma law",
        }
    )


def _recipe(choice: Choice) -> Recipe:
    fields: dict[str, Any] = choice.model_dump(
        include={"method", "options", "dtype", "mixed_precision", "gradient_checkpointing", "attention", "trainer"}
        | {"batching"}
    )
    fields |= {"micro_batch_size": choice.batch_size, "gradient_accumulation": choice.gradient_accumulation}
    method = find_method(choice.method)
    fields |= {"method": method.name, "base": choice.base or method.default_base}
    fields["optimizer"] = choice.optimizer or method.optimizer or "adamw_torch"
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise BadRequest(first_problem(error)[1]) from error


def cut_down(spec: ModelSpec, layers: int | None) -> tuple[ModelSpec, dict[str, Any]]:
    """The model with every stack of layers at most `layers` deep, and the config fields that this changed.

    Raises:
        UnsupportedModel: its config has no field known to hold a depth.
    """
    if layers is None:
        return spec, {}
    config = cut_config(spec, {name: min(layers, depth) for name, depth in layer_fields(spec).items()})
    overrides = {name: value for name, value in config.items() if spec.config.get(name) != value}
    if not overrides:
        return spec, {}
    return spec.model_copy(update={"config": config, "parameters": None}), overrides


def order_runs(
    runs: Sequence[ProfileJob], scores: Sequence[float] | None = None, *, known: Iterable[ProfileJob] = ()
) -> list[ProfileJob]:
    """The runs, those that tell most first, so that a time budget cuts the least informative ones.

    With `scores`, one a run, the highest first. Without, they are spread over the space of choices: each next
    run is the one least like all before it (`known` counts as before), the first the one most like the rest.

    Raises:
        ValueError: as many scores as runs are needed, all finite.
    """
    if scores is not None:
        if len(scores) != len(runs) or not all(map(math.isfinite, scores)):
            raise ValueError(f"{len(runs)} runs need as many finite scores, not {len(scores)}")
        return [run for _, _, run in sorted(zip((-s for s in scores), range(len(runs)), runs, strict=True))]
    features = [_features(run) for run in runs]
    near, apart = [math.inf] * len(runs), [0.0] * len(runs)
    left = list(range(len(runs)))

    def chosen(feature: Mapping[str, Any]) -> None:
        for i in left:
            distance = _distance(features[i], feature)
            near[i] = min(near[i], distance)
            apart[i] += distance

    for old in known:
        chosen(_features(old))
    ordered: list[ProfileJob] = []
    while left:
        if all(math.isinf(near[i]) for i in left):
            pick = min(left, key=lambda i: sum(_distance(features[i], features[j]) for j in left))
        else:
            pick = max(left, key=lambda i: (near[i], apart[i], -i))
        left.remove(pick)
        ordered.append(runs[pick])
        chosen(features[pick])
    return ordered


def _features(job: ProfileJob) -> Mapping[str, Any]:
    recipe = job.recipe
    return {
        "model": job.spec.name,
        "method": recipe.method,
        "tokens": math.log2(recipe.micro_batch_size * job.workload.seq_len),
        "length": math.log2(job.workload.seq_len),
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "dtype": (recipe.dtype, recipe.mixed_precision, recipe.base),
        "optimizer": recipe.optimizer,
        "trainer": recipe.trainer,
        "attention": recipe.attention,
        "accumulation": math.log2(recipe.gradient_accumulation),
    }


def _distance(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """How unlike two runs are: one for each choice that differs, a doubling of a size counting a half."""
    total = 0.0
    for name, value in one.items():
        if isinstance(value, float):
            total += min(1.5, abs(value - other[name]) / 2)
        else:
            total += value != other[name]
    return total
