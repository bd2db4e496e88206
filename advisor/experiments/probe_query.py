"""What a user asks of a probe, checked, and kept in its folder so that the folder alone can be gone on with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError, field_validator

from advisor import store
from advisor.domain.request.measuring_options import MorePoints, TargetScore
from advisor.domain.request.validation import check_names, refusal_of
from advisor.domain.request.verb_options import (
    EffectiveBatchSize,
    Epochs,
    MetricName,
    SeqLen,
    TaskName,
    TolerancePoints,
    names_in,
)
from advisor.domain.request.vocabulary import DeviceKind
from advisor.domain.stored import Stored
from advisor.errors import BadRequest
from advisor.experiments.plan import ExperimentPlan

QUERY_FILE: Final = "probe.json"
METHODS: Final = ("lora", "bitfit", "dora", "adapter-houlsby", "ia3", "full")
"""Those that most studies of the catalogue compare with full fine-tuning (`advisor evidence --studies`), prompts left
out: they need thousands of steps. What the model or the task does not allow is left out with a note."""


class ProbeQuery(Stored):
    """The arguments of `advisor.probe`; None is what the probe decides itself."""

    KIND = "probe-request"

    model: str
    data: str
    columns: str | dict[str, str] | None = None
    eval_data: str | None = None
    method: tuple[str, ...] | None = None
    hours: float | None = None
    target_score: TargetScore | None = None
    more_points: MorePoints = 2.0
    tolerance_points: TolerancePoints = 1.0
    task: TaskName | None = None
    metric: MetricName | None = None
    epochs: Epochs | None = None
    effective_batch_size: EffectiveBatchSize | None = None
    seq_len: SeqLen | None = None
    device: DeviceKind = "auto"
    threads: int | None = None
    name: str | None = None
    out: str | None = None
    dry_run: bool = False

    @field_validator("method", mode="before")
    @classmethod
    def _split(cls, names: Any) -> Any:
        return names_in(names) if isinstance(names, str) else names

    @property
    def plan(self) -> ExperimentPlan:
        """The trainings that may be made, before the rows are counted: sizes and rates are put in later."""
        name = self.name or f"{Path(self.model).name}-{Path(self.data).name.partition('.')[0]}"
        columns = self.columns
        if isinstance(columns, dict):
            columns = ",".join(f"{role}={column}" for role, column in columns.items())
        return ExperimentPlan(
            id=re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.") or "probe",
            model=self.model,
            data=self.data,
            columns=columns,
            eval_data=self.eval_data,
            data_note="",
            task=self.task,
            metric=self.metric,
            methods=self.method or METHODS,
            sizes=(2,),
            epochs=self.epochs,
            effective_batch_size=self.effective_batch_size or 16,
            seq_len=self.seq_len,
            evaluation_rows=1000,
            evaluations=2,
        )


def checked_query(model: str, data: str, options: Mapping[str, Any]) -> ProbeQuery:
    """The question, or why it is none.

    Raises:
        BadRequest: an argument nobody knows, a value of the wrong type or size.
    """
    given = {name: value for name, value in options.items() if value is not None}
    check_names(given, ProbeQuery.model_fields)
    try:
        query = ProbeQuery.model_validate({**given, "model": model, "data": data})
    except ValidationError as error:
        raise refusal_of(error, given) from error
    for name in ("hours", "threads"):
        value = getattr(query, name)
        if value is not None and not value > 0:
            raise BadRequest(f"--{name} must be above 0, not {value}", option=f"--{name}")
    if query.device == "mps":
        raise BadRequest("--device mps trains no probe", hints=["--device cpu"])
    return query


def read_query(folder: Path) -> ProbeQuery:
    """What the probe in a folder was asked.

    Raises:
        BadRequest: no probe lies there.
        BadFile: what lies there cannot be read.
    """
    if not (folder / QUERY_FILE).is_file():
        raise BadRequest(f"no probe lies in {folder}", hints=["give the folder that --out named"], folder=str(folder))
    return store.read(ProbeQuery, folder / QUERY_FILE)


def write_query(query: ProbeQuery, folder: Path) -> None:
    """Paths by their whole name, so that a resume from another folder finds them."""
    kept = {
        name: str(Path(v).resolve())
        for name in ("model", "data", "eval_data")
        if (v := getattr(query, name)) and Path(v).exists()
    }
    store.write(query.model_copy(update={**kept, "out": None, "dry_run": False}), folder / QUERY_FILE)
