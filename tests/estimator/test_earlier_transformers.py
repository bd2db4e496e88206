"""Logits that transformers 4.46 to 4.48 keep: where, how many bytes, and for which releases."""

from __future__ import annotations

import pytest

from advisor.domain.candidate import Memory
from advisor.domain.quantity import Quantity
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.estimator.batch_lengths import Shape
from advisor.estimator.memory.earlier_transformers import keeps_logits, kept_logits, kept_logits_note
from tests.tracer.models import DECODER

LOGITS = 2 * 512 * (DECODER.vocabulary or 0)
LARGEST = Shape(2, 512.0)


def memory(phase: str = "backward", of_logits: int = 12 * LOGITS, peak: float = 30.0 * LOGITS) -> Memory:
    size = Quantity.exact(peak, "B", "modelled", "")
    return Memory(
        peak_allocated=size,
        peak_reserved=size,
        allocated_after_step=size,
        peak_device=size,
        breakdown={"logits and loss": of_logits},
        peak_phase=phase,
    )


def kept(found: Memory, workload: Workload | None = None, **fields: object) -> int:
    recipe = Recipe.model_validate(
        {"method": "lora", "micro_batch_size": 2, "dtype": "bfloat16", "trainer": "hf", **fields}
    )
    return kept_logits(found, LARGEST, workload or Workload(model="m"), recipe, DECODER)


def test_two_bytes_a_logit_where_the_peak_is_at_the_loss():
    assert kept(memory()) == kept(memory("loss")) == 2 * LOGITS > 0
    assert kept(memory(), dtype="float32", mixed_precision="bf16") == 2 * LOGITS
    recipe = Recipe(method="lora", micro_batch_size=2, dtype="bfloat16", trainer="hf")
    (said,) = kept_logits_note(memory(), LARGEST, Workload(model="m"), recipe, DECODER)
    assert "transformers 4.46 to 4.48" in said


@pytest.mark.parametrize(
    ("found", "fields"),
    [
        (memory("optimizer"), {}),
        (memory(of_logits=4 * LOGITS), {}),
        (memory(), {"dtype": "float32"}),
        (memory(), {"trainer": "trl"}),
        (memory(), {"fused_loss": "liger"}),
    ],
    ids=["peak elsewhere", "few logits there", "float32", "tiles of TRL", "fused"],
)
def test_nothing_elsewhere(found: Memory, fields: dict[str, object]):
    assert kept(found, **fields) == 0


def test_what_is_no_hundredth_of_the_peak_is_not_said():
    recipe = Recipe(method="lora", micro_batch_size=2, dtype="bfloat16", trainer="hf")
    assert kept_logits_note(memory(peak=300.0 * LOGITS), LARGEST, Workload(model="m"), recipe, DECODER) == []


@pytest.mark.parametrize(
    ("software", "keeps"),
    [
        ("TRL SFTTrainer + peft, transformers 4.48.1 trl 0.13.0", True),
        ("transformers 4.46.0", True),
        ("transformers 4.45.2 trl 0.11.4", False),
        ("transformers 4.49.0", False),
        ("transformers 5.17.0", False),
        ("torchtune 0.5", False),
    ],
)
def test_releases_are_read_from_what_a_source_says_of_its_software(software: str, keeps: bool):
    assert keeps_logits(software) is keeps
