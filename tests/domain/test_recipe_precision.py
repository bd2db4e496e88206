"""What earlier files said of precision is read as what it meant, and keys made of it stay as they were."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from advisor.domain.recipe import Recipe, as_said_before


@pytest.mark.parametrize(
    ("earlier", "weights", "flag", "math"),
    [
        ({"dtype": "bfloat16", "autocast": True}, "float32", "bf16", "bfloat16"),
        ({"dtype": "float16", "autocast": True}, "float32", "fp16", "float16"),
        ({"autocast": True}, "float32", "bf16", "bfloat16"),
        ({"dtype": "bfloat16", "autocast": False}, "bfloat16", "no", "bfloat16"),
        ({"dtype": "float32", "autocast": True}, "float32", "no", "float32"),
        ({"dtype": "bfloat16", "autocast": True, "base": "nf4"}, "bfloat16", "bf16", "bfloat16"),
    ],
)
def test_autocast_of_earlier_files_is_read(earlier, weights, flag, math):
    recipe = Recipe.model_validate({"method": "lora", **earlier})
    assert (recipe.dtype, recipe.mixed_precision, recipe.compute_dtype) == (weights, flag, math)
    assert "autocast" not in recipe.model_dump()
    assert Recipe.model_validate(recipe.model_dump()) == recipe


def test_keys_of_what_earlier_files_could_say_are_unchanged_and_the_rest_have_their_own():
    def said(**fields):
        return as_said_before(Recipe.model_validate({"method": "lora", **fields}))

    assert said(dtype="float32", mixed_precision="bf16") == {"dtype": "bfloat16", "autocast": True}
    assert said(dtype="bfloat16") == {"dtype": "bfloat16", "autocast": False}
    assert said(dtype="bfloat16", mixed_precision="bf16", base="nf4") == {"dtype": "bfloat16", "autocast": True}
    assert said(dtype="bfloat16", mixed_precision="bf16")["weights"] == "bfloat16"
    assert said(dtype="float32", mixed_precision="bf16", base="nf4")["weights"] == "float32"
    assert said(base="nf4", prepare_kbit_training=True)["prepare_kbit_training"] is True
    everything = [
        str(said(dtype=dtype, mixed_precision=flag, base=base, prepare_kbit_training=prepared))
        for dtype in ("bfloat16", "float16", "float32")
        for flag in ("bf16", "fp16", "no")
        for base in ("dtype", "nf4")
        for prepared in (False, True)
    ]
    halves = len(everything) // 2
    assert len(set(everything[0::4] + everything[1::4])) == halves
    assert len(set(everything[2::4] + everything[3::4])) == halves


def test_a_flag_nobody_has_is_refused():
    with pytest.raises(ValidationError):
        Recipe.model_validate({"method": "lora", "mixed_precision": "fp8"})
