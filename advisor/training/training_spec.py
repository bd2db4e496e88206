"""One training as data: what the process that trains is told, and what it reports when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from advisor.dataset.splits import Splits
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.stored import Stored
from advisor.domain.workload import Workload


class TrainingSpec(Stored):
    """One training, or the finish of one (`mode` finish: load the best weights, score the test rows, export)."""

    KIND = "trial-job"

    mode: Literal["train", "finish"] = "train"
    study: str
    number: int
    folder: str = Field(description="of this training; everything it writes lies there")
    data: str = Field(description="folder of the splits")
    splits: Splits
    spec: ModelSpec
    workload: Workload
    recipe: Recipe
    metric: str
    higher_is_better: bool
    seed: int
    train_on: tuple[str, ...] = ("train",)
    evaluations: int = 8
    evaluation_rows: int = 1000
    early_stopping: int = 0
    keep_row_scores: bool = False
    max_steps: int | None = Field(
        default=None, ge=1, description="optimizer steps after which it ends, to measure them"
    )
    deadline: float | None = Field(default=None, description="clock (seconds since 1970) at which it ends")
    checkpoint_seconds: float = 60.0
    device: str = Field(default="auto", description="auto, cpu, cuda")
    threads: int | None = Field(default=None, ge=1)
    report_to: tuple[str, ...] = ()
    weights: str | None = Field(default=None, description="finish: the trained parameters to load")
    export: str | None = Field(default=None, description="finish: folder of the adapter")
    score_untrained: bool = Field(default=True, description="finish: score the test rows before training, too")
    merge: bool = Field(default=False, description="finish: write the model with the adapter in its weights too")
    pad_token_id: int | None = Field(default=None, description="export: of the tokenizer")


class TrainingResult(Stored):
    """How one training went. Written once, whole, at its end; no file means that the process died."""

    KIND = "trial-result"

    status: Literal["complete", "pruned", "oom", "failed", "interrupted"]
    reason: str = ""
    score: float | None = Field(default=None, description="the metric at the best scoring, on all evaluation rows")
    metrics: dict[str, float] = Field(default_factory=dict)
    curve: tuple[tuple[int, float], ...] = ()
    test: dict[str, float] = Field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = Field(
        default_factory=dict,
        description="of `test`, in a search of `metrics`: 90 %, by the rows drawn again that gave the score",
    )
    untrained: dict[str, float] = Field(default_factory=dict, description="the model before training, on the test rows")
    untrained_intervals: dict[str, tuple[float, float]] = Field(default_factory=dict)
    row_scores: tuple[tuple[float, float], ...] = Field(
        default=(), description="(sum, count) of each evaluation row in the metric, where they were asked for"
    )
    steps: int = 0
    resumed_from: int = 0
    tokens_per_step: float | None = None
    step_seconds: tuple[float, ...] = Field(default=(), description="the last 200 optimizer steps after warm-up")
    seconds: dict[str, float] = Field(default_factory=dict)
    peak_allocated_bytes: int | None = Field(default=None, description="torch's own count, CUDA only")
    peak_reserved_bytes: int | None = None
    peak_process_bytes: int | None = Field(default=None, description="resident memory of the process above its start")
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    weights: str | None = Field(default=None, description="trained parameters at the best scoring, safetensors")
    weights_sha256: str | None = Field(default=None, description="of that file, where a training repeats to the bit")
    adapter: str | None = None
    usage: tuple[str, ...] = Field(default=(), description="lines of Python that load the export; merged ones after it")
    library: str = Field(default="", description="the package whose class loads the export")
    merged: str | None = Field(default=None, description="folder of the model with the adapter in its weights")
    reloaded: bool | None = Field(default=None, description="the exported adapter, loaded again, gave the same outputs")
    truncated: dict[str, int] = Field(default_factory=dict, description="rows cut to the length, by split")
    device: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _mean_ends(spans: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(low for low, _ in spans) / len(spans), sum(high for _, high in spans) / len(spans)


def mean_of(results: Sequence[TrainingResult]) -> TrainingResult:
    """The trial of several seeds: mean scores, summed times, largest peaks, the best seed's weights."""
    scores = [r.score for r in results if r.score is not None]
    first = results[0]
    return first.model_copy(
        update={
            "score": sum(scores) / len(scores),
            "metrics": {k: sum(r.metrics[k] for r in results) / len(results) for k in first.metrics},
            # the rows are the same for every seed, so what makes one score doubtful makes all: ends are averaged
            "intervals": {k: _mean_ends([r.intervals[k] for r in results]) for k in first.intervals},
            "curve": tuple((i, s) for i, s in enumerate(scores)),
            "seconds": {k: sum(r.seconds[k] for r in results) for k in first.seconds},
            "peak_process_bytes": max((r.peak_process_bytes or 0 for r in results), default=0) or None,
            "notes": (*first.notes, f"mean of {len(scores)} seeds: {', '.join(f'{s:.4g}' for s in scores)}"),
        }
    )
