"""A few real steps before a search begins: what one training takes here, and whether the budget pays for one."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from advisor.dataset.splits import Row, write_splits
from advisor.domain.recipe import Recipe
from advisor.domain.units import HOUR, duration
from advisor.domain.workload import Workload
from advisor.errors import BadRequest
from advisor.training.training_process import Child
from advisor.tuner.execution.resources import ResourceSlot
from advisor.tuner.search.space import apply, start_params
from advisor.tuner.trial_cost import limit_bytes, measured_training_seconds
from advisor.tuner.tune_request import MeasuredSteps, TuneRequest, finish_seconds

STEPS: Final = 6
"""Optimizer steps of a measurement; the first two warm up and are not counted."""
ROWS: Final = 64
"""Evaluation rows scored in it."""
MOST_SECONDS: Final = 600.0
SHORTEST_SHARE: Final = 0.1
"""Of the training asked for: a search of trainings cut shorter than this says little of whole ones."""
ROOM: Final = 0.9
"""Of the time left that a shortened training is planned to take: steps of a measurement vary by about a tenth."""


def measure(
    request: TuneRequest, rows: Mapping[str, Sequence[Row]], *, device: str | None = None
) -> tuple[MeasuredSteps | None, str]:
    """What the first trial's steps take, trained in a folder that is thrown away; or None and why not.

    On the `device` named (auto, cpu, cuda), else on the one that the request is for.
    """
    recipe, workload = start_of(request)
    with tempfile.TemporaryDirectory(prefix="advisor-measure-") as name:
        folder = Path(name)
        write_splits(dict(rows), folder / "data")
        slot = ResourceSlot()
        threads = slot.threads(request)
        job = request.job(0, folder / "steps", folder, recipe, workload, threads=threads)
        fields: dict[str, Any] = {"max_steps": STEPS, "evaluations": 1, "evaluation_rows": ROWS, "deadline": None}
        job = job.model_copy(update=fields | ({"device": device} if device else {}))
        result = Child(
            job=job,
            on_progress=lambda line: None,
            wanted=lambda: None,
            environment=slot.environment(request, threads) if device is None else {},
            memory_bytes=limit_bytes(request) if request.hardware is None else None,
            seconds=min(MOST_SECONDS, request.budget.seconds or MOST_SECONDS),
        ).run()
    if result.status != "complete" or not result.step_seconds:
        return None, result.reason or "too few steps to measure one"
    batch = recipe.micro_batch_size * recipe.gradient_accumulation
    scored = min(ROWS, request.splits.rows["evaluation"])
    steps = result.step_seconds
    return MeasuredSteps(
        row_seconds=statistics.median(steps) / min(batch, request.splits.rows["train"]),
        spread=min(1.0, (max(steps) - min(steps)) / 2 / statistics.median(steps)),
        scored_row_seconds=result.seconds.get("evaluate", 0.0) / scored,
        load_seconds=result.seconds.get("load", 0.0),
        save_seconds=result.seconds.get("save", 0.0),
        steps=len(steps),
    ), ""


def start_of(request: TuneRequest) -> tuple[Recipe, Workload]:
    """(recipe, workload) of the first trial."""
    return apply(start_params(request.dimensions), request.dimensions, request.starts, request.workload)


def fit_hours(request: TuneRequest, spent: float) -> tuple[TuneRequest, list[str]]:
    """The request with trainings as long as its hours pay for one of, and what was shortened.

    Args:
        spent: seconds of the budget that the measurement took.

    Raises:
        BadRequest: not even a tenth of one training fits; says how many hours one takes.
    """
    measured, budget = request.measured, request.budget.seconds
    if measured is None or budget is None:
        return request, []
    _, workload = start_of(request)
    one = measured_training_seconds(request, measured, workload)
    after = finish_seconds(request, measured)
    left = budget - spent - after
    if one <= left:
        return request, []
    # loading and scoring take what they take; only the steps can be fewer
    fixed = measured_training_seconds(request, measured, workload.model_copy(update={"epochs": 1e-9}))
    share = (left * ROOM - fixed) / max(1e-9, one - fixed)
    if share < SHORTEST_SHARE:
        needed = math.ceil((one + after + spent) / HOUR * 100) / 100
        raise BadRequest(
            f"--hours {budget / HOUR:g} does not pay for one training: it takes about {duration(one)}, test and export "
            f"{duration(after)} more",
            cause=f"{measured.steps} steps were measured here; the measurement itself took {duration(spent)}",
            hints=[f"--hours {needed:g}", "fewer --epochs, a shorter --seq-len, or fewer rows"],
            needed_seconds=one + after + spent,
        )
    epochs = max(workload.epochs * share, 1e-3)
    shorter = request.model_copy(
        update={
            "workload": Workload.model_validate(request.workload.model_dump() | {"epochs": epochs}),
            "dimensions": tuple(d for d in request.dimensions if d.name != "epochs"),
        }
    )
    note = (
        f"shortened: one training of {workload.epochs:.3g} epochs takes about {duration(one)}, more than --hours "
        f"leaves, so each is of {epochs:.2g} epochs; the whole needs --hours {(one + after + spent) / HOUR:.2g}"
    )
    return shorter, [note]
