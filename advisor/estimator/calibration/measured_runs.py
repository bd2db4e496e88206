"""Measured runs made ready for fitting: each profile with its trace, its ops at the run's lengths, its device."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from advisor.domain.hardware import Gpu, Hardware
from advisor.domain.model import ModelSpec
from advisor.domain.profile import Profile
from advisor.domain.recipe import Recipe, as_said_before
from advisor.domain.trace.timeline import Timeline
from advisor.domain.workload import Workload
from advisor.errors import AdvisorError, BadFile
from advisor.estimator.batch_lengths import BatchLengths, lengths_of
from advisor.estimator.cpu_device import device_of
from advisor.estimator.step_time.step_simulator import Ops, Rates, rates_of
from advisor.estimator.step_time.time_prediction import is_causal
from advisor.tracer.timelines import timeline_of, trace_of

Progress = Callable[[int, int, str], None]
SHARED = 0.1
"""Relative doubt of a time measured beside other processes: they had a tenth of a core or more, see the profiler."""


@dataclass(frozen=True, slots=True)
class TracedCase:
    """A recipe on a machine, traced: all that its predicted cost depends on but the fitted constants."""

    workload: Workload
    recipe: Recipe
    gpu: Gpu
    timeline: Timeline
    lengths: BatchLengths
    ops: Ops
    rates: Rates


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run: what was asked, what came out, and the SHA-256 of its profile."""

    profile: Profile
    sha256: str
    asked: TracedCase

    @property
    def step_seconds(self) -> float | None:
        """Mean seconds of a step; None where the run did not measure it."""
        seconds = self.profile.step_seconds
        return sum(seconds) / len(seconds) if seconds else None

    @property
    def spread(self) -> float:
        """Relative standard error of that mean, by the repetitions; a machine shared with others counts SHARED more."""
        seconds = np.array(self.profile.step_seconds)
        own = float(seconds.std(ddof=1) / seconds.mean() / math.sqrt(len(seconds))) if len(seconds) > 1 else 0.0
        return math.hypot(own, SHARED) if self.profile.shared_device else own

    @property
    def method(self) -> str:
        return self.profile.recipe.method

    @property
    def model(self) -> str:
        return self.profile.workload.model


ADDED_SINCE: Final[dict[str, dict[str, Any]]] = {
    "recipe": {
        "head_learning_rate": None, "expandable_segments": False, "reference": None,
        "layer_kernels": "none", "fused_loss": "none", "lora_kernels": False,
    },
    "workload": {"objective": "sft", "image_size": None, "images": None, "audio_seconds": None, "rollout": None},
    "": {"reserved_after_step_bytes": []},
}  # fmt: skip
"""Fields, and what they say where nothing is said, that came after the first calibrations were fitted: then they change
no digest."""
RENAMED: Final = ("mixed_precision", "prepare_kbit_training")
"""Fields that stand in a digest as earlier files have them."""


def _as_first(said: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """Without the later fields that say what was so before there were such fields."""
    return {name: value for name, value in said.items() if name not in added or value != added[name]}


def sha256_of(profile: Profile) -> str:
    """Digest of a profile's content, the same however the file is laid out, and with each version that can read it."""
    document = profile.to_document()
    parts = {name: _as_first(document[name], added) for name, added in ADDED_SINCE.items() if name}
    recipe = {k: v for k, v in parts["recipe"].items() if k not in RENAMED} | as_said_before(profile.recipe)
    whole = _as_first(document, ADDED_SINCE[""]) | parts | {"recipe": recipe}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def question(workload: Workload, recipe: Recipe, hardware: Hardware, spec: ModelSpec, *, points: int = 6) -> TracedCase:
    """A recipe made ready to be priced with any constants.

    Raises:
        BadRequest: the catalogue lacks the device's rates; and as `trace()`.
    """
    timeline = timeline_of(trace_of(workload, recipe, hardware, spec))
    lengths = lengths_of(workload, recipe, points=points)
    ops = Ops(timeline, recipe.micro_batch_size, lengths.typical, lengths.targets, causal=is_causal(spec))
    return TracedCase(
        workload, recipe, hardware.gpu, timeline, lengths, ops, rates_of(hardware.gpu, recipe.compute_dtype)
    )


def prepare(
    profiles: Iterable[Profile], *, progress: Progress | None = None, left_out: Callable[[Profile, str], None]
) -> list[Run]:
    """Complete profiles, traced. One whose recipe can no longer be built is handed to `left_out` with the reason.

    A profile whose trainable parameters differ from what the installed libraries make measured something else
    than we would trace, and is left out too.
    """
    from advisor.catalog.models import resolve_model

    chosen = [p for p in profiles if p.status == "complete"]
    runs: list[Run] = []
    for number, profile in enumerate(chosen):
        if progress:
            progress(number, len(chosen), profile.id)
        try:
            gpu = device_of(profile)
            spec = _as_run(resolve_model(profile.workload.model, denoisers=True), profile)
            asked = question(profile.workload, profile.recipe, Hardware.model_validate({"gpu": gpu}), spec)
        except BadFile:
            raise
        except AdvisorError as error:
            left_out(profile, error.message)
            continue
        runs.append(Run(profile, sha256_of(profile), asked))
    return runs


def _as_run(spec: ModelSpec, profile: Profile) -> ModelSpec:
    """The model as it was run: campaigns cut models down to fewer layers."""
    if not profile.config_overrides:
        return spec
    return spec.model_copy(update={"config": {**spec.config, **profile.config_overrides}, "parameters": None})
