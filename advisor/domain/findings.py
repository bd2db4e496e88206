"""One published (or own) result, and the study it belongs to."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from advisor.domain.model import Architecture
from advisor.domain.plain_values import is_object, is_sequence
from advisor.domain.request.vocabulary import Aspect
from advisor.domain.stored import Stored, Value


class Finding(Value):
    """One method's score in one setting. Written by the evidence wing; fields may grow with the schema.

    A quality value is in points, 0-100, higher better, whenever `unit` is "points"; `printed_times` is what
    the printed number was multiplied by to get there (fractions: 100). A metric where lower is better is
    kept as printed and says so; it is never turned round silently.
    """

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
    aspect: Aspect = "quality"
    unit: str = Field("points", description="points, or the metric's own unit (GB, minutes, ratio ...)")
    printed_times: float = Field(1.0, gt=0)
    samples_printed: str = Field("", description="a range or a size in tokens, where that is what was printed")
    targets: Literal["attention", "mlp", "all", ""] = Field("", description="which linear layers were adapted, if said")
    memory: str = Field("", description="training memory as printed")
    time: str = Field("", description="training time as printed")
    suspect: bool = Field(
        False, description="its own source contradicts it or warns against comparing it; listed, never fitted on"
    )
    copied_from: str = Field(
        "", description="the earlier paper whose figure this repeats; listed, never fitted on, so that it counts once"
    )


class Study(Stored):
    """One publication with its findings. One file a study.

    In the file, `shared` says once what most findings have in common; a finding's own field wins. In
    memory every finding is whole.
    """

    KIND = "study"

    id: str
    title: str
    url: str
    year: int | None = None
    confidence: str = ""
    own: bool = Field(False, description="measured by advisor's own users or authors")
    findings: tuple[Finding, ...]

    @model_validator(mode="before")
    @classmethod
    def _spread_shared(cls, data: Any) -> Any:
        if not is_object(data) or "shared" not in data:
            return data
        whole = dict(data)
        shared = whole.pop("shared")
        findings = whole.get("findings")
        if not is_object(shared) or not is_sequence(findings):
            raise ValueError("`shared` must be an object and `findings` a list")
        whole["findings"] = [{**shared, **one} if is_object(one) else one for one in findings]
        return whole
