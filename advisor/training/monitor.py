"""Watches one training: scores it on schedule, keeps the best weights, ends it early, and tells the outside.

Its words to the worker are lines of JSON in `progress.jsonl`; the worker's to it are a file `stop` in the same
folder (holding the reason) and SIGTERM. Nothing here knows Optuna or a database, so neither can break a training.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advisor.training.tracking import Tracker

PROGRESS = "progress.jsonl"
STOP = "stop"
WEIGHTS = "weights.safetensors"
SAY_EVERY_SECONDS = 2.0
STEPS_KEPT = 200
WARM_UP_STEPS = 2
OUT_OF_TIME = "the hours are spent"
"""Why a training ended at its deadline; what it scored until then counts, as one of fewer steps."""


class Diverged(Exception):
    """The training loss is no number any more."""


@dataclass(frozen=True, slots=True)
class StepDecision:
    """The monitor's answer after a step."""

    stop: bool
    checkpoint: bool


@dataclass(slots=True)
class TrainingMonitor:
    """`score` gives all metrics on some evaluation rows; `metric` names the one that counts.

    `intervals` gives those of the last scoring. `steps` is the whole training's optimizer steps, `evaluations` how
    many scorings are spread over them.
    """

    folder: Path
    steps: int
    evaluations: int
    metric: str
    higher_is_better: bool
    score: Callable[[], dict[str, float]]
    save_weights: Callable[[Path], None]
    synchronise: Callable[[], None]
    intervals: Callable[[], dict[str, tuple[float, float]]] = dict
    after_optimizer: Callable[[int], None] = lambda step: None
    tracker: Tracker | None = None
    early_stopping: int = 0
    checkpoint_seconds: float = 60.0
    deadline: float | None = None
    curve: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    best: float | None = None
    best_metrics: dict[str, float] = field(default_factory=dict[str, float])
    best_intervals: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    stale: int = 0
    stopped: str = ""
    done: int = 0
    step_seconds: list[float] = field(default_factory=list[float])
    seconds: dict[str, float] = field(default_factory=lambda: {"evaluate": 0.0, "save": 0.0})
    _interrupted: threading.Event = field(default_factory=threading.Event)
    _mark: float = 0.0
    _said: float = 0.0
    _saved: float = 0.0

    def begin(self) -> None:
        """Start the clocks and listen for SIGTERM (main thread only)."""
        self._mark = self._saved = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda number, frame: self._interrupted.set())

    def rungs(self) -> dict[int, int]:
        """Optimizer step -> per cent of the training, for each scoring; the last one is at 100."""
        points = min(self.evaluations, self.steps)
        return {math.ceil(self.steps * k / points): round(100 * k / points) for k in range(1, points + 1)}

    def after_step(self, step: int, loss: float | None) -> StepDecision:
        """Account for optimizer step `step` (from 1), score if it is a rung, and say how to go on.

        Raises:
            Diverged: the loss is NaN or infinite.
        """
        self.synchronise()
        now = time.monotonic()
        if step - self.done == 1 and len(self.step_seconds) < WARM_UP_STEPS + STEPS_KEPT:
            self.step_seconds.append(now - self._mark)
        self.done = step
        if loss is not None and not math.isfinite(loss):
            raise Diverged(f"the training loss became {loss} at step {step} of {self.steps}")
        if self.tracker is not None:
            self.tracker.loss(step, loss)
        if now - self._said > SAY_EVERY_SECONDS:
            self._said = now
            self.tell({"step": step, "of": self.steps, "loss": loss})
        rungs = self.rungs()
        if step in rungs:
            self._scoring(rungs[step])
        stop = self._must_stop(step)
        checkpoint = not self.finished and (
            self._interrupted.is_set() or (step in rungs and time.monotonic() - self._saved >= self.checkpoint_seconds)
        )
        if checkpoint:
            self._saved = time.monotonic()
        self._mark = time.monotonic()
        return StepDecision(stop=stop, checkpoint=checkpoint)

    @property
    def finished(self) -> bool:
        """Whether the last scoring has been made."""
        return bool(self.curve) and self.curve[-1][0] >= 100

    @property
    def interrupted(self) -> bool:
        return self._interrupted.is_set()

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold of the monitor."""
        return {
            "curve": self.curve,
            "best": self.best,
            "best_metrics": self.best_metrics,
            "best_intervals": self.best_intervals,
            "stale": self.stale,
            "done": self.done,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`, as JSON brought it back."""
        self.curve = [(int(percent), float(score)) for percent, score in state["curve"]]
        self.best, self.best_metrics = state["best"], dict(state["best_metrics"])
        self.best_intervals = {name: (low, high) for name, (low, high) in state.get("best_intervals", {}).items()}
        self.stale, self.done = int(state["stale"]), int(state["done"])
        for percent, score in self.curve:
            self.tell({"percent": percent, "score": score})

    def tell(self, line: Mapping[str, Any]) -> None:
        """One line to the worker. A disk that is full here ends the trial with that reason."""
        with open(self.folder / PROGRESS, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, allow_nan=False) + "\n")

    def _scoring(self, percent: int) -> None:
        began = time.monotonic()
        metrics = self.score()
        self.seconds["evaluate"] += time.monotonic() - began
        score = metrics[self.metric]
        if not math.isfinite(score):
            raise Diverged(f"{self.metric} became {score} at {percent} % of the training")
        self.curve.append((percent, score))
        better = self.best is None or (score > self.best if self.higher_is_better else score < self.best)
        self.stale = 0 if better else self.stale + 1
        if better:
            self.best, self.best_metrics, self.best_intervals = score, metrics, self.intervals()
            began = time.monotonic()
            self.save_weights(self.folder / WEIGHTS)
            self.seconds["save"] += time.monotonic() - began
        if self.tracker is not None:
            self.tracker.score(self.done, metrics)
        self.tell({"percent": percent, "score": score})

    def _must_stop(self, step: int) -> bool:
        if self._interrupted.is_set():
            self.stopped = "interrupted"
        elif (self.folder / STOP).exists():
            self.stopped = (self.folder / STOP).read_text(encoding="utf-8").strip() or "pruned"
        elif self.deadline is not None and time.time() > self.deadline and not self.finished:
            self.stopped = OUT_OF_TIME
            if not self.curve:
                self._scoring(max(1, math.floor(100 * step / self.steps)))
        elif self.early_stopping and self.stale >= self.early_stopping and not self.finished:
            self.stopped = "early"
        return bool(self.stopped) or step >= self.steps
