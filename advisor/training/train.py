"""One training from start, or from its last checkpoint, to its result."""

from __future__ import annotations

import hashlib
import math
import sys
import time
from pathlib import Path
from typing import Any

from advisor.catalog.methods import find_method
from advisor.domain.units import plural
from advisor.errors import IllegalRecipe
from advisor.libraries import installed_versions
from advisor.store import durable
from advisor.training.checkpoints import newest
from advisor.training.monitor import OUT_OF_TIME, WARM_UP_STEPS, WEIGHTS, TrainingMonitor
from advisor.training.prepare import Prepared, make_optimizer, prepare, some
from advisor.training.tracking import tracker_of
from advisor.training.trainers import check_trainer, find_trainer
from advisor.training.trainers.hf import arguments
from advisor.training.trainers.loop import load_trainable, trainable_state
from advisor.training.trainers.trainer import Work
from advisor.training.training_spec import TrainingResult, TrainingSpec

PIECE = 2**20
"""Numbers of a parameter that are summed at a time."""
LIBRARIES = ("advisor", "torch", "transformers", "peft", "trl", "optuna", "bitsandbytes")


def train(job: TrainingSpec, began: float) -> TrainingResult:
    """Run the job's training with its scorings; leaves the best trainable weights in the job's folder.

    Raises:
        AdvisorError: what `prepare` raises, or a recipe the trainer cannot run.
        Diverged: the loss stopped being a number.
    """
    resident = _Resident()
    trainer = find_trainer(job.recipe.trainer)
    check_trainer(job.spec, job.workload, job.recipe)
    prepared = prepare(job)
    folder = Path(job.folder)
    monitor = _monitor(job, prepared, folder)
    found = newest(folder / "checkpoints")
    if found:
        monitor.restore(found[1])
    resumed = monitor.done
    work = Work(
        job=job,
        model=prepared.model,
        tokenizer=prepared.tokenizer,
        examples=prepared.examples["train"],
        device=prepared.device,
        optimizer=lambda: make_optimizer(prepared, job),
        autocast=prepared.autocast,
        monitor=monitor,
        checkpoints=folder / "checkpoints",
        resume=found[0] if found else None,
    )
    begun = _sums(prepared.model)
    _reset_peak(prepared.device)
    loaded = time.monotonic()
    monitor.tell({"loaded": loaded - began})
    monitor.begin()
    monitor.tracker = tracker_of(job, prepared.model, arguments(work), monitor.steps)
    try:
        if monitor.done < monitor.steps:
            trainer.train(work)
    finally:
        if monitor.tracker is not None:
            monitor.tracker.end()
    trained = time.monotonic()
    if monitor.stopped not in ("interrupted", "pruned") and job.max_steps is None and _sums(prepared.model) == begun:
        raise _nothing_learned(job, monitor.done)
    return _result(job, prepared, monitor, resident, resumed, began, loaded, trained)


def _sums(model: Any) -> list[float]:
    """One number for each trained parameter; equal before and after means that it did not move."""
    import torch

    def of(parameter: torch.Tensor) -> float:
        # piece by piece: a whole parameter in float64 could be the training's own peak of memory
        split: tuple[torch.Tensor, ...] = torch.split(parameter.reshape(-1), PIECE)
        pieces = (piece.double() for piece in split)
        return sum(float(piece.abs().sum() + piece.sum() / 3) for piece in pieces)

    trained = [p.detach() for p in model.parameters() if p.requires_grad]
    return [of(p) for p in trained if p.dtype != torch.uint8]


def _nothing_learned(job: TrainingSpec, steps: int) -> IllegalRecipe:
    method = find_method(job.recipe.method)
    return IllegalRecipe(
        f"{method.name} changed none of its parameters in {plural(steps, 'step')} on these rows",
        cause=f"known of {method.name}: {'; '.join(method.failure_modes)}" if method.failure_modes else "",
        hints=[f"to see its options: advisor methods {method.name}", "--method lora"],
        method=method.name,
    )


def optimizer_steps(job: TrainingSpec, examples: int) -> int:
    """Of the whole training: epochs times batches of the effective size, a last small one counted."""
    a_step = job.recipe.micro_batch_size * job.recipe.gradient_accumulation
    return max(1, round(math.ceil(examples / a_step) * job.workload.epochs))


def _monitor(job: TrainingSpec, prepared: Prepared, folder: Path) -> TrainingMonitor:
    examples = prepared.examples
    quick = some(examples["evaluation"], job.evaluation_rows, seed=0)

    def save(path: Path) -> None:
        from safetensors.torch import save_file

        durable(path, lambda temporary: save_file(trainable_state(prepared.model), temporary))

    def synchronise() -> None:
        if prepared.device.startswith("cuda"):
            import torch

            torch.cuda.synchronize()

    allocate: Any = getattr(getattr(prepared.model, "base_model", None), "update_and_allocate", None)
    return TrainingMonitor(
        folder=folder,
        steps=min(optimizer_steps(job, len(examples["train"])), job.max_steps or sys.maxsize),
        evaluations=job.evaluations,
        metric=job.metric,
        higher_is_better=job.higher_is_better,
        score=lambda: prepared.scorer.score(quick),
        intervals=prepared.scorer.intervals,
        save_weights=save,
        synchronise=synchronise,
        after_optimizer=allocate or (lambda step: None),
        early_stopping=job.early_stopping,
        checkpoint_seconds=job.checkpoint_seconds,
        deadline=job.deadline,
    )


def _result(
    job: TrainingSpec,
    prepared: Prepared,
    monitor: TrainingMonitor,
    resident: _Resident,
    resumed: int,
    began: float,
    loaded: float,
    trained: float,
) -> TrainingResult:
    status = {"interrupted": "interrupted", "pruned": "pruned"}.get(monitor.stopped, "complete")
    metrics, score, sure = monitor.best_metrics, monitor.best, monitor.best_intervals
    rows = prepared.examples["evaluation"]
    by_row: dict[int, tuple[float, float]] = {}
    again = len(rows) > job.evaluation_rows or job.keep_row_scores
    if status == "complete" and again and job.max_steps is None:
        load_trainable(prepared.model, Path(job.folder) / WEIGHTS)
        metrics = prepared.scorer.score(rows)
        score, sure = metrics[job.metric], prepared.scorer.intervals()
        by_row = prepared.scorer.by_row.get("loss" if job.metric == "perplexity" else job.metric, {})
    weights = Path(job.folder) / WEIGHTS
    allocated, reserved = _peaks(prepared.device)
    ended = time.monotonic()
    notes = [f"evaluation batch halved {prepared.scorer.shrunk} times"] if prepared.scorer.shrunk else []
    if monitor.stopped == OUT_OF_TIME:
        notes.append(f"ended at step {monitor.done} of {monitor.steps}: {OUT_OF_TIME}")
    if monitor.stopped == "early":
        step = f"step {monitor.done} of {monitor.steps}"
        notes.append(f"stopped early at {step}: {monitor.stale} scorings without a gain")
    return TrainingResult(
        status=status,  # type: ignore[arg-type]
        reason=monitor.stopped if status != "complete" or monitor.stopped == OUT_OF_TIME else "",
        score=score,
        metrics=metrics,
        intervals=sure,
        curve=tuple(monitor.curve),
        row_scores=tuple(by_row[i] for i in sorted(by_row)) if job.keep_row_scores else (),
        steps=monitor.done,
        resumed_from=resumed,
        tokens_per_step=_tokens_per_step(job, prepared),
        step_seconds=tuple(monitor.step_seconds[WARM_UP_STEPS:]),
        seconds={
            "load": loaded - began,
            "train": trained - loaded - monitor.seconds["evaluate"] - monitor.seconds["save"],
            "evaluate": monitor.seconds["evaluate"] + ended - trained,
            "save": monitor.seconds["save"],
            "total": ended - began,
        },
        peak_allocated_bytes=allocated,
        peak_reserved_bytes=reserved,
        peak_process_bytes=resident.above_start(),
        trainable_parameters=prepared.trainable,
        total_parameters=prepared.total,
        weights=WEIGHTS if weights.is_file() else None,
        weights_sha256=_sha256(weights) if prepared.device == "cpu" and weights.is_file() else None,
        truncated={name: sum(e.cut for e in part) for name, part in prepared.examples.items()},
        device=device_name(prepared.device),
        versions=versions(),
        notes=tuple(notes),
    )


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _tokens_per_step(job: TrainingSpec, prepared: Prepared) -> float:
    examples = prepared.examples["train"]
    rows = min(len(examples), job.recipe.micro_batch_size * job.recipe.gradient_accumulation)
    return rows * sum(len(e.input_ids) for e in examples) / len(examples)


class _Resident:
    """Resident memory of this process: its peak above what the imports took."""

    def __init__(self) -> None:
        import importlib

        import psutil

        for name in ("torch", "transformers"):
            # their libraries belong to the start, not to the training
            importlib.import_module(name)

        self.start = psutil.Process().memory_info().rss

    def above_start(self) -> int | None:
        """Bytes; None where the system keeps no peak."""
        try:
            import resource
        except ImportError:
            return None
        unit = 1 if sys.platform == "darwin" else 1024
        return max(0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - self.start)


def _reset_peak(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats()


def _peaks(device: str) -> tuple[int | None, int | None]:
    if not device.startswith("cuda"):
        return None, None
    import torch

    return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()


def device_name(device: str) -> str:
    """The device as its driver names it."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name()
    return cpu_name()


def cpu_name() -> str:
    """The processor's own name with the number of cores, `cpu` where the system does not say."""
    import os
    import platform

    name = ""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        name = platform.processor()
    return f"{name or 'cpu'} ({os.cpu_count()} cores)"


def versions() -> dict[str, str]:
    """Of the libraries a result depends on; those not installed are left out."""
    return installed_versions(LIBRARIES)
