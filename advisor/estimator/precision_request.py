"""In what precision a recipe is priced: what was said, what the trainer does, and what is taken where neither says."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

from advisor.catalog.constants import load_constants
from advisor.catalog.library_support import allocator_note, check_support
from advisor.catalog.methods.method import Method
from advisor.catalog.optimizer_names import KEEPS_UPDATES, OF_BITSANDBYTES
from advisor.catalog.training_precision import needs_float32_weights, usual_precision
from advisor.domain.candidate import Candidate
from advisor.domain.hardware import Gpu
from advisor.domain.model import ModelSpec
from advisor.domain.quantity import Quantity
from advisor.domain.recipe import Recipe, autocast_fields
from advisor.domain.request.vocabulary import MIXED_DTYPES, DType, MixedPrecision, Task, Trainer
from advisor.errors import BadRequest
from advisor.estimator.gpu_request import dtype_asked

PREPARES: Final[dict[Trainer, tuple[bool, str]]] = {
    "hf": (False, "transformers 5.23's Trainer"),
    "trl": (False, "TRL 1.16's SFTTrainer"),
    "loop": (False, "a plain loop"),
}
"""Whether a trainer calls peft's prepare_model_for_kbit_training by itself. Read in trl 1.16, `SFTTrainer.__init__`,
and transformers 5.23, `Trainer`; peft's guide (docs, "Quantization") has the user call it."""


def with_precision(
    recipe: Recipe,
    method: Method,
    gpu: Gpu,
    spec: ModelSpec,
    task: Task,
    *,
    dtype: DType | None,
    mixed: MixedPrecision | None,
    autocast: bool | None,
    prepare: bool | None,
) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe in the precision asked for, what was left open taken as usual, and what to say of it.

    Args:
        dtype: what the weights are loaded in; None: the usual for the method.
        mixed: the trainer's flag; None: none, but over float32 weights that 16 bits would not do for.
        autocast: the earlier word for both: float32 weights of a plain base, products in `dtype`.
        prepare: peft's prepare_model_for_kbit_training; None: as the trainer does.

    Raises:
        BadRequest: `autocast` beside `mixed`.
        IllegalRecipe: a precision in which nothing trains, or that a library does not run on the card.
    """
    half, notes = dtype_asked(None, gpu, spec)
    if autocast is not None and mixed is not None:
        raise BadRequest(
            "autocast and mixed_precision say the same thing",
            hints=["leave autocast out: mixed_precision with dtype says it all"],
            field="mixed_precision",
        )
    if dtype is not None:
        notes = dtype_asked(dtype, gpu, spec)[1]
    rate = recipe.learning_rate
    if autocast:
        fields = {"dtype": dtype or half, "base": recipe.base}
        chosen: dict[str, Any] = {"dtype": fields["dtype"], **autocast_fields(fields)}
    else:
        flag = "no" if autocast is False and dtype is not None else mixed
        chosen = usual_precision(
            method, recipe.base, task, half=half, rate=rate, dtype=dtype, mixed=flag, optimizer=recipe.optimizer
        )
        if dtype is None:
            notes = (*notes, *_taken(recipe, method, task, chosen, half, mixed))
    prepared, said = _prepared(recipe, prepare)
    settled = recipe.model_copy(update={**chosen, "prepare_kbit_training": prepared})
    check_support(gpu, settled, method, task)
    if settled.trainer == "trl" and mixed is None and autocast is None and not settled.mixed:
        said += ("mixed precision: no; TRL's own default (SFTConfig) is bf16: --mixed-precision bf16 prices it",)
    more = (allocator_note(gpu), to_train_here(settled))
    return settled, (*notes, *said, *(note for note in more if note))


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
    if recipe.optimizer in KEEPS_UPDATES and find_spec("optimi") is None:
        return "planned without torch-optimi, which is not installed here; to train it: pip install 'advisor[optimi]'"
    if recipe.base == "dtype" and recipe.optimizer not in OF_BITSANDBYTES:
        return ""
    if find_spec("bitsandbytes") is not None:
        return ""
    return (
        "planned without bitsandbytes, which is not installed here; to train it on this machine: "
        "pip install 'advisor[quant]'"
    )


def _prepared(recipe: Recipe, asked: bool | None) -> tuple[bool, tuple[str, ...]]:
    """Whether the quantised base is prepared, and the note that says what was taken."""
    if asked is not None or recipe.base == "dtype":
        return bool(asked), ()
    does, who = PREPARES[recipe.trainer]
    other = "--no-prepare-kbit-training" if does else "--prepare-kbit-training"
    what = "norms, embeddings and head in float32" if does else "norms, embeddings and head as they are loaded"
    return does, (f"quantised base: {what}, as {who} leaves them; {other} prices the other",)


def with_own_allocator(candidate: Candidate, gpu: Gpu) -> Candidate:
    """The candidate on a card whose memory another allocator than CUDA's hands out: what is reserved has a wider range.

    It reaches from what is allocated, which no allocator undercuts, to the usual fragmentation above CUDA's.
    """
    if not allocator_note(gpu):
        return candidate
    memory, usual = candidate.memory, load_constants("memory")["fragmentation"].high

    def widened(predicted: Quantity) -> Quantity:
        low = predicted.low - memory.peak_reserved.mid + memory.peak_allocated.low
        return predicted.model_copy(update={"low": min(predicted.low, low), "high": predicted.high * usual})

    wider = {name: widened(getattr(memory, name)) for name in ("peak_reserved", "peak_device")}
    return candidate.model_copy(update={"memory": memory.model_copy(update=wider)})
