"""One sitting at a study: which trainings are still to do, each in a process of its own, and what they came to."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final, Literal

from advisor import store
from advisor.catalog.findings.study_files import broken_laws
from advisor.domain.findings import Study
from advisor.errors import DoesNotFit
from advisor.experiments.cell_trainings import CellTrainings, OutOfTime
from advisor.experiments.experiment_findings import Group, Scored, findings_of
from advisor.experiments.inputs import asked
from advisor.experiments.plan import ExperimentProgress, ExperimentRun, TrainingCell
from advisor.training.monitor import WEIGHTS
from advisor.training.training_spec import TrainingResult, TrainingSpec
from advisor.tuner.storage.trials import finished_result

FINDINGS: Final = "findings"
FIRST_TRAINING_SECONDS: Final = 30.0
"""What a training is taken to last before one has ended; the time left follows the measured ones from then on."""


@dataclass(slots=True, kw_only=True)
class Session(CellTrainings):
    """One sitting at a study's folder."""

    VERB: ClassVar[str] = "study"

    keep: bool
    on_progress: Callable[[ExperimentProgress], None]
    rates: dict[str, tuple[float, ...]] = field(init=False)

    def begin(self, weights: str, *, written: bool) -> None:
        """Check plan, data and model; then write the plan, unless another question lies in the folder.

        Raises:
            BadRequest, BadFile: as `study`.
        """
        plan = self.plan
        self.request, self.rows = asked(plan, weights)
        published = {start.recipe.method: start.recipe.learning_rate for start in self.request.starts}
        self.rates = {name: plan.rates_of(name, published[name]) for name in plan.methods}
        for size in plan.sizes:
            self.draw(size, 0)
        now = self.check_folder()
        if written:
            self.write_plan(now, weights)

    def run(self) -> ExperimentRun:
        """Every group of the grid, one after another; what is whole is written as it becomes so.

        Raises:
            DoesNotFit: nothing came to its end.
        """
        stopped: Literal["complete", "time budget"] = "complete"
        try:
            for size in self.plan.sizes:
                for method in self.plan.methods:
                    self._group(method, size)
        except OutOfTime:
            stopped = "time budget"
        groups = self.groups()
        if not groups and stopped == "complete":
            reasons = sorted(set(self.failed.values()))
            raise DoesNotFit(
                "no training of the study came to its end",
                cause="; ".join(reasons[:3]),
                hints=[f"logs: {self.folder}/cells/*/log.txt"],
                reasons=reasons,
            )
        found = findings_of(self.plan, self.request, groups, self.folder) if groups else None
        written = self._kept(found) if found is not None else None
        state = self.state(stopped).model_copy(
            update={"findings": found, "findings_file": str(written) if written else None}
        )
        store.write(state, self.folder / "run.json")
        return state

    def _kept(self, found: Study) -> Path:
        """Write the findings beside the study and into the user's store; what breaks a law stays out of the store."""
        written = store.write(found, self.folder / "findings.json")
        broken = broken_laws(found)
        if broken:
            # one bad file in the store would be refused at every later reading of the evidence
            self.failed["findings"] = f"kept out of your store: {broken[0]}"
        elif self.keep:
            written = store.write(found, store.home("data") / FINDINGS / f"{found.id}.json")
        return written

    def _group(self, method: str, size: int) -> None:
        """Tune the rate with the first seed, then train the other seeds and score them all on the test rows."""
        for rate in self.rates[method]:
            self._train(TrainingCell(method=method, size=size, seed=0, rate=rate))
        best = self.best_rate(method, size)
        if best is None:
            return
        for rate in self.rates[method]:
            if rate != best:
                (self.place(TrainingCell(method=method, size=size, seed=0, rate=rate)) / WEIGHTS).unlink(
                    missing_ok=True
                )
        for seed in range(self.plan.seeds):
            cell = TrainingCell(method=method, size=size, seed=seed, rate=best)
            if self._train(cell) is not None:
                self._test(cell)

    def best_rate(self, method: str, size: int) -> float | None:
        """The rate with the best score on the evaluation rows, once each was tried; the smaller of two equals."""
        sign = 1.0 if self.request.higher_is_better else -1.0
        scores: list[tuple[float, float]] = []
        for rate in self.rates[method]:
            cell = TrainingCell(method=method, size=size, seed=0, rate=rate)
            result = finished_result(self.place(cell))
            if result is not None and result.score is not None:
                scores.append((sign * result.score, -rate))
            elif cell.folder not in self.failed:
                return None
        return -max(scores)[1] if scores else None

    def _train(self, cell: TrainingCell) -> TrainingResult | None:
        """The cell's training, from its folder where it is finished; None where it failed."""
        place = self.place(cell)
        done = finished_result(place)
        if done is not None and ((place / WEIGHTS).is_file() or self._tested(cell) or not self._needed(cell)):
            return done
        if cell.folder in self.failed:
            return None
        return self._run(cell, self.job(cell))

    def _needed(self, cell: TrainingCell) -> bool:
        """Whether the cell's weights are still to be tested; a rate that lost needs none."""
        best = self.best_rate(cell.method, cell.size)
        return best is None or cell.rate == best

    def _test(self, cell: TrainingCell) -> None:
        """Score the test rows with the cell's best weights; then the weights have done their work."""
        place = self.place(cell)
        if not self._tested(cell):
            job = self.job(cell).model_copy(
                update={
                    "mode": "finish",
                    "folder": str(place / "test"),
                    "weights": str(place / WEIGHTS),
                    "export": str(place / "export"),
                    "score_untrained": False,
                }
            )
            if self._run(cell, job) is None:
                return
        shutil.rmtree(place / "export", ignore_errors=True)
        shutil.rmtree(place / "checkpoints", ignore_errors=True)
        (place / WEIGHTS).unlink(missing_ok=True)

    def _tested(self, cell: TrainingCell) -> bool:
        return finished_result(self.place(cell) / "test") is not None

    def _run(self, cell: TrainingCell, job: TrainingSpec) -> TrainingResult | None:
        self._tell(cell)
        return self.run_job(cell, job)

    def groups(self) -> list[Group]:
        """Each method at each size of which a seed was scored on the test rows."""
        found: list[Group] = []
        for size in self.plan.sizes:
            for method in self.plan.methods:
                best = self.best_rate(method, size)
                if best is None:
                    continue
                scored: list[Scored] = []
                for seed in range(self.plan.seeds):
                    cell = TrainingCell(method=method, size=size, seed=seed, rate=best)
                    trained, tested = finished_result(self.place(cell)), finished_result(self.place(cell) / "test")
                    if trained is not None and tested is not None and tested.score is not None:
                        scored.append(Scored(trained, tested.score, self.job(cell)))
                if scored:
                    found.append(Group(method, size, self.rates[method], tuple(scored)))
        return found

    def ahead(self) -> tuple[list[TrainingCell], int]:
        """(trainings still to do, trainings of the whole grid); a rate not yet chosen stands as the middle one."""
        left: list[TrainingCell] = []
        total = 0
        for size in self.plan.sizes:
            for method in self.plan.methods:
                rates = self.rates[method]
                later = self.best_rate(method, size) or rates[len(rates) // 2]
                cells = [TrainingCell(method=method, size=size, seed=0, rate=rate) for rate in rates]
                cells += [TrainingCell(method=method, size=size, seed=s, rate=later) for s in range(1, self.plan.seeds)]
                total += len(cells)
                left += [c for c in cells if finished_result(self.place(c)) is None and c.folder not in self.failed]
        return left, total

    def _tell(self, cell: TrainingCell) -> None:
        left, total = self.ahead()
        what = f"{cell.method}, {cell.size} rows, seed {cell.seed}, rate {cell.rate:.3g}"
        self.on_progress(
            ExperimentProgress(done=total - len(left), total=total, what=what, seconds_left=self._left(len(left)))
        )

    def _left(self, trainings: int) -> float:
        each = self.spent_seconds / self.trained if self.trained else FIRST_TRAINING_SECONDS
        return each * trainings

    def state(self, stopped: Literal["complete", "time budget", "planned"]) -> ExperimentRun:
        """How far the study is."""
        left, total = self.ahead()
        return ExperimentRun(
            plan=self.plan,
            folder=str(self.folder),
            trainings=total,
            trainings_left=len(left),
            seconds=time.monotonic() - self.began,
            seconds_left=self._left(len(left)) if self.trained else None,
            stopped=stopped,
            cells=tuple(left),
            notes=(*self.request.splits.notes, *(f"{name} failed: {why}" for name, why in self.failed.items())),
            resume=self.resume() if stopped == "time budget" else "",
        )
