"""What a user asks of a search, checked: the fields of `advisor.domain.request.verb_options.SearchOptions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError, field_validator

from advisor.domain.request.validation import check_names, refusal_of
from advisor.domain.request.verb_options import (
    BudgetUsd,
    EffectiveBatchSize,
    Epochs,
    LearningRate,
    MetricName,
    MixedPrecisionFlag,
    OneBase,
    Precision,
    PrepareKbitTraining,
    SeqLen,
    TaskName,
    TrainerName,
    UsdPerHour,
    names_in,
)
from advisor.domain.request.vocabulary import Launcher, SearchObjective
from advisor.domain.stored import Value
from advisor.tuner.tune_request import TuneRequest


class TuneQuery(Value):
    """The arguments of `tune()` beside model, data and recommendation; None is what the search decides itself."""

    columns: str | dict[str, str] | None = None
    eval_data: str | None = None
    test_data: str | None = None
    method: tuple[str, ...] = ("auto",)
    gpu: str | None = None
    task: TaskName | None = None
    metric: MetricName | None = None
    trials: int | None = None
    hours: float | None = None
    budget_usd: BudgetUsd | None = None
    usd_per_hour: UsdPerHour | None = None
    workers: int | None = None
    launcher: Launcher = "local"
    ray: str | None = None
    share_gpus: bool | None = None
    objectives: tuple[SearchObjective, ...] = ("quality",)
    search: tuple[str, ...] | None = None
    sampler: str = "tpe"
    earlier_studies: bool = True
    pruner: str = "auto"
    seeds: int | None = None
    finalists: int | None = None
    final_seeds: int | None = None
    early_stopping: int | None = None
    retrain: bool | None = None
    merge: bool | None = None
    seq_len: SeqLen | None = None
    epochs: Epochs | None = None
    effective_batch_size: EffectiveBatchSize | None = None
    learning_rate: LearningRate | None = None
    head_learning_rate: float | None = None
    trainer: TrainerName | None = None
    dtype: Precision | None = None
    mixed_precision: MixedPrecisionFlag | None = None
    prepare_kbit_training: PrepareKbitTraining | None = None
    base: OneBase | None = None
    report_to: tuple[str, ...] | None = None
    seed: int = 0
    name: str | None = None
    out: str | None = None
    storage: str | None = None
    dry_run: bool = False
    evaluations: int | None = None
    evaluation_rows: int | None = None
    neighbours: int | None = None
    patience: int | None = None
    memory_bytes: int | None = None
    threads: int | None = None
    trial_seconds: float | None = None
    checkpoint_seconds: float | None = None
    max_retries: int | None = None
    store: bool | None = None

    @field_validator("method", "search", "objectives", "report_to", mode="before")
    @classmethod
    def _split(cls, names: Any) -> Any:
        return names_in(names) if isinstance(names, str) else names

    @property
    def settings(self) -> dict[str, Any]:
        """What goes into the stored request as it was given, under the same name."""
        return {name: value for name in SETTINGS if (value := getattr(self, name)) is not None}


SETTINGS: Final = tuple(
    name
    for name in TuneRequest.model_fields
    if name in TuneQuery.model_fields
    and name not in {"name", "metric", "objectives", "sampler", "pruner", "seed", "storage"}
)
"""Fields that the stored request takes over unchanged; it checks their bounds."""


def checked_query(options: Mapping[str, Any]) -> TuneQuery:
    """The question, or why it is none.

    Raises:
        BadRequest: an argument nobody knows, a value of the wrong type or size.
    """
    given = {name: value for name, value in options.items() if value is not None}
    check_names(given, TuneQuery.model_fields)
    try:
        return TuneQuery.model_validate(given)
    except ValidationError as error:
        raise refusal_of(error, given) from error
