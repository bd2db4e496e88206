"""The denoiser of a diffusion model, built by diffusers from the catalogue's definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from advisor.assembly.dtypes import torch_dtype
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.errors import UnsupportedModel
from advisor.loading import denoiser_class

if TYPE_CHECKING:
    from torch import nn


def build_denoiser(
    spec: ModelSpec, recipe: Recipe, *, device: str, depth: Mapping[str, int] | None = None
) -> nn.Module:
    """The denoiser in training mode, without an adapter, with random weights unless on meta.

    Args:
        depth: layers by the keyword that holds a depth, to build fewer.

    Raises:
        UnsupportedModel: diffusers does not build it from these keywords.
    """
    import torch
    from torch import nn

    kind = denoiser_class(spec.model_type)
    try:
        with torch.device(device):
            model: nn.Module = kind(**{**spec.text_config, **(depth or {})})
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError) as error:
        raise UnsupportedModel(
            f"{spec.name} cannot be built by the installed diffusers",
            cause=f"{type(error).__name__}: {error}",
            hints=["to upgrade: pip install -U diffusers"],
            model=spec.name,
        ) from error
    # diffusers' own `to` warns of layers to keep in float32 even where there are none
    nn.Module.to(model, torch_dtype(recipe.dtype))
    model.train()
    return model


def checkpoint_denoiser(model: Any, context: Callable[[], Any] | None = None) -> None:
    """Switch gradient checkpointing on, non-reentrant as diffusers does; random state is kept on the host.

    `model` is a denoiser, with an adapter of peft's around it or without. diffusers 0.42,
    `ModelMixin.enable_gradient_checkpointing`.

    Args:
        context: makes the contexts of the forward pass and of its repetition; None: neither has one.
    """
    import torch.utils.checkpoint

    settings: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
    if context is not None:
        settings["context_fn"] = context
    checkpoint = cast("Any", torch.utils.checkpoint).checkpoint

    def run(module: Any, *inputs: Any) -> Any:
        return checkpoint(module.__call__, *inputs, **settings)

    base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    base.enable_gradient_checkpointing(run)
