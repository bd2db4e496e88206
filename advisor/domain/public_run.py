"""A run that others measured and published: what ran, what was read, and how far it is like one of ours."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from advisor.domain.stored import Stored, Value

Comparable = Literal["yes", "partly", "no"]
"""Whether a prediction answers for a figure: `partly` names a difference that may matter, `no` one that does."""


class PublicRun(Value):
    """One published run. Bytes and seconds; None is what the source does not say.

    `asked` is the run as one line of `advisor estimate --from`, without the model's config; None where no line can
    say it. A model that the catalogue lacks stands in `PublicRuns.models` under the name used here.
    """

    id: str
    gpu_reported: str = Field(description="the card as the source names it")
    method_reported: str
    asked: dict[str, Any] | None
    lengths: Literal["fixed", "varying", "unsaid"]
    lengths_known: str = Field("", description="how the length is known")
    outcome: Literal["complete", "oom"] = "complete"
    peak_allocated_bytes: int | None = Field(None, gt=0)
    peak_reserved_bytes: int | None = Field(None, gt=0)
    peak_device_bytes: int | None = Field(None, gt=0, description="by nvidia-smi, the context included")
    peak_unsaid_bytes: int | None = Field(None, gt=0, description="a peak whose tool the source does not name")
    step_seconds: float | None = Field(None, gt=0, description="one optimizer step, all its micro-batches")
    tokens_per_second: float | None = Field(None, gt=0)
    comparable_memory: Comparable
    comparable_time: Comparable
    why: str = Field("", description="what is not as in the prediction")
    reported: dict[str, str] = Field(default_factory=dict, description="settings in the source's own words")
    note: str = ""


class PublicRuns(Stored):
    """The runs of one source. `models` holds configs of models that the catalogue lacks, by the name in `asked`."""

    KIND = "public-runs"

    id: str
    address: str
    software: str
    context_bytes: int | None = Field(None, description="the CUDA context, where the source measured it")
    models: dict[str, dict[str, Any]] = Field(default_factory=dict)
    runs: tuple[PublicRun, ...]
