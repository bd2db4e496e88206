"""Which batches a task has, and when samples that share a row see each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from advisor.domain.recipe import Recipe
    from advisor.domain.workload import Workload

_SHARED_ROW: Final = ("packed", "padding-free")


def against_batching(recipe: Recipe, workload: Workload) -> tuple[str, list[str]] | None:
    """Why no batches can be made as the recipe asks, and what can; None where they can.

    Source: `DataCollatorWithFlattening` of transformers 5.23 and packing of trl 1.16 join token ids and labels of one
    sequence each; a class label and an encoder's input with a target of its own have no place there.
    """
    if recipe.batching not in _SHARED_ROW or workload.task == "causal-lm":
        return None
    holds = "one label a row" if workload.task == "sequence-classification" else "inputs and targets of their own"
    reason = f"{workload.task} samples have {holds}, so they are padded, never {recipe.batching}"
    return reason, ["nearest legal choice: --batching padded", "or --batching grouped, which pads less"]


def batching_warning(recipe: Recipe) -> str:
    """What is wrong with samples that share a row; "" where nothing is.

    Source: trl 1.16 warns so; only flash attention is told where one sample ends.
    """
    if recipe.batching not in _SHARED_ROW or recipe.attention == "flash_attention_2":
        return ""
    return (
        f"batches: {recipe.batching} samples share a row, and with {recipe.attention} attention each may see those "
        "before it; --attn-implementation flash_attention_2 keeps them apart"
    )
