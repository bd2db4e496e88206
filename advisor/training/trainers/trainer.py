"""What a trainer is: it takes optimizer steps over the examples it is given and tells the monitor after each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from advisor.dataset.encoding import EncodedExample
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.training.training_spec import TrainingSpec

if TYPE_CHECKING:
    from advisor.training.monitor import TrainingMonitor


@dataclass(slots=True)
class Work:
    """One training, ready to run: the model with its adapter on its device, examples, and the monitor.

    `optimizer` makes a fresh optimizer over the trainable parameters. `checkpoints` holds resumable states;
    `resume` is the newest whole one of an earlier process, or None.
    """

    job: TrainingSpec
    model: Any
    tokenizer: Any
    examples: list[EncodedExample]
    device: str
    optimizer: Callable[[], Any]
    autocast: Callable[[], Any]
    monitor: TrainingMonitor
    checkpoints: Path
    resume: Path | None

    @property
    def epochs(self) -> float:
        return self.job.workload.epochs


class TrainerDoor(Protocol):
    """One way to train. `name` is the recipe's word for it."""

    name: str

    def train(self, work: Work) -> None:
        """Run to the end, or until the monitor says stop.

        The monitor is told of every optimizer step, in order, with the mean loss of its micro-batches; where it
        asks for a checkpoint, one from which `work.resume` continues is written and committed.
        """
        ...

    def accepts(self, spec: ModelSpec, workload: Workload, recipe: Recipe) -> str | None:
        """Why this trainer cannot train a model so, or None.

        Raises:
            MissingExtra: its library is not installed.
        """
        ...
