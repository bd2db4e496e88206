"""What bitsandbytes makes of a small model of every family is what advisor builds on meta, tensor by tensor."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from advisor.assembly.attach import attach
from advisor.assembly.base_model import auto_class, build
from advisor.assembly.quantize import expert_notes, unquantised
from advisor.catalog.models.index import ModelEntry
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.loading import load_model
from advisor.tracer.parameter_census import census_of, expert_share
from tests.assembly.small_families import families, small

Form = tuple[tuple[int, ...], torch.dtype, int]


def forms(model: Any) -> Iterator[tuple[str, Form]]:
    """Name, shape, dtype and bytes of every tensor that lies on the device: weights and what quantisation adds."""
    for name, parameter in model.named_parameters():
        yield name, form(parameter)
        if isinstance(getattr(parameter, "SCB", None), torch.Tensor):
            yield f"{name}.SCB", form(parameter.SCB)
        state, depth = getattr(parameter, "quant_state", None), 0
        while state is not None:
            for part in ("absmax", "code", "offset"):
                if isinstance(getattr(state, part, None), torch.Tensor):
                    yield f"{name}.{part}.{depth}", form(getattr(state, part))
            state, depth = state.state2, depth + 1


def form(tensor: torch.Tensor) -> Form:
    return tuple(tensor.shape), tensor.dtype, tensor.numel() * tensor.element_size()


def loaded(spec: ModelSpec, base: str, dtype: torch.dtype, folder: Path) -> Any:
    """The model as a user loads it: saved with random weights, then quantised by transformers and bitsandbytes."""
    from transformers import BitsAndBytesConfig

    plain = build(spec, workload(spec), Recipe(method="full", dtype="float32"), device="cpu")
    plain.save_pretrained(folder)  # type: ignore[operator]
    # a classifier is trained, so whoever loads it names it as one not to quantise
    kept = unquantised(plain) if spec.task == "sequence-classification" else None
    if base == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype, llm_int8_skip_modules=kept,
        )  # fmt: skip
    return load_model(
        auto_class(spec, spec.task), folder, quantization_config=config, dtype=dtype, device_map={"": "cpu"}
    )


def workload(spec: ModelSpec) -> Workload:
    # the small models hold 256 tokens, of which a prompt takes 100
    return Workload(model=spec.name, task=spec.task, seq_len=64)


OFTEN = ("gpt2", "falcon", "roberta", "distilbert", "t5", "whisper", "qwen3_moe", "gemma4", "llama")
"""Run each time: where layers are no plain linear ones, or heads, ties or experts are of their own kind."""


def entries() -> list[Any]:
    slow = [pytest.mark.exhaustive]
    return [pytest.param(e, id=e.model_type, marks=[] if e.model_type in OFTEN else slow) for e in families()]


@pytest.mark.parametrize("base", ["nf4", "int8"])
@pytest.mark.parametrize("entry", entries())
def test_a_quantised_base_is_what_bitsandbytes_makes(entry: ModelEntry, base: Any, tmp_path: Path) -> None:
    spec = small(entry)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        real = dict(forms(loaded(spec, base, torch.bfloat16, tmp_path)))
        ours = dict(forms(build(spec, workload(spec), Recipe(method="lora", base=base))))
    assert ours == real


@pytest.mark.parametrize("base", ["nf4", "int8"])
@pytest.mark.parametrize("entry", [e for e in families() if e.model_type in ("t5", "mt5")], ids=lambda e: e.model_type)
def test_float16_keeps_what_the_class_keeps_in_float32(entry: ModelEntry, base: Any, tmp_path: Path) -> None:
    spec = small(entry)
    real = dict(forms(loaded(spec, base, torch.float16, tmp_path)))
    ours = dict(forms(build(spec, workload(spec), Recipe(method="lora", base=base, dtype="float16"))))
    assert ours == real
    assert any(name.endswith("wo.weight") and ours[name][1] == torch.float32 for name in ours)


def share_of(spec: ModelSpec, recipe: Recipe) -> float:
    """Of the model with its adapter, which does not count."""
    model = build(spec, workload(spec), recipe)
    base = {id(p) for p in model.parameters()}
    return expert_share(census_of(attach(model, spec, workload(spec), recipe), base).items())


def test_neither_the_base_nor_the_adapter_changes_the_share_of_the_experts() -> None:
    spec = small(next(e for e in families() if e.model_type == "qwen3_moe"))
    plain = build(spec, workload(spec), Recipe(method="lora"))
    fused = sum(p.numel() for name, p in plain.named_parameters() if ".experts." in name)
    expected = fused / sum(p.numel() for p in plain.parameters())
    for method, base in (
        ("lora", "dtype"),
        ("lora", "nf4"),
        ("full", "dtype"),
        ("prompt-tuning", "dtype"),
        ("lora", "int8"),
    ):
        assert share_of(spec, Recipe(method=method, base=base)) == pytest.approx(expected)


@pytest.mark.parametrize("base", ["nf4", "dtype"])
def test_experts_held_as_one_tensor_are_told_of(base: Any) -> None:
    spec = small(next(e for e in families() if e.model_type == "qwen3_moe"))
    share = share_of(spec, Recipe(method="lora", base=base))
    assert 0.1 < share < 0.9
    said = " ".join(expert_notes(share, Recipe(method="lora", base=base), adapts_linear_layers=True))
    assert ("stay in bfloat16" in said) == (base == "nf4")
    assert "target_parameters" in said
    assert not expert_notes(0.0, Recipe(method="lora", base=base), adapts_linear_layers=True)
