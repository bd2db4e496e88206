"""One run to be measured, as it travels to the process that measures it, and the name its result goes by."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Final, Literal

from pydantic import Field

from advisor.domain.model import ModelSpec, config_sha256
from advisor.domain.recipe import KERNEL_FIELDS, Recipe, as_said_before
from advisor.domain.stored import Stored
from advisor.domain.workload import Workload

Kind = Literal["cuda", "cpu", "mps"]
"""What torch calls the device; AMD cards answer to `cuda` as well."""

HISTORY: Final = "history.json"
"""Beside a run's result: what the allocator did, where it was asked for."""
PROFILER: Final = 1
"""Raised whenever the way of measuring changes, so that older runs are not taken for finished ones."""


class ProfileJob(Stored):
    """Everything a run depends on. `spec.config` is the config as run, cut down or not.

    `memory_limit_bytes` is what the run may allocate at most, so that out-of-memory can be provoked below the
    device's own limit. `evaluation_batch_size` 0 leaves the evaluation phase out. `history` keeps the caching
    allocator's actions of the warm-up besides, which changes nothing that is measured.
    """

    KIND = "profile-job"

    spec: ModelSpec
    workload: Workload
    recipe: Recipe
    config_overrides: dict[str, Any] = Field(default_factory=dict)
    device: Kind
    device_name: str
    device_reported: str
    steps: int = Field(5, ge=1, le=10**5)
    warmup: int = Field(2, ge=1, le=10**4)
    threads: int | None = Field(None, ge=1, le=4096)
    evaluation_batch_size: int = Field(0, ge=0, le=10**6)
    saving: bool = False
    memory_limit_bytes: int | None = Field(None, gt=0)
    seed: int = 0
    history: bool = False
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of all that the measurement depends on: equal digests need not be measured twice."""
        fields = self.model_dump(mode="json", exclude={"spec", "history"})
        new = {"mixed_precision", "prepare_kbit_training", *KERNEL_FIELDS}
        fields["recipe"] = self.recipe.model_dump(mode="json", exclude=new) | as_said_before(self.recipe)
        document = {"profiler": PROFILER, "config": config_sha256(self.spec.config), **fields}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    @property
    def stem(self) -> str:
        """The file name of the result without its ending: readable, and unique by the digest's beginning."""
        recipe = self.recipe
        parts = [
            recipe.method,
            self.spec.name.rstrip("/").rpartition("/")[2],
            f"b{recipe.micro_batch_size}",
            f"s{self.workload.seq_len}",
            "checkpointing" if recipe.gradient_checkpointing else "",
            self.digest[:10],
        ]
        return "-".join(slug(part) for part in parts if part)

    @property
    def folder(self) -> str:
        """The device's folder in the store."""
        return slug(self.device_name)

    @property
    def id(self) -> str:
        return f"{self.folder}-{self.stem}"


def slug(text: str) -> str:
    """Lower case with everything but letters, digits and dots as single dashes: `AMD EPYC` -> `amd-epyc`."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "unnamed"
