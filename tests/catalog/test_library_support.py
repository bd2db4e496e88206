"""Every combination of GPU, precision, base, optimizer and trainer against what each library runs, and the ways out."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from advisor.catalog.gpus import find_gpu, gpus
from advisor.catalog.library_support import ALLOCATORS, STATE_IN_WEIGHT_DTYPE, Setup, check_support, refused
from advisor.catalog.methods import find_method
from advisor.catalog.optimizer_names import OPTIMIZERS
from advisor.domain.recipe import Recipe
from advisor.errors import IllegalRecipe


@dataclass(frozen=True)
class Card:
    """What a card runs: an allocator that is modelled, bfloat16, bitsandbytes' parts, fp16 mixed precision."""

    memory: bool = True
    bf16: bool = True
    nf4: bool = True
    int8: bool = True
    eight_bit: bool = True
    paged: bool = True
    fp16: bool = True


NEW = Card()
TURING = Card(bf16=False)
OLDER = Card(bf16=False, int8=False)
COMPILED = Card(memory=False)
CARDS = {
    "T4": TURING, "RTX-2080-Ti": TURING, "V100-16GB": OLDER, "TITAN-V": OLDER, "P100-16GB": OLDER, "P40": OLDER,
    "GTX-1080-Ti": OLDER, "A100-80GB": NEW, "RTX-3090": NEW, "L4": NEW, "L40S": NEW, "H100": NEW, "B200": NEW,
    "RTX-5090": NEW, "MI300X": NEW, "MI250X": NEW, "RX-7900-XTX": NEW,
    "Apple-M3-32GB": Card(eight_bit=False, paged=False),
    "Ascend-910B": Card(nf4=False, int8=False, eight_bit=False, paged=False),
    "TPU-v5e": COMPILED, "Trainium2": COMPILED, "Gaudi3": COMPILED,
    "cpu": Card(fp16=False),
}  # fmt: skip
"""bitsandbytes 0.50.2 (README and installation guide), accelerate 1.15, NVIDIA's table of compute capabilities."""

DTYPES = ("bfloat16", "float16", "float32")
FLAGS = ("bf16", "fp16", "no")
BASES = ("dtype", "int8", "nf4")
OPTIMIZER_NAMES = (
    "adamw_torch", "adamw_torch_fused", "adamw_bnb_8bit", "paged_adamw_8bit", "adafactor", "sgd", "lion_8bit",
)  # fmt: skip
TRAINERS = ("loop", "hf", "trl")
METHODS = ("full", "lora", "qlora")


def setups(card: str) -> list[Setup]:
    gpu = None if card == "cpu" else find_gpu(card)[0]
    found: list[Setup] = []
    for name in METHODS:
        method = find_method(name)
        for base, dtype, flag, optimizer, trainer in itertools.product(
            sorted(method.bases), DTYPES, FLAGS, OPTIMIZER_NAMES, TRAINERS
        ):
            fields: dict[str, Any] = {"base": base, "dtype": dtype, "mixed_precision": flag}
            recipe = Recipe(method=name, optimizer=optimizer, trainer=trainer, **fields)  # pyright: ignore
            found.append(Setup(gpu, recipe, method, "causal-lm"))
    return found


def runs(card: Card, setup: Setup) -> bool:
    """What the libraries' own tables say, one line each."""
    recipe = setup.recipe
    math = {"bf16": "bfloat16", "fp16": "float16", "no": recipe.dtype}[recipe.mixed_precision]
    trained = recipe.dtype if recipe.method == "full" else "float32"
    if recipe.trainer == "trl" and recipe.base != "dtype":
        trained = "bfloat16"
    paged, bits = recipe.optimizer.startswith("paged"), "8bit" in recipe.optimizer
    return (
        card.memory
        and (card.bf16 or "bfloat16" not in (recipe.dtype, math))
        and {"dtype": True, "int8": card.int8, "nf4": card.nf4}[recipe.base]
        and (card.paged if paged else card.eight_bit or not bits)
        and (card.fp16 or recipe.mixed_precision != "fp16")
        and not (recipe.mixed_precision == "fp16" and trained != "float32")
        and not (trained == "float16" and recipe.optimizer in ("adamw_torch", "adamw_torch_fused"))
    )


@pytest.mark.parametrize("card", CARDS)
def test_each_combination_is_refused_exactly_where_a_library_cannot(card: str):
    tried = setups(card)
    assert len(tried) >= 500
    wrong = [s.recipe for s in tried if (refused(s) is None) != runs(CARDS[card], s)]
    assert not wrong, (len(wrong), wrong[:3])


@pytest.mark.parametrize("card", CARDS)
def test_the_way_out_leads_to_what_runs(card: str):
    for setup in setups(card):
        recipe, at, seen = setup.recipe, setup, 0
        while (found := refused(at)) is not None:
            assert found.reason
            assert found.source
            assert found.way_out
            if found.instead is None:
                assert not CARDS[card].memory
                break
            seen += 1
            assert seen < 6, (setup.recipe, recipe, found)
            recipe = recipe.model_copy(update=dict(found.instead))
            at = Setup(setup.gpu, recipe, find_method(recipe.method), "causal-lm")
        if found is None:
            assert recipe.base in at.method.bases


def test_every_vendor_of_the_catalogue_has_an_allocator_named():
    assert {gpu.vendor for gpu in gpus()} <= set(ALLOCATORS)
    assert all(known.source.startswith("https://") for known in ALLOCATORS.values())


def test_the_error_says_reason_source_and_way_out():
    t4 = find_gpu("T4")[0]
    full = Recipe(method="full", dtype="float16")
    with pytest.raises(IllegalRecipe, match="updates become infinite") as caught:
        check_support(t4, full, find_method("full"), "causal-lm")
    assert "--dtype float32 --mixed-precision fp16" in str(caught.value)
    assert "https://" in caught.value.cause
    scaled = full.model_copy(update={"mixed_precision": "fp16"})
    with pytest.raises(IllegalRecipe, match="GradScaler"):
        check_support(t4, scaled, find_method("full"), "causal-lm")
    flash = Recipe(method="full", dtype="float32", attention="flash_attention_2")
    with pytest.raises(IllegalRecipe, match="16 bits only"):
        check_support(find_gpu("A100")[0], flash, find_method("full"), "causal-lm")
    plain = Recipe(method="lora", prepare_kbit_training=True)
    with pytest.raises(IllegalRecipe, match="quantised base"):
        check_support(find_gpu("A100")[0], plain, find_method("lora"), "causal-lm")


@pytest.mark.parametrize("name", ["AdamW", "Adagrad", "RMSprop", "SGD"])
def test_float16_weights_become_infinite_under_the_optimizers_that_are_refused(name: str):
    weight = torch.nn.Parameter(torch.ones(8, dtype=torch.float16))
    optimizer = getattr(torch.optim, name)([weight], lr=1e-4)
    for _ in range(2):
        weight.grad = torch.full_like(weight, 1e-4)
        optimizer.step()
    ours = {"AdamW": "adamw_torch", "Adagrad": "adagrad", "RMSprop": "rmsprop", "SGD": "sgd"}[name]
    assert bool(torch.isfinite(weight).all()) != (ours in STATE_IN_WEIGHT_DTYPE)


def test_a_grad_scaler_refuses_float16_gradients():
    weight = torch.nn.Parameter(torch.ones(8, dtype=torch.float16))
    optimizer = torch.optim.SGD([weight], lr=1e-4)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale((weight * 1e-4).sum()).backward()
    with pytest.raises(ValueError, match="unscale FP16 gradients"):
        scaler.unscale_(optimizer)


def test_what_no_optimizer_of_the_table_is_missing():
    assert {one.name for one in OPTIMIZERS} >= STATE_IN_WEIGHT_DTYPE - {"galore", "loraplus", "lorafa"}


WITHIN_BACKWARD = {
    "accumulate": ({"gradient_accumulation": 4, "micro_batch_size": 2}, "--batch-size 8 --gradient-accumulation 1"),
    "GradScaler": ({"mixed_precision": "fp16", "dtype": "float32"}, "--mixed-precision bf16"),
    "scales no loss": ({"dtype": "float16"}, "--dtype float32"),
    "gradients after each step": ({"method": "adalora"}, "--optimizer adafactor"),
    "one learning rate": ({"head_learning_rate": 1e-3}, "no --head-learning-rate"),
    "unsloth rewrites": ({"trainer": "unsloth"}, "--trainer hf"),
}
"""What is refused of LOMO -> the recipe, and the way out."""


@pytest.mark.parametrize("reason", WITHIN_BACKWARD)
def test_what_an_update_within_the_backward_pass_leaves_no_room_for(reason: str):
    fields, out = WITHIN_BACKWARD[reason]
    recipe = Recipe.model_validate({"method": "full", "optimizer": "lomo", **fields})
    setup = Setup(find_gpu("H100")[0], recipe, find_method(recipe.method), "causal-lm")
    found = refused(setup)
    assert found is not None
    assert reason in found.reason
    assert found.way_out == out
    ways = dict(found.instead or {})
    assert refused(Setup(setup.gpu, recipe.model_copy(update=ways), setup.method, "causal-lm")) is None
    elsewhere = recipe.model_copy(update={"optimizer": "adafactor"})
    assert reason not in getattr(refused(Setup(setup.gpu, elsewhere, setup.method, "causal-lm")), "reason", "")


@pytest.mark.parametrize(("card", "name", "runs"), [
    ("H100", "adalomo", True), ("MI300X", "adalomo", True), ("Apple-M3-32GB", "adalomo", False),
    ("cpu", "adalomo", False), ("cpu", "lomo", True), ("Apple-M3-32GB", "lomo", True), ("V100-16GB", "lomo", True),
])  # fmt: skip
def test_where_lomo_runs(card: str, name: str, runs: bool):
    recipe = Recipe(method="full", optimizer=name, dtype="float32")
    gpu = None if card == "cpu" else find_gpu(card)[0]
    found = refused(Setup(gpu, recipe, find_method("full"), "causal-lm"))
    assert (found is None) == runs
    assert found is None or found.way_out == "--optimizer adamw_torch"
