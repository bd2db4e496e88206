"""What is exported, and what an exporter is: it says why not, what its tool does otherwise, and writes the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from advisor.catalog.methods import find_method
from advisor.catalog.methods.method import Method
from advisor.catalog.trainer_formats import TrainerFormat, trainer_format
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import Sharding
from advisor.domain.stored import Value
from advisor.domain.workload import Workload
from advisor.exporters.settings import Settings


@dataclass(frozen=True, slots=True)
class ExportJob:
    """A recipe for a workload, with the names that a config needs: rows, output folder, seed, GPU ("" unknown).

    `count` GPUs in all, on `nodes` machines; `sharding` says how the job is spread over them.
    """

    workload: Workload
    recipe: Recipe
    spec: ModelSpec
    data: str = "train.jsonl"
    output: str = "out"
    seed: int = 42
    gpu: str = ""
    count: int = 1
    nodes: int = 1
    sharding: Sharding | None = None
    peak: str = ""
    """The peak memory that was predicted, for the reader; "" where nobody asked."""

    @property
    def method(self) -> Method:
        return find_method(self.recipe.method)

    @property
    def model(self) -> str:
        """What a trainer loads: the Hub id or the folder as it was given, else the catalogue's id.

        Several models of one architecture share an entry of the catalogue, and only what was asked tells them apart.
        """
        return self.spec.asked if self.spec.source == "folder" or "/" in self.spec.asked else self.spec.name

    def with_recipe(self, **changes: Any) -> ExportJob:
        """The same job with some fields of its recipe replaced."""
        return replace(self, recipe=self.recipe.model_copy(update=changes))


class ExportedFile(Value):
    """One file of an export: its name below the folder it is written to, and its text."""

    name: str
    text: str


class Export(Value):
    """A recipe as one tool's files.

    `recipe` is what the tool will run: what it does otherwise than the recipe asked for is in `notes`, and its memory
    is what `estimate` says of this one.
    """

    to: str
    version: str
    recipe: Recipe
    files: tuple[ExportedFile, ...]
    command: str
    launch: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigCase:
    """A trainer's config as a case of the estimator, and what was taken otherwise than it stands there."""

    case: dict[str, Any]
    notes: tuple[str, ...] = ()


class Exporter:
    """One target of `advisor export`. A subclass in `formats/` and an entry in its tuple make a new one.

    `name` is the word after `--to` and of the catalogued format; `says` one line for people.
    """

    name: ClassVar[str]
    says: ClassVar[str]

    @property
    def format(self) -> TrainerFormat:
        return trainer_format(self.name)

    def format_of(self, job: ExportJob) -> TrainerFormat:
        """The format of the files of this job; the tool's own but where one tool writes for several trainers."""
        return self.format

    def against(self, job: ExportJob) -> str | None:
        """Why the tool cannot run this, or None."""
        raise NotImplementedError

    def as_run(self, job: ExportJob) -> tuple[ExportJob, tuple[str, ...]]:
        """The job as the tool will run it, and what it does otherwise, in words."""
        raise NotImplementedError

    def files(self, job: ExportJob) -> tuple[ExportedFile, ...]:
        """The files; `job` is as the tool will run it."""
        raise NotImplementedError

    def command(self, job: ExportJob) -> str:
        """What to type to run them, beside them."""
        raise NotImplementedError

    def recognises(self, document: Mapping[str, Any]) -> bool:
        """Whether a config is of this tool, by keys that no other has."""
        return False

    def read(self, settings: Settings) -> ConfigCase:
        """A config of this tool as a case of the estimator; every key asked for counts as used.

        Raises:
            IllegalRecipe: keys that contradict, or that ask for what is not modelled.
        """
        raise NotImplementedError
