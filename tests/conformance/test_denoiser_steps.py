"""A diffusion model's step allocates on meta what it allocates for real, to the byte."""

from __future__ import annotations

from typing import Any, Final

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from advisor.assembly.attach import attach
from advisor.assembly.base_model import build
from advisor.assembly.batch import make_batch
from advisor.assembly.denoisers.denoiser_model import checkpoint_denoiser
from advisor.assembly.denoisers.denoising_loss import denoising_loss
from advisor.assembly.optimizers import make_optimizer
from advisor.assembly.parameter_count import total_parameters
from advisor.catalog.methods import find_method
from advisor.catalog.models.denoisers import denoisers, spec_of_denoiser
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from tests.conformance.test_allocated_bytes import Counted

FLUX: Final[dict[str, Any]] = {
    "in_channels": 8, "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
    "joint_attention_dim": 24, "axes_dims_rope": [4, 4, 8],
}  # fmt: skip
CONFIGS: Final[dict[str, dict[str, Any]]] = {
    "Flux2Transformer2DModel": {**FLUX, "axes_dims_rope": [4, 4, 4, 4], "guidance_embeds": False},
    "FluxTransformer2DModel": {**FLUX, "pooled_projection_dim": 20, "guidance_embeds": True},
    "SD3Transformer2DModel": {
        "sample_size": 32, "patch_size": 2, "in_channels": 4, "num_layers": 2, "attention_head_dim": 16,
        "num_attention_heads": 2, "joint_attention_dim": 24, "caption_projection_dim": 32,
        "pooled_projection_dim": 20, "pos_embed_max_size": 32, "out_channels": 4,
    },
    "UNet2DConditionModel": {
        "sample_size": 32, "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "cross_attention_dim": 24,
        "block_out_channels": [32, 64], "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"], "norm_num_groups": 8, "attention_head_dim": 8,
        "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 48 + 16,
    },
}  # fmt: skip
POSITIONS, TEXTS = 256, 8


def tiny(kind: str) -> ModelSpec:
    return ModelSpec(
        name=kind,
        asked=kind,
        source="catalogue",
        where="tests",
        config={"model_type": kind, "denoiser": CONFIGS[kind], "targets": ["to_q", "to_k", "to_v", "to_out.0"]},
        task_class="Denoising",
        architecture="denoiser",
    )


def two_steps(kind: str, recipe: Recipe, device: str) -> tuple[int, int]:
    """Bytes allocated over two steps, and alive at their peak, with the model and the batches."""
    torch.manual_seed(0)
    spec, workload = tiny(kind), Workload(model=kind, task="denoising", seq_len=POSITIONS, target_len=TEXTS)
    model: Any = attach(build(spec, workload, recipe, device=device), spec, workload, recipe).train()
    if recipe.gradient_checkpointing:
        checkpoint_denoiser(model)
    optimizer = make_optimizer(model, recipe, find_method(recipe.method).optimizer)
    batches = [
        make_batch(spec, workload, 2, POSITIONS, TEXTS, padded=False, device=device, dtype=torch.float32, seed=seed)
        for seed in range(2)
    ]
    counted = Counted()
    with counted, sdpa_kernel(SDPBackend.MATH):
        for tensor in (*model.parameters(), *model.buffers(), *(t for batch in batches for t in batch.values())):
            counted.see(tensor)
        for batch in batches:
            denoising_loss(model, dict(batch)).backward()
            optimizer.step()
            optimizer.zero_grad()
    return counted.total, counted.peak


@pytest.mark.slow
def test_every_denoiser_of_the_catalogue_is_built_with_as_many_parameters_as_it_says() -> None:
    for entry in denoisers():
        spec = spec_of_denoiser(entry, entry.id)
        model = build(spec, Workload(model=entry.id, task="denoising"), Recipe(method="full"), device="meta")
        assert total_parameters(model) == entry.parameters, entry.id
        names = [name for name, _ in model.named_modules()]
        for target in entry.targets:
            assert any(name == target or name.endswith(f".{target}") for name in names), (entry.id, target)


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_meta_and_real_steps_of_a_denoiser_allocate_the_same_bytes(kind: str, method: str, checkpointing: bool) -> None:
    recipe = Recipe(method=method, dtype="float32", trainer="loop", gradient_checkpointing=checkpointing)
    real, empty = (two_steps(kind, recipe, device) for device in ("cpu", "meta"))
    assert real == empty
