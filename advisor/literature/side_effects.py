"""What a method leaves behind besides its score: bytes to serve, latency, and general ability lost, as far as known."""

from __future__ import annotations

from typing import Final

from advisor.catalog.findings.method_names import our_name
from advisor.catalog.findings.study_files import load_studies
from advisor.catalog.methods import find_method
from advisor.catalog.methods.builders import LORA_SERVED
from advisor.domain.candidate import Candidate
from advisor.domain.recommendation import AbilityLost, SideEffects
from advisor.literature.forgetting import Forgetting, forgetting

SERVED_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Of a weight. Servers hold adapters in the model's own dtype (vLLM, `lora_dtype`: auto)."""
LATENCY: Final = "latency_ms"
BATCHED: Final = (
    "requests of many adapters in one batch: up to 12 times the throughput of servers that take one adapter at a "
    "time, for 2 ms a token (arXiv:2310.18547); up to 4 times that of unbatched LoRA in vLLM (arXiv:2311.03285)"
)
"""The largest gains their authors measured on their own loads: bounds, not what another load would see."""


def side_effects(candidate: Candidate) -> SideEffects:
    """What serving the trained recipe takes, exact from its counts, and each study's word on what it forgets.

    Adapters beside the base are those that fit the memory allowed next to the base's weights and nothing else: a
    key-value cache and activations take of the same room. None where every task has a whole model of its own, where
    several adapters cannot be loaded, or where the weights are spread over devices.
    """
    recipe, method = candidate.recipe, find_method(candidate.recipe.method)
    width = SERVED_BYTES[recipe.compute_dtype]
    whole = candidate.trainable_parameters >= candidate.total_parameters
    added = candidate.trainable_parameters * width
    beside: int | None = None
    if not whole and method.multi_adapter and candidate.sharding is None and candidate.gpu_count == 1 and added:
        beside = max(0, (candidate.limit_bytes - _base_bytes(candidate, width)) // added)
    return SideEffects(
        method=recipe.method,
        adapter_bytes=added,
        beside_base=beside,
        merges=whole or bool(candidate.facts.get("mergeable")),
        latency="none: the whole model is trained"
        if whole
        else "; ".join([method.inference_overhead, *_slower(our_name(method.name))]),
        serving=method.serving or "unknown",
        throughput=BATCHED if method.serving == LORA_SERVED else "unknown",
        lost=tuple(_ability(one, recipe.method) for one in forgetting(recipe.method) if one.rank is None),
    )


def _base_bytes(candidate: Candidate, width: int) -> int:
    """Of the base as it is served: in the dtype computed in, or as it was quantised."""
    if candidate.recipe.base == "dtype":
        return (candidate.total_parameters - candidate.trainable_parameters) * width
    return candidate.memory.breakdown["base weights"]


def _slower(name: str) -> list[str]:
    """What studies measured of a method's latency unmerged, against the model without it."""
    return [
        f"{one.settings} {one.value / one.full_value:.2f} times the model's own: {one.value:.3g} ms for "
        f"{one.full_value:.3g} ({one.model}, {one.note}, {study.url})"
        for study in load_studies()
        for one in study.findings
        if one.metric == LATENCY and one.method == name and one.full_value and "merged" not in one.settings
    ]


def _ability(one: Forgetting, method: str) -> AbilityLost:
    compared = method != "full"
    return AbilityLost(
        study=one.study,
        url=one.url,
        measure=one.measure + (f", {one.trained_by}" if one.trained_by else ""),
        unit=one.unit,
        kept=one.kept if compared else None,
        kept_low=one.kept_low if compared else None,
        kept_high=one.kept_high if compared else None,
        lost=one.lost,
        lost_low=one.lost_low,
        lost_high=one.lost_high,
        settings=one.settings,
    )
