"""Why this one, why not the others, and what would change the answer - each sentence computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from advisor.catalog.findings.method_names import our_name
from advisor.catalog.findings.task_types import task_type_of
from advisor.catalog.methods import find_method
from advisor.catalog.models.checkpoint import stored_base
from advisor.catalog.training_precision import keeps_updates, precision_warning
from advisor.domain.candidate import Candidate
from advisor.domain.recommendation import ChoiceRisk, Refusal
from advisor.domain.units import duration, gib
from advisor.literature.evidence_architecture import evidence_architecture
from advisor.literature.quality.features import StudySetting, architecture_of
from advisor.recommender.criteria import (
    chance_better,
    dominates,
    expected_effect,
    has_evidence,
    peak_bytes,
    training_seconds,
    training_usd,
    why_dominated,
)
from advisor.recommender.infeasible import describe, larger_gpus
from advisor.recommender.policies import SURE_BY, Policy, points
from advisor.recommender.recipe_space import EIGHT_BIT, KAHAN
from advisor.recommender.recommend_request import ResolvedRequest
from advisor.recommender.sizing import Costs, MethodOutcome

TOLERANCES: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
"""Points at which another tolerance is tried, to say where the answer changes."""

SAMPLE_FACTORS: Final = (0.1, 10.0, 100.0)
"""Other amounts of data at which the choice is made again. A crossover is not searched for: the evidence
does not support a point, only that the answer at ten times the data is or is not another."""


def drop_dominated(ranked: Sequence[Candidate]) -> tuple[tuple[Candidate, ...], list[Refusal]]:
    """The candidates that nothing beats in every respect; the first is kept, since the policy chose it."""
    kept: list[Candidate] = []
    refused: list[Refusal] = []
    for candidate in ranked:
        better = [c for c in ranked if dominates(c, candidate)]
        if candidate is ranked[0] or not better:
            kept.append(candidate)
            continue
        best = next((c for c in better if c is ranked[0]), better[0])
        name = candidate.recipe.method
        refused.append(Refusal(method=name, reason=why_dominated(best, candidate), kind="dominated"))
    return tuple(kept), refused


def why(
    question: ResolvedRequest, ranked: Sequence[Candidate], because: str, risks: Sequence[ChoiceRisk]
) -> tuple[str, ...]:
    """What speaks for the first: the policy's own reason, its fit, its evidence; then what the next would cost."""
    choice = ranked[0]
    recipe = choice.recipe
    said = [because]
    share = peak_bytes(choice) / choice.limit_bytes
    said.append(
        f"{describe(choice)} peaks at {gib(peak_bytes(choice))}, {share:.0%} of the {gib(choice.limit_bytes)} allowed"
    )
    if recipe.gradient_checkpointing:
        said.append("checkpointing: without it no micro-batch, or only a slower one, fits")
    if recipe.base != "dtype" and question.request.base is None and stored_base(question.spec) is None:
        said.append(f"{recipe.base} base: in {recipe.dtype} the weights leave too little room")
    said.extend(_precision(question, choice))
    if choice.quality is not None:
        said.append(f"quality: {choice.quality.evidence}")
    said.extend(_at_risk(risks, question.request.tolerance_points))
    above = {risk.method: risk.above_choice for risk in risks}
    said.extend(_against(rival, choice, above.get(rival.recipe.method)) for rival in ranked[1:])
    return tuple(said)


def risks_of(question: ResolvedRequest, ranked: Sequence[Candidate]) -> tuple[ChoiceRisk, ...]:
    """What choosing each ranked candidate may lose, in points, time and money; nothing without predicted quality."""
    from advisor.literature.quality.choice_odds import choice_odds

    known = [(c, c.quality.effect) for c in ranked if c.quality is not None]
    if len(known) < 2:
        return ()
    settings = [study_setting(question, candidate) for candidate, _ in known]
    odds = choice_odds(settings, [effect for _, effect in known], question.request.tolerance_points)
    seconds = [training_seconds(candidate) for candidate, _ in known]
    prices = [training_usd(candidate, spot=question.request.spot) for candidate, _ in known]
    usd = [price.mid for price in prices if price is not None]
    return tuple(
        ChoiceRisk(
            method=candidate.recipe.method,
            points_lost=round(one.loss, 2),
            best=round(one.best, 3),
            within_tolerance=round(one.near, 3),
            above_choice=round(one.above_first, 3),
            extra_seconds=round(took - min(seconds), 3),
            extra_usd=None if price is None else round(max(0.0, price.mid - min(usd)), 4),
        )
        for (candidate, _), one, took, price in zip(known, odds, seconds, prices, strict=True)
    )


def study_setting(question: ResolvedRequest, candidate: Candidate) -> StudySetting:
    """The candidate's question to the quality model, as the estimator asks it: one's own, tuned."""
    return StudySetting(
        method=our_name(candidate.recipe.method),
        architecture=architecture_of(evidence_architecture(question.spec)),
        task_type=task_type_of(question.workload.task_type or "NLU"),
        samples=question.workload.samples,
        parameters=candidate.total_parameters,
    )


def _at_risk(risks: Sequence[ChoiceRisk], tolerance: float) -> list[str]:
    """What the choice may lose, and which of the others nothing sets apart from it."""
    if not risks:
        return []
    first = risks[0]
    said = [
        f"at risk: {first.method} is expected to end {first.points_lost:.1f} points below the best of these "
        f"{len(risks)}; the best itself {first.best:.0%} of the time, within {points(tolerance)} of it "
        f"{first.within_tolerance:.0%}"
    ]
    alike = [risk.method for risk in risks[1:] if 1 - SURE_BY < risk.above_choice < SURE_BY]
    if alike:
        said.append(
            f"no difference known to {', '.join(alike)}: none of them ends above or below {first.method} with "
            f"{SURE_BY:.0%}, so cost and tooling decide"
        )
    least = min(risks, key=lambda risk: risk.points_lost)
    if least is not first:
        said.append(
            f"least to lose in points: {least.method}, {least.points_lost:.1f} expected, for "
            f"{duration(least.extra_seconds)} more than the quickest"
        )
    return said


def _precision(question: ResolvedRequest, choice: Candidate) -> list[str]:
    """What is trained is stored in, and what that costs where 16 bits are not enough."""
    recipe = choice.recipe
    method = find_method(recipe.method)
    warning = precision_warning(method, recipe, choice.workload.task)
    if warning:
        return [warning, f"instead, in float32 weights: {_ways_out(question, choice)}"]
    if keeps_updates(recipe):
        return [
            f"precision: weights and moments in bfloat16, 10 bytes a parameter; {recipe.optimizer} (optimi) carries "
            "what a step changes below half a bit of a weight (Kahan summation); no study of it bears on the quality"
        ]
    if recipe.compute_dtype == "float32":
        return []
    if recipe.base == "dtype" and recipe.dtype == "float32":
        half = recipe.compute_dtype
        alone = "what is trained stops the loss scaler" if half == "float16" else "most steps are rounded away"
        said = [f"precision: float32 weights, computed in {half} (autocast): in {half} alone {alone}"]
        if recipe.optimizer == EIGHT_BIT and question.request.optimizer is None:
            said.append(f"{EIGHT_BIT}: with AdamW's state in float32, 16 bytes a parameter, it does not fit")
        return said
    if method.trains_in_base_dtype:
        return []
    return [f"precision: adapter weights in float32 beside the {recipe.dtype} model, as peft casts them"]


def _ways_out(question: ResolvedRequest, choice: Candidate) -> str:
    """GPUs and optimizers that would keep the updates, those left out that cannot fit."""
    total = choice.total_parameters
    ways: list[str] = []
    if choice.recipe.method == "full":
        larger = larger_gpus(question, 16.0 * total)[:1]
        ways.extend(f"--gpu {gpu.name} (AdamW takes 16 bytes a parameter, {gib(16.0 * total)})" for gpu, _ in larger)
        if 10.0 * total < choice.limit_bytes:
            ways.append(f"--optimizer {KAHAN} --dtype bfloat16 (10 bytes a parameter, Kahan summation; not studied)")
        if 8.0 * total < choice.limit_bytes:
            ways.append("--optimizer paged_adamw_8bit (8 bytes a parameter; state moves to the host and back: slower)")
            ways.append("--optimizer adafactor (8 bytes a parameter, no first moment)")
        ways.append("--method galore (8 bytes a parameter and a projected state)")
    return ", ".join([*ways, "--method lora"])


def _against(rival: Candidate, choice: Candidate, above: float | None) -> str:
    """`not full: 2.1 times the time and cost, expected +0.4 points, better 55% of the time`"""
    parts = [f"{training_seconds(rival) / training_seconds(choice):.2g} times the time and cost"]
    if rival.quality is not None and choice.quality is not None:
        parts.append(f"expected {expected_effect(rival) - expected_effect(choice):+.1f} points")
        chance = chance_better(rival, choice) if above is None else above
        parts.append(f"better {chance:.0%} of the time")
        if not has_evidence(rival):
            parts.append("no study bears on it")
    if precision_warning(find_method(rival.recipe.method), rival.recipe, rival.workload.task):
        parts.append(f"fits in {rival.recipe.dtype} weights only, which loses its updates")
    if rival.facts.get("mergeable") is False and choice.facts.get("mergeable"):
        parts.append("cannot be merged")
    return f"not {rival.recipe.method}: {', '.join(parts)}"


def would_change(
    question: ResolvedRequest,
    policy: Policy,
    candidates: Sequence[Candidate],
    choice: Candidate,
    fits: Mapping[str, MethodOutcome],
    refused: Sequence[Refusal],
    costs: Costs,
) -> tuple[str, ...]:
    """What would make the answer another one, each tried: tolerance, data, memory, merging, limits."""
    return (
        *_other_tolerance(question, policy, candidates, choice),
        *_other_samples(question, policy, candidates, choice, costs),
        *_more_memory(question, choice, fits, costs),
        *_merging(question, policy, candidates, choice),
        *_wider_limits(choice, fits, refused, spot=question.request.spot),
    )


def _other_tolerance(
    question: ResolvedRequest, policy: Policy, candidates: Sequence[Candidate], choice: Candidate
) -> list[str]:
    """The nearest tolerance on either side at which another method is chosen."""
    mine = question.request.tolerance_points
    said: list[str] = []
    for tolerances in (sorted((t for t in TOLERANCES if t < mine), reverse=True), [t for t in TOLERANCES if t > mine]):
        for tolerance in tolerances:
            other = policy.rank(candidates, tolerance).ranked[0]
            if other.recipe.method != choice.recipe.method:
                said.append(f"with --tolerance-points {tolerance:g}: {other.recipe.method}{_difference(other, choice)}")
                break
    return said


def _difference(other: Candidate, choice: Candidate) -> str:
    gap = expected_effect(other) - expected_effect(choice)
    points = f"expected {gap:+.1f} points, " if other.quality is not None and choice.quality is not None else ""
    return f" ({points}{training_seconds(other) / training_seconds(choice):.2g} times the time and cost)"


def _other_samples(
    question: ResolvedRequest, policy: Policy, candidates: Sequence[Candidate], choice: Candidate, costs: Costs
) -> list[str]:
    """The choice made again as if there were a tenth, ten or a hundred times the data."""
    samples = question.workload.samples
    if samples is None or choice.quality is None:
        return []
    said: list[str] = []
    for factor in SAMPLE_FACTORS:
        number = int(samples * factor)
        if not 10 <= number <= 10**9:
            continue
        again = [c.model_copy(update={"quality": costs.quality(c, question.spec, number)}) for c in candidates]
        other = policy.rank(again, question.request.tolerance_points).ranked[0]
        if other.recipe.method == choice.recipe.method or other.quality is None:
            continue
        held = next(c for c in again if c.recipe == choice.recipe)
        interval = other.quality.effect
        said.append(
            f"with {number:,} samples: {other.recipe.method} "
            f"(expected {expected_effect(other) - expected_effect(held):+.1f} points; "
            f"against full {interval.mid:+.1f}, {interval.low:+.1f} to {interval.high:+.1f})"
        )
    return said


def _more_memory(
    question: ResolvedRequest, choice: Candidate, fits: Mapping[str, MethodOutcome], costs: Costs
) -> list[str]:
    """What each better method that does not fit needs, and the cheapest GPU that has it."""
    said: list[str] = []
    samples = question.workload.samples
    for name, found in fits.items():
        if found.smallest is None or found.candidate is not None:
            continue
        need = peak_bytes(found.smallest)
        gain = ""
        if choice.quality is not None:
            quality = found.smallest.quality or costs.quality(found.smallest, question.spec, samples)
            gap = quality.effect.mid - choice.quality.effect.mid
            if gap <= 0:
                continue
            gain = f": expected {gap:+.1f} points"
        elif name != "full":
            continue
        larger = larger_gpus(question, need)
        where = f", for example {larger[0][0].name}{_hourly(larger[0][1])}" if larger else ", no GPU of the catalogue"
        said.append(f"with {gib(need)} instead of {gib(choice.limit_bytes)} {name} fits{where}{gain}")
    return said


def _hourly(usd_per_hour: float | None) -> str:
    return "" if usd_per_hour is None else f" from {usd_per_hour:.2f} USD/h"


def _merging(
    question: ResolvedRequest, policy: Policy, candidates: Sequence[Candidate], choice: Candidate
) -> list[str]:
    """The choice if it had to merge, where the present one cannot."""
    if choice.facts.get("mergeable") is not False or question.request.must_merge or choice.recipe.method == "full":
        return []
    merging = [c for c in candidates if c.facts.get("mergeable") or c.recipe.method == "full"]
    if not merging:
        return []
    other = policy.rank(merging, question.request.tolerance_points).ranked[0]
    return [f"if it must merge into the base weights: {other.recipe.method}{_difference(other, choice)}"]


def _wider_limits(
    choice: Candidate, fits: Mapping[str, MethodOutcome], refused: Sequence[Refusal], *, spot: bool
) -> list[str]:
    """What a larger budget or a later deadline would open, where that is expected to be better."""
    said: list[str] = []
    for refusal in refused:
        candidate = fits[refusal.method].candidate if refusal.method in fits else None
        if refusal.kind not in ("over-budget", "over-deadline") or candidate is None:
            continue
        gap = expected_effect(candidate) - expected_effect(choice)
        if candidate.quality is None or gap <= 0:
            continue
        cost, time = training_usd(candidate, spot=spot), candidate.time.wall(spot=spot)
        limit = f"{cost.mid:.2f} USD" if refusal.kind == "over-budget" and cost else duration(time.mid) if time else "?"
        said.append(f"with {limit}: {refusal.method} (expected {gap:+.1f} points)")
    return said
