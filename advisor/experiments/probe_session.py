"""One sitting at a probe: short trainings, each chosen by what it is to teach, until enough is known."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

import numpy as np

from advisor.catalog.methods import find_method
from advisor.domain.questions.probing import ProbeProgress
from advisor.domain.units import HOUR, duration
from advisor.errors import BadRequest, IllegalRecipe
from advisor.experiments.cell_trainings import CellTrainings
from advisor.experiments.inputs import asked
from advisor.experiments.plan import TrainingCell
from advisor.experiments.probe_points import effects_of, noise_of, points_of
from advisor.experiments.probe_query import ProbeQuery, write_query
from advisor.experiments.score_model import Arm, Observation, ScoreModel, ScorePosterior
from advisor.training.monitor import WEIGHTS
from advisor.training.training_process import JOB
from advisor.training.training_spec import TrainingResult
from advisor.tuner.execution.measure_steps import measure
from advisor.tuner.storage.trials import finished_result
from advisor.tuner.tune_request import MeasuredSteps

FEWEST_EVALUATION_ROWS: Final = 20
"""With fewer a score is known to no better than 20 points (90 %), and no short training tells anything."""
FEWEST_TRAINING_ROWS: Final = 40
"""Below there are no two sizes that differ by half and hold a few rows of each class."""
SMALLEST: Final = 16
ROWS_A_CLASS: Final = 2
HALVINGS: Final = 6
"""The smallest size is a 64th of all rows: further down nothing is learnt that holds for all."""
SEEDS: Final = 3
FACTORS: Final = (1.0, 1 / 3, 3.0)
PROCESS_SECONDS: Final = 5.0
"""Of a training beside loading, steps and scoring: its process and imports (README, Tuning)."""
SCORE_WORTH: Final = 0.1
"""Of a point by which the chosen method's score becomes surer, in points of a better choice."""
ENOUGH: Final = 0.05
"""Points of worth below which no training is begun: a twentieth of the least that any score shows."""
BEAT_SECONDS: Final = 1.0
"""Between two looks at a training that goes on."""
MOST_PLANNED: Final = 40
"""Trainings listed ahead: more than any budget of hours pays for."""
BUDGET_SHARE: Final = 0.1
"""Without --hours: of what the methods take when each is trained on all rows once."""

Why = Literal["sure enough", "time budget", "nothing left", "planned"]


@dataclass(frozen=True, slots=True)
class EndedTraining:
    """One training that came to its end, in this session or before."""

    cell: TrainingCell
    score: float
    seconds: dict[str, float]

    @property
    def beside_steps(self) -> float:
        """Seconds that are no optimizer steps."""
        return sum(self.seconds.get(name, 0.0) for name in ("load", "evaluate", "save"))


@dataclass(slots=True, kw_only=True)
class ProbeSession(CellTrainings):
    """One sitting at a probe's folder."""

    VERB: ClassVar[str] = "probe"
    EVERY_CLASS: ClassVar[bool] = True

    query: ProbeQuery
    on_progress: Callable[[ProbeProgress], None]
    sizes: tuple[int, ...] = field(init=False)
    model: ScoreModel = field(init=False)
    rates: dict[str, float] = field(init=False)
    done: dict[str, EndedTraining] = field(default_factory=dict[str, EndedTraining])
    """By the cell's folder."""
    measured: MeasuredSteps | None = None
    budget_seconds: float = 0.0
    told_at: float = 0.0
    notes: list[str] = field(default_factory=list[str])

    def begin(self, *, written: bool) -> None:
        """Check data, model and budget; then write the question down.

        Raises:
            BadRequest, BadFile: as `probe`.
        """
        self._ask()
        rows = {name: len(part) for name, part in self.rows.items()}
        self._enough(rows)
        self.sizes = self._ladder(rows["train"])
        self.rates = {s.recipe.method: s.recipe.learning_rate or 0.0 for s in self.request.starts}
        unknown = [name for name, rate in self.rates.items() if not rate]
        if unknown:
            raise BadRequest(
                f"no learning rate is published for {', '.join(unknown)}", hints=["leave it out of --method"]
            )
        workload = self.request.workload
        self.plan = self.plan.model_copy(
            update={
                "sizes": self.sizes,
                "seeds": SEEDS,
                "rates": {name: tuple(sorted(rate * f for f in FACTORS)) for name, rate in self.rates.items()},
                "epochs": workload.epochs,
                "effective_batch_size": workload.effective_batch_size,
            }
        )
        arms = [Arm(name, factor) for name in self.plan.methods for factor in FACTORS]
        self.model = ScoreModel(arms, effects_of(self.request, self.plan.methods, self.sizes))
        now = self.check_folder()
        self._find_finished()
        self._measure()
        if written:
            self.write_plan(now, self.query.model)
            write_query(self.query, self.folder)

    def _ask(self) -> None:
        """Rows and recipes; methods that nobody asked for by name are left out where they are not allowed."""
        length = self.query.epochs, self.query.effective_batch_size
        while True:
            names = tuple(dict.fromkeys(find_method(name).name for name in self.plan.methods))
            self.plan = self.plan.model_copy(update={"methods": names})
            try:
                self.request, self.rows = asked(self.plan, self.query.model, length)
            except IllegalRecipe as error:
                name = error.fields.get("method")
                if self.query.method is not None or name not in names or len(names) == 1:
                    raise
                self.notes.append(f"{name} is left out: {error.fields.get('reason', error.message)}")
                self.plan = self.plan.model_copy(update={"methods": tuple(n for n in names if n != name)})
                continue
            self.request = self.request.model_copy(
                update={"threads": self.threads, "evaluations": self.plan.evaluations}
            )
            return

    def _enough(self, rows: dict[str, int]) -> None:
        if rows["evaluation"] < FEWEST_EVALUATION_ROWS or rows["train"] < FEWEST_TRAINING_ROWS:
            raise BadRequest(
                f"{rows['train']} rows to train on and {rows['evaluation']} to score them by: too few for a probe to "
                "tell methods apart",
                cause="a score on so few rows is off by 20 points or more",
                hints=[
                    f"give {10 * FEWEST_EVALUATION_ROWS} rows or more",
                    f"or {FEWEST_TRAINING_ROWS} rows, and --eval-data with {FEWEST_EVALUATION_ROWS} or more",
                    "without a probe: advisor recommend",
                ],
                rows=rows,
            )

    def _ladder(self, whole: int) -> tuple[int, ...]:
        """All rows, and halves of halves of them, ascending."""
        least = max(SMALLEST, ROWS_A_CLASS * len(self.request.splits.labels))
        sizes = [whole >> k for k in range(HALVINGS + 1) if whole >> k >= least or k == 0]
        return tuple(reversed(sizes))

    def _find_finished(self) -> None:
        """What earlier sessions trained."""
        for cell in self._cells():
            self._keep(cell, finished_result(self.place(cell)))

    def _keep(self, cell: TrainingCell, result: TrainingResult | None) -> None:
        if result is not None and result.score is not None:
            self.done[cell.folder] = EndedTraining(cell, result.score, result.seconds)

    def _cells(self) -> list[TrainingCell]:
        return [
            TrainingCell(method=arm.method, size=size, seed=seed, rate=self.rate(arm))
            for arm in self.model.arms
            for size in self.sizes
            for seed in range(SEEDS)
        ]

    def rate(self, arm: Arm) -> float:
        return float(f"{self.rates[arm.method] * arm.factor:.3g}")

    def _measure(self) -> None:
        """A few steps, so that the budget is known to pay for something; trainings that ended say it themselves."""
        if not self.done:
            self.measured, why = measure(self.request, self.rows, device=self.device)
            if self.measured is None:
                self.notes.append(f"how long a training takes is not known before the first: {why}")
        whole = self.all_seconds()
        shortest = self.seconds_for(self.plan.methods[0], self.sizes[0])
        if self.query.hours is not None:
            self.budget_seconds = self.query.hours * HOUR
        else:
            # a share of the whole cost, in all sessions together: what earlier ones spent is spent
            self.budget_seconds = max(0.0, max(BUDGET_SHARE * whole, 4 * shortest) - self.probe_seconds)
        if not self.done and self.measured is not None and self.budget_seconds < shortest:
            needed = 4 * shortest / HOUR
            raise BadRequest(
                f"--hours {self.query.hours:g} trains nothing: the shortest training, {self.sizes[0]} rows with "
                f"{self.plan.methods[0]}, takes about {duration(shortest)}",
                cause=f"{self.measured.steps} steps were measured here",
                hints=[
                    f"--hours {max(needed, 0.001):.2g}, which pays for four",
                    "a shorter --seq-len, or fewer --epochs",
                ],
                needed_seconds=4 * shortest,
            )

    def seconds_for(self, method: str, size: int) -> float:
        """What one training is to take, by those that ended here, else by the steps measured."""
        rows = size * self.plan.epochs_of(size)
        scored = self.scored_rows * self.plan.evaluations
        if self.done:
            ended = list(self.done.values())
            own = [one for one in ended if one.cell.method == method] or ended
            each = statistics.median(
                one.seconds.get("train", 0.0) / (one.cell.size * self.plan.epochs_of(one.cell.size)) for one in own
            )
            return each * rows + statistics.median(one.beside_steps for one in ended) + PROCESS_SECONDS
        if self.measured is None:
            return 0.0
        m = self.measured
        return m.load_seconds + m.row_seconds * rows + m.scored_row_seconds * scored + m.save_seconds + PROCESS_SECONDS

    def all_seconds(self) -> float:
        """Every method on all rows once."""
        return sum(self.seconds_for(name, self.sizes[-1]) for name in self.plan.methods)

    @property
    def scored_rows(self) -> int:
        return min(self.plan.evaluation_rows, len(self.rows["evaluation"]))

    @property
    def probe_seconds(self) -> float:
        """Spent on every training of the folder, in every session."""
        return sum(one.seconds.get("total", 0.0) + PROCESS_SECONDS for one in self.done.values())

    def seen(self) -> list[Observation]:
        """What the trainings that ended showed."""
        metric = self.request.metric
        found: list[Observation] = []
        for one in self.done.values():
            points = points_of(metric, one.score)
            noise = noise_of(metric, points, one.cell.size, self.scored_rows)
            found.append(Observation(self.arm_of(one.cell), one.cell.size, points, noise))
        return found

    def run(self) -> Why:
        """Train until enough is known, the time is over, or nothing is left.

        Raises:
            OutOfTime: passed on where the time ends a training; it goes on from its checkpoint.
        """
        self.deadline = (time.monotonic() if self.query.hours is None else self.began) + self.budget_seconds
        while True:
            known = self.model.given(self.seen())
            cell, why = self.next_training(known, self.deadline - time.monotonic(), self.done)
            if cell is None:
                return why
            self._tell(cell)
            result = self.run_job(cell, self.job(cell), lambda cell=cell: self._tell(cell, BEAT_SECONDS))
            shutil.rmtree(self.place(cell) / "checkpoints", ignore_errors=True)
            (self.place(cell) / WEIGHTS).unlink(missing_ok=True)
            self._keep(cell, result)

    def next_training(
        self, known: ScorePosterior, left: float, taken: Collection[str]
    ) -> tuple[TrainingCell | None, Why]:
        """The training that is worth most a second of those that `left` seconds pay for; else None, and why."""
        open_cells = self._open(taken)
        paid = [cell for cell in open_cells if self.seconds_for(cell.method, cell.size) <= left]
        if not paid:
            return None, "time budget" if open_cells else "nothing left"
        begun = [cell for cell in paid if (self.place(cell) / JOB).is_file()]
        if begun:
            return begun[0], "planned"
        metric, rows = self.request.metric, self.scored_rows
        scores = known.whole()[0]
        noise = [noise_of(metric, float(score), size, rows) for score in scores for size in self.sizes]
        gained, narrowed = known.worth(np.array(noise))
        best: tuple[float, TrainingCell] | None = None
        for cell in paid:
            place = self.model.at(self.arm_of(cell), cell.size)
            worth = float(gained[place] + SCORE_WORTH * narrowed[place])
            per_second = worth / max(self.seconds_for(cell.method, cell.size), 1e-3)
            if worth >= ENOUGH and (best is None or per_second > best[0]):
                best = per_second, cell
        return (None, "sure enough") if best is None else (best[1], "planned")

    def arm_of(self, cell: TrainingCell) -> int:
        """Where the cell's method and rate stand among the model's arms."""
        return next(
            i for i, arm in enumerate(self.model.arms) if arm.method == cell.method and self.rate(arm) == cell.rate
        )

    def _open(self, taken: Collection[str]) -> list[TrainingCell]:
        """The next seed of every arm at every size; of a method that failed none."""
        bad = {folder.partition("-n")[0] for folder in self.failed}
        found: dict[tuple[str, float, int], TrainingCell] = {}
        for cell in self._cells():
            key = (cell.method, cell.rate, cell.size)
            if cell.folder not in taken and cell.method not in bad and key not in found:
                found[key] = cell
        return list(found.values())

    def ahead(self) -> list[TrainingCell]:
        """The trainings that would be made if each showed what is expected of it."""
        planned: list[TrainingCell] = []
        left, seen = self.budget_seconds, self.seen()
        while len(planned) < MOST_PLANNED:
            known = self.model.given(seen)
            cell, _ = self.next_training(known, left, {*self.done, *(one.folder for one in planned)})
            if cell is None:
                break
            planned.append(cell)
            left -= max(self.seconds_for(cell.method, cell.size), 1e-3)
            arm = self.arm_of(cell)
            points = known.expected(arm, cell.size)
            noise = noise_of(self.request.metric, points, cell.size, self.scored_rows)
            seen = [*seen, Observation(arm, cell.size, points, noise)]
        return planned

    def _tell(self, cell: TrainingCell, apart: float = 0.0) -> None:
        """Tell what trains, unless that was told less than so many seconds ago."""
        now = time.monotonic()
        if now - self.told_at < apart:
            return
        self.told_at = now
        spent = self.budget_seconds - ((self.deadline or 0.0) - now)
        what = f"{cell.method}, {cell.size:,} rows, rate {cell.rate:.3g}, seed {cell.seed}"
        self.on_progress(
            ProbeProgress(done=len(self.done), what=what, seconds_spent=spent, seconds_budget=self.budget_seconds)
        )
