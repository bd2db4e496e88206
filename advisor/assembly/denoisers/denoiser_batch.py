"""What a denoiser is handed: noisy latents' ingredients, text embeddings, times and what else its class takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from advisor.domain.model import ModelSpec

if TYPE_CHECKING:
    import torch

COLUMNS: Final = 16
"""Latent positions of a row where a plane's sides are not asked for: sizes hang on the plane's positions alone, and
every U-Net here halves a side three times at most."""
SIZE_NUMBERS: Final = 6
"""Of a picture, which SDXL takes: its size, where it was cut, and the size wanted (arXiv:2307.01952)."""


def denoiser_batch(
    spec: ModelSpec,
    batch: int,
    length: int,
    target: int,
    floats: Callable[..., torch.Tensor],
    dtype: torch.dtype | None,
) -> dict[str, torch.Tensor]:
    """Inputs for B = `batch` pictures of S = `length` latent positions with T = `target` text embeddings each.

    `latents` [B,S,C] of models that take a sequence, [B,C,h,w] of others; `sigmas` [B,1,...] weigh the noise;
    `timestep` [B] in float32; `encoder_hidden_states` [B,T,D]. Besides: positions `img_ids` and `txt_ids` of FLUX,
    `pooled_projections` [B,P] of FLUX.1 and SD 3, `guidance` [B] of distilled models, `text_embeds` and `time_ids` of
    SDXL. Embeddings are in `dtype`, as encoders in that type make them.

    Source: diffusers 0.42, the models' `forward`; its training scripts for dtypes.
    """
    import torch

    config, kind = spec.text_config, spec.model_type
    latents = floats(*latents_of(kind, config, batch, length), of=dtype)
    width = int(config.get("joint_attention_dim") or config["cross_attention_dim"])
    inputs = {
        "latents": latents,
        "sigmas": floats(batch, *([1] * (latents.ndim - 1)), of=dtype),
        "timestep": floats(batch, of=torch.float32),
        "encoder_hidden_states": floats(batch, target, width, of=dtype),
    }
    if kind == "Flux2Transformer2DModel":
        inputs["img_ids"] = torch.zeros(batch, length, 4, dtype=torch.long, device=latents.device)
        inputs["txt_ids"] = torch.zeros(batch, target, 4, dtype=torch.long, device=latents.device)
    if kind == "FluxTransformer2DModel":
        inputs["img_ids"] = torch.zeros(length, 3, dtype=dtype, device=latents.device)
        inputs["txt_ids"] = torch.zeros(target, 3, dtype=dtype, device=latents.device)
    if "pooled_projection_dim" in config:
        inputs["pooled_projections"] = floats(batch, int(config["pooled_projection_dim"]), of=dtype)
    if config.get("guidance_embeds"):
        inputs["guidance"] = floats(batch, of=torch.float32)
    if config.get("addition_embed_type") == "text_time":
        told = SIZE_NUMBERS * int(config["addition_time_embed_dim"])
        inputs["text_embeds"] = floats(batch, int(config["projection_class_embeddings_input_dim"]) - told, of=dtype)
        inputs["time_ids"] = floats(batch, SIZE_NUMBERS, of=dtype)
    return inputs


def latents_of(kind: str, config: Mapping[str, Any], batch: int, length: int) -> tuple[int, ...]:
    """The shape of the latents of `batch` pictures of `length` positions."""
    channels = int(config["in_channels"])
    if kind.startswith("Flux"):
        return batch, length, channels
    patch = int(config.get("patch_size") or 1)
    side = round(length**0.5)
    rows, columns = (side, side) if side * side == length else (length // COLUMNS, COLUMNS)
    return batch, channels, rows * patch, columns * patch
