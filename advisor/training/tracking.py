"""Losses and scores of each training sent to MLflow, W&B, TensorBoard, trackio and the rest, as `report_to` names them.

transformers has a callback for each tracker. They are driven here, and not by one trainer, so that every trainer is
tracked alike and the scores by which trials are compared are tracked too.
"""

# pyright: reportUnknownMemberType=false
# transformers' integrations have no types

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

from advisor.errors import BadRequest, UnknownName
from advisor.training.training_spec import TrainingSpec

LOG_EVERY: Final = 10
"""Optimizer steps between two losses, as transformers' own logging has it here."""


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that do not exist or are not installed, before any trial would fail for them.

    Raises:
        UnknownName: transformers has no such tracker.
        BadRequest: its package is missing.
    """
    if not names:
        return
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            raise UnknownName.of("tracker", name, sorted(INTEGRATION_TO_CALLBACK), list_with="advisor tune --help")
        try:
            INTEGRATION_TO_CALLBACK[name]()
        except (RuntimeError, ImportError) as error:
            raise BadRequest(
                f"--report-to {name}: it is not installed here",
                cause=str(error).splitlines()[0],
                hints=[f"to install: pip install {name}"],
                tracker=name,
            ) from error


class Tracker:
    """One training as its trackers see it: begun, losses and scores by optimizer step, ended.

    `settings` are the fields of TrainingArguments that trackers show as the run's parameters.
    """

    def __init__(self, job: TrainingSpec, model: Any, settings: dict[str, Any], steps: int) -> None:
        from transformers import TrainerControl, TrainerState, TrainingArguments
        from transformers.integrations import integration_utils

        self.model = model
        # not the checkpoints' folder, which is emptied of all but the newest
        shown: dict[str, Any] = {**settings, "output_dir": job.folder, "report_to": list(job.report_to)}
        self.args = TrainingArguments(**shown)
        self.state, self.control = TrainerState(), TrainerControl()
        self.state.max_steps = steps
        names = list(job.report_to)
        found = cast("list[Callable[[], Any]]", integration_utils.get_reporting_integration_callbacks(names))
        self.callbacks: list[Any] = [made() for made in found]
        self._tell("on_train_begin")

    def loss(self, step: int, loss: float | None) -> None:
        """The training loss of a step, where the trainer looked at it and it is due."""
        if loss is not None and (step % LOG_EVERY == 0 or step == 1):
            self._log(step, {"loss": loss})

    def score(self, step: int, metrics: dict[str, float]) -> None:
        """A scoring of evaluation rows."""
        self._log(step, {f"eval_{name}": value for name, value in metrics.items()})

    def end(self) -> None:
        """Close the runs, whole or broken off."""
        self._tell("on_train_end")
        for callback in self.callbacks:
            writer = getattr(callback, "tb_writer", None)
            if writer is not None:
                writer.close()

    def _log(self, step: int, logs: dict[str, float]) -> None:
        self.state.global_step = step
        self._tell("on_log", logs=logs)

    def _tell(self, event: str, **more: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self.args, self.state, self.control, model=self.model, **more)


def tracker_of(job: TrainingSpec, model: Any, settings: dict[str, Any], steps: int) -> Tracker | None:
    """The tracker of a job, None where it names none."""
    Path(job.folder).mkdir(parents=True, exist_ok=True)
    return Tracker(job, model, settings, steps) if job.report_to else None
