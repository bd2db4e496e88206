"""The arguments of `advisor.probe`, and its command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypedDict

from advisor.domain.request.argument import Argument, VerbDetail
from advisor.domain.request.command_options import LocalTraining, ResumedFolder
from advisor.domain.request.measuring_options import DeviceName
from advisor.domain.request.verb_options import (
    AsJson,
    ColumnsNamed,
    DryRun,
    EffectiveBatchSize,
    Epochs,
    EvalData,
    Hours,
    MetricName,
    OneMethod,
    Out,
    SeqLen,
    StudyName,
    TaskName,
    Threads,
    TolerancePoints,
)

Target = Annotated[float, Argument("A score worth having, in the metric's own unit: go or no-go is told against it.")]
MorePoints = Annotated[float, Argument("Points for which more rows are counted.", shown_default="2", gt=0, le=100)]


class ProbeOptions(TypedDict, total=False):
    """The arguments of `advisor.probe` beside model and data."""

    columns: ColumnsNamed | None
    eval_data: EvalData | None
    method: Annotated[OneMethod | Sequence[OneMethod], VerbDetail(shown_default="six that are most studied")] | None
    hours: Annotated[Hours, VerbDetail(shown_default="a tenth of what the methods take on all rows")] | None
    target: Target | None
    more_points: MorePoints | None
    tolerance_points: TolerancePoints | None
    task: TaskName | None
    metric: MetricName | None
    epochs: Epochs | None
    effective_batch_size: EffectiveBatchSize | None
    seq_len: SeqLen | None
    device: Annotated[DeviceName, VerbDetail("mps trains no probe.")] | None
    threads: Threads | None
    name: Annotated[StudyName, VerbDetail(shown_default="model-data")] | None
    out: Annotated[Out, VerbDetail("The probe's folder.", "advisor-probe/NAME")] | None
    dry_run: Annotated[DryRun, VerbDetail("A few steps are measured.")] | None


class GoneOnWith(TypedDict, total=False):
    """Instead of a new probe."""

    resume: ResumedFolder | None
    as_json: AsJson


class ProbeCommand(LocalTraining, ProbeOptions, GoneOnWith, total=False):
    """`advisor probe`."""
