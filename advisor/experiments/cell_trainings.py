"""Trainings of one question, each in a process of its own and kept in a folder of its own: what a session is made of.

A cell is a method at a data size with a seed and a rate. What its folder holds is not trained again; a training that
was ended goes on from its checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from advisor import store
from advisor.dataset.splits import Row, Splits, make_splits, write_splits
from advisor.domain.request.vocabulary import MIXED_DTYPES, Base
from advisor.errors import DISK_FULL, BadRequest
from advisor.experiments.inputs import absolute
from advisor.experiments.plan import ExperimentPlan, TrainingCell, draw, question
from advisor.store import full_disk
from advisor.training.training_process import Child
from advisor.training.training_spec import TrainingResult, TrainingSpec
from advisor.tuner.tune_request import TuneRequest

PLAN_FILE: Final = "plan.json"
QUESTION_FILE: Final = "question.json"
WEIGHTS_FILE: Final = "session.json"
"""Where this machine has the weights."""


class OutOfTime(Exception):
    """The session's time budget is spent; the training it ended goes on from its checkpoint next time."""


@dataclass(slots=True, kw_only=True)
class CellTrainings:
    """The trainings of one folder."""

    VERB: ClassVar[str]
    EVERY_CLASS: ClassVar[bool] = False
    """Whether the smallest size holds a row of each class, however rare: then it is not quite drawn as the whole is."""

    plan: ExperimentPlan
    folder: Path
    device: Literal["auto", "cpu", "cuda"]
    threads: int | None
    deadline: float | None = None
    request: TuneRequest = field(init=False)
    rows: dict[str, list[Row]] = field(init=False)
    drawn: dict[tuple[int, int], Splits] = field(default_factory=dict[tuple[int, int], Splits])
    trained: int = 0
    spent_seconds: float = 0.0
    failed: dict[str, str] = field(default_factory=dict[str, str])
    began: float = field(default_factory=time.monotonic)

    def check_folder(self) -> dict[str, object]:
        """The question as it is written down, unless another one lies in the folder.

        Raises:
            BadRequest: it holds another question.
        """
        now = question(self.plan, self.request.splits.sha256)
        before = self.folder / QUESTION_FILE
        if before.is_file():
            was = store.read_document(before)
            differ = sorted(k for k in now if was.get(k) != now[k])
            if differ:
                raise BadRequest(
                    f"{self.folder} holds a {self.VERB} with another {' and '.join(differ)}",
                    hints=["to begin another: --out FOLDER"],
                    differ=differ,
                )
        return now

    def write_plan(self, now: dict[str, object], weights: str) -> None:
        """Question, plan and where the weights lie, so that the folder alone can be gone on with."""
        self.folder.mkdir(parents=True, exist_ok=True)
        store.write_document(now, self.folder / QUESTION_FILE)
        store.write(absolute(self.plan), self.folder / PLAN_FILE)
        store.write_document(
            {"weights": str(Path(weights).resolve()) if Path(weights).is_dir() else weights},
            self.folder / WEIGHTS_FILE,
        )

    def run_job(
        self, cell: TrainingCell, job: TrainingSpec, beat: Callable[[], None] = lambda: None
    ) -> TrainingResult | None:
        """Train or finish one cell; None where it failed, with the reason in `failed`. `beat` is called as it runs.

        Raises:
            OutOfTime: the deadline is past.
        """
        if self.late():
            raise OutOfTime
        began = time.monotonic()

        def wanted() -> str | None:
            beat()
            return "time budget" if self.late() else None

        result = Child(
            job=job,
            on_progress=lambda line: None,
            wanted=wanted,
            environment=self.environment(),
        ).run()
        if result.status == "interrupted" and self.late():
            raise OutOfTime
        if result.reason == DISK_FULL:
            raise full_disk(self.folder, self.resume())
        self.trained += job.mode == "train"
        self.spent_seconds += time.monotonic() - began
        if result.status != "complete":
            self.failed[cell.folder] = result.reason or result.status
            return None
        return result

    def late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def job(self, cell: TrainingCell) -> TrainingSpec:
        plan, request = self.plan, self.request
        batch = plan.batch_of(cell.size)
        start = next(s for s in request.starts if s.recipe.method == cell.method)
        micro = min(start.recipe.micro_batch_size, batch)
        while batch % micro:
            micro -= 1
        recipe = start.recipe.model_copy(
            update={
                "learning_rate": cell.rate,
                "head_learning_rate": None,  # the rates a study compares are of all that trains
                "micro_batch_size": micro,
                "gradient_accumulation": batch // micro,
                **_mixed(plan, start.recipe.base),
            }
        )
        workload = request.workload.model_copy(
            update={"samples": cell.size, "epochs": plan.epochs_of(cell.size), "effective_batch_size": batch}
        )
        data, splits = self.rows_of(cell)
        return TrainingSpec(
            study=plan.id,
            number=0,
            folder=str(self.place(cell)),
            data=str(data),
            splits=splits,
            spec=request.spec,
            workload=workload,
            recipe=recipe,
            metric=request.metric,
            higher_is_better=request.higher_is_better,
            seed=plan.seed + cell.seed,
            evaluations=plan.evaluations,
            evaluation_rows=plan.evaluation_rows,
            device=self.device,
            threads=self.threads,
        )

    def rows_of(self, cell: TrainingCell) -> tuple[Path, Splits]:
        """The rows of a size and seed as files; the same each time, so a second session finds them."""
        place = self.folder / "data" / f"n{cell.size}-seed{cell.seed}"
        key = (cell.size, cell.seed)
        if key not in self.drawn:
            kind = self.request.splits.kind
            train = self.draw(cell.size, self.plan.seed + cell.seed)
            rows, splits = make_splits({**self.rows, "train": train}, kind, seed=self.plan.seed)
            write_splits(rows, place)
            self.drawn[key] = splits
        return place, self.drawn[key]

    def environment(self) -> dict[str, str]:
        said = {} if self.device != "cpu" else {"CUDA_VISIBLE_DEVICES": ""}
        return said | ({"OMP_NUM_THREADS": str(self.threads), "OMP_WAIT_POLICY": "PASSIVE"} if self.threads else {})

    def place(self, cell: TrainingCell) -> Path:
        return self.folder / "cells" / cell.folder

    def draw(self, size: int, seed: int) -> list[Row]:
        """Training rows of a size. Raises as `plan.draw`."""
        labelled = self.request.splits.kind == "text-label"
        return draw(self.rows["train"], size, seed, labelled=labelled, every_class=self.EVERY_CLASS)

    def resume(self) -> str:
        return f"advisor {self.VERB} --resume {self.folder}"


def _mixed(plan: ExperimentPlan, base: Base) -> dict[str, Any]:
    """The plan's mixed precision as fields of a recipe; beside a quantised base the rest is held in the 16-bit type."""
    if plan.mixed_precision == "no":
        return {}
    dtype = plan.dtype if base == "dtype" else MIXED_DTYPES[plan.mixed_precision]
    return {"mixed_precision": plan.mixed_precision, "dtype": dtype}
