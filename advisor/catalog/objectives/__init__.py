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
from advisor.catalog.objectives.rollouts import (
    PROMPT_TOKENS,
    check_groups,
    check_lengths_of,
    rollout_for,
    usual_accumulation,
)

__all__ = [
    "PROMPT_TOKENS",
    "TrainingObjective",
    "check_groups",
    "check_lengths_of",
    "find_objective",
    "objectives",
    "priced_objectives",
    "quality_unknown",
    "rollout_for",
    "task_of",
    "trainer_for",
    "under_objective",
    "usual_accumulation",
    "usual_epochs",
]
