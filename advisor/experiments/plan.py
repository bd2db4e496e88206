"""The described study: which methods at which data sizes with which seeds, and the rows that each size means."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from advisor import store
from advisor.catalog.methods import find_method
from advisor.dataset.splits import Row
from advisor.domain.findings import Study
from advisor.domain.recipe import autocast_fields
from advisor.domain.request.vocabulary import MIXED_DTYPES, DType, MixedPrecision, OwnTrainer, Task, TaskType
from advisor.domain.stored import Stored, Value
from advisor.errors import BadRequest, UnknownName

FOLDER: Final = Path(__file__).parent / "studies"
SHIPPED_PREFIX: Final = "shipped:"
"""Of a data file that lies beside the described studies."""


def _in_todays_words(plan: dict[str, Any]) -> dict[str, Any]:
    """Version 1 said `autocast`: float32 weights of a plain base, products in `dtype`."""
    rest = {name: value for name, value in plan.items() if name != "autocast"}
    named = {"dtype": rest.get("dtype", "float32")}
    return {**rest, **autocast_fields(named)} if plan.get("autocast") else rest


class ExperimentPlan(Stored):
    """A grid in words that a machine can run: every cell is a method x a data size x a seed.

    The first seed of each method and size trains once a learning rate; the best on the evaluation rows is used
    for the other seeds, and the test rows are scored with it. All methods take the same number of optimizer
    steps: `steps` where given, else `epochs` over the rows of the size.
    """

    KIND = "study-plan"
    VERSION = 2
    UPGRADES = {1: _in_todays_words}  # noqa: RUF012, as its base declares it

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)
    title: str = ""
    model: str
    data: str = Field(description="file of training rows; `shipped:NAME` lies beside the described studies")
    columns: str | None = Field(None, description="columns named otherwise: text=utterance,label=intent")
    eval_data: str | None = None
    test_data: str | None = None
    data_note: str = Field("", description="what the rows are, their licence, and how to build a file not shipped")
    task: Task | None = None
    task_type: TaskType | None = None
    metric: str | None = None
    methods: tuple[str, ...] = Field(min_length=1)
    sizes: tuple[int, ...] = Field(min_length=1, description="training rows")
    seeds: int = Field(default=3, ge=1, le=100)
    rates: dict[str, tuple[float, ...]] = Field(
        default_factory=dict, description="method -> learning rates to try, in place of rate_factors x the published"
    )
    rate_factors: tuple[float, ...] = Field(default=(0.3, 1.0, 3.0), min_length=1)
    steps: int | None = Field(default=None, ge=1, description="optimizer steps of every training, whatever its size")
    epochs: float | None = Field(default=None, gt=0)
    effective_batch_size: int = Field(default=16, ge=1)
    seq_len: int | None = Field(default=None, ge=1)
    evaluation_rows: int = Field(default=500, ge=10)
    test_rows: int = Field(default=1000, ge=10)
    evaluations: int = Field(default=4, ge=1, le=100, description="scorings of one training; the best is kept")
    trainer: OwnTrainer = "hf"
    dtype: DType = "float32"
    mixed_precision: MixedPrecision = "no"
    seed: int = 0

    @model_validator(mode="after")
    def _sensible(self) -> ExperimentPlan:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give steps or epochs, not both")
        if any(size < 2 for size in self.sizes):
            raise ValueError("a size must be 2 rows or more")
        if any(not value > 0 for value in (*self.rate_factors, *(r for rates in self.rates.values() for r in rates))):
            raise ValueError("learning rates and their factors must be above 0")
        for name, values in (("methods", self.methods), ("sizes", self.sizes)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names one thing twice")
        stray = sorted(set(self.rates) - set(self.methods))
        if stray:
            raise ValueError(f"rates are given for methods outside the grid: {', '.join(stray)}")
        if any(not rates for rates in self.rates.values()):
            raise ValueError("rates must hold a learning rate or more for each method it names")
        return self

    def epochs_of(self, size: int) -> float:
        """Passes over `size` rows: what `steps` come to, else `epochs` (default 3)."""
        if self.steps is None:
            return self.epochs or 3.0
        return self.steps / -(-size // self.batch_of(size))

    def batch_of(self, size: int) -> int:
        return min(self.effective_batch_size, size)

    def rates_of(self, method: str, published: float | None) -> tuple[float, ...]:
        """The learning rates to try, ascending.

        Raises:
            BadRequest: none is given and none is published for the method.
        """
        if method in self.rates:
            return tuple(sorted(self.rates[method]))
        if published is None:
            raise BadRequest(
                f"no learning rate is published for {method}", hints=[f"give some: --rates {method}=1e-4,3e-4"]
            )
        return tuple(sorted(float(f"{factor * published:.3g}") for factor in self.rate_factors))


class TrainingCell(Value):
    """One training of the grid; `folder` is its name below the study's `cells/`."""

    method: str
    size: int
    seed: int
    rate: float

    @property
    def folder(self) -> str:
        return f"{self.method}-n{self.size}-seed{self.seed}-lr{self.rate:.3g}"


class ExperimentRun(Stored):
    """How far a study is: its plan, what it found, what is left."""

    KIND = "study-run"

    plan: ExperimentPlan
    folder: str
    trainings: int = 0
    trainings_left: int = 0
    seconds: float = 0.0
    seconds_left: float | None = None
    stopped: Literal["complete", "time budget", "planned"] = "planned"
    cells: tuple[TrainingCell, ...] = ()
    findings: Study | None = None
    findings_file: str | None = None
    notes: tuple[str, ...] = ()
    resume: str = ""


class ExperimentProgress(Value):
    """One look at a running study."""

    done: int
    total: int
    what: str
    seconds_left: float


def described() -> dict[str, Path]:
    """The studies that ship, by id."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.json"))}


def find_plan(name: str) -> ExperimentPlan:
    """A described study by its id, or the plan in a file.

    Raises:
        UnknownName: neither.
        BadFile: the file holds no plan.
    """
    known = described()
    if name in known:
        return store.read(ExperimentPlan, known[name])
    if Path(name).is_file():
        return store.read(ExperimentPlan, name)
    raise UnknownName.of("study", name, list(known), list_with="advisor study --list")


def checked(plan: ExperimentPlan) -> ExperimentPlan:
    """The plan with the catalogue's names of its methods.

    Raises:
        UnknownName: a method nobody has heard of.
    """
    names = {name: find_method(name).name for name in plan.methods}
    rates = {names[name]: rates for name, rates in plan.rates.items()}
    return plan.model_copy(update={"methods": tuple(dict.fromkeys(names.values())), "rates": rates})


def draw(rows: Sequence[Row], size: int, seed: int, *, labelled: bool, every_class: bool = False) -> list[Row]:
    """`size` of the rows: nested (a size holds every smaller one of the same seed) and by class as the whole is.

    With `every_class` a row of each class comes first, however rare it is.

    Raises:
        BadRequest: there are fewer rows than that, or so few that a class is absent.
    """
    if size > len(rows):
        raise BadRequest(
            f"a size of {size} rows is asked for, and there are {len(rows)} to train on",
            hints=[f"at most: --size {len(rows)}"],
            size=size,
            rows=len(rows),
        )
    by_class: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_class[str(row.get("label", "")) if labelled else ""].append(row)
    placed: list[tuple[float, str, Row]] = []
    for label in sorted(by_class):
        members = by_class[label]
        random.Random(f"{seed}/{label}").shuffle(members)
        placed += [
            (0.0 if every_class and i == 0 else (i + 0.5) / len(members), label, row) for i, row in enumerate(members)
        ]
    placed.sort(key=lambda one: one[:2])
    taken = placed[:size]
    absent = sorted(set(by_class) - {label for _, label, _ in taken})
    if absent:
        raise BadRequest(
            f"{size} rows hold no row of {len(absent)} of {len(by_class)} classes: {', '.join(absent[:5])}",
            hints=["ask for larger sizes: --size"],
            size=size,
            absent=absent,
        )
    return [row for _, _, row in taken]


def question(plan: ExperimentPlan, sha256: Mapping[str, str]) -> dict[str, object]:
    """What may not differ between two sessions in one folder; methods, sizes, seeds and rates may be added."""
    grown = {"title", "data", "eval_data", "test_data", "data_note", "methods", "sizes", "seeds", "rates"}
    grown |= {"columns"}  # what they select is in the rows' own digests
    asked = plan.model_dump(mode="json", exclude=grown | {"rate_factors", "mixed_precision"})
    # in the words of version 1, so that a folder it began can be gone on with
    mixed = plan.mixed_precision
    asked |= {"autocast": mixed != "no", "dtype": MIXED_DTYPES.get(mixed, plan.dtype)}
    return {**asked, "rows": dict(sorted(sha256.items()))}


def digest(asked: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
