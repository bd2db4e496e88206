"""The training objectives: what each minimises, whose step it is, its rows and settings."""

from advisor.catalog.objectives.objective import TrainingObjective
from advisor.catalog.objectives.objective_recipe import task_of, trainer_for, under_objective
from advisor.catalog.objectives.objective_table import (
    find_objective,
    objectives,
    priced_objectives,
    quality_unknown,
    usual_epochs,
)

__all__ = [
    "TrainingObjective",
    "find_objective",
    "objectives",
    "priced_objectives",
    "quality_unknown",
    "task_of",
    "trainer_for",
    "under_objective",
    "usual_epochs",
]
