"""What a candidate was asked of: its model and its machine, found again by their names."""

from __future__ import annotations

from advisor.domain.candidate import Candidate
from advisor.domain.hardware import Hardware
from advisor.domain.model import ModelSpec
from advisor.errors import AdvisorError


def model_of(candidate: Candidate) -> ModelSpec | None:
    """The model of a candidate; None where it cannot be found again."""
    from advisor.catalog.models import resolve_model

    try:
        return resolve_model(str(candidate.facts.get("model_asked") or candidate.workload.model), denoisers=True)
    except AdvisorError:
        return None


def machine_of(candidate: Candidate) -> Hardware | None:
    """The catalogue's card of that name with the room that was left free on it.

    None for a card that was described, and for a job on several: what one of its ranks holds is another question.
    """
    from advisor.catalog.gpus import find_gpu

    if candidate.gpu_count > 1:
        return None
    try:
        gpu = find_gpu(candidate.gpu)[0]
    except AdvisorError:
        return None
    return Hardware.model_validate({"gpu": gpu, "headroom": max(0.0, 1 - candidate.limit_bytes / gpu.usable_bytes)})
