"""What stays after a study: the model card, the report, and in the user's own store its profiles and findings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from advisor import store
from advisor.domain.findings import Finding, Study
from advisor.domain.model import config_sha256
from advisor.domain.profile import Profile
from advisor.domain.tuning import TunedStudy
from advisor.training.training_spec import TrainingResult
from advisor.tuner.budget import settings_of
from advisor.tuner.results.html_report import write_report
from advisor.tuner.results.model_card import write_card
from advisor.tuner.storage import trials as ledger
from advisor.tuner.tune_request import TuneRequest

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

PROFILES: Final = "profiles"
FINDINGS: Final = "findings"
TASK_TYPES: Final = {"sequence-classification": "classification", "causal-lm": "NLG", "seq2seq": "NLG"}
"""What kind of skill a task usually is, where nobody said: evidence is grouped by it."""
STATUS: Final = {"complete": "complete", "pruned": "complete", "oom": "oom"}


def write_records(request: TuneRequest, folder: Path, study: TunedStudy, trials: Sequence[FrozenTrial]) -> None:
    """Write the card and the report, and (unless told not to) what the next estimate can learn from.

    Raises:
        StoreUnavailable: the folder or the user's store cannot be written.
    """
    write_card(study, folder / "best")
    write_report(study, folder / "report.html")
    if request.store:
        # a step beside another trial's on one GPU says nothing of the GPU
        for profile in () if request.share_gpus else profiles_of(request, trials):
            store.write(profile, store.home("data") / PROFILES / profile.device / f"{profile.id}.json")
        findings = findings_of(request, study)
        if findings is not None:
            store.write(findings, store.home("data") / FINDINGS / f"{findings.id}.json")


def profiles_of(request: TuneRequest, trials: Sequence[FrozenTrial]) -> list[Profile]:
    """A profile for each trial that ran long enough to have measured a step, or that ran out of memory."""
    found: list[Profile] = []
    for trial in trials:
        result = ledger.outcome_of(trial)
        if result is None or result.status not in STATUS or not (result.step_seconds or result.status == "oom"):
            continue
        found.append(_profile(request, trial, result))
    return found


def _profile(request: TuneRequest, trial: FrozenTrial, result: TrainingResult) -> Profile:
    recipe, workload = settings_of(request, trial)
    device = request.hardware.gpu.name if request.hardware else "cpu"
    resident = {"peak_process_bytes": float(result.peak_process_bytes)} if result.peak_process_bytes else {}
    return Profile(
        id=f"tune-{study_id(request)}-{trial.number:04d}",
        device=device,
        device_reported=result.device,
        status=STATUS[result.status],  # type: ignore[arg-type]
        reason=result.reason,
        workload=workload,
        recipe=recipe,
        model_config_sha256=config_sha256(request.spec.config),
        steps=result.steps,
        tokens_per_step=result.tokens_per_step,
        trainable_parameters=result.trainable_parameters,
        total_parameters=result.total_parameters,
        peak_allocated_bytes=result.peak_allocated_bytes,
        peak_reserved_bytes=result.peak_reserved_bytes,
        step_seconds=result.step_seconds,
        phase_seconds={k: v for k, v in result.seconds.items() if k in ("evaluate", "save", "load")},
        allocator=resident,
        versions=result.versions,
        measured_on=trial.datetime_complete.isoformat(timespec="seconds") if trial.datetime_complete else "",
        source=f"advisor tune, study {request.name}, trial {trial.number}",
        notes="step_seconds holds the median step of a real training; scoring and saving are apart",
    )


def findings_of(request: TuneRequest, study: TunedStudy) -> Study | None:
    """The scores as a study of the user's own: the best trial of each method, in points where the metric has them."""
    best: dict[str, Finding] = {}
    tuned = tuned_methods(study)
    scale = 1.0 if study.metric in ("loss", "perplexity") else 100.0
    sign = 1.0 if study.higher_is_better else -1.0
    index = study.objectives.index("quality")
    for trial in study.trials:
        if trial.state != "complete" or trial.recipe is None or trial.workload is None:
            continue
        again = next((f for f in study.finalists if f.number == trial.number), None)
        value = again.mean if again else trial.values[index]
        before = best.get(trial.method)
        if before is not None and sign * before.value >= sign * value * scale:
            continue
        best[trial.method] = Finding.model_validate(
            {
                "table": f"study {study.name}, trial {trial.number}",
                "model": request.spec.name,
                "model_parameters": request.spec.parameters,
                "architecture": request.spec.architecture,
                "task": Path(request.splits.sources.get("train", study.name)).name,
                "task_type": request.workload.task_type or TASK_TYPES[request.workload.task],
                "samples": request.splits.rows["train"],
                "method": trial.method,
                "settings": json.dumps(trial.params, sort_keys=True),
                "learning_rate": trial.recipe.learning_rate,
                "training": f"{trial.workload.epochs:g} epochs",
                "metric": study.metric,
                "higher_is_better": study.higher_is_better,
                "value": value * scale,
                "spread": again.spread * scale if again and again.spread is not None else None,
                "seeds": max(1, len(again.scores) - 1) if again else request.seeds,
                "learning_rate_tuned": trial.method in tuned,
                "own_method": False,
                "address": f"file:{study.folder}",
                "note": "score on the evaluation rows that the settings were chosen by",
                "unit": "points" if scale == 100.0 else "nats" if study.metric == "loss" else "ratio",
                "printed_times": scale,
            }
        )
    if not best:
        return None
    full = best.get("full")
    beside = tuple(one if full is None else one.model_copy(update={"full_value": full.value}) for one in best.values())
    return Study(
        id=f"own-{study_id(request)}",
        title=f"advisor tune: {study.name}",
        url=f"file:{study.folder}",
        confidence="own measurement, one data set",
        own=True,
        findings=beside,
    )


def tuned_methods(study: TunedStudy) -> set[str]:
    """The methods of which trainings with several learning rates came to their end."""
    rates: dict[str, set[float]] = {}
    for trial in study.trials:
        rate = trial.recipe.learning_rate if trial.recipe is not None else None
        if trial.state == "complete" and rate is not None:
            rates.setdefault(trial.method, set()).add(rate)
    return {method for method, tried in rates.items() if len(tried) > 1}


def study_id(request: TuneRequest) -> str:
    """Short and stable: the name and what was asked."""
    digest = hashlib.sha256(json.dumps([request.question(), request.created], sort_keys=True).encode()).hexdigest()
    return f"{request.name}-{digest[:8]}"
