"""How to learn it: method with its hyperparameters, batch, precision, optimizer, trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field, model_validator

from advisor.domain.plain_values import is_object
from advisor.domain.request.vocabulary import (
    MIXED_DTYPES,
    MIXED_FLAGS,
    Attention,
    Base,
    Batching,
    DType,
    FusedLoss,
    LayerKernels,
    MixedPrecision,
    Reference,
    Trainer,
)
from advisor.domain.stored import Value

KERNEL_FIELDS: Final = ("layer_kernels", "fused_loss", "lora_kernels")
"""Fields of a recipe that earlier files lack."""


class Recipe(Value):
    """One way to fine-tune. The default values are advisor's; a user's own settings replace them.

    `options` are the method's hyperparameters under advisor's names (rank, alpha, dropout,
    target_modules ...); a method says in the catalogue which it takes. `adapter_config` is a user's own
    peft `adapter_config.json` and then stands instead of `options` (method is read from its peft_type).

    `dtype` is what the weights are loaded in: all of a plain base, of a quantised one what is not quantised.
    `mixed_precision` is the trainer's flag: products in that type, whatever the weights are; "no" computes in `dtype`.
    `prepare_kbit_training` is peft's function of that name: what a quantised base holds in 16 bits goes to float32.
    """

    method: str
    options: dict[str, Any] = Field(default_factory=dict)
    adapter_config: dict[str, Any] | None = None
    micro_batch_size: int = Field(1, ge=1, le=10**6)
    gradient_accumulation: int = Field(1, ge=1, le=10**6)
    dtype: DType = "bfloat16"
    mixed_precision: MixedPrecision = "no"
    prepare_kbit_training: bool = False
    base: Base = "dtype"
    optimizer: str = "adamw_torch"
    gradient_checkpointing: bool = False
    attention: Attention = "sdpa"
    trainer: Trainer = "hf"
    batching: Batching = "padded"
    expandable_segments: bool = Field(
        False, description="PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True: the allocator's segments grow"
    )
    reference: Reference | None = Field(
        None, description="of a preference objective: where the reference's log-probabilities come from"
    )
    layer_kernels: LayerKernels = "none"
    fused_loss: FusedLoss = "none"
    lora_kernels: bool = Field(False, description="fused LoRA projections, as axolotl and unsloth have them")
    learning_rate: float | None = Field(None, gt=0)
    head_learning_rate: float | None = Field(
        None, gt=0, description="of a classification head that the checkpoint lacks; None: the learning rate's own"
    )
    schedule: str = "cosine"
    warmup_ratio: float = Field(0.03, ge=0, le=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_files(cls, fields: Any) -> Any:
        """Files before `mixed_precision` said `autocast`: float32 weights of a plain base, products in `dtype`."""
        if not is_object(fields) or "autocast" not in fields:
            return fields
        known = {name: value for name, value in fields.items() if name != "autocast"}
        return {**known, **autocast_fields(known)} if fields["autocast"] is True else known

    @property
    def compute_dtype(self) -> DType:
        """What products are computed in."""
        return MIXED_DTYPES.get(self.mixed_precision, self.dtype)

    @property
    def mixed(self) -> bool:
        """Whether the forward pass runs under autocast."""
        return self.mixed_precision != "no"

    @property
    def precision(self) -> str:
        """In words: `bfloat16`, `float32 with bf16 autocast`, `nf4 beside bfloat16, prepared, with bf16 autocast`."""
        weights = self.dtype if self.base == "dtype" else f"{self.base} beside {self.dtype}"
        prepared = ", prepared for k-bit training" if self.prepare_kbit_training else ""
        return f"{weights}{prepared}{f' with {self.mixed_precision} autocast' if self.mixed else ''}"


def autocast_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`autocast: true` of earlier files and of `--autocast`, as fields of today: where they left `dtype` the type of
    the products, the weights of a plain base were float32."""
    named = fields.get("dtype", "bfloat16")
    flag = MIXED_FLAGS.get(named, "no")
    plain = fields.get("base", "dtype") in (None, "dtype")
    return {"mixed_precision": flag, **({"dtype": "float32"} if plain else {})}


def as_said_before(recipe: Recipe) -> dict[str, Any]:
    """`dtype` and `autocast` as earlier files have them, so that their keys still match; what they had no word for,
    only where it is so."""
    fields: dict[str, Any] = {"dtype": recipe.compute_dtype, "autocast": recipe.mixed}
    usual = "float32" if recipe.base == "dtype" else recipe.compute_dtype
    if recipe.mixed and recipe.dtype != usual:
        fields["weights"] = recipe.dtype
    later = ("prepare_kbit_training", *KERNEL_FIELDS)
    fields |= {name: value for name in later if (value := getattr(recipe, name)) not in (False, "none")}
    return fields
