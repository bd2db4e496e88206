"""A recipe's figures at once, for who moves a slider: from a trace that is known, without the allocator's replay."""

from __future__ import annotations

from typing import Unpack

from advisor.domain.candidate import Candidate
from advisor.domain.request.verb_options import EstimateOptions
from advisor.estimator.estimate import answer_on
from advisor.estimator.estimate_request import from_case, hardware_of, workload_of
from advisor.estimator.parallelism.strategies import traced_as
from advisor.estimator.precision_request import recipe_asked


def quick_estimate(model: str, gpu: str | None = None, **options: Unpack[EstimateOptions]) -> Candidate | None:
    """As `estimate`, with a wider range of the reserved memory; None where the step would have to be traced first.

    Args:
        model, gpu, options: as of `estimate`.

    Raises:
        as `estimate`.
    """
    from advisor.catalog.models import resolve_model
    from advisor.tracer.timelines import known_trace

    request = from_case({"model": model, "gpu": gpu, **options})
    hardware, spec = hardware_of(request), resolve_model(request.model)
    recipe, _ = recipe_asked(request, spec, hardware.gpu)
    workload, _ = workload_of(request, spec, recipe)
    traced = recipe if hardware.sharding is None else traced_as(recipe, hardware.sharding)
    if known_trace(workload, traced, hardware, spec) is None:
        return None
    return answer_on(request, hardware, spec, thorough=False)
