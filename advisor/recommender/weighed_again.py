"""A ranking under another budget or deadline, from the candidates that are priced already: for who moves a slider."""

from __future__ import annotations

from advisor.domain.recommendation import Recommendation
from advisor.domain.units import HOUR
from advisor.recommender.criteria import training_usd
from advisor.recommender.explain import drop_dominated
from advisor.recommender.policies import find_policy
from advisor.recommender.recommend_request import RecommendRequest


def weighed_again(
    found: Recommendation,
    *,
    budget_usd: float | None = None,
    deadline_hours: float | None = None,
    policy: str | None = None,
) -> Recommendation | None:
    """The candidates of an answer that keep these limits by their expected values, ranked anew by the same policy.

    What the answer had dropped as beaten in every respect stays beaten, since what beats it costs no more. Reasons and
    settings are those of the first candidate: they are left out where that is another one.

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
            or ((time := one.time.training) is not None and time.mid <= deadline_hours * HOUR)
        )
    ]  # fmt: skip
    if not kept:
        return None
    verdict = rule.rank(kept, fields["tolerance_points"].default)
    ranked = drop_dominated(verdict.ranked)[0]
    changes: dict[str, object] = {"ranked": ranked}
    if ranked[0] != found.choice:
        changes |= {"settings": (), "why": (verdict.because,), "would_change": ()}
    return found.model_copy(update=changes)
