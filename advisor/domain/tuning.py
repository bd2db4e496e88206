"""What tune() hands on: the plan it printed, every trial, the best adapter, and how sure that choice is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from advisor.domain.quantity import Quantity
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import SearchObjective
from advisor.domain.stored import Stored, Value
from advisor.domain.workload import Workload

TrialState = Literal["complete", "pruned", "infeasible", "oom", "failed", "interrupted", "running", "waiting"]
Scalar = float | int | str | bool | None
Level = Scalar | tuple[str, ...]
"""A value a dimension can take; tuples of names are `target_modules`."""


class Dimension(Value):
    """One searched setting: where the search starts, how far it goes, and why.

    `method` is None when the setting belongs to every method searched, else the one whose trials have it.

    Raises:
        ValidationError: an empty or reversed range, a start outside it, a logarithm of 0 or less.
    """

    name: str
    kind: Literal["float", "int", "choice"]
    start: Level
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Level, ...] = ()
    method: str | None = None
    why: str = ""
    sources: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _searchable(self) -> Dimension:
        if self.kind == "choice":
            if len(self.choices) < 2 or self.start not in self.choices:
                raise ValueError(f"{self.name}: needs two choices or more, the start {self.start!r} among them")
            return self
        if self.low is None or self.high is None or not self.low < self.high:
            raise ValueError(f"{self.name}: needs low < high, not {self.low}..{self.high}")
        if not isinstance(self.start, (int, float)) or not self.low <= self.start <= self.high:
            raise ValueError(f"{self.name}: the start {self.start!r} lies outside {self.low}..{self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"{self.name}: a logarithmic range must be above 0, not from {self.low}")
        return self

    @property
    def key(self) -> str:
        """Its name in the Optuna study: `lora.rank`, or `learning_rate` where all methods share it."""
        return f"{self.method}.{self.name}" if self.method else self.name


class Budget(Value):
    """What the search may cost. Seconds are of wall clock from the first trial, earlier sessions included.

    Of seconds and USD a part is kept for the finalists' other seeds; `trials` counts the search's only.
    """

    trials: int | None = Field(default=None, ge=1, le=10**6)
    seconds: float | None = Field(default=None, gt=0)
    usd: float | None = Field(default=None, gt=0)
    usd_per_hour: float | None = Field(default=None, gt=0, description="price of one worker's device for an hour")

    @model_validator(mode="after")
    def _bounded(self) -> Budget:
        if self.trials is None and self.seconds is None and self.usd is None:
            raise ValueError("a budget needs trials, hours or USD")
        if self.usd is not None and self.usd_per_hour is None:
            raise ValueError("a budget in USD needs a price for an hour")
        return self


class Plan(Value):
    """What will happen, said before anything starts; `trial` is one full training with its evaluations."""

    trials: int = Field(ge=1, description="most trials that the budget pays for")
    bound_by: Literal["trials", "hours", "usd"]
    trial: Quantity | None = Field(default=None, description="seconds; None until the first trial was measured")
    seconds: Quantity | None = Field(default=None, description="of all trials and the finals after them")
    usd: Quantity | None = None
    rungs: tuple[int, ...] = Field(
        default=(), description="per cent of a training at which it is scored and may be pruned"
    )
    workers: int = 1
    sampler: str = "tpe"
    pruner: str = "median"
    first: tuple[str, ...] = Field(default=(), description="the trials asked for by name before the sampler chooses")
    notes: tuple[str, ...] = ()


class TunedTrial(Value):
    """One trial as it went. Bytes and seconds; predictions are what was said before it ran."""

    number: int
    state: TrialState
    reason: str = ""
    method: str = ""
    params: dict[str, Level] = Field(default_factory=dict)
    recipe: Recipe | None = None
    workload: Workload | None = None
    values: tuple[float, ...] = Field(default=(), description="one an objective, in the study's order")
    metrics: dict[str, float] = Field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="of `metrics`: 90 %, by the evaluation rows drawn again"
    )
    curve: tuple[tuple[int, float], ...] = Field(default=(), description="(per cent of the training, score)")
    seed: int | None = Field(default=None, description="of its first training; further ones count on from it")
    versions: dict[str, str] = Field(default_factory=dict, description="libraries it was trained with")
    weights_sha256: str | None = Field(default=None, description="of its trained weights, on a CPU")
    seconds: dict[str, float] = Field(default_factory=dict, description="load, train, evaluate, save, total")
    predicted_bytes: Quantity | None = None
    measured_bytes: int | None = None
    predicted_seconds: Quantity | None = None
    measured_seconds: float | None = None
    retry_of: int | None = Field(default=None, description="the trial that died with these settings")
    origin: str = Field(default="sampler", description="recommendation, neighbour, sampler, retry")
    worker: str = ""


class Finalist(Value):
    """One of the best trials, trained again with other seeds so that luck is not crowned."""

    number: int
    scores: tuple[float, ...] = Field(description="one a seed, the search's own first")
    mean: float = Field(description="over the other seeds: the search's own score chose the trial, so it flatters")
    spread: float | None = Field(default=None, description="standard deviation over those seeds; None with one")
    interval: tuple[float, float] | None = Field(
        default=None, description="of the mean: 90 %, by rows and other seeds drawn again"
    )
    better: float | None = Field(
        default=None, description="probability of being the best of the finalists: rows and other seeds drawn again"
    )


class RepeatedTrial(Value):
    """A trial that was trained again from its record, and whether it came out the same to the bit."""

    number: int
    same: bool
    differs: tuple[str, ...] = ()
    score: float | None = None
    weights_sha256: str | None = None
    notes: tuple[str, ...] = Field(default=(), description="libraries or a device that are others than in the record")


class TunedStudy(Stored):
    """A finished (or interrupted) search: `best` is the trial to use, `adapter` where its weights lie."""

    KIND = "tuned-study"

    name: str
    folder: str
    storage: str = Field(description="Optuna storage URL, its password left out")
    workload: Workload
    device: str
    metric: str
    higher_is_better: bool
    objectives: tuple[SearchObjective, ...]
    plan: Plan
    dimensions: tuple[Dimension, ...]
    trials: tuple[TunedTrial, ...]
    best: int | None = None
    best_value: float | None = None
    best_params: dict[str, Level] = Field(default_factory=dict)
    best_recipe: Recipe | None = None
    finalists: tuple[Finalist, ...] = ()
    pareto: tuple[int, ...] = Field(default=(), description="trials no other beats in every objective")
    test: dict[str, float] = Field(default_factory=dict, description="scores on rows no trial has seen")
    test_rows: int = 0
    intervals: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="of `test`: 90 %, by its rows drawn again"
    )
    untrained: dict[str, float] = Field(default_factory=dict, description="the model before training, on the test rows")
    untrained_intervals: dict[str, tuple[float, float]] = Field(default_factory=dict)
    adapter: str | None = None
    merged: str | None = Field(default=None, description="folder of the model with the adapter in its weights")
    usage: tuple[str, ...] = Field(
        default=(), description="lines of Python that load the adapter, then the merged model"
    )
    library: str = Field(default="", description="the package whose class loads the adapter")
    report: str | None = None
    stopped: str = Field(default="", description="why no more trials were run")
    finished: bool = False
    seconds: float = Field(default=0.0, description="wall clock while anything trained, the finals too")
    usd: float | None = None
    notes: tuple[str, ...] = Field(default=(), description="rows dropped, cut or shared between splits; other warnings")
    versions: dict[str, str] = Field(default_factory=dict)
    rows_sha256: dict[str, str] = Field(default_factory=dict, description="split -> of its rows in the study's folder")
    running: tuple[str, ...] = Field(default=(), description="what trains now, and how far it is")
    seconds_left: float | None = Field(default=None, description="about how long the search and its finals go on")
    resume: str = Field(default="", description="the command that goes on from here")
