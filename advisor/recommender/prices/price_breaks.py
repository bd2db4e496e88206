"""At which price of a machine the answer is another one: another card, another method, or nothing any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from advisor.domain.candidate import Candidate
from advisor.domain.recommendation import GpuOption, PriceBreak
from advisor.domain.units import HOUR
from advisor.recommender.criteria import expected_effect, training_usd
from advisor.recommender.gpu_search.outcome import machine
from advisor.recommender.gpu_search.search import usd_of
from advisor.recommender.policies import Policy
from advisor.recommender.recommend_request import ResolvedRequest

TOLD: Final = 3
"""Of the prices at which the answer changes, how many are told in words: those nearest to today's."""


def breaks_among_cards(question: ResolvedRequest, options: Sequence[GpuOption]) -> tuple[PriceBreak, ...]:
    """By how much the chosen card must get dearer, or each other one cheaper, to change places.

    Under a budget alone the fastest comes first at any price that the budget pays: then it is told where the chosen one
    reaches the budget. Cards whose best recipe is worse by more than the tolerance are not taken at any price.

    Args:
        options: the cards that do it, the chosen one first.
    """
    request = question.request
    if not options:
        return ()
    chosen, paid = options[0], usd_of(options[0], spot=request.spot)
    if chosen.candidate is None or chosen.usd_per_hour is None or not paid:
        return ()
    best = max(expected_effect(option.candidate) for option in options if option.candidate is not None)
    rivals = [
        (option, option.usd_per_hour, usd)
        for option in options[1:]
        if option.candidate is not None
        and option.usd_per_hour is not None
        and (usd := usd_of(option, spot=request.spot))
        and expected_effect(option.candidate) >= best - request.tolerance_points
    ]
    if request.budget_usd is not None and request.deadline_hours is None:
        other = machine(rivals[0][0]) if rivals else ""
        return (_break(machine(chosen), chosen.usd_per_hour, max(1.0, request.budget_usd / paid), other),)
    if not rivals:
        return ()
    # the quick look that ranked them may have priced the chosen card a little differently than the full one does
    next_, _, least = min(rivals, key=lambda rival: rival[2])
    found = [_break(machine(chosen), chosen.usd_per_hour, max(1.0, least / paid), machine(next_))]
    found += [
        _break(machine(option), hourly, min(1.0, paid / usd), machine(option))
        for option, hourly, usd in sorted(rivals, key=lambda rival: rival[2])
    ]
    return tuple(found)


def breaks_by_budget(
    question: ResolvedRequest,
    policy: Policy,
    kept: Sequence[Candidate],
    over_budget: Sequence[Candidate],
    choice: Candidate,
) -> tuple[PriceBreak, ...]:
    """The nearest prices of one machine, above and below today's, at which the budget makes another method the choice.

    Without a budget there is none: on one machine all methods get dearer alike.

    Args:
        kept: the candidates that keep all limits.
        over_budget: those that the budget alone turns away.
    """
    request = question.request
    usd, wall = training_usd(choice, spot=request.spot), choice.time.wall(spot=request.spot)
    if request.budget_usd is None or usd is None or wall is None:
        return ()
    hourly = usd.mid / wall.mid * HOUR
    paid = [(one, training_usd(one, spot=request.spot)) for one in (*kept, *over_budget)]
    factors = {id(one): request.budget_usd / usd.mid for one, usd in paid if usd is not None and usd.mid > 0}
    deadline = question.deadline_seconds
    over_budget = [
        one
        for one in over_budget
        if deadline is None or (time := one.time.wall(spot=request.spot)) is None or time.mid <= deadline
    ]
    where = choice.gpu if choice.gpu_count == 1 else f"{choice.gpu_count} x {choice.gpu}"
    found: list[PriceBreak] = []
    for factor in sorted({factors[id(one)] for one in kept if id(one) in factors}):
        # just above it, what costs so much is beyond the budget
        left = [one for one in kept if factors.get(id(one), 0.0) > factor]
        other = policy.rank(left, request.tolerance_points).ranked[0].recipe.method if left else ""
        if other != choice.recipe.method:
            found.append(_break(where, hourly, factor, other))
            break
    for factor in sorted({factors[id(one)] for one in over_budget if id(one) in factors}, reverse=True):
        more = [*kept, *(one for one in over_budget if factors.get(id(one), 0.0) >= factor)]
        other = policy.rank(more, request.tolerance_points).ranked[0].recipe.method
        if other != choice.recipe.method:
            found.append(_break(where, hourly, factor, other))
            break
    return tuple(found)


def in_words(breaks: Sequence[PriceBreak]) -> list[str]:
    """`with L4 at 0.95 USD/h instead of 0.70 (+36%): A10G`, the nearest few."""
    near = sorted(breaks, key=lambda one: abs(one.change))[:TOLD]
    return [
        f"with {one.machine} at {one.at_usd_per_hour:.3g} USD/h instead of {one.usd_per_hour:.3g} ({one.change:+.0%}): "
        f"{one.choice or 'nothing keeps the budget'}"
        for one in near
    ]


def _break(where: str, hourly: float, factor: float, choice: str) -> PriceBreak:
    return PriceBreak(
        machine=where, usd_per_hour=hourly, at_usd_per_hour=hourly * factor, change=factor - 1, choice=choice
    )
