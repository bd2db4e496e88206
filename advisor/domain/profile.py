"""What a device measured in one run, and what a fit made of many."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from advisor.domain.recipe import Recipe
from advisor.domain.stored import Stored, Value
from advisor.domain.workload import Workload


class Profile(Stored):
    """One measured run: what ran, on what, and every number as read. Never edited by hand.

    Bytes and seconds. `step_seconds` holds every repetition after warm-up. `status` oom and failed are
    results too: then the numbers up to there are kept and `reason` says what happened.
    """

    KIND = "profile"
    VERSION = 1

    id: str
    device: str = Field(description="catalogue name of the device")
    device_reported: str = Field(description="as the driver names it")
    status: Literal["complete", "oom", "failed"]
    reason: str = ""
    workload: Workload
    recipe: Recipe
    model_config_sha256: str = ""
    config_overrides: dict[str, Any] = Field(default_factory=dict, description="model config as run, if cut down")
    steps: int = 0
    lengths: tuple[int, ...] = Field((), description="padded length of each measured batch, if they differ")
    tokens_per_step: float | None = None
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    allocated_after_step_bytes: int | None = None
    reserved_at_start_bytes: int | None = None
    reserved_after_step_bytes: tuple[int, ...] = Field((), description="after each measured step, if lengths differ")
    context_bytes: int | None = None
    step_seconds: tuple[float, ...] = ()
    phase_seconds: dict[str, float] = Field(default_factory=dict)
    evaluation_peak_bytes: int | None = None
    saving_peak_bytes: int | None = None
    allocator: dict[str, float] = Field(default_factory=dict, description="summary of the allocator's own statistics")
    power_w: float | None = None
    clocks_mhz: dict[str, float] = Field(default_factory=dict)
    shared_device: bool | None = Field(None, description="another process used the device during the run")
    versions: dict[str, str] = Field(default_factory=dict)
    driver: str = ""
    measured_on: str = Field("", description="ISO date and time, UTC")
    source: str = Field("", description="where the numbers come from when another party measured them")
    notes: str = ""


class Coefficient(Value):
    """One fitted physical constant: value, standard error, unit, and the prior it was pulled to."""

    name: str
    value: float
    error: float | None = None
    unit: str
    prior: float | None = None
    says: str = ""


class HeldOut(Value):
    """How wrong the fit was on runs it did not see; errors are relative, e.g. 0.024 is 2.4 %."""

    target: Literal["step_time", "peak_reserved", "peak_allocated", "allocated_after_step"]
    scheme: str = Field(description="leave-one-run, leave-one-method, leave-one-model, leave-one-device")
    runs: int
    median: float
    p90: float
    worst: float
    coverage: float | None = Field(None, description="share of held-out runs inside their 90 % interval")


class Calibration(Stored):
    """What a fit produced for one device, or for all (POOLED). Never edited by hand."""

    KIND = "calibration"
    VERSION = 1

    device: str
    fitted_on: dict[str, str] = Field(description="profile id -> SHA-256 of its file")
    devices: tuple[str, ...] = Field((), description="of a pooled fit: the devices of those runs")
    models: tuple[str, ...] = Field((), description="models of those runs; for others the interval is wider")
    seed: int = 0
    time: tuple[Coefficient, ...] = ()
    memory: tuple[Coefficient, ...] = ()
    time_interval: tuple[float, float] | None = Field(None, description="relative 90 % ends of the residual")
    memory_interval: tuple[float, float] | None = None
    largest_shares: dict[str, float] = Field(
        default_factory=dict, description="largest share of a step that each bound had in the runs; beyond is wider"
    )
    held_out: tuple[HeldOut, ...] = ()
    would_narrow: tuple[str, ...] = Field((), description="extra measurements that would narrow the answer most")
    versions: dict[str, str] = Field(default_factory=dict)
    fitted_at: str = ""
    notes: str = ""
