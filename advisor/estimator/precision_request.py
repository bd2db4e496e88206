"""In what precision a recipe is priced: what was said, what the trainer does, and what is taken where neither says."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

from advisor.catalog.kernel_support import refuse_beside_objective, with_kernels
from advisor.catalog.library_support import allocator_note, check_support
from advisor.catalog.methods import find_method
from advisor.catalog.methods.method import Method
from advisor.catalog.models.checkpoint import with_stored_base
from advisor.catalog.models.denoisers import peak_note, usual_targets
from advisor.catalog.models.tasks import task_for
from advisor.catalog.objectives import rollout_for, task_of, trainer_for, under_objective
from advisor.catalog.optimizer_names import PACKAGES, optimizer_named, quality_under, updates_in_backward
from advisor.catalog.training_precision import needs_float32_weights, usual_precision
from advisor.domain.hardware import Gpu
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe, autocast_fields
from advisor.domain.request.vocabulary import MIXED_DTYPES, MIXED_FLAGS, DType, MixedPrecision, Task, Trainer
from advisor.errors import BadRequest
from advisor.estimator.estimate_request import EstimateRequest, recipe_of
from advisor.estimator.gpu_request import dtype_asked

PREPARES: Final[dict[Trainer, tuple[bool, str]]] = {
    "hf": (False, "transformers 5.23's Trainer"),
    "trl": (False, "TRL 1.16's SFTTrainer"),
    "loop": (False, "a plain loop"),
    "axolotl": (True, "axolotl 0.19"),
    "unsloth": (False, "unsloth 2026.10.9"),
}
"""Whether a trainer calls peft's prepare_model_for_kbit_training by itself. Read in trl 1.16, `SFTTrainer.__init__`,
and transformers 5.23, `Trainer`; peft's guide (docs, "Quantization") has the user call it. axolotl 0.19 does, in
loaders/model.py; unsloth 2026.10.9 casts what is trained alone, in unsloth_zoo's training_utils.py."""
MIXES: Final[dict[str, str]] = {"axolotl": "axolotl 0.19", "unsloth": "unsloth 2026.10.9"}
"""Trainers that mix precisions whenever weights are loaded in 16 bits (axolotl's `bf16` is both; unsloth_zoo,
training_utils.py, UNSLOTH_MIXED_PRECISION)."""

RATES: Final = {
    "lomo": "lomo steps by the gradient itself, as SGD",
    "adalomo": "adalomo scales its rate by the size of each parameter, as Adafactor can",
    "sgd": "SGD steps by the gradient itself, whose size AdamW divides by",
    "adagrad": "Adagrad's steps shrink as the squares of all gradients so far add up",
    "rmsprop": "RMSprop has no first moment",
    "lion": "Lion steps by a sign, and its authors take a third to a tenth of AdamW's (arXiv:2302.06675)",
    "ademamix": "AdEMAMix adds a slower moment to the step (arXiv:2409.03137)",
    "adafactor": "Adafactor holds no first moment and clips each update by its own size (arXiv:1804.04235)",
}
"""Of lomo-optim 0.1.1, lomo.py and adalomo.py; of torch.optim and bitsandbytes; of transformers' Adafactor."""


def _own_rate(name: str) -> str:
    """Why an optimizer's rate is not AdamW's; "" where it is."""
    found = [why for start, why in RATES.items() if name.removeprefix("paged_").startswith(start)]
    return found[0] if found else ""


INT8_CHECKPOINTED: Final = (
    "int8 base: checkpointing saves little: bitsandbytes' int8 layers keep their inputs where non-reentrant "
    "checkpointing, transformers' default, cannot drop them; beside --base nf4 it does, and use_reentrant=True, "
    "which is not priced, would here"
)
"""Read in bitsandbytes 0.50.2, autograd/_functions.py: `MatMul8bitLt` keeps tensors as attributes of its context."""


def recipe_asked(request: EstimateRequest, spec: ModelSpec, gpu: Gpu | None) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe a request asks for, in the precision and with the kernels that it is priced, exported and trained in,
    and what to say of those.

    Args:
        gpu: the card; None where none was named: nothing is then said or refused of it.

    Raises:
        BadRequest: `autocast` beside `mixed_precision`.
        IllegalRecipe: a precision in which nothing trains, or that a library does not run on the card.
        as `recipe_of`.
    """
    recipe = recipe_of(request)
    if spec.task_class == "Denoising":
        trainer = trainer_for(request.objective or "sft", request.trainer_said, spec.task)
        options = {**usual_targets(spec, find_method(recipe.method).options), **recipe.options}
        as_asked = recipe.options if recipe.adapter_config is not None else options
        recipe = recipe.model_copy(update={"trainer": trainer, "options": as_asked})
    if request.base is None:
        recipe = with_stored_base(spec, recipe)
    objective = request.objective or "sft"
    task = task_for(spec, task_of(objective, spec, request.task))
    recipe, said = under_objective(
        recipe, find_method(recipe.method), objective, request.reference, rollout_for(objective, request)
    )
    settled, notes = _settled(request, recipe, spec, task, gpu)
    liger, loss, lora = request.use_liger_kernel, request.fused_loss, request.lora_kernels
    if objective != "sft":
        refuse_beside_objective(settled, objective, liger=liger, loss=loss)
    settled, more = with_kernels(settled, spec, task, gpu, liger=liger, loss=loss, lora=lora)
    return settled, (*said, *notes, *more, *_not_of_trl(settled, spec, task), *peak_note(task, settled.method))


def _not_of_trl(recipe: Recipe, spec: ModelSpec, task: Task) -> tuple[str, ...]:
    """That TRL's loss is of decoders alone (trl 1.16, `SFTTrainer.__init__` and `add_fused_lm_head`)."""
    if recipe.trainer != "trl" or (task == "causal-lm" and spec.architecture == "decoder"):
        return ()
    return (
        f"TRL's SFTTrainer trains causal language models, and {spec.name} is trained for {task}: priced as "
        "transformers' Trainer, --trainer hf",
    )


def _settled(
    request: EstimateRequest, recipe: Recipe, spec: ModelSpec, task: Task, gpu: Gpu | None
) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe in the precision asked for: `autocast` is the earlier word, float32 weights of a plain base and
    products in `dtype`; False is no mixed precision. What was left open is taken as usual."""
    dtype, autocast, mixed = request.dtype, request.autocast, request.mixed_precision
    method = find_method(recipe.method)
    if autocast is not None and mixed is not None:
        raise BadRequest(
            "autocast and mixed_precision say the same thing",
            hints=["leave autocast out: mixed_precision with dtype says it all"],
            field="mixed_precision",
        )
    half, notes = ("bfloat16", ()) if gpu is None else dtype_asked(None, gpu, spec)
    if dtype is not None:
        notes = () if gpu is None else dtype_asked(dtype, gpu, spec)[1]
    if mixed is None and autocast is None and dtype != "float32" and recipe.trainer in MIXES:
        # bf16 or fp16 of their own accord; of whole models unsloth keeps the weights in float32
        whole = recipe.trainer == "unsloth" and method.name == "full"
        mixed = MIXED_FLAGS.get(dtype or half, "no")
        dtype = "float32" if whole and dtype is None else dtype or half
        notes = (*notes, f"precision: mixed in {mixed}, as {MIXES[recipe.trainer]} does of its own accord")
    if autocast:
        fields = {"dtype": dtype or half, "base": recipe.base}
        chosen: dict[str, Any] = {"dtype": fields["dtype"], **autocast_fields(fields)}
    else:
        flag = "no" if autocast is False else mixed
        chosen = usual_precision(
            method,
            recipe.base,
            task,
            half=half,
            rate=recipe.learning_rate,
            dtype=dtype,
            mixed=flag,
            optimizer=recipe.optimizer,
        )
        if dtype is None:
            notes = (*notes, *_taken(recipe, method, task, chosen, half, flag))
    prepared, said = _prepared(recipe, recipe.prepare_kbit_training or request.prepare_kbit_training)
    settled = recipe.model_copy(update={**chosen, "prepare_kbit_training": prepared})
    if settled.trainer == "trl" and mixed is None and autocast is None and not settled.mixed:
        said += ("mixed precision: no; TRL's own default (SFTConfig) is bf16: --mixed-precision bf16 prices it",)
    if autocast and settled.mixed:
        over = "plain weights in float32" if recipe.base == "dtype" else f"a {recipe.base} base"
        flag = f"--mixed-precision {settled.mixed_precision}"
        said += (f"precision: --autocast, the earlier word, is {flag} over {over}",)
    if autocast and not settled.mixed:
        said += ("--autocast changes nothing: in float32 the products are in it already",)
    if settled.base == "int8" and settled.gradient_checkpointing:
        said += (INT8_CHECKPOINTED,)
    if gpu is not None:
        check_support(gpu, settled, method, task)
        said += tuple(note for note in (allocator_note(gpu),) if note)
    more = to_train_here(settled)
    return settled, (*notes, *said, *optimizer_notes(settled), *((more,) if more else ()))


def _taken(
    recipe: Recipe, method: Method, task: Task, chosen: dict[str, Any], half: DType, mixed: MixedPrecision | None
) -> tuple[str, ...]:
    """What was taken where nobody said what the weights are loaded in, and why."""
    narrow = MIXED_DTYPES.get(mixed or "no", half)
    if chosen["dtype"] != "float32" or narrow == "float32":
        return ()
    if not needs_float32_weights(method, narrow, task, recipe.learning_rate):
        return ()
    why = "a GradScaler refuses it" if narrow == "float16" else "most of its steps would be rounded away"
    flag = chosen["mixed_precision"]
    how = f"with mixed precision {flag}" if flag != "no" else "throughout"
    return (
        f"precision: float32 weights {how}, as recommend takes for {method.name}: in {narrow} {why}; "
        f"--dtype {narrow} prices that",
    )


def to_train_here(recipe: Recipe) -> str:
    """What to install before this machine could train the recipe; "" where nothing is missing. A plan needs none."""
    named = optimizer_named(recipe.optimizer)
    needed = {} if named is None or not named.package else {named.package: PACKAGES[named.package]}
    if recipe.base != "dtype":
        needed["bitsandbytes"] = PACKAGES["bitsandbytes"]
    missing = {name: one for name, one in needed.items() if find_spec(one.module) is None}
    if not missing:
        return ""
    extras = ",".join(sorted(one.extra for one in missing.values()))
    which = "which is" if len(missing) == 1 else "which are"
    return (
        f"planned without {' and '.join(missing)}, {which} not installed here; to train it on this machine: "
        f"pip install 'advisor[{extras}]'"
    )


def optimizer_notes(recipe: Recipe) -> tuple[str, ...]:
    """What an optimizer does otherwise than a reader of its recipe would think, and what is not known of it."""
    name, unknown = recipe.optimizer, quality_under(recipe.optimizer)
    notes = [f"quality: {unknown}"] if unknown else []
    if own := _own_rate(name):
        rate = "" if recipe.learning_rate is None else f", {recipe.learning_rate:g} or another,"
        notes.append(f"learning rate: the usual ones are AdamW's; {own}, so the right one{rate} is to be searched for")
    if updates_in_backward(name):
        notes.append(
            f"optimizer: {name} updates each parameter within the backward pass, in float32 and one at a time; no "
            "gradient is left to clip by its norm (max_grad_norm changes nothing), and none accumulates"
        )
    if name == "adalomo":
        # lomo-optim 0.1.1, adalomo.py: its statistics are attributes, which `state_dict` does not hold
        notes.append("optimizer: adalomo saves no statistics with a checkpoint, so a resumed run begins them anew")
    return tuple(notes)


def _prepared(recipe: Recipe, asked: bool | None) -> tuple[bool, tuple[str, ...]]:
    """Whether the quantised base is prepared, and the note that says what was taken."""
    if asked is not None or recipe.base == "dtype":
        return bool(asked), ()
    does, who = PREPARES[recipe.trainer]
    other = "--no-prepare-kbit-training" if does else "--prepare-kbit-training"
    what = "norms, embeddings and head in float32" if does else "norms, embeddings and head as they are loaded"
    return does, (f"quantised base: {what}, as {who} leaves them; {other} prices the other",)
