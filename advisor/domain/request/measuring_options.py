"""The command line of the verbs that measure, fit and score: profile, calibrate, audit, study and probe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypedDict

from advisor.domain.request.argument import Argument, VerbDetail
from advisor.domain.request.command_options import JsonAnswer, LocalTraining, ResumedFolder, WrittenReport
from advisor.domain.request.verb_options import (
    AsJson,
    BatchSize,
    ColumnsNamed,
    DryRun,
    EffectiveBatchSize,
    Epochs,
    EvalData,
    Gpu,
    GradientCheckpointing,
    Hours,
    MetricName,
    Model,
    OneBase,
    OneMethod,
    Optimizer,
    Out,
    Precision,
    Seeds,
    SeqLen,
    StudyName,
    TargetLen,
    TaskName,
    TestData,
    Threads,
    TolerancePoints,
    TrainerName,
)
from advisor.domain.request.vocabulary import AuditScheme, DeviceKind, RunOrder

Steps = Annotated[int, Argument("Optimizer steps of each run.")]
DeviceName = Annotated[DeviceKind, Argument("auto, cuda, cpu or mps.", metavar="NAME", shown_default="auto")]
TargetScore = Annotated[
    float, Argument("A score worth having, in the metric's own unit: go or no-go is told against it.")
]
MorePoints = Annotated[float, Argument("Points for which more rows are counted.", shown_default="2", gt=0, le=100)]
TrainingSize = Annotated[int, Argument("Training rows.", metavar="ROWS")]


class MeasuredRuns(TypedDict, total=False):
    """What is measured; every combination of the lists is a run."""

    model: Annotated[Model | Sequence[Model], VerbDetail("Random weights are used.")] | None
    method: OneMethod | Sequence[OneMethod] | None
    batch_size: BatchSize | Sequence[BatchSize] | None
    seq_len: Annotated[SeqLen | Sequence[SeqLen], VerbDetail(shown_default="512")] | None
    target_len: Annotated[TargetLen, VerbDetail(shown_default="a quarter of --seq-len")] | None
    gradient_checkpointing: (
        Annotated[GradientCheckpointing | Sequence[GradientCheckpointing], VerbDetail("both: with and without.", "off")]
        | None
    )
    dtype: Annotated[Precision | Sequence[Precision], VerbDetail(shown_default="bfloat16")] | None
    base: OneBase | Sequence[OneBase] | None
    optimizer: Annotated[Optimizer | Sequence[Optimizer], VerbDetail(shown_default="by method")] | None
    trainer: TrainerName | Sequence[TrainerName] | None
    layers: Annotated[int, Argument("Cut models down to so many layers.")] | None


class ProfileCommand(MeasuredRuns, total=False):
    """`advisor profile`: what is measured, and how."""

    campaign: (
        Annotated[
            str,
            Argument("Runs described in a file, or gpu-10-minutes, gpu-25-minutes, cpu-5-minutes.", metavar="FILE"),
        ]
        | None
    )
    steps: Annotated[Steps, VerbDetail("Timed, after a warm-up.", "5")] | None
    largest_batch: Annotated[bool, Argument("Search the largest batch that fits, besides.", switch=True)]
    time_budget: (
        Annotated[
            float,
            Argument("Such as 90s, 10m, 1h: the runs that tell most come first.", metavar="TIME", reads="time"),
        ]
        | None
    )
    run_timeout: (
        Annotated[float, Argument("The longest one run may take.", metavar="TIME", shown_default="10m", reads="time")]
        | None
    )
    memory_limit: (
        Annotated[int, Argument("Let a run allocate no more, such as 8GiB.", metavar="SIZE", reads="size")] | None
    )
    threads: Threads | None
    order: (
        Annotated[
            RunOrder,
            Argument(
                "spread: first what differs most; design: what the cost model learns most from.",
                metavar="NAME",
                shown_default="design within a time budget",
            ),
        ]
        | None
    )
    device: DeviceName | None
    out: Annotated[Out, VerbDetail("The folder of profiles.", "your data folder", earlier=("--store",))] | None
    dry_run: Annotated[DryRun, VerbDetail("The runs are listed in their order.")]
    retry_failed: Annotated[bool, Argument("Measure runs again that failed before.", switch=True)]
    results: Annotated[str, Argument("One file for all that was measured, besides.", metavar="FILE")] | None
    resume: Annotated[ResumedFolder, VerbDetail("Of a visit to a device: the folder or file of its --results.")] | None
    as_json: AsJson


class CalibrateCommand(TypedDict, total=False):
    """`advisor calibrate`."""

    gpu: Annotated[Gpu, VerbDetail("Only its runs.")] | None
    out: Annotated[Out, VerbDetail("The folder of fits.", "your data folder", earlier=("--into",))] | None
    dry_run: Annotated[DryRun, VerbDetail("The fit is made and shown, not kept.")]
    as_json: AsJson


class AuditedRuns(TypedDict, total=False):
    """What is scored, and how."""

    gpu: Annotated[Gpu, VerbDetail("Only its runs.")] | None
    scheme: (
        Annotated[
            AuditScheme,
            Argument(
                "What a prediction must not have seen: leave-one-run, leave-one-method, leave-one-model, "
                "leave-one-device, or uncalibrated: any.",
                metavar="NAME",
                shown_default="leave-one-method",
            ),
        ]
        | None
    )
    plot: Annotated[str, Argument("Also draw it: FILE.html, .png or .svg.", metavar="FILE")] | None
    public: Annotated[bool, Argument("Price the runs that others published, with nothing fitted to them.", switch=True)]


class AuditCommand(AuditedRuns, WrittenReport, JsonAnswer, total=False):
    """`advisor audit`."""


class StudyCommand(LocalTraining, total=False):
    """`advisor study`, beside the described study's name."""

    as_list: Annotated[
        bool, Argument("List the studies that are described and ready to run.", flag="--list", switch=True)
    ]
    weights: Annotated[str, Argument("Where the weights of the study's own model lie.", metavar="FOLDER")] | None
    columns: ColumnsNamed | None
    eval_data: EvalData | None
    test_data: TestData | None
    method: OneMethod | Sequence[OneMethod] | None
    size: TrainingSize | Sequence[TrainingSize] | None
    seeds: Annotated[Seeds, VerbDetail(shown_default="3")] | None
    rates: (
        Annotated[
            str,
            Argument("Rates to try: --rates lora=5e-4,2e-3.", metavar="METHOD=RATES", repeated=True),
        ]
        | None
    )
    steps: Steps | None
    epochs: Annotated[Epochs, VerbDetail("Instead of --steps.", "3")] | None
    effective_batch_size: Annotated[EffectiveBatchSize, VerbDetail(shown_default="16")] | None
    seq_len: SeqLen | None
    task: TaskName | None
    metric: MetricName | None
    name: Annotated[StudyName, VerbDetail("Its findings are kept as own-NAME.")] | None
    device: Annotated[DeviceName, VerbDetail("mps trains no study.")] | None
    threads: Threads | None
    hours: Annotated[Hours, VerbDetail("What is whole is kept, to go on later.", earlier=("--time-budget",))] | None
    out: Annotated[Out, VerbDetail("The study's folder.", "advisor-study/NAME")] | None
    resume: ResumedFolder | None
    no_store: Annotated[bool, Argument("Leave the findings out of your own store.", switch=True)]
    dry_run: Annotated[DryRun, VerbDetail("The plan and its trainings are printed.")]
    as_json: AsJson


class ProbeOptions(TypedDict, total=False):
    """The arguments of `advisor.probe` beside model and data."""

    columns: ColumnsNamed | None
    eval_data: EvalData | None
    method: Annotated[OneMethod | Sequence[OneMethod], VerbDetail(shown_default="six that are most studied")] | None
    hours: Annotated[Hours, VerbDetail(shown_default="a tenth of what the methods take on all rows")] | None
    target_score: TargetScore | None
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
