"""What fits: the door to the largest batch, length or model on a GPU, and to the GPUs that a recipe fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Unpack

from advisor.catalog.models import models, resolve_model
from advisor.domain.questions.fitting import Fitting
from advisor.domain.request.fit_options import FitOptions
from advisor.domain.request.validation import check_choice
from advisor.domain.request.verb_options import names_in
from advisor.domain.request.vocabulary import VARIED, Varied
from advisor.errors import BadRequest
from advisor.estimator.estimate_request import EstimateRequest, from_case, hardware_of
from advisor.estimator.fitting.holding_gpus import gpus_that_fit
from advisor.estimator.fitting.largest import largest_model, largest_size

ANY: Final = "any"
OPEN: Final[dict[Varied, str]] = {"batch": "batch_size", "length": "seq_len", "model": "model", "gpu": "gpu"}
"""What is varied -> the argument that it answers."""


def fit(
    model: str | None = None,
    gpu: str | None = None,
    *,
    on_progress: Callable[[int, int, str], None] | None = None,
    **options: Unpack[FitOptions],
) -> Fitting:
    """The largest batch, length or model that a GPU holds, or the GPUs that a recipe fits.

    Args:
        model: as in `estimate`; of `vary="model"` several with commas, or None: every decoder of the catalogue.
        gpu: as in `estimate`; of `vary="gpu"` several with commas, or None or `any`: all that have a price.
        on_progress: told (done, total, what) while models are traced.
        options: those of `estimate`, and `vary`: batch, length (the default), model or gpu.

    Returns:
        The value found, its candidate, and every value that was tried.

    Raises:
        BadRequest: a question that makes no sense, such as a batch given where the largest is asked for.
        DoesNotFit: nothing fits; says by how much.

    Example:
        advisor.fit("Qwen/Qwen2.5-7B", "RTX-4090", vary="length", method="qlora", gradient_checkpointing=True)
    """
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    vary: Varied = given.pop("vary", "length")
    check_choice("vary", vary, VARIED)
    if vary in ("batch", "length") and OPEN[vary] in given:
        raise BadRequest(
            f"the largest {vary} is asked for, and {OPEN[vary]} gives one",
            hints=[f"leave {OPEN[vary]} out, or vary another: {', '.join(VARIED)}"],
            field=OPEN[vary],
        )
    if vary == "model":
        return _models(model, gpu, given, on_progress)
    if model is None:
        raise BadRequest("--model is missing", hints=["to list them: advisor models"], field="model")
    named = [name for name in names_in(gpu or "") if name.lower() != ANY] if vary == "gpu" else list[str]()
    request = from_case({"model": model, "gpu": None if vary == "gpu" else gpu, **given})
    if vary == "gpu":
        return gpus_that_fit(request, named, resolve_model(request.model))
    return largest_size(request, vary, hardware_of(request), resolve_model(request.model))


def _models(
    model: str | None, gpu: str | None, given: dict[str, Any], told: Callable[[int, int, str], None] | None
) -> Fitting:
    names = [name for name in names_in(model or "") if name.lower() != ANY]
    if not names:
        names = [entry.id for entry in models() if entry.task_class == "CausalLM"]

    def request(name: str) -> EstimateRequest:
        return from_case({"model": name, "gpu": gpu, **given})

    seen: list[str] = []

    def tell(name: str) -> None:
        seen.append(name)
        if told is not None:
            told(len(seen) - 1, max(len(seen), len(names).bit_length()), name)

    return largest_model(request, names, hardware_of(request(names[0])), tell)
