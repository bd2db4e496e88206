"""The arguments of `advisor.tune`, written as those of the other verbs are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypedDict

from advisor.domain.request.argument import Argument, VerbDetail
from advisor.domain.request.verb_options import (
    BudgetUsd,
    ColumnsNamed,
    DryRun,
    EffectiveBatchSize,
    Epochs,
    EvalData,
    Gpu,
    HeadLearningRate,
    Hours,
    LearningRate,
    MetricName,
    MixedPrecisionFlag,
    OneBase,
    OneMethod,
    Out,
    Precision,
    PrepareKbitTraining,
    Seed,
    Seeds,
    SeqLen,
    StudyName,
    TaskName,
    TestData,
    Threads,
    TrainerName,
    Trials,
    UsdPerHour,
)
from advisor.domain.request.vocabulary import Launcher, SearchObjective

OneObjective = Annotated[
    SearchObjective,
    Argument(
        "quality, time or memory; several give a Pareto front.",
        metavar="NAME",
        shown_default="quality",
        earlier=("--objective",),
    ),
]
SearchedSetting = Annotated[str, Argument("A setting to search.", metavar="NAME")]
ReportTo = Annotated[str, Argument("mlflow, wandb, tensorboard, trackio ...", metavar="NAME")]


class TuneOptions(TypedDict, total=False):
    """The arguments of `advisor.tune` beside model, data and the recommendation."""

    columns: ColumnsNamed | None
    eval_data: EvalData | None
    test_data: TestData | None
    method: Annotated[OneMethod | Sequence[OneMethod], VerbDetail("auto: the recommended ones.", "auto")] | None
    gpu: Annotated[Gpu, VerbDetail("cpu: the processor.", "this machine's")] | None
    task: TaskName | None
    metric: MetricName | None
    trials: Annotated[Trials, VerbDetail(shown_default="16")] | None
    hours: Annotated[Hours, VerbDetail("Of the whole search.")] | None
    budget_usd: BudgetUsd | None
    usd_per_hour: UsdPerHour | None
    workers: (
        Annotated[int, Argument("Trials at a time.", shown_default="1; with --launcher ray what the cluster holds")]
        | None
    )
    launcher: (
        Annotated[
            Launcher,
            Argument(
                "local, or ray: trials go to a cluster's nodes by predicted need.",
                metavar="NAME",
                shown_default="local",
            ),
        ]
        | None
    )
    ray: (
        Annotated[
            str,
            Argument("Of the Ray cluster.", metavar="ADDRESS", shown_default="RAY_ADDRESS, else this machine alone"),
        ]
        | None
    )
    share_gpus: Annotated[bool, Argument("With Ray: trials that fit together share a GPU.", switch=True)] | None
    objectives: OneObjective | Sequence[OneObjective] | None
    search: SearchedSetting | Sequence[SearchedSetting] | None
    sampler: Annotated[str, Argument("tpe, gp or random.", metavar="NAME", shown_default="tpe")] | None
    earlier_studies: (
        Annotated[
            bool, Argument("Whether steps learn from your finished studies.", shown_default="yes, where one bears")
        ]
        | None
    )
    pruner: (
        Annotated[str, Argument("median, hyperband, wilcoxon or none.", metavar="NAME", shown_default="by the budget")]
        | None
    )
    seeds: Annotated[Seeds, VerbDetail(shown_default="1")] | None
    finalists: Annotated[int, Argument("Best trials trained again with other seeds.", shown_default="3")] | None
    final_seeds: Annotated[int, Argument("Seeds of each finalist; 1 trains none again.", shown_default="3")] | None
    early_stopping: (
        Annotated[int, Argument("Scorings without a gain that end a training.", shown_default="never")] | None
    )
    retrain: Annotated[bool, Argument("Train the best settings on evaluation rows too.", switch=True)] | None
    dry_run: Annotated[DryRun, VerbDetail("A few steps are measured.")] | None
    merge: Annotated[bool, Argument("Write the best model with its adapter merged, too.", switch=True)] | None
    seq_len: SeqLen | None
    epochs: Epochs | None
    effective_batch_size: EffectiveBatchSize | None
    learning_rate: LearningRate | None
    head_learning_rate: HeadLearningRate | None
    trainer: TrainerName | None
    dtype: Precision | None
    mixed_precision: MixedPrecisionFlag | None
    prepare_kbit_training: PrepareKbitTraining | None
    base: OneBase | None
    report_to: ReportTo | Sequence[ReportTo] | None
    seed: Annotated[Seed, VerbDetail(shown_default="0")] | None
    name: Annotated[StudyName, VerbDetail(shown_default="model-data")] | None
    out: Annotated[Out, VerbDetail("The study's folder.", "advisor-tune/NAME")] | None
    storage: (
        Annotated[
            str,
            Argument("Optuna storage.", metavar="URL", shown_default="OPTUNA_STORAGE, else SQLite in the folder"),
        ]
        | None
    )


class SearchOptions(TuneOptions, total=False):
    """What Python may say of a search beyond the command line's options."""

    evaluations: Annotated[int, Argument("Scorings of one training.", shown_default="8")] | None
    evaluation_rows: Annotated[int, Argument("Rows of an intermediate scoring.", shown_default="1000")] | None
    neighbours: Annotated[int, Argument("Trials near the start before the sampler draws.", shown_default="4")] | None
    patience: (
        Annotated[int, Argument("Trials without a gain that end the search.", shown_default="by the space")] | None
    )
    memory_bytes: Annotated[int, Argument("What a trial may use, in bytes.")] | None
    threads: Threads | None
    trial_seconds: Annotated[float, Argument("A trial that runs longer is ended.")] | None
    checkpoint_seconds: Annotated[float, Argument("Seconds between checkpoints.", shown_default="60")] | None
    max_retries: Annotated[int, Argument("Times an interrupted trial is begun again.", shown_default="2")] | None
    store: Annotated[bool, Argument("Keep profiles and findings in the user's own store.", shown_default="yes")] | None
