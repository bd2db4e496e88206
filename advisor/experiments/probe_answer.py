"""What a probe's trainings say: each method's score at all rows, the choice, go or no-go, rows for more points."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from advisor.dataset.splits import Row
from advisor.domain.quantity import Quantity
from advisor.domain.questions.probing import MoreRows, ProbeAnswer, ProbedMethod, ProbeTraining
from advisor.domain.units import duration
from advisor.experiments.plan import TrainingCell
from advisor.experiments.probe_points import effect_of, points_of, points_said, questions_of
from advisor.experiments.probe_session import ProbeSession, Why
from advisor.experiments.score_model import Draws, Floats, rows_for_more

Verdict = Literal["go", "no-go", "unsure", "planned"]

SURE: Final = 0.8
"""Chance at which go, or no-go, is said: below, the answer is that it is not known."""
WORTH_POINTS: Final = 2.0
"""Above always giving the commonest label, without --target-score: less is not worth a training."""
MOST_ROWS: Final = 10**9
NO_DIFFERENCE: Final = 0.25
"""Points of expected loss within which methods count as equal, and the quickest to train is taken."""


def answer_of(session: ProbeSession, why: Why, planned: list[TrainingCell]) -> ProbeAnswer:
    """The answer as far as the trainings go."""
    known = session.model.given(session.seen())
    draws, query = known.draws(), session.query
    methods = _methods(session, draws, known.whole()[0])
    choice = _choice(methods)
    verdict, because = _verdict(session, choice, draws)
    metric = session.request.metric
    return ProbeAnswer(
        model=session.request.spec.name,
        data=query.data,
        folder=str(session.folder),
        metric=metric,
        points=points_said(metric),
        rows=session.sizes[-1],
        choice=choice,
        methods=tuple(sorted(methods, key=lambda m: m.loss)),
        says=_says(session, choice, methods),
        verdict=verdict,
        because=because,
        more=_more(session, choice, draws),
        trainings=tuple(
            ProbeTraining(**one.cell.model_dump(), score=one.score, seconds=round(one.seconds.get("total", 0.0), 3))
            for one in session.done.values()
        ),
        planned=tuple(
            ProbeTraining(**cell.model_dump(), seconds=session.seconds_for(cell.method, cell.size) or None)
            for cell in planned
        ),
        seconds=session.probe_seconds,
        seconds_of_all=session.all_seconds() or None,
        stopped=why,
        notes=tuple(
            dict.fromkeys(
                (
                    *session.notes,
                    *session.request.splits.notes,
                    *(f"{name} failed: {reason}" for name, reason in session.failed.items()),
                )
            )
        ),
        resume=session.resume() if why == "time budget" else "",
    )


def _methods(session: ProbeSession, draws: Draws, means: Floats) -> list[ProbedMethod]:
    """Each method by the arm that is best of its own so far."""
    names, whole = session.plan.methods, session.sizes[-1]
    arms: list[int] = []
    for name in names:
        own = [i for i, arm in enumerate(session.model.arms) if arm.method == name]
        tried = {session.arm_of(one.cell) for one in session.done.values() if one.cell.method == name}
        arms.append(max(tried or own, key=lambda i: float(means[i])))
    scores = draws.scores[:, arms]
    lost = scores.max(axis=1, keepdims=True) - scores
    ties = (lost <= 0).sum(axis=1)
    count = Counter(one.cell.method for one in session.done.values())
    found: list[ProbedMethod] = []
    for i, (name, question) in enumerate(zip(names, questions_of(session.request, names, whole), strict=True)):
        low, mid, high = (float(v) for v in np.quantile(scores[:, i], [0.05, 0.5, 0.95]))
        said = f"{count[name]} short trainings of {name}, {len(session.done)} in all, and published studies"
        found.append(
            ProbedMethod(
                method=name,
                rate=session.rate(session.model.arms[arms[i]]),
                prior=effect_of(session.request, question),
                score=Quantity(low=low, mid=mid, high=high, unit="score", basis="modelled", why=said),
                best=float(((lost[:, i] <= 0) / ties).mean()),
                near=float((lost[:, i] <= session.query.tolerance_points).mean()),
                loss=float(lost[:, i].mean()),
                trainings=count[name],
                seconds=session.seconds_for(name, whole) or None,
            )
        )
    return found


def _choice(methods: list[ProbedMethod]) -> ProbedMethod | None:
    """Of those that were trained, the one expected to lose least; of equals the quickest."""
    trained = [m for m in methods if m.trainings]
    if not trained:
        return None
    least = min(m.loss for m in trained)
    equal = [m for m in trained if m.loss <= least + NO_DIFFERENCE]
    return min(equal, key=lambda m: (m.seconds or math.inf, m.loss))


def _says(session: ProbeSession, choice: ProbedMethod | None, methods: list[ProbedMethod]) -> str:
    if choice is None:
        return "nothing was trained yet"
    s, rows = choice.score, session.sizes[-1]
    said = (
        f"{choice.method} at rate {choice.rate:.3g}: {s.mid:.1f} points ({s.low:.1f} to {s.high:.1f}, 90 %) expected "
        f"with all {rows:,} rows"
    )
    equal = [
        m.method for m in methods if m is not choice and m.trainings and abs(m.loss - choice.loss) <= NO_DIFFERENCE
    ]
    return said + (f"; no difference known to {', '.join(equal)}" if equal else "")


def _verdict(session: ProbeSession, choice: ProbedMethod | None, draws: Draws) -> tuple[Verdict, str]:
    if choice is None:
        return "planned", "nothing was trained yet"
    metric, target = session.request.metric, session.query.target_score
    scores = [one.score for one in session.done.values()]
    chance_level = _commonest(session.rows["evaluation"]) if session.request.splits.labels else None
    if flat := never_moved(metric, scores, chance_level):
        return "no-go", flat
    arm = session.arm_of(TrainingCell(method=choice.method, size=session.sizes[-1], seed=0, rate=choice.rate))
    reached = draws.scores[:, arm]
    if target is not None:
        goal, what = points_of(metric, target), f"{metric} {target:g}"
    elif chance_level is not None and metric == "accuracy":
        goal = 100 * chance_level + WORTH_POINTS
        what = f"{WORTH_POINTS:g} points above always giving the commonest label ({100 * chance_level:.1f})"
    else:
        return "unsure", f"what is worth having was not said: --target-score, in the unit of {metric}"
    chance = float((reached >= goal).mean())
    verdict: Verdict = "go" if chance >= SURE else "no-go" if chance <= 1 - SURE else "unsure"
    return verdict, f"{chance:.0%} chance of {what} with {choice.method} on all rows"


def never_moved(metric: str, scores: Sequence[float], commonest: float | None) -> str:
    """What to say of a metric that is the same after every training; empty where it moved, or one alone ended.

    `commonest` is the accuracy of always giving the commonest label.
    """
    if len(scores) < 2 or max(scores) - min(scores) > 1e-9:
        return ""
    same = f"{metric} is {scores[0]:.4g} after every training"
    if commonest is not None and metric == "accuracy" and abs(scores[0] - commonest) < 1e-9:
        same += ", as if the commonest label were always given"
    return (
        f"{same}: it never moved, so it tells nothing of the methods; more rows or --epochs, or --metric loss, which "
        "moves before answers change"
    )


def _commonest(rows: list[Row]) -> float:
    """Accuracy of always giving the commonest label."""
    return max(Counter(row.get("label") for row in rows).values()) / len(rows)


def _more(session: ProbeSession, choice: ProbedMethod | None, draws: Draws) -> MoreRows | None:
    """Rows beyond all that the points asked for need."""
    if choice is None:
        return None
    whole, points = session.sizes[-1], session.query.more_points
    arm = session.arm_of(TrainingCell(method=choice.method, size=whole, seed=0, rate=choice.rate))
    more = np.minimum(rows_for_more(draws, arm, whole, points), 10.0 * MOST_ROWS) - whole
    chance = float((more <= MOST_ROWS).mean())
    if chance < 0.5:
        said = f"probably not reachable with more rows alone: {chance:.0%} of the curves reach {points:g} points more"
        return MoreRows(points=points, rows=None, chance=chance, says=said)
    low, mid, high = (float(v) for v in np.quantile(more, [0.05, 0.5, 0.95], method="nearest"))
    top = "no upper end" if high > MOST_ROWS else f"{high:,.0f}"
    sizes = len({one.cell.size for one in session.done.values()})
    why = f"power laws through trainings at {sizes} sizes, averaged over their decays"
    return MoreRows(
        points=points,
        rows=Quantity(low=low, mid=mid, high=high, unit="count", basis="modelled", why=why),
        chance=chance,
        says=f"about {mid:,.0f} more rows ({low:,.0f} to {top}) for {points:g} points more; {chance:.0%} of the curves "
        "reach it",
    )


def cost_said(found: ProbeAnswer) -> str:
    """What asking cost."""
    spent = f"{duration(found.seconds)} for {len(found.trainings)} trainings"
    if not found.seconds_of_all:
        return spent
    share = found.seconds / found.seconds_of_all
    return (
        f"{spent}; the {len(found.methods)} methods on all rows once: about {duration(found.seconds_of_all)} "
        f"({share:.0%} of it spent)"
    )
