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
        return resolve_model(str(candidate.facts.get("model_asked") or candidate.workload.model))
    except AdvisorError:
        return None


def machine_of(candidate: Candidate) -> Hardware | None:
    """The catalogue's card of that name; None for one that was described."""
    from advisor.catalog.gpus import find_gpu

    try:
        return Hardware.model_validate({"gpu": find_gpu(candidate.gpu)[0], "count": candidate.gpu_count})
    except AdvisorError:
        return None
