"""BD-LoRA: LoRA with one factor block-diagonal, so that tensor-parallel serving needs no communication."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advisor.catalog.methods.builders import (
    LORA_SERVED,
    NOT_STUDIED,
    UNQUANTISED,
    comparison,
    library,
    lora_keywords,
    lora_options,
    number,
    rate,
)
from advisor.catalog.methods.method import Method

if TYPE_CHECKING:
    from advisor.domain.model import ModelSpec

_READS = ["o_proj", "down_proj", "out_proj", "fc2", "wo", "o", "output.dense", "dense_4h_to_h", "c_proj", "Wo"]


def _options(spec: ModelSpec, options: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in options.items() if name != "blocks"}
    # layers that gather (row-parallel) get a block-diagonal A, all others a block-diagonal B
    blocks = {
        "nblocks": options["blocks"],
        "target_modules_bd_a": _READS,
        "target_modules_bd_b": None,
        "match_strict": False,
    }
    return {**lora_keywords()(spec, plain), "use_bdlora": blocks}


METHOD = Method(
    name="bd-lora",
    title="BD-LoRA",
    says="LoRA with block-diagonal factors, made for tensor-parallel serving",
    family="reparameterised",
    subfamily="block-diagonal low-rank",
    paper=library("lora/config.py, BdLoraConfig"),
    year=2025,
    options=lora_options(
        blocks=number(
            2,
            comparison("lora/llama-3.2-3B-rank14-target-mlp-bdlora"),
            1,
            64,
            "blocks: the number of devices that will serve",
            True,
        )
    ),
    learning_rate=rate(1e-4, comparison("lora/llama-3.2-3B-rank14-target-mlp-bdlora"), 1e-5, 1e-3),
    peft_type="LORA",
    peft_options=_options,
    adapter_marks={"use_bdlora": True},
    bases=UNQUANTISED,
    mergeable=True,
    serving=LORA_SERVED,
    needs_peft="0.20.0",
    transposed=False,
    evidence_names=("bdlora", "bd-lora"),
    failure_modes=("blocks must divide both widths and the rank of every layer adapted",),
    forgetting=NOT_STUDIED,
)
