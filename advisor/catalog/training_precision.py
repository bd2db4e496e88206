"""What 16-bit storage does to weights that are trained, and which models leave the range of float16.

bfloat16 keeps 8 significant bits, so half a bit of a weight is at least 2^-9 of it (IEEE 754 rounding); an AdamW step
moves a weight by about the learning rate (Kingma and Ba 2015, arXiv:1412.6980, section 2.1). A smaller step is rounded
away. Mixed precision keeps float32 weights for that reason (Micikevicius et al. 2018, arXiv:1710.03740, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from advisor.catalog.methods.method import Method
from advisor.catalog.optimizer_names import KEEPS_UPDATES
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import MIXED_DTYPES, MIXED_FLAGS, Base, DType, MixedPrecision, Task

HALF_A_BIT: Final = 2.0**-9
"""Of bfloat16, as a share of the weight: the least that any step must exceed."""

WEIGHT_SIZE: Final = 0.1
"""Of the larger weights of a layer: five standard deviations of the usual start, 0.02 (transformers'
`initializer_range`)."""
NORM_SIZE: Final = 1.0
"""Of a normalisation's scales, which start at one."""

MEASURED_IN_BFLOAT16: Final = (0.570, 0.747)
"""Accuracy of full fine-tuning at 2e-5 in pure bfloat16 and in float32 on the same rows: the project's own measurement;
one model and one data set, so it bounds a loss and predicts none."""

UNSCALED: Final = (
    "what is trained is stored in float16 and no loss is scaled: gradients below 6e-8 are 0 (Micikevicius et al. 2018, "
    "arXiv:1710.03740, section 3.2), and no GradScaler takes float16 gradients "
    "(https://github.com/huggingface/peft/issues/1249)"
)
"""Of the optimizers that compute in float32; what the others do is refused (`library_support`)."""


@dataclass(frozen=True, slots=True)
class Float16Overflow:
    """Model types whose activations exceed float16's largest number, 65504, and who says so."""

    model_types: tuple[str, ...]
    says: str
    source: str


FLOAT16_OVERFLOWS: Final = (
    Float16Overflow(
        ("t5", "mt5", "umt5"),
        "was trained in bfloat16, and its feed-forward layers exceed float16's largest number: the loss becomes NaN",
        "https://github.com/huggingface/transformers/pull/10956",
    ),
    Float16Overflow(
        ("gemma3", "gemma3_text"),
        "has activations and gradients that become infinite in float16",
        "https://unsloth.ai/blog/gemma3",
    ),
    Float16Overflow(
        ("gemma3n", "gemma3n_text"),
        "has activations that become infinite in float16",
        "https://unsloth.ai/blog/gemma-3n",
    ),
)
"""Gemma 2 was not looked up. Gemma 4 is not here because sources disagree: one pull request measured a largest
activation of 2,080 (https://github.com/unslothai/unsloth/pull/4875), another mends NaN in GRPO."""


def float16_overflow(spec: ModelSpec) -> str:
    """Why a model cannot be trained in float16, with the source; "" where nothing is known of it."""
    for known in FLOAT16_OVERFLOWS:
        if spec.model_type in known.model_types:
            return f"{spec.name} {known.says} ({known.source})"
    return ""


def rate_of(method: Method, recipe: Recipe | None = None) -> float:
    """The learning rate of a recipe, or the method's usual one."""
    if recipe is not None and recipe.learning_rate is not None:
        return recipe.learning_rate
    default = method.learning_rate.default
    return float(default) if isinstance(default, int | float) else 0.0


def loses_updates(method: Method, rate: float) -> bool:
    """Whether bfloat16 rounds steps of this size away for many of the weights a method trains."""
    size = NORM_SIZE if method.name == "layernorm-tuning" else WEIGHT_SIZE
    return method.trains_in_base_dtype and rate < HALF_A_BIT * size


def needs_float32_weights(method: Method, dtype: DType, task: Task, rate: float | None = None) -> bool:
    """Whether what is trained must not be stored in `dtype`.

    In float16 nothing that is trained may be, a new classification head included; in bfloat16 what learns in steps
    below half a bit, at `rate` or at the method's usual one.
    """
    if dtype == "float16":
        return method.trains_in_base_dtype or task == "sequence-classification"
    return dtype == "bfloat16" and loses_updates(method, rate_of(method) if rate is None else rate)


def usual_precision(
    method: Method,
    base: Base,
    task: Task,
    *,
    half: DType,
    rate: float | None = None,
    dtype: DType | None = None,
    mixed: MixedPrecision | None = None,
    optimizer: str | None = None,
) -> dict[str, Any]:
    """What weights are loaded in and the trainer's flag, as fields of a recipe, where a user left either open.

    Float32 weights with autocast where 16 bits would lose what is trained, else all in 16 bits.

    Args:
        half: the card's 16-bit type, or float32 where the model can do with none.
        rate: the learning rate; None: the method's usual one.
        dtype: what the weights are to be loaded in, where it was said.
        mixed: the trainer's flag, where it was said.
        optimizer: the one that was asked for; one that keeps the updates of bfloat16 weights needs no others.
    """
    if dtype is not None:
        return {"dtype": dtype, "mixed_precision": mixed or "no"}
    half = MIXED_DTYPES.get(mixed or "no", half)
    # beside a quantised base only a new head is trained, which bfloat16 holds
    needs = needs_float32_weights(method, half, task, rate) and (base == "dtype" or half == "float16")
    keeps = optimizer in KEEPS_UPDATES and half == "bfloat16"
    if not needs or keeps or half == "float32":
        return {"dtype": half, "mixed_precision": mixed or "no"}
    return {"dtype": "float32", "mixed_precision": mixed or MIXED_FLAGS[half]}


def keeps_updates(recipe: Recipe) -> bool:
    """Whether the optimizer carries on what bfloat16 weights would lose of its steps."""
    return recipe.dtype == "bfloat16" and recipe.optimizer in KEEPS_UPDATES


def precision_warning(method: Method, recipe: Recipe, task: Task) -> str:
    """What is wrong with training in the precision of a recipe; "" where nothing is."""
    stored_in_base = method.trains_in_base_dtype or bool((recipe.adapter_config or {}).get("modules_to_save"))
    if recipe.dtype == "float32" or recipe.prepare_kbit_training:
        return ""
    if keeps_updates(recipe):
        return ""
    if recipe.dtype == "float16":
        return f"precision: {UNSCALED}" if stored_in_base or task == "sequence-classification" else ""
    rate = rate_of(method, recipe)
    beside = stored_in_base and not method.trains_in_base_dtype and rate < HALF_A_BIT * WEIGHT_SIZE
    if not loses_updates(method, rate) and not beside:
        return ""
    low, high = MEASURED_IN_BFLOAT16
    return (
        f"precision: what is trained is stored in bfloat16, where a step at rate {rate:g} is below half a bit of every "
        f"weight above {rate / HALF_A_BIT:.2g} and is lost; measured at 2e-5, full fine-tuning: accuracy {low:.3f} "
        f"against {high:.3f} in float32 on the same rows"
    )
