"""The best recipe on each card, and the cards in order: cheapest in time, or fastest for the money."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from advisor.domain.candidate import Candidate
from advisor.domain.recommendation import GpuOption
from advisor.domain.request.vocabulary import Sharding
from advisor.domain.units import HOUR
from advisor.errors import AdvisorError
from advisor.recommender.constraints import over_limits
from advisor.recommender.criteria import expected_effect, training_seconds
from advisor.recommender.gpu_search.cards import MachineAsked
from advisor.recommender.gpu_search.quick_costs import QuickCosts
from advisor.recommender.hyperparameters import with_settings, with_usual_length
from advisor.recommender.policies import INCUMBENTS, find_policy
from advisor.recommender.recipe_space import methods_asked
from advisor.recommender.recommend_request import ResolvedRequest, moved_to, spread_over
from advisor.recommender.sizing import Costs, Estimator, MethodOutcome, OnPriced
from advisor.recommender.workers.method_worker import fit_or_say

TO_TRY: Final[tuple[Sharding, ...]] = ("ddp", "fsdp2")
"""Strategies in the order in which equals are taken: copies need no settings, and shards are for what does not fit."""
STANDING: Final = "full"
"""Weighed where quality is all that counts: what every study compares with."""


def search(
    question: ResolvedRequest,
    cards: Sequence[MachineAsked],
    costs: Costs,
    tell: Callable[[int, int, str], None],
    show: OnPriced,
) -> tuple[list[GpuOption], tuple[str, ...]]:
    """Every card with its best recipe, best first, those it does not fit or that break a limit last; the methods tried.

    Recipes are priced without the allocator's replay: the card chosen is to be asked again in full.
    """
    asked = with_usual_length(question)
    quick = QuickCosts() if isinstance(costs, Estimator) else costs
    names = _shortlist(asked)
    asked = with_settings(asked, names)
    found: list[GpuOption] = []
    for number, card in enumerate(cards):
        tell(number, len(cards), card.gpu.name)
        found.append(_on_card(asked, card, names, quick))
        show(found[-1])
    tell(len(cards), len(cards), "")
    priced = [option for option in found if option.candidate is not None]
    refused = [option for option in found if option.candidate is None]
    return [*_ranked(asked, _with_front(priced, spot=question.request.spot)), *refused], names


def order_in_words(question: ResolvedRequest) -> str:
    """How the cards are ranked."""
    request = question.request
    if request.budget_usd is not None and request.deadline_hours is None:
        return "fastest first of those under the budget"
    kept = " of those that meet the deadline" if request.deadline_hours is not None else ""
    return f"cheapest first{kept}"


def _shortlist(question: ResolvedRequest) -> tuple[str, ...]:
    """The methods weighed on every card: those named, else LoRA on a plain and on a quantised base."""
    tried = [method.name for method in methods_asked(question)[0]]
    if question.request.method is not None:
        return tuple(tried)
    usual = (STANDING, *INCUMBENTS) if question.request.policy == "best-quality" else INCUMBENTS
    return tuple(name for name in tried if name in usual) or tuple(tried[:3])


def _on_card(question: ResolvedRequest, card: MachineAsked, names: Sequence[str], costs: Costs) -> GpuOption:
    """The best recipe on so many of a card: copies of all on each where they fit and are as fast as shards."""
    if card.count == 1:
        return _spread(question, card, names, costs, None)
    if question.workload.effective_batch_size % card.count:
        reason = f"a batch of {question.workload.effective_batch_size} cannot be shared by {card.count} GPUs"
        return GpuOption(gpu=card.gpu.name, gpu_count=card.count, usd_per_hour=card.usd_per_hour, refusal=reason)
    options = [_spread(question, card, names, costs, sharding) for sharding in TO_TRY]
    able = [option for option in options if option.candidate is not None]
    return min(able, key=lambda option: training_seconds(_candidate(option))) if able else options[-1]


def _spread(
    question: ResolvedRequest, card: MachineAsked, names: Sequence[str], costs: Costs, sharding: Sharding | None
) -> GpuOption:
    option = GpuOption(gpu=card.gpu.name, gpu_count=card.count, sharding=sharding, usd_per_hour=card.usd_per_hour)
    try:
        here = spread_over(moved_to(question, card.gpu, card.note), card.count, sharding)
        fits = [fit_or_say(here, name, costs) for name in names]
        candidates = [f.candidate for f in fits if f.candidate is not None]
        if not candidates:
            return option.model_copy(update={"refusal": _why_none(fits)})
        over = [over_limits(here, candidate) for candidate in candidates]
    except AdvisorError as error:
        return option.model_copy(update={"refusal": error.message})
    within = [candidate for candidate, refusal in zip(candidates, over, strict=True) if refusal is None]
    if not within:
        return option.model_copy(update={"refusal": next(refusal.reason for refusal in over if refusal is not None)})
    policy = find_policy(question.request.policy)
    return option.model_copy(
        update={"candidate": policy.rank(within, question.request.tolerance_points).ranked[0]},
    )


def _why_none(fits: Sequence[MethodOutcome]) -> str:
    """The refusal of the method that comes nearest to fitting."""
    near = min(fits, key=lambda fit: fit.smallest.memory.peak_device.mid if fit.smallest is not None else float("inf"))
    return near.refusal.reason if near.refusal is not None else "no method runs on it"


def usd_of(option: GpuOption, *, spot: bool = False) -> float | None:
    """USD of the whole training, or of a step where the number of samples is unknown; None without a price."""
    if option.candidate is None or option.usd_per_hour is None:
        return None
    return option.usd_per_hour * training_seconds(option.candidate, spot=spot) / HOUR


def _with_front(options: Sequence[GpuOption], *, spot: bool) -> list[GpuOption]:
    """Each marked where no other is as fast and as cheap, and better in one of the two."""
    points = [(training_seconds(_candidate(option), spot=spot), usd_of(option, spot=spot)) for option in options]

    def beaten(mine: tuple[float, float | None]) -> bool:
        return any(
            other[1] is not None
            and other[0] <= mine[0]
            and (mine[1] is None or other[1] <= mine[1])
            and (other[0] < mine[0] or mine[1] is None or other[1] < mine[1])
            for other in points
        )

    return [
        option.model_copy(update={"on_front": not beaten(point)}) for option, point in zip(options, points, strict=True)
    ]


def _ranked(question: ResolvedRequest, options: Sequence[GpuOption]) -> list[GpuOption]:
    """In the order asked for; a card whose recipe is expected to do worse than the tolerance allows comes later."""
    request = question.request
    best = max((expected_effect(_candidate(option)) for option in options), default=0.0)
    fastest_first = request.budget_usd is not None and request.deadline_hours is None

    def key(option: GpuOption) -> tuple[bool, bool, float, float]:
        candidate, usd = _candidate(option), usd_of(option, spot=request.spot)
        worse = expected_effect(candidate) < best - request.tolerance_points
        seconds = training_seconds(candidate, spot=request.spot)
        money = float("inf") if usd is None else usd
        return (worse, usd is None, *((seconds, money) if fastest_first else (money, seconds)))

    return sorted(options, key=key)


def _candidate(option: GpuOption) -> Candidate:
    assert option.candidate is not None
    return option.candidate
