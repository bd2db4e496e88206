"""One published (or own) result, and the study it belongs to."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from advisor.domain.model import Architecture
from advisor.domain.stored import Stored, Value


class Finding(Value):
    """One method's score in one setting. Written by the evidence wing; fields may grow with the schema."""

    table: str
    model: str
    model_parameters: int | None = Field(None, ge=1)
    architecture: Architecture | Literal["vision", "other"]
    task: str
    task_type: str
    samples: int | None = Field(None, ge=1)
    method: str
    settings: str = ""
    trainable_parameters: float | None = None
    learning_rate: float | None = None
    training: str = Field("", description="epochs or steps as printed")
    metric: str
    higher_is_better: bool = True
    value: float
    spread: float | None = Field(None, ge=0, description="standard deviation over seeds, in the metric's own points")
    seeds: int | None = Field(None, ge=1)
    full_value: float | None = Field(None, description="full fine-tuning in the same setting")
    learning_rate_tuned: bool | None = None
    equal_steps: bool | None = None
    own_method: bool | None = Field(None, description="the authors propose this method")
    address: str
    note: str = ""


class Study(Stored):
    """One publication with its findings. One file a study."""

    KIND = "study"

    id: str
    title: str
    url: str
    year: int | None = None
    confidence: str = ""
    own: bool = Field(False, description="measured by advisor's own users or authors")
    findings: tuple[Finding, ...]
