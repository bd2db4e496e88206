"""Which recipes are legal for a question: methods it may use, bases to hold the weights in, batches to try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from advisor.catalog.constants import load_constants
from advisor.catalog.library_support import check_support
from advisor.catalog.methods import check_recipe, find_method, methods
from advisor.catalog.methods.method import Method
from advisor.catalog.methods.registry import not_on_stored
from advisor.catalog.models.checkpoint import stored_base
from advisor.catalog.models.denoisers import usual_targets
from advisor.catalog.objectives import find_objective, trainer_for, under_objective
from advisor.catalog.optimizer_names import updates_in_backward
from advisor.catalog.training_precision import usual_precision
from advisor.domain.hardware import Gpu
from advisor.domain.recipe import Recipe
from advisor.domain.recommendation import Refusal
from advisor.domain.request.vocabulary import MIXED_DTYPES, Base
from advisor.errors import IllegalRecipe
from advisor.recommender.recommend_request import ResolvedRequest

SMALLER_BASES: Final[tuple[Base, ...]] = ("dtype", "int8", "nf4")
"""From the largest to the smallest; a quantised base is tried only where the ones before it do not fit."""

EIGHT_BIT: Final = "adamw_bnb_8bit"
"""AdamW whose two moments take a byte each instead of four."""
KAHAN: Final = "stable_adamw"
"""AdamW with clipped updates, whose moments and compensation are stored as the weights are: six bytes in bfloat16."""

QUANTISED_TWIN: Final = "qlora"
"""LoRA over nf4, a method of its own name in the catalogue: LoRA itself then leaves nf4 to it."""


def methods_asked(question: ResolvedRequest) -> tuple[list[Method], list[Refusal]]:
    """The methods to try, and those turned away before any arithmetic, with the reason.

    Raises:
        UnknownName: a method in `methods` or `exclude` that is not in the catalogue.
    """
    excluded = {find_method(name).name for name in question.request.exclude}
    wanted = _wanted(question)
    tried: list[Method] = []
    refused: list[Refusal] = []
    for method in wanted:
        kind, reason = _turned_away(question, method, excluded)
        if reason:
            refused.append(Refusal(method=method.name, reason=reason, kind=kind))
        else:
            tried.append(method)
    return tried, refused


def _wanted(question: ResolvedRequest) -> list[Method]:
    named = question.request.method
    return [m for m in methods() if m.core] if named is None else _once([find_method(name) for name in named])


def excluded_in_vain(question: ResolvedRequest) -> tuple[str, ...]:
    """A note on what --exclude names and nobody would have considered."""
    wanted = {method.name for method in _wanted(question)}
    vain = [name for name in map(find_method, question.request.exclude) if name.name not in wanted]
    return tuple(f"--exclude {method.name} changes nothing: it is not among the methods considered" for method in vain)


def _once(named: list[Method]) -> list[Method]:
    return list({method.name: method for method in named}.values())


def _turned_away(question: ResolvedRequest, method: Method, excluded: set[str]) -> tuple[str, str]:
    request = question.request
    if method.name in excluded:
        return "excluded", "excluded by --exclude"
    if request.must_merge and not method.mergeable and method.family != "full":
        return "excluded", f"cannot be merged into the base weights (inference overhead: {method.inference_overhead})"
    bases = list(bases_to_try(question, method))
    if not bases and stored_base(question.spec) is not None:
        return "cannot-run", not_on_stored(method, question.spec)
    if not bases:
        return "cannot-run", f"runs on a base in {' or '.join(sorted(method.bases))} only"
    refused: dict[Base, str] = {}
    for base in bases:
        try:
            recipe = make_recipe(question, method, base, checkpointing=bool(request.gradient_checkpointing))
            check_recipe(question.spec, recipe, question.workload)
            check_support(question.hardware.gpu, recipe, method, question.workload.task)
        except IllegalRecipe as error:
            refused[base] = str(error.fields.get("reason") or error.message)
        else:
            return "", ""
    return "cannot-run", said_by_base(refused)


def said_by_base(reasons: Mapping[Base, str], *, named: bool = False) -> str:
    """Why a method cannot stand on any base: each reason once, with its bases where they differ or `named` asks."""
    bases: dict[str, list[str]] = {}
    for base, reason in reasons.items():
        bases.setdefault(reason, []).append("its own type" if base == "dtype" else base)
    if len(bases) == 1 and not named:
        return next(iter(bases))
    return "; ".join(f"base in {' or '.join(where)}: {reason}" for reason, where in bases.items())


def bases_to_try(question: ResolvedRequest, method: Method) -> Iterator[Base]:
    """The method's own base first, then smaller ones it can stand on."""
    allowed: set[Base] = set(method.bases)
    start = SMALLER_BASES.index(method.default_base)
    stored = stored_base(question.spec)
    if stored is not None:
        # the checkpoint is loaded as it is stored, whichever base was meant
        if stored in allowed:
            yield stored
        return
    if question.request.base is not None:
        allowed &= set(question.request.base)
        start = 0
    else:
        offered = question.request.method
        if method.name == "lora" and (offered is None or QUANTISED_TWIN in offered):
            allowed -= {"nf4"}
    bases: list[Base] = [base for base in SMALLER_BASES[start:] if base in allowed]
    for base in bases:
        if base == bases[-1] or weights_fit(question, base):
            yield base


def weights_fit(question: ResolvedRequest, base: Base) -> bool:
    """Whether the weights alone leave room; a lower bound, which spares the trace of what cannot fit."""
    if question.spec.parameters is None:
        return True
    plain = 4.0 if (question.request.dtype or question.dtype) == "float32" else 2.0
    each = {"dtype": plain, "int8": 1.0, "nf4": 0.5}[base]
    return question.spec.parameters * each < question.hardware.limit_bytes


def checkpointing_to_try(question: ResolvedRequest, method: Method) -> tuple[bool, ...]:
    """Without first: it is faster wherever it fits."""
    asked = question.request.gradient_checkpointing
    if asked is not None:
        return (asked,)
    return (False, True) if method.checkpointing else (False,)


def precisions_to_try(question: ResolvedRequest, method: Method, base: Base) -> Iterator[dict[str, Any]]:
    """How to store what is trained, as fields of a recipe: the next only where the ones before it do not fit.

    First float32 weights with autocast wherever 16 bits would lose updates, then the same with Adam's state in 8 bits
    (Dettmers et al. 2022, arXiv:2110.02861), then bfloat16 weights with Kahan summation, and bfloat16 alone last.
    float16 alone is no way to train at all.
    """
    rate = question.training.get(method.name, {}).get("learning_rate")
    request, half = question.request, question.dtype
    asked, flag = request.dtype, request.mixed_precision
    task, optimizer = question.workload.task, request.optimizer
    first = usual_precision(method, base, task, half=half, rate=rate, dtype=asked, mixed=flag, optimizer=optimizer)
    if asked is not None or base != "dtype" or half == "float32" or first["dtype"] != "float32":
        yield first
        return
    tried: list[dict[str, Any]] = [first]
    own_optimizer = request.optimizer is not None or method.optimizer is not None
    if method.family == "full" and not own_optimizer and question.hardware.gpu.vendor == "nvidia":
        tried.append({**first, "optimizer": EIGHT_BIT})
    narrow = {"dtype": MIXED_DTYPES.get(flag or "no", half), "mixed_precision": flag or "no"}
    if narrow["dtype"] == "bfloat16":
        if method.family == "full" and not own_optimizer and _runs_triton(question.hardware.gpu):
            tried.append({**narrow, "optimizer": KAHAN})
        tried.append(narrow)
    for fields in tried:
        if fields is tried[-1] or _trained_fit(question, method, fields):
            yield fields


def _trained_fit(question: ResolvedRequest, method: Method, precision: Mapping[str, Any]) -> bool:
    """Whether weights, gradients and state leave room: a lower bound, as `weights_fit`."""
    if question.spec.parameters is None:
        return True
    each = 4.0
    if method.family == "full" and method.optimizer is None:
        state = {EIGHT_BIT: 2.0, KAHAN: 6.0}.get(precision.get("optimizer", ""), 8.0)
        stored = 2.0 if precision["dtype"] == "bfloat16" else 4.0
        each = 2 * stored + (state if question.request.optimizer is None else 0.0)
    context = load_constants("memory")["context"].low
    return question.spec.parameters * each + context < question.hardware.limit_bytes


def _runs_triton(gpu: Gpu) -> bool:
    return gpu.vendor == "nvidia" and gpu.bf16_supported is not False


def make_recipe(
    question: ResolvedRequest,
    method: Method,
    base: Base,
    *,
    checkpointing: bool,
    precision: Mapping[str, Any] | None = None,
) -> Recipe:
    """The recipe at the smallest micro-batch, with the method's recommended options; None: the first precision to try.

    Raises:
        IllegalRecipe: the objective's trainer does not take the method.
    """
    request, objective = question.request, question.workload.objective
    fields: dict[str, Any] = {
        "method": method.name,
        "options": {**usual_targets(question.spec, method.options), **question.options.get(method.name, {})},
        "base": base,
        "prepare_kbit_training": base != "dtype" and bool(request.prepare_kbit_training),
        "gradient_checkpointing": checkpointing,
        "attention": request.attn_implementation,
        "trainer": trainer_for(objective, request.trainer_said, question.workload.task),
        "expandable_segments": request.expandable_segments,
        "gradient_accumulation": question.batch_of_rank,
        **question.training.get(method.name, {}),
    }
    if request.optimizer is not None:
        fields["optimizer"] = request.optimizer
        if updates_in_backward(request.optimizer):
            # it knows one rate for all, and transformers hands it no decay
            fields |= {"head_learning_rate": None, "weight_decay": 0.0}
    chosen = next(precisions_to_try(question, method, base)) if precision is None else precision
    recipe = Recipe.model_validate({**fields, **chosen})
    fewest = smallest_micro_batch(question)
    if fewest > 1:
        recipe = with_micro_batch(recipe, fewest, question.workload.effective_batch_size)
    return under_objective(recipe, method, objective, request.reference, question.workload.rollout)[0]


def smallest_micro_batch(question: ResolvedRequest) -> int:
    """Samples of the smallest micro-batch that objective and optimizer take, a divisor of the effective batch."""
    if updates_in_backward(question.request.optimizer or ""):
        return question.workload.effective_batch_size
    fewest, effective = find_objective(question.workload.objective).fewest_rows, question.workload.effective_batch_size
    return next(size for size in range(fewest, effective + 1) if effective % size == 0)


def with_micro_batch(recipe: Recipe, micro: int, effective: int) -> Recipe:
    """The recipe at `micro` samples a forward pass, a divisor of the effective batch that it accumulates to."""
    return recipe.model_copy(update={"micro_batch_size": micro, "gradient_accumulation": effective // micro})
