"""What the trainings of a study say, in the form in which published studies are kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from advisor.catalog.methods import find_method, options_of
from advisor.domain.findings import Finding, Study
from advisor.domain.units import duration, gib
from advisor.experiments.plan import ExperimentPlan
from advisor.training.training_spec import TrainingResult, TrainingSpec
from advisor.tuner.results.records import TASK_TYPES
from advisor.tuner.tune_request import TuneRequest

NOT_POINTS = {"loss": "nats", "perplexity": "ratio"}


TARGETS = {"all-linear": "all", "mlp": "mlp"}
"""Our names of target modules -> the word that findings are grouped by; all that begins with attention is attention."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One seed: its training, its score on the test rows (a fraction, or the metric's own unit), its job."""

    trained: TrainingResult
    test: float
    job: TrainingSpec


@dataclass(frozen=True, slots=True)
class Group:
    """A method at a size with the rates tried and the seeds scored."""

    method: str
    size: int
    rates: tuple[float, ...]
    scored: tuple[Scored, ...]


def findings_of(plan: ExperimentPlan, request: TuneRequest, groups: Sequence[Group], folder: Path) -> Study:
    """One finding a method and size: the mean over seeds on rows that no choice was made by, in points if it can be."""
    scale = 1.0 if request.metric in NOT_POINTS else 100.0
    full = {g.size: fmean(s.test for s in g.scored) * scale for g in groups if g.method == "full"}
    return Study(
        id=f"own-{plan.id}",
        title=plan.title or f"advisor study: {plan.id}",
        url=f"file:{folder}",
        confidence="own measurement, one data set",
        own=True,
        findings=tuple(_finding(plan, request, g, full.get(g.size), scale, folder) for g in groups),
    )


def _finding(
    plan: ExperimentPlan, request: TuneRequest, group: Group, full: float | None, scale: float, folder: Path
) -> Finding:
    first = group.scored[0]
    values = [one.test * scale for one in group.scored]
    peaks = [p for one in group.scored if (p := one.trained.peak_reserved_bytes or one.trained.peak_process_bytes)]
    rates = ", ".join(f"{rate:.3g}" for rate in group.rates)
    seconds = fmean(one.trained.seconds.get("train", 0.0) for one in group.scored)
    steps = first.trained.steps
    settings = settings_of(first.job)
    return Finding.model_validate(
        {
            "table": f"study {plan.id}",
            "model": request.spec.name,
            "model_parameters": request.spec.parameters or first.trained.total_parameters,
            "architecture": request.spec.architecture,
            "task": Path(plan.data).name.partition(".")[0].removeprefix("shipped:"),
            "task_type": request.workload.task_type or TASK_TYPES[request.workload.task],
            "samples": group.size,
            "method": group.method,
            "settings": json.dumps(settings, sort_keys=True) if settings else "",
            "targets": targets_of(str(settings.get("target_modules", ""))),
            "trainable_parameters": first.trained.trainable_parameters,
            "learning_rate": first.job.recipe.learning_rate,
            "training": f"{steps} steps of {plan.batch_of(group.size)} rows ({plan.epochs_of(group.size):.3g} epochs)",
            "metric": request.metric,
            "higher_is_better": request.higher_is_better,
            "value": round(fmean(values), 4),
            "spread": round(stdev(values), 4) if len(values) > 1 else None,
            "seeds": len(values),
            "full_value": None if full is None else round(full, 4),
            "learning_rate_tuned": len(group.rates) > 1,
            "equal_steps": True,
            "own_method": False,
            "address": f"file:{folder}",
            "note": f"mean on {request.splits.rows['test']} test rows; rate chosen with the first seed among {rates} "
            f"on {request.splits.rows['evaluation']} other rows; trained on {first.trained.device}",
            "unit": "points" if scale == 100.0 else NOT_POINTS[request.metric],
            "printed_times": scale,
            "memory": gib(max(peaks)) if peaks else "",
            "time": duration(seconds) if seconds else "",
        }
    )


def settings_of(job: TrainingSpec) -> dict[str, Any]:
    """The method's options as the training took them: the recipe's, else the catalogue's defaults."""
    whole = options_of(find_method(job.recipe.method), job.recipe.options)
    return {name: value for name, value in whole.items() if value is not None}


def targets_of(target_modules: str) -> str:
    """Which linear layers were adapted, in the words of findings; empty where our name fits none of them."""
    return "attention" if target_modules.startswith("attention") else TARGETS.get(target_modules, "")
