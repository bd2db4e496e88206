"""The arguments of `advisor.tune`, written as those of the other verbs are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypedDict

from advisor.domain.request.verb_options import (
    Argument,
    BudgetUsd,
    ColumnsNamed,
    EffectiveBatchSize,
    Epochs,
    HeadLearningRate,
    LearningRate,
    MetricName,
    MixedPrecisionFlag,
    Names,
    OneBase,
    Precision,
    PrepareKbitTraining,
    SeqLen,
    TaskName,
    TrainerName,
    TunedMethods,
    UsdPerHour,
)
from advisor.domain.request.vocabulary import Launcher, Objective


class TuneOptions(TypedDict, total=False):
    """The arguments of `advisor.tune` beside model, data and the recommendation."""

    columns: ColumnsNamed | None
    eval_data: (
        Annotated[
            str,
            Argument("Rows to choose by.", metavar="FILE", shown_default="a tenth of --data", earlier=("--eval",)),
        ]
        | None
    )
    test_data: (
        Annotated[
            str,
            Argument(
                "Rows for the last score.", metavar="FILE", shown_default="a tenth of --data", earlier=("--test",)
            ),
        ]
        | None
    )
    method: TunedMethods | None
    gpu: (
        Annotated[str, Argument("Search for this GPU, or on the cpu.", metavar="NAME", shown_default="this machine's")]
        | None
    )
    task: TaskName | None
    metric: MetricName | None
    trials: Annotated[int, Argument("Most trials.", shown_default="16")] | None
    hours: Annotated[float, Argument("Most hours of the whole search.")] | None
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
    objectives: (
        Annotated[
            Objective | Sequence[Objective],
            Argument(
                "quality, time, memory, comma separated; several give a Pareto front.",
                metavar="NAMES",
                shown_default="quality",
                earlier=("--objective",),
                repeated=True,
            ),
        ]
        | None
    )
    search: Annotated[Names, Argument("Settings to search, comma separated.", metavar="NAMES", repeated=True)] | None
    sampler: Annotated[str, Argument("tpe, gp or random.", metavar="NAME", shown_default="tpe")] | None
    pruner: (
        Annotated[str, Argument("median, hyperband, wilcoxon or none.", metavar="NAME", shown_default="by the budget")]
        | None
    )
    seeds: Annotated[int, Argument("Trainings of each trial.", shown_default="1")] | None
    finalists: Annotated[int, Argument("Best trials trained again with other seeds.", shown_default="3")] | None
    final_seeds: Annotated[int, Argument("Seeds of each finalist; 1 trains none again.", shown_default="3")] | None
    early_stopping: (
        Annotated[int, Argument("Scorings without a gain that end a training.", shown_default="never")] | None
    )
    retrain: Annotated[bool, Argument("Train the best settings on evaluation rows too.", switch=True)] | None
    dry_run: Annotated[bool, Argument("Measure a few steps, print the plan, begin nothing.", switch=True)] | None
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
    report_to: (
        Annotated[Names, Argument("mlflow, wandb, tensorboard, trackio ...", metavar="NAMES", repeated=True)] | None
    )
    seed: Annotated[int, Argument("Of splits, training and sampler.", shown_default="0")] | None
    name: Annotated[str, Argument("Of the study.", metavar="NAME", shown_default="model-data")] | None
    out: (
        Annotated[str, Argument("Where everything is written.", metavar="FOLDER", shown_default="advisor-tune/NAME")]
        | None
    )
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
    threads: Annotated[int, Argument("CPU threads of a trial.")] | None
    trial_seconds: Annotated[float, Argument("A trial that runs longer is ended.")] | None
    checkpoint_seconds: Annotated[float, Argument("Seconds between checkpoints.", shown_default="60")] | None
    max_retries: Annotated[int, Argument("Times an interrupted trial is begun again.", shown_default="2")] | None
    store: Annotated[bool, Argument("Keep profiles and findings in the user's own store.", shown_default="yes")] | None
