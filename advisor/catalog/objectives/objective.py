"""What the catalogue knows of one training objective: whose step it is, on which rows, with which settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from advisor.domain.recommendation import Setting
from advisor.domain.request.vocabulary import Objective, Task

RowFormatName = Literal["preference", "kto", "prompts", "prompt-completion"]
"""Formats of rows that objectives other than supervised learning read, as the data reader names them."""


@dataclass(frozen=True, slots=True)
class TrainingObjective:
    """One objective. `trainer` is the TRL class whose step is priced, "" for supervised learning.

    `settings` hold for every method; `full` beside them where the model's own weights are trained, `adapter` where
    new ones are. `unmodelled` says why an objective is known and not priced, `instead` what would work.
    """

    name: Objective
    says: str
    trainer: str = ""
    task: Task = "causal-lm"
    rows: tuple[RowFormatName, ...] = ()
    columns: str = ""
    reference: bool = False
    """Log-probabilities of a frozen reference enter the loss."""
    generates: bool = False
    """Each step learns from completions that the policy generates first."""
    fewest_rows: int = 1
    """Samples of the smallest micro-batch that the trainer takes."""
    settings: tuple[Setting, ...] = ()
    full: tuple[Setting, ...] = ()
    adapter: tuple[Setting, ...] = ()
    unmodelled: str = ""
    instead: tuple[str, ...] = ()

    def settings_for(self, *, own_weights: bool) -> tuple[Setting, ...]:
        """The settings of a method that trains the model's `own_weights`, or new ones."""
        return (*(self.full if own_weights else self.adapter), *self.settings)
