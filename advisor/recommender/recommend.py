"""The recommender's door: every legal recipe fitted and priced, weighed by a stated policy, and explained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from advisor.catalog.methods import find_method
from advisor.catalog.models.denoisers import peak_note
from advisor.catalog.objectives import quality_unknown, under_objective
from advisor.catalog.optimizer_names import quality_under
from advisor.domain.candidate import Candidate
from advisor.domain.recommendation import Recommendation, Refusal
from advisor.domain.request.verb_options import RecommendOptions
from advisor.domain.units import HOUR
from advisor.errors import BadRequest, DoesNotFit
from advisor.estimator.precision_request import optimizer_notes, to_train_here
from advisor.literature.side_effects import side_effects
from advisor.recommender.constraints import check_limits, kept_limits, nothing_within_limits, over_limits
from advisor.recommender.criteria import training_usd
from advisor.recommender.explain import drop_dominated, risks_of, study_setting, why, would_change
from advisor.recommender.gpu_search.cards import MachineAsked, cards_asked, several_asked
from advisor.recommender.gpu_search.outcome import card_in_words, no_card, search_notes
from advisor.recommender.gpu_search.search import search
from advisor.recommender.hyperparameters import settings_of, short_training_note, with_usual_length
from advisor.recommender.infeasible import nothing_fits
from advisor.recommender.policies import find_policy
from advisor.recommender.prices.point_prices import point_prices
from advisor.recommender.prices.price_breaks import breaks_among_cards, breaks_by_budget, in_words
from advisor.recommender.recipe_space import excluded_in_vain, methods_asked
from advisor.recommender.recommend_request import (
    RecommendRequest,
    ResolvedRequest,
    checked,
    moved_to,
    resolve,
    resolve_on,
    spread_over,
)
from advisor.recommender.sizing import Costs, Estimator, MethodOutcome, OnPriced
from advisor.recommender.workers.pool import Progress, fit_all, silent, unseen


def recommend(
    model: str,
    gpu: str | None = None,
    *,
    on_progress: Progress | None = None,
    on_priced: OnPriced | None = None,
    costs: Costs | None = None,
    **options: Unpack[RecommendOptions],
) -> Recommendation:
    """Which method to fine-tune `model` with on `gpu`, at which batch and settings, and why.

    Args:
        model: a Hub id, a name or alias of the catalogue, or a local folder.
        gpu: a name that `advisor gpus` knows, or `auto`, this machine's; one that is not listed is described by
            `gpu_memory` ("24GB") and `gpu_like`, the card whose rates it shares. Several with commas, or `any`, all
            that have a price: then the card is chosen too, and `gpus` of the answer holds all that were priced.
        on_progress: told (done, total, what) while traces are made.
        on_priced: told each method's outcome as soon as it is known: its best recipe that fits, or why there is none
            with the smallest. Of several cards first each card's. The answer may still refuse or drop some of them.
        costs: another estimator, for tests.
        options: see `advisor.domain.request.verb_options.RecommendOptions`; they are the command line's
            options, and None counts as left out. Without `samples` or `data` there is no training time and no cost,
            and quality is an average over sizes. `method`, `exclude` and `base` take one name, several with commas,
            or a sequence.

    Returns:
        `ranked[0]` is the choice; `why`, `refused` and `would_change` explain it.

    Raises:
        BadRequest: the question makes no sense as put (UnknownName, UnsupportedModel ... are of this kind).
        DoesNotFit: nothing fits the memory, the budget or the deadline; says by how much and what would.
        BadFile: the data file cannot be read.

    Example:
        advisor.recommend("meta-llama/Llama-3.1-8B", "H100", samples=2_000, budget_usd=50, method="lora,dora")
    """
    request = checked({"model": model, "gpu": gpu, **options})
    real = costs or Estimator()
    if several_asked(request):
        return _on_the_best_card(request, real, on_progress, on_priced)
    return answer(resolve(request), real, on_progress, on_priced)


def recommend_on(
    model: str, gpu: str | None, count: int, *, costs: Costs | None = None, **options: Unpack[RecommendOptions]
) -> Recommendation:
    """The recommendation on exactly so many GPUs of one machine, spread as is quickest. Arguments as of `recommend`.

    Raises:
        BadRequest, DoesNotFit, BadFile: as `recommend`.
    """
    question, real = resolve(checked({"model": model, "gpu": gpu, **options})), costs or Estimator()
    if count == 1:
        return answer(question, real)
    check_limits(question)
    gpus = [MachineAsked(question.hardware.gpu, question.hardware.note, None, count)]
    (option, *_), _ = search(question, gpus, real, silent, unseen)
    if option.candidate is None:
        raise DoesNotFit(f"on {count} x {option.gpu} together: {option.refusal}", gpu=option.gpu, gpus=count)
    return answer(spread_over(question, count, option.sharding), real)


def _on_the_best_card(
    request: RecommendRequest, costs: Costs, on_progress: Progress | None, on_priced: OnPriced | None
) -> Recommendation:
    """The recommendation on the first card of the search on which it holds when it is asked in full."""
    asked = cards_asked(request)
    question = resolve_on(request, asked.cards[0].gpu, asked.cards[0].note)
    check_limits(question)
    options, names = search(question, asked.cards, costs, on_progress or silent, on_priced or unseen)
    known = {(card.gpu.name, card.count): card for card in asked.cards}
    for number, option in enumerate(options):
        if option.candidate is None:
            break
        card = known[option.gpu, option.gpu_count]
        here = spread_over(moved_to(question, card.gpu, card.note), option.gpu_count, option.sharding)
        try:
            found = answer(here, costs, on_progress, on_priced)
        except DoesNotFit as error:
            options[number] = option.model_copy(update={"candidate": None, "refusal": error.message})
            continue
        chosen = option.model_copy(update={"candidate": found.choice})
        breaks = breaks_among_cards(question, (chosen, *options[number + 1 :]))
        return found.model_copy(
            update={
                "gpus": (chosen, *options[:number], *options[number + 1 :], *asked.refused),
                "why": (card_in_words(question, chosen, options), *found.why),
                "would_change": (*found.would_change, *in_words(breaks)),
                "price_breaks": (*found.price_breaks, *breaks),
                "notes": (*found.notes, *search_notes(names, asked.unpriced)),
            }
        )
    raise no_card(question, options, asked.refused)


def answer(
    question: ResolvedRequest,
    costs: Costs,
    on_progress: Progress | None = None,
    on_priced: OnPriced | None = None,
) -> Recommendation:
    """The recommendation for a resolved question. Raises as `recommend`."""
    policy = find_policy(question.request.policy)
    check_limits(question)
    question = with_usual_length(question)
    tried, turned_away = methods_asked(question)
    fits = fit_all(question, [m.name for m in tried], costs, on_progress, on_priced)
    refused = [*turned_away, *(f.refusal for f in fits.values() if f.refusal is not None)]
    priced = [_with_quality(question, f.candidate, costs) for f in fits.values() if f.candidate is not None]
    if not priced:
        raise _none_left(question, fits, refused, costs)
    candidates, over = _within_limits(question, priced)
    refused.extend(over)
    if not candidates:
        raise nothing_within_limits(question, priced, refused)
    verdict = policy.rank(candidates, question.request.tolerance_points)
    ranked, dominated = drop_dominated(verdict.ranked)
    choice = ranked[0]
    risks = risks_of(question, ranked)
    spot, beyond = question.request.spot, {refusal.method for refusal in over if refusal.kind == "over-budget"}
    dear = [candidate for candidate in priced if candidate.recipe.method in beyond]
    searched = several_asked(question.request)
    breaks = () if searched else breaks_by_budget(question, policy, candidates, dear, choice)
    return Recommendation(
        workload=question.workload,
        hardware=question.hardware,
        policy=policy.sentence(question.request.tolerance_points),
        spot=spot,
        ranked=ranked,
        settings=settings_of(question, choice),
        why=why(question, ranked, verdict.because, risks),
        risks=risks,
        side_effects=tuple(side_effects(one) for one in ranked),
        refused=(*refused, *dominated),
        would_change=(
            *would_change(question, policy, candidates, choice, fits, refused, costs),
            *in_words(breaks),
        ),
        price_breaks=breaks,
        point_prices=point_prices(ranked, [study_setting(question, one) for one in ranked], spot=spot),
        notes=(
            *question.machine_notes,
            *question.notes,
            *_objective_notes(question, choice),
            *excluded_in_vain(question),
            *short_training_note(question),
            *_samples_note(question),
            *kept_limits(question, choice),
            *optimizer_notes(choice.recipe),
            *peak_note(question.workload.task, choice.recipe.method),
            *((missing,) if (missing := to_train_here(choice.recipe)) else ()),
            *_notes(choice, spot=spot),
        ),
    )


def weighed_again(
    found: Recommendation,
    *,
    budget_usd: float | None = None,
    deadline_hours: float | None = None,
    policy: str | None = None,
) -> Recommendation | None:
    """The candidates of an answer that keep these limits by their expected values, ranked anew by the same policy.

    What the answer had dropped as beaten in every respect stays beaten, since what beats it costs no more. Reasons and
    settings are those of the first candidate: they are left out where that is another one, for who moves a slider.

    Args:
        found: an answer to the same question without these limits.
        policy: that of the question; None is the default.

    Returns:
        None where no candidate keeps the limits, or none has a price or a time: the question is to be asked in full.
    """
    fields = RecommendRequest.model_fields
    rule = find_policy(fields["policy"].default if policy is None else policy)
    kept = [
        one
        for one in found.ranked
        if (budget_usd is None or ((paid := training_usd(one, spot=found.spot)) is not None and paid.mid <= budget_usd))
        and (
            deadline_hours is None
            or ((time := one.time.wall(spot=found.spot)) is not None and time.mid <= deadline_hours * HOUR)
        )
    ]  # fmt: skip
    if not kept:
        return None
    verdict = rule.rank(kept, fields["tolerance_points"].default)
    ranked = drop_dominated(verdict.ranked)[0]
    changes: dict[str, object] = {"ranked": ranked, "side_effects": tuple(side_effects(one) for one in ranked)}
    if ranked[0] != found.choice:
        changes |= {"settings": (), "why": (verdict.because,), "would_change": (), "price_breaks": ()}
    return found.model_copy(update=changes)


def _with_quality(question: ResolvedRequest, candidate: Candidate, costs: Costs) -> Candidate:
    """The estimator predicts no quality without a number of samples; to compare methods an average over it will do."""
    if quality_unknown(question.workload) or quality_under(candidate.recipe.optimizer):
        return candidate.model_copy(update={"quality": None})
    if candidate.quality is not None:
        return candidate
    return candidate.model_copy(update={"quality": costs.quality(candidate, question.spec, None)})


def _none_left(
    question: ResolvedRequest, fits: dict[str, MethodOutcome], refused: Sequence[Refusal], costs: Costs
) -> Exception:
    """Nothing fits, or nothing could be tried at all."""
    if any(f.smallest is not None for f in fits.values()):
        return nothing_fits(question, list(fits.values()), refused, costs)
    reasons = [f"{r.method}: {r.reason}" for r in refused]
    return BadRequest(
        f"no method is left to fine-tune {question.spec.name} with",
        cause=reasons[0] if reasons else "",
        hints=[*reasons[1:4], "to list what there is: advisor methods"],
        refused=[r.model_dump() for r in refused],
    )


def _within_limits(question: ResolvedRequest, priced: Sequence[Candidate]) -> tuple[list[Candidate], list[Refusal]]:
    kept: list[Candidate] = []
    over: list[Refusal] = []
    for candidate in priced:
        refusal = over_limits(question, candidate)
        if refusal is None:
            kept.append(candidate)
        else:
            over.append(refusal)
    return kept, over


def _samples_note(question: ResolvedRequest) -> list[str]:
    if question.workload.samples is not None:
        return []
    if quality_unknown(question.workload):
        return ["no number of samples was given (--samples or --data): no time and no cost"]
    return ["quality: over all numbers of samples, since none was given (--samples or --data); no time and no cost"]


def _objective_notes(question: ResolvedRequest, choice: Candidate) -> tuple[str, ...]:
    """Whose step it is, and where the reference of a preference objective comes from."""
    method, objective = find_method(choice.recipe.method), question.workload.objective
    rollout = question.workload.rollout
    return under_objective(choice.recipe, method, objective, question.request.reference, rollout)[1]


def _notes(choice: Candidate, *, spot: bool) -> list[str]:
    """What the choice's figures rest on."""
    notes = [f"memory: {choice.memory.peak_device.basis}, {choice.memory.peak_device.why}"]
    notes.append(f"time: {choice.time.step.basis}, {choice.time.step.why}")
    paid = choice.money.at(spot=spot)
    if spot:
        at = f"spot, {paid.why}" if paid is not None else f"no spot price is known for {choice.gpu}; leave out --spot"
        if paid is not None and choice.time.on_spot is None:
            at += "; with the odds: --interruptions-per-hour, --checkpoint-minutes, --restart-minutes"
        notes.append(f"price: {at}")
    if choice.money.note:
        notes.append(f"price: {choice.money.note}")
    notes.extend(f"assumed: {text}" for text in choice.assumptions)
    return notes
