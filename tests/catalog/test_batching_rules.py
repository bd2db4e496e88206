"""Samples that share a row: where no batches can be made so, and where each would see the others."""

from __future__ import annotations

import pytest

import advisor
from advisor.catalog.methods import batching_warning
from advisor.domain.recipe import Recipe

SHARED = ("packed", "padding-free")


@pytest.mark.parametrize("batching", SHARED)
@pytest.mark.parametrize(
    ("model", "holds"), [("bert-base-uncased", "one label a row"), ("google-t5/t5-small", "targets of their own")]
)
def test_only_texts_that_go_on_can_share_a_row(model: str, holds: str, batching: str) -> None:
    with pytest.raises(advisor.AdvisorError, match=f"{holds}, so they are padded, never {batching}") as found:
        advisor.estimate(model, "L4", method="lora", batching=batching)
    assert any("--batching padded" in hint for hint in found.value.hints)


@pytest.mark.parametrize("batching", ["padded", "grouped"])
def test_padded_rows_never_see_each_other(batching: str) -> None:
    assert batching_warning(Recipe.model_validate({"method": "lora", "batching": batching})) == ""


@pytest.mark.parametrize("batching", SHARED)
def test_rows_are_kept_apart_by_flash_attention_alone(batching: str) -> None:
    def warned(attention: str) -> str:
        return batching_warning(Recipe.model_validate({"method": "lora", "batching": batching, "attention": attention}))

    assert warned("flash_attention_2") == ""
    assert "may see those before it" in warned("sdpa")
    assert "with eager attention" in warned("eager")


def test_an_answer_says_that_samples_see_each_other() -> None:
    def said(attention: str) -> bool:
        found = advisor.estimate(
            "Qwen/Qwen2.5-0.5B", "A100", method="lora", batching="packed", attn_implementation=attention
        )
        return any(line.startswith("batches: packed samples share a row") for line in found.assumptions)

    assert said("sdpa")
    assert not said("flash_attention_2")


def test_the_short_answer_names_what_harms(capsys: pytest.CaptureFixture[str]) -> None:
    from advisor.interfaces.terminal.answer import estimated

    found = advisor.estimate("Qwen/Qwen2.5-0.5B", "A100", method="lora", batching="packed")
    assert found.warnings
    assert set(found.warnings) <= set(found.assumptions)
    lines = [str(line) for line in estimated(found)]
    assert any(line.startswith("note     batches: packed samples share a row") for line in lines)
