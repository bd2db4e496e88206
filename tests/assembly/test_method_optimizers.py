"""Optimizers that methods are defined by, and starts that read training batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from advisor.assembly.adapters.data_driven_init import AdapterStart, save_start
from advisor.assembly.adapters.method_optimizers import GaLoreAdamW, make_method_optimizer
from advisor.assembly.adapters.sparse import SparseDelta, choose_by_fisher
from advisor.assembly.attach import attach
from advisor.assembly.optimizers import give_own_rate
from advisor.assembly.parameter_count import trainable_parameters
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe, UnknownName

torch.set_num_threads(1)
CONFIG = LlamaConfig(
    hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, vocab_size=64, pad_token_id=0
)
SPEC = ModelSpec(
    name="m",
    asked="m",
    source="catalogue",
    where="",
    config=CONFIG.to_dict(),
    task_class="CausalLM",
    architecture="decoder",
)
WORKLOAD = Workload(model="m")


def model() -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIG, dtype=torch.float32)


def batches(count: int = 4) -> list[dict[str, torch.Tensor]]:
    made = torch.Generator().manual_seed(1)
    ids = [torch.randint(1, 64, (4, 12), generator=made) for _ in range(count)]
    return [{"input_ids": i, "attention_mask": torch.ones_like(i), "labels": i} for i in ids]


def test_galore_at_full_rank_of_the_gradient_steps_like_adamw_in_its_basis() -> None:
    torch.manual_seed(0)
    target = torch.randn(24, 16)
    start = torch.randn(24, 16)
    galore = torch.nn.Parameter(start.clone())
    optimizer = GaLoreAdamW([galore], lr=0.05, rank=8, scale=1.0, refresh_every=20)
    before = (galore - target).norm().item()
    for _ in range(200):
        optimizer.zero_grad()
        (0.5 * (galore - target).square().sum()).backward()
        optimizer.step()
    assert (galore - target).norm().item() < before / 4
    assert optimizer.state[galore]["mean"].shape == (24, 8)
    assert optimizer.state[galore]["basis"].shape == (16, 8)


def test_galore_is_adamw_for_vectors() -> None:
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    galore = GaLoreAdamW([ours], lr=0.1, weight_decay=0.01)
    adamw = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.01, eps=1e-8)
    for step in range(10):
        for parameter, optimizer in ((ours, galore), (theirs, adamw)):
            optimizer.zero_grad()
            ((parameter - torch.arange(5.0) * step) ** 2).sum().backward()
            optimizer.step()
    # eps enters before the bias correction in one and after it in the other
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_lora_plus_gives_b_its_higher_rate() -> None:
    recipe = Recipe(method="lora-plus", options={"rank": 4, "rate_ratio": 8})
    attached = attach(model(), SPEC, WORKLOAD, recipe)
    optimizer = make_method_optimizer("loraplus", attached, recipe, 1e-3)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in attached.named_parameters():
        if parameter.requires_grad:
            assert rates[id(parameter)] == pytest.approx(8e-3 if "lora_B" in name else 1e-3)


def test_lora_fa_never_moves_a() -> None:
    recipe = Recipe(method="lora-fa", options={"rank": 4})
    attached = attach(model(), SPEC, WORKLOAD, recipe)
    optimizer = make_method_optimizer("lorafa", attached, recipe, 1e-2)
    a = {n: p.detach().clone() for n, p in attached.named_parameters() if "lora_A" in n}
    b = {n: p.detach().clone() for n, p in attached.named_parameters() if "lora_B" in n}
    for batch in batches(2):
        attached(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    now = dict(attached.named_parameters())
    assert all(torch.equal(now[n], p) for n, p in a.items())
    assert any(not torch.equal(now[n], p) for n, p in b.items())


def test_a_head_with_its_own_rate_keeps_the_names_that_lora_fa_goes_by() -> None:
    recipe = Recipe(method="lora-fa", options={"rank": 4})
    attached = attach(model(), SPEC, WORKLOAD, recipe)
    optimizer = make_method_optimizer("lorafa", attached, recipe, 1e-2)
    trained = dict(attached.named_parameters())
    one = next(n for n in trained if "lora_B" in n)
    give_own_rate(optimizer, [trained[one]], 0.5)
    for group in optimizer.param_groups:
        assert [trained[name] is p for name, p in zip(group["names"], group["params"], strict=True)].count(False) == 0
    assert (optimizer.param_groups[-1]["names"], optimizer.param_groups[-1]["lr"]) == ([one], 0.5)


def test_a_lora_optimizer_without_lora_is_refused() -> None:
    with pytest.raises(IllegalRecipe, match="LoRA adapter"):
        make_method_optimizer("lorafa", model(), Recipe(method="full"), 1e-3)


def test_an_unknown_method_optimizer_is_named() -> None:
    with pytest.raises(UnknownName, match="sgdx"):
        make_method_optimizer("sgdx", model(), Recipe(method="full"), 1e-3)


@pytest.mark.parametrize("name", ["corda", "lora-ga"])
def test_starts_from_data_differ_from_plain_lora_and_keep_the_model(name: str, tmp_path: Path) -> None:
    recipe = Recipe(method=name, options={"rank": 4})
    base = model()
    expected = base.eval()(**batches(1)[0]).logits
    attached = attach(base, SPEC, WORKLOAD, recipe, AdapterStart(batches(24)))
    b = [p for n, p in attached.named_parameters() if "lora_B" in n]
    assert all(p.abs().max() > 0 for p in b), "B at zero is plain LoRA's start"
    assert torch.allclose(attached.eval()(**batches(1)[0]).logits, expected, atol=1e-3)
    save_start(attached, tmp_path / "start.safetensors")
    again = attach(model(), SPEC, WORKLOAD, recipe, AdapterStart(saved=tmp_path / "start.safetensors"))
    there = dict(again.named_parameters())
    assert all(torch.allclose(p, there[n], atol=1e-5) for n, p in attached.named_parameters()), "the base's too"


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["pissa", "olora", "corda", "lora-ga"])
def test_a_saved_start_gives_the_very_base_that_was_trained_on(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """In 16 bits too: a resume must not move the base under what was learned."""
    if dtype == torch.float16 and name == "lora-ga":
        pytest.skip("its gradients overflow in float16 on a random model")
    recipe = Recipe(method=name, options={"rank": 4}, dtype=str(dtype).removeprefix("torch."))  # type: ignore[arg-type]
    attached = attach(model().to(dtype), SPEC, WORKLOAD, recipe, AdapterStart(batches(24)))
    save_start(attached, tmp_path / "start.safetensors")
    again = attach(model().to(dtype), SPEC, WORKLOAD, recipe, AdapterStart(saved=tmp_path / "start.safetensors"))
    there = dict(again.named_parameters())
    unlike = {n: (p != there[n]).float().mean().item() for n, p in attached.named_parameters()}
    assert not {n: share for n, share in unlike.items() if share}, "share of entries that differ"


@pytest.mark.slow
def test_eva_shares_out_ranks_from_activations(tmp_path: Path) -> None:
    recipe = Recipe(method="eva", options={"rank": 4})
    plain = attach(model(), SPEC, WORKLOAD, recipe)
    attached = attach(model(), SPEC, WORKLOAD, recipe, AdapterStart(batches(24)))
    before = {n: p for n, p in plain.named_parameters() if "lora_A" in n}
    after = {n: p for n, p in attached.named_parameters() if "lora_A" in n}
    assert any(n not in after or after[n].shape != p.shape or not torch.equal(after[n], p) for n, p in before.items())
    assert trainable_parameters(attached) <= 2 * trainable_parameters(plain)
    save_start(attached, tmp_path / "start.safetensors")
    again = attach(model(), SPEC, WORKLOAD, recipe, AdapterStart(saved=tmp_path / "start.safetensors"))
    there = {n: p for n, p in again.named_parameters() if "lora_A" in n}
    assert there.keys() == after.keys()
    assert all(torch.equal(p, after[n]) for n, p in there.items())


def test_the_fisher_mask_trains_the_entries_with_the_largest_gradients() -> None:
    attached = attach(model(), SPEC, WORKLOAD, Recipe(method="fish-mask", options={"share": 0.01}))
    choose_by_fisher(attached, batches(1))
    plain = model()
    plain(**batches(1)[0]).loss.backward()
    path, layer = next((n, m) for n, m in attached.named_modules() if isinstance(m, SparseDelta))
    gradient = plain.get_submodule(path).weight.grad.square().flatten()
    assert set(layer.chosen.tolist()) == set(gradient.topk(len(layer.values)).indices.tolist())
    assert not any(p.requires_grad for n, p in attached.named_parameters() if "base_layer" in n)
