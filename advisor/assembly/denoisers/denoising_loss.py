"""The loss of a diffusion step: noise is added to latents, and the denoiser says what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch
    from torch import nn

CONDITIONS: Final = ("text_embeds", "time_ids")
"""Inputs that SDXL's U-Net takes together, as `added_cond_kwargs`."""


def denoising_loss(model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
    """Mean squared error of the prediction, in float32, over B pictures (`denoiser_batch` names the inputs).

    Rectified flow (FLUX, SD 3) mixes latents and noise and predicts their difference; noise prediction (U-Nets) adds
    noise by its level and predicts it. Both hold the same tensors.

    Source: diffusers 0.42, examples/dreambooth/train_dreambooth_lora_flux2_klein.py and train_dreambooth_lora_sdxl.py.
    """
    import torch

    latents, level = inputs.pop("latents"), inputs.pop("sigmas")
    noise = torch.randn_like(latents)
    noisy = (1.0 - level) * latents + level * noise
    if any(name in inputs for name in CONDITIONS):
        inputs["added_cond_kwargs"] = {name: inputs.pop(name) for name in CONDITIONS}
    predicted = model(noisy, return_dict=False, **inputs)[0]
    wanted = noise - latents
    apart = (predicted.float() - wanted.float()) ** 2
    return apart.reshape(wanted.shape[0], -1).mean(1).mean()
