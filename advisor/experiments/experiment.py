"""The door of own experiments: a grid of methods, sizes and seeds becomes findings in the published form.

Each training is a process of its own, as a trial of `advisor tune`, and leaves its result in a folder of its
own; a study that is killed goes on with the training it was in, from that training's checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from advisor import store
from advisor.domain.request.validation import check_choice, first_problem
from advisor.domain.units import HOUR
from advisor.errors import BadRequest
from advisor.experiments.plan import ExperimentPlan, ExperimentProgress, ExperimentRun, checked, find_plan
from advisor.experiments.session import Session

OUT: Final = "advisor-study"


def study(
    plan: str | ExperimentPlan,
    *,
    model: str | None = None,
    weights: str | None = None,
    out: str | None = None,
    hours: float | None = None,
    dry_run: bool = False,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: int | None = None,
    keep: bool = True,
    on_progress: Callable[[ExperimentProgress], None] = lambda progress: None,
    on_plan: Callable[[ExperimentRun], None] = lambda run: None,
    **changes: Any,
) -> ExperimentRun:
    """Run a described study, or go on with it: what its folder holds is not trained again.

    Args:
        plan: the id of a study that ships, a file with a plan, or the plan itself.
        model: another model than the plan's: a folder with weights or a cached Hub id.
        weights: where the weights of the plan's own model lie on this machine.
        out: folder of the study (default `advisor-study/<id>`); the same folder goes on.
        hours: of this session; then the study stops, keeps what is whole and says how to go on.
        dry_run: check everything and return the plan with its trainings; nothing is written.
        keep: write the findings into the user's own store, where `advisor evidence` and every estimate read them.
        changes: fields of the plan to replace: methods, sizes, seeds, rates, data ...

    Raises:
        BadRequest: the plan, its data, its model or the device make no sense; nothing was written.
        BadFile: a data file or a plan cannot be read.
        DoesNotFit: no training of the grid came to its end.
        KeyboardInterrupt: passed on; the same call goes on.
    """
    if "time_budget" in changes:
        raise BadRequest("unknown argument: 'time_budget'", hints=["it is called hours"])
    check_choice("device", device, ("auto", "cpu", "cuda"))
    if hours is not None and not hours > 0:
        raise BadRequest(f"--hours must be above 0, not {hours}")
    asked = _changed(plan if isinstance(plan, ExperimentPlan) else find_plan(plan), model, changes)
    folder = Path(out or f"{OUT}/{asked.id}").resolve()
    session = Session(plan=asked, folder=folder, device=device, threads=threads, keep=keep, on_progress=on_progress)
    session.begin(weights or asked.model, written=not dry_run)
    planned = session.state("planned")
    on_plan(planned)
    if dry_run:
        return planned
    with store.locked(folder / "session", 1.0):
        session.deadline = None if hours is None else time.monotonic() + hours * HOUR
        return session.run()


def _changed(plan: ExperimentPlan, model: str | None, changes: dict[str, Any]) -> ExperimentPlan:
    """The plan with the caller's own fields, validated as a whole."""
    from pydantic import ValidationError

    given = {name: value for name, value in {**changes, "model": model}.items() if value is not None}
    if "data" in given:
        # other rows: the plan's evaluation and test rows are not theirs
        given = dict[str, Any](columns=None, eval_data=None, test_data=None, data_note="") | given
    if "steps" in given:
        given.setdefault("epochs", None)
    elif "epochs" in given:
        given["steps"] = None
    if "methods" in given and "rates" not in given:
        given["rates"] = {name: rates for name, rates in plan.rates.items() if name in given["methods"]}
    try:
        return checked(ExperimentPlan.model_validate({**plan.model_dump(), **given}))
    except ValidationError as error:
        where, said, _ = first_problem(error, "the plan")
        raise BadRequest(f"{where}: {said}", hints=["to see the fields: advisor study --help"]) from error
