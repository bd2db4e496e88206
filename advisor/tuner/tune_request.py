"""What a tuning study is asked: written once as `request.json`, read by every worker on any machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import Field

from advisor.dataset.splits import Splits
from advisor.domain.candidate import Candidate
from advisor.domain.hardware import Hardware
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.recommendation import Setting
from advisor.domain.request.vocabulary import SearchObjective
from advisor.domain.stored import Stored, Value
from advisor.domain.tuning import Budget, Dimension, Level
from advisor.domain.workload import Workload
from advisor.estimator.spending.search_cost import EVALUATION_ROWS, EVALUATIONS, FINAL_SEEDS, FINALISTS
from advisor.training.training_spec import TrainingSpec


class Start(Value):
    """One recipe to begin from, with the settings around it and what was predicted of it."""

    recipe: Recipe
    settings: tuple[Setting, ...] = ()
    predicted: Candidate | None = None


class MeasuredSteps(Value):
    """What a few real steps took here, in seconds; `spread` is half their range over their median."""

    row_seconds: float = Field(gt=0, description="of training one row")
    spread: float = Field(ge=0)
    scored_row_seconds: float = Field(ge=0)
    load_seconds: float = Field(ge=0)
    save_seconds: float = Field(ge=0)
    steps: int


class EarlierTrial(Value):
    """A scored trial of a finished study: its settings by name, and a score that is better when higher."""

    levels: dict[str, Level]
    score: float


class EarlierStudy(Value):
    """A finished study of other data, as far as this one learns from it."""

    name: str
    folder: str
    samples: int
    trials: tuple[EarlierTrial, ...] = Field(min_length=1)


class TuneRequest(Stored):
    """All a worker on any machine needs to know of a study; `fingerprint` names its question."""

    KIND = "tune-request"

    name: str
    spec: ModelSpec
    workload: Workload
    starts: tuple[Start, ...] = Field(min_length=1, description="the first is the recommendation")
    hardware: Hardware | None = Field(default=None, description="None: this machine's CPU")
    splits: Splits
    dimensions: tuple[Dimension, ...]
    metric: str
    higher_is_better: bool
    objectives: tuple[SearchObjective, ...] = ("quality",)
    budget: Budget
    sampler: str = "tpe"
    pruner: str = "median"
    neighbours: int = Field(default=4, ge=0)
    evaluations: int = Field(default=EVALUATIONS, ge=1, le=100, description="scorings of one training")
    evaluation_rows: int = Field(
        default=EVALUATION_ROWS, ge=1, description="rows of an intermediate scoring; the last one takes all"
    )
    early_stopping: int = Field(
        default=0, ge=0, description="scorings without a gain after which a training ends; 0: never"
    )
    seeds: int = Field(default=1, ge=1, le=100, description="trainings of one trial, each with its own seed")
    finalists: int = Field(default=FINALISTS, ge=1, le=100)
    final_seeds: int = Field(default=FINAL_SEEDS, ge=1, le=100)
    retrain: bool = False
    merge: bool = Field(default=False, description="write the model with the adapter in its weights too")
    patience: int = Field(
        default=0, ge=0, description="stop after so many trials without a gain; 0: chosen from the space"
    )
    memory_bytes: int | None = Field(default=None, gt=0, description="what a trial may use; None: the hardware's limit")
    threads: int | None = Field(
        default=None, ge=1, description="of a trial on a CPU; None: the cores shared by the workers"
    )
    trial_seconds: float | None = Field(default=None, gt=0, description="a trial that runs longer is ended")
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    max_retries: int = Field(default=2, ge=0)
    report_to: tuple[str, ...] = ()
    share_gpus: bool = Field(default=False, description="on a Ray cluster: trials that fit together share a GPU")
    seed: int = Field(default=0, ge=0, lt=2**31, description="the seeds of finals and workers are counted on from it")
    store: bool = Field(default=True, description="keep profiles and findings in the user's own store")
    earlier: tuple[EarlierStudy, ...] = Field(default=(), description="finished studies that steps learn from")
    measured: MeasuredSteps | None = Field(default=None, description="steps that were measured before the search")
    ends_at: float | None = Field(default=None, description="clock, seconds since 1970, at which the hours are over")
    created: str = ""
    storage: str = Field(default="", description="where the study lies, without a password; empty: in its folder")

    def question(self) -> dict[str, Any]:
        """What must not differ between two sessions of one study: model, data, metric, objectives and space."""
        return {
            "model": self.spec.name,
            "task": self.workload.task,
            "metric": self.metric,
            "objectives": list(self.objectives),
            "data": dict(sorted(self.splits.sha256.items())),
            "space": [
                d.model_dump(mode="json", include={"name", "kind", "low", "high", "log", "choices", "method"})
                for d in self.dimensions
            ],
        }

    @property
    def trainings_end_at(self) -> float | None:
        """The clock at which trainings must end, so that test and export fit what is left of the hours."""
        if self.ends_at is None:
            return None
        return self.ends_at - (finish_seconds(self, self.measured) if self.measured else 0.0)

    def job(
        self,
        number: int,
        place: Path,
        folder: Path,
        recipe: Recipe,
        workload: Workload,
        *,
        seed: int | None = None,
        threads: int | None = None,
    ) -> TrainingSpec:
        """One training of this study in `place`, its rows those of the study's `folder`."""
        return TrainingSpec(
            study=self.name,
            number=number,
            folder=str(place),
            data=str(folder / "data"),
            splits=self.splits,
            spec=self.spec,
            workload=workload,
            recipe=recipe,
            metric=self.metric,
            higher_is_better=self.higher_is_better,
            seed=self.seed if seed is None else seed,
            evaluations=self.evaluations,
            evaluation_rows=self.evaluation_rows,
            early_stopping=self.early_stopping,
            checkpoint_seconds=self.checkpoint_seconds,
            deadline=self.trainings_end_at,
            # a GPU that is gone must fail a trial, not let it train for days beside it
            device="cuda" if self.hardware is not None else "cpu",
            threads=threads,
        )


def finish_seconds(request: TuneRequest, measured: MeasuredSteps) -> float:
    """The test and the export after a search: the model loaded twice (thrice to merge), the test rows scored before and
    after the training, the adapter written."""
    scored = 2 * measured.scored_row_seconds * request.splits.rows["test"]
    return (3 if request.merge else 2) * measured.load_seconds + scored + 2 * measured.save_seconds


REQUEST_FILE: Final = "request.json"
