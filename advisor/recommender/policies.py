"""How candidates are ranked: stated rules over cost, expected quality and its uncertainty.

A policy is a name, the sentence printed with every answer, and a rule from candidates to their order.
Add one here and to POLICIES, and it is a choice of `--policy`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from advisor.catalog.objectives import quality_unknown
from advisor.catalog.optimizer_names import quality_under
from advisor.domain.candidate import Candidate
from advisor.errors import UnknownName
from advisor.recommender.criteria import chance_better, dominates, expected_effect, has_evidence, training_seconds

INCUMBENTS: Final = ("lora", "qlora")
"""Preferred while nothing clearly beats them: no other method has as many studies, and in a
leave-one-study-out check no learned choice reliably beat always taking LoRA (see `advisor evidence`)."""

CHEAPER_BY: Final = 0.2
"""A challenger must save this share of the incumbent's cost and be as good in every respect: less is within the cost
model's own interval on a device that was never calibrated."""

SURE_BY: Final = 0.75
"""What replaces an incumbent that is behind by more than the tolerance must score higher with this probability."""

NEGLIGIBLE_SECONDS: Final = 600.0
"""Trainings that differ by less than this cost the same: nobody gives up quality for ten minutes, once."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Candidates in order, and the sentence that says why the first is first."""

    ranked: tuple[Candidate, ...]
    because: str


@dataclass(frozen=True, slots=True)
class Policy:
    """`says` states the rule with `{tolerance}` in it; `rank` applies it."""

    name: str
    says: str
    rule: Callable[[Sequence[Candidate], float], Verdict]

    def rank(self, candidates: Sequence[Candidate], tolerance: float) -> Verdict:
        """The rule applied; without any predicted quality it has nothing to weigh, and LoRA stands by default.

        So it is of objectives under which no study compares methods.
        """
        if any(c.quality is not None for c in candidates):
            return self.rule(candidates, tolerance)
        near = _by_cost(candidates)
        first = _incumbent(candidates) or near[0]
        unknown = quality_unknown(first.workload) or quality_under(first.recipe.optimizer)
        reason = unknown or "without a number of samples no quality can be predicted"
        because = f"{_name(first)} by default: {reason}"
        return _led_by(first, near, candidates, because)

    def sentence(self, tolerance: float) -> str:
        return f"{self.name}: {self.says.format(tolerance=points(tolerance))}"


def near_best(candidates: Sequence[Candidate], tolerance: float) -> list[Candidate]:
    """Those whose expected effect is within `tolerance` points of the best one's, the best included.

    A candidate no study bears on is not near anything, whatever its prior says, unless none has evidence.
    """
    known = [c for c in candidates if has_evidence(c)] or list(candidates)
    best = max(expected_effect(c) for c in known)
    return [c for c in known if expected_effect(c) >= best - tolerance]


def _then_the_rest(first: Sequence[Candidate], candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """`first` in its order, then those with evidence before those without, better before worse, cheaper first."""
    rest = [c for c in candidates if not any(c is chosen for chosen in first)]
    rest.sort(key=lambda c: (not has_evidence(c), -expected_effect(c), training_seconds(c)))
    return (*first, *rest)


def _by_cost(candidates: Sequence[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda c: (training_seconds(c), -expected_effect(c)))


def _by_noticeable_cost(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Cheapest first, but those within NEGLIGIBLE_SECONDS of the cheapest by expected effect."""
    ordered = _by_cost(candidates)
    if ordered[0].time.training is None:
        return ordered
    bound = training_seconds(ordered[0]) + NEGLIGIBLE_SECONDS
    return sorted(
        ordered,
        key=lambda c: (
            training_seconds(c) > bound,
            -expected_effect(c) if training_seconds(c) <= bound else training_seconds(c),
        ),
    )


def _led_by(first: Candidate, near: Sequence[Candidate], candidates: Sequence[Candidate], because: str) -> Verdict:
    return Verdict(_then_the_rest([first, *(c for c in near if c is not first)], candidates), because)


def _balanced(candidates: Sequence[Candidate], tolerance: float) -> Verdict:
    """LoRA standing unless a challenger clearly wins; without it the cheapest of the near-best."""
    near = _by_noticeable_cost(near_best(candidates, tolerance))
    incumbent = _incumbent(candidates)
    if incumbent is None:
        because = f"{_name(near[0])} is the cheapest within {points(tolerance)}, ten minutes more or less"
        return _led_by(near[0], near, candidates, because)
    if any(c is incumbent for c in near):
        return _incumbent_near_best(incumbent, near, candidates, tolerance)
    return _incumbent_behind(incumbent, near, candidates)


def _incumbent_near_best(
    incumbent: Candidate, near: Sequence[Candidate], candidates: Sequence[Candidate], tolerance: float
) -> Verdict:
    """It stands unless something as good in every respect is clearly cheaper."""
    name = _name(incumbent)
    for challenger in near:
        saved = 1 - training_seconds(challenger) / training_seconds(incumbent)
        if saved >= CHEAPER_BY and dominates(challenger, incumbent):
            because = f"{_name(challenger)} is expected to do as well as {name}, merges as well, is {saved:.0%} cheaper"
            return _led_by(challenger, near, candidates, because)
    because = (
        f"{name} is within {points(tolerance)} of the best, and nothing as good and as easily merged is "
        f"{CHEAPER_BY:.0%} cheaper"
    )
    return _led_by(incumbent, near, candidates, because)


def _incumbent_behind(incumbent: Candidate, near: Sequence[Candidate], candidates: Sequence[Candidate]) -> Verdict:
    """It yields to the first of the near-best that is as good in every respect, or better with SURE_BY probability."""
    name = _name(incumbent)
    for challenger in near:
        gain, chance = expected_effect(challenger) - expected_effect(incumbent), chance_better(challenger, incumbent)
        if dominates(challenger, incumbent):
            because = f"{_name(challenger)} is expected {gain:.1f} points above {name}, is no dearer and merges as well"
            return _led_by(challenger, near, candidates, because)
        if chance >= SURE_BY:
            because = f"{_name(challenger)} is expected {gain:.1f} points above {name}, higher {chance:.0%} of the time"
            return _led_by(challenger, near, candidates, because)
    best = max(near, key=expected_effect)
    because = (
        f"{name} stands: {_name(best)} is expected "
        f"{expected_effect(best) - expected_effect(incumbent):.1f} points above it, but dearer, and higher only "
        f"{chance_better(best, incumbent):.0%} of the time ({SURE_BY:.0%} is asked)"
    )
    return _led_by(incumbent, near, candidates, because)


def _incumbent(candidates: Sequence[Candidate]) -> Candidate | None:
    for name in INCUMBENTS:
        held = [c for c in candidates if c.recipe.method == name]
        if held:
            return min(held, key=training_seconds)
    return None


def _cheapest(candidates: Sequence[Candidate], tolerance: float) -> Verdict:
    near = _by_cost(near_best(candidates, tolerance))
    return _led_by(near[0], near, candidates, f"{_name(near[0])} is the cheapest within {points(tolerance)}")


def _best_quality(candidates: Sequence[Candidate], tolerance: float) -> Verdict:
    """The highest expected effect; `tolerance` plays no part."""
    del tolerance
    ranked = _then_the_rest((), candidates)
    return Verdict(ranked, f"{_name(ranked[0])} has the highest expected effect")


def _name(candidate: Candidate) -> str:
    return candidate.recipe.method


def points(tolerance: float) -> str:
    """`1 point`, `0.5 points`"""
    return f"{tolerance:g} point{'' if tolerance == 1 else 's'}"


POLICIES: Final[tuple[Policy, ...]] = (
    Policy(
        "balanced",
        "LoRA (or QLoRA) where its expected quality is within {tolerance} of the best, unless one that is "
        f"expected to do as well and merges as well is {CHEAPER_BY:.0%} cheaper; else the cheapest within them (ten "
        "minutes more or less) that is as good as LoRA in quality, cost and merging, or better "
        f"{SURE_BY:.0%} of the time",
        _balanced,
    ),
    Policy("cheapest", "the cheapest of all within {tolerance} of the best expected quality", _cheapest),
    Policy("best-quality", "the highest expected quality, whatever it costs", _best_quality),
)


def find_policy(name: str) -> Policy:
    """The policy of that name.

    Raises:
        UnknownName: there is none.
    """
    for policy in POLICIES:
        if policy.name == name:
            return policy
    raise UnknownName.of("policy", name, [p.name for p in POLICIES], list_with="advisor recommend --help")
