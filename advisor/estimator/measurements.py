"""What devices have told so far: the calibration of a device, and the profile of this very run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from advisor import store
from advisor.domain.hardware import Gpu
from advisor.domain.model import ModelSpec, config_sha256
from advisor.domain.plain_values import is_list
from advisor.domain.profile import Calibration, Profile
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.estimator.cpu_device import PROCESSOR

PROFILES: Final = "profiles"
CALIBRATION: Final = "calibration"
POOLED: Final = "pooled"
"""Name of the fit over all accelerators, which serves those that were never measured."""

_NOT_COST: Final = frozenset(
    {"base_model_name_or_path", "peft_version", "revision", "auto_mapping", "inference_mode", "task_type"}
)
"""Keys of an adapter config that say where it came from, not what it costs."""


def calibration_of(gpu: str) -> Calibration | None:
    """The fit for one device, the user's own before the shipped one; None: never measured.

    Raises:
        BadFile: a calibration file is damaged.
    """
    return _calibrations(store.home("data")).get(gpu)


def pooled_for(gpu: Gpu) -> Calibration | None:
    """The fit over all measured accelerators, for one that was not; None for a processor, which is no such device."""
    return None if gpu.vendor == PROCESSOR else _calibrations(store.home("data")).get(POOLED)


def profile_of(workload: Workload, recipe: Recipe, gpu: str, spec: ModelSpec) -> Profile | None:
    """The complete profile of this very run on this device, if one is in the store.

    A model is known by the content of its config: a folder may bear the name of another one, or of a model of the
    Hub. A profile that does not say what its config was (older ones, and of others), and those that came with
    advisor, are of the Hub's model of that name, and serve for a folder only where it holds the catalogue's config.
    """
    own = store.home("data")
    if gpu not in _measured(own):
        return None
    found = _runs(own).get(fingerprint(workload, recipe, gpu), ())
    by_name = spec.source != "folder" or _is_catalogued(spec)
    for profile, ours in found:
        if profile.model_config_sha256 in spec.digests or (by_name and (ours or not profile.model_config_sha256)):
            return profile
    return None


def _is_catalogued(spec: ModelSpec) -> bool:
    from advisor.catalog.models.index import lookup

    entry = lookup(spec.name)
    return entry is not None and config_sha256(entry.load()) in spec.digests


def profiles() -> list[tuple[Path, Profile]]:
    """All profiles, shipped ones first.

    Raises:
        BadFile: one of them is damaged, newer, or not a profile; names the file and field.
    """
    return list(store.find(Profile, PROFILES))


def forget() -> None:
    """Reads the store anew at the next question: something was written to it."""
    _calibrations.cache_clear()
    _runs.cache_clear()
    _measured.cache_clear()


@lru_cache(maxsize=2)
def _calibrations(own: Path) -> dict[str, Calibration]:
    del own
    return {found.device: found for _, found in store.find(Calibration, CALIBRATION)}


@lru_cache(maxsize=2)
def _runs(own: Path) -> dict[str, tuple[tuple[Profile, bool], ...]]:
    """Complete runs by fingerprint, the latest first, each with whether it came with advisor."""
    came = store.shipped(PROFILES)
    runs: dict[str, tuple[tuple[Profile, bool], ...]] = {}
    for path, profile in profiles():
        if profile.status == "complete" and not profile.config_overrides:
            key = fingerprint(profile.workload, profile.recipe, profile.device)
            ours = came is not None and not path.is_relative_to(own) and path.is_relative_to(came)
            runs[key] = ((profile, ours), *runs.get(key, ()))
    return runs


@lru_cache(maxsize=2)
def _measured(own: Path) -> frozenset[str]:
    """Devices with a complete run: of others no question need be looked up."""
    return frozenset(profile.device for runs in _runs(own).values() for profile, _ in runs)


def fingerprint(workload: Workload, recipe: Recipe, gpu: str) -> str:
    """Equal for two questions that cost the same on a device; lengths count to the whole token."""
    task = workload.task
    parts: dict[str, Any] = {
        "gpu": gpu,
        "model": workload.model,
        "task": task,
        "objective": workload.objective,
        "seq_len": workload.seq_len,
        "mean": round(workload.mean_length),
        "target_len": workload.target_len if task == "seq2seq" else None,
        "num_labels": workload.num_labels if task == "sequence-classification" else None,
        "clips": recipe.max_grad_norm > 0,
        **recipe.model_dump(
            mode="json",
            exclude={
                "options",
                "adapter_config",
                "method",
                "learning_rate",
                "head_learning_rate",
                "schedule",
                "warmup_ratio",
                "weight_decay",
                "max_grad_norm",
            },
        ),
    }
    if recipe.adapter_config is not None:
        parts["adapter"] = plain_adapter(recipe.adapter_config)
    else:
        parts["adapter"] = {"method": recipe.method, **recipe.options}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def plain_adapter(config: Mapping[str, Any]) -> dict[str, Any]:
    """An adapter config without what does not bear on cost: provenance, and settings left at nothing."""
    kept = {key: value for key, value in config.items() if key not in _NOT_COST and value not in (None, False, {}, [])}
    return {key: sorted(value) if is_list(value) else value for key, value in sorted(kept.items())}
