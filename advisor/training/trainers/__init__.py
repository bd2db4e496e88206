"""The trainers a trial can use. A new one is a file here and an entry in the tuple."""

from __future__ import annotations

from importlib.util import find_spec

from advisor.catalog.optimizer_names import PACKAGES, optimizer_named
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe, MissingExtra, UnknownName
from advisor.training.trainers.hf import HF
from advisor.training.trainers.loop import LOOP
from advisor.training.trainers.trainer import TrainerDoor
from advisor.training.trainers.trl import TRL

TRAINERS: tuple[TrainerDoor, ...] = (LOOP, HF, TRL)


def find_trainer(name: str) -> TrainerDoor:
    """The trainer of a name.

    Raises:
        UnknownName: no such trainer.
    """
    for trainer in TRAINERS:
        if trainer.name == name:
            return trainer
    raise UnknownName.of("trainer", name, [t.name for t in TRAINERS], list_with="advisor tune --help")


def check_trainer(spec: ModelSpec, workload: Workload, recipe: Recipe) -> None:
    """Refuse what a recipe's trainer cannot do.

    Raises:
        UnknownName: no such trainer.
        IllegalRecipe: with the reason and the trainer that can.
        MissingExtra: the package of its optimizer is not installed.
    """
    named = optimizer_named(recipe.optimizer)
    if named is not None and named.package and find_spec(PACKAGES[named.package].module) is None:
        raise MissingExtra.of(
            named.package, extra=PACKAGES[named.package].extra, why=f"the optimizer {recipe.optimizer}"
        )
    against = find_trainer(recipe.trainer).accepts(spec, workload, recipe)
    if against:
        raise IllegalRecipe(f"trainer {recipe.trainer} cannot run this: {against}", trainer=recipe.trainer)
