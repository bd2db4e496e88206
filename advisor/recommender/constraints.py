"""Budget and deadline: what they need to be checked at all, and which candidates break them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from advisor.domain.candidate import Candidate
from advisor.domain.recommendation import Refusal
from advisor.domain.units import HOUR, duration
from advisor.errors import BadRequest, DoesNotFit
from advisor.recommender.criteria import training_usd
from advisor.recommender.recommend_request import ResolvedRequest


def check_limits(question: ResolvedRequest) -> None:
    """Refuse a limit that nothing could be measured against.

    Raises:
        BadRequest: a budget or a deadline without a number of samples.
    """
    request = question.request
    if question.workload.samples is None:
        for option, value in (("--budget-usd", request.budget_usd), ("--deadline-hours", request.deadline_hours)):
            if value is not None:
                raise BadRequest(
                    f"{option} {value:g} cannot be checked without a number of samples",
                    hints=["to say how many: --samples N, or --data FILE"],
                )


def over_limits(question: ResolvedRequest, candidate: Candidate) -> Refusal | None:
    """Why a candidate breaks the budget or the deadline, by its expected cost and time; None when it keeps both.

    Raises:
        BadRequest: a budget, and no price is known for the GPU.
    """
    request, name = question.request, candidate.recipe.method
    if request.budget_usd is not None:
        cost = training_usd(candidate, spot=request.spot)
        if cost is None:
            kind = "spot price" if request.spot else "price"
            raise BadRequest(
                f"no {kind} is known for {candidate.gpu}, so a budget cannot be checked",
                hints=["to give your own: --usd-per-hour X"],
                gpu=candidate.gpu,
            )
        if cost.mid > request.budget_usd:
            reason = f"costs {cost.mid:.2f} USD ({cost.low:.2f}–{cost.high:.2f}), the budget is {request.budget_usd:g}"
            return Refusal(method=name, reason=reason, kind="over-budget")
    time, deadline = candidate.time.wall(spot=request.spot), question.deadline_seconds
    if time is not None and deadline is not None and time.mid > deadline:
        reason = f"takes {duration(time.mid)} ({duration(time.low)} – {duration(time.high)}), of {duration(deadline)}"
        return Refusal(method=name, reason=reason, kind="over-deadline")
    return None


def kept_limits(question: ResolvedRequest, choice: Candidate) -> list[str]:
    """How the choice keeps the budget and the deadline: by its whole interval, or by the expected value alone."""
    said: list[str] = []
    cost, budget = training_usd(choice, spot=question.request.spot), question.request.budget_usd
    if cost is not None and budget is not None:
        if cost.high > budget:
            said.append(f"the budget is kept by the expected cost, not by its upper end, {cost.high:.2f} USD")
        else:
            said.append(f"the budget of {budget:g} USD is kept, by the upper end of the cost too")
    time, deadline = choice.time.wall(spot=question.request.spot), question.deadline_seconds
    if time is not None and deadline is not None:
        if time.high > deadline:
            said.append(f"the deadline is kept by the expected time, not by its upper end, {duration(time.high)}")
        else:
            said.append(f"the deadline of {duration(deadline)} is kept, by the upper end of the time too")
    return said


def nothing_within_limits(
    question: ResolvedRequest, candidates: Sequence[Candidate], refused: Sequence[Refusal]
) -> DoesNotFit:
    """Every candidate breaks a limit: by how much the nearest does, and what would keep it."""
    request, workload = question.request, question.workload
    fastest = min(candidates, key=lambda c: (c.time.training or c.time.step).mid)
    name = fastest.recipe.method
    cost, time = training_usd(fastest, spot=request.spot), fastest.time.wall(spot=request.spot)
    asked: list[str] = []
    shares: list[float] = []
    if request.budget_usd is not None and cost is not None:
        asked.append(f"a budget of {request.budget_usd:g} USD")
        shares.append(request.budget_usd / cost.mid)
    if request.deadline_hours is not None and time is not None:
        asked.append(f"a deadline of {duration(request.deadline_hours * HOUR)}")
        shares.append(request.deadline_hours * HOUR / time.mid)
    share = min(shares)
    price = f", {cost.mid:.2f} USD" if cost is not None else ""
    # length and batch are told together: left open, they follow each other and the rows
    batch = f"--effective-batch-size {workload.effective_batch_size}"
    hints = [f"to fit: --epochs {_down(workload.epochs * share)} {batch}"]
    fewer = int((workload.samples or 0) * share)
    fewer -= fewer % workload.effective_batch_size  # a last small batch is a step like any other
    if fewer:
        hints.append(f"to fit: --samples {fewer} --epochs {workload.epochs:g} {batch}")
    spot = training_usd(fastest, spot=True)
    if request.budget_usd is not None and not request.spot and spot is not None and spot.mid <= request.budget_usd:
        hints.append(f"to fit: --spot, {spot.mid:.2f} USD")
    return DoesNotFit(
        f"nothing keeps {' and '.join(asked)} on {question.hardware.gpu.name}",
        cause=f"nearest: {name}, {duration(time.mid) if time else 'unknown time'}{price}",
        hints=hints,
        nearest=name,
        share=share,
        usd=None if cost is None else cost.mid,
        seconds=None if time is None else time.mid,
        refused=[r.model_dump() for r in refused],
    )


def _down(value: float) -> str:
    """Two significant digits, rounded down so that what is suggested does fit."""
    unit = 10 ** (math.floor(math.log10(value)) - 1)
    return f"{math.floor(value / unit) * unit:.6g}"
