"""Learning rates of diffusion models: those of diffusers' scripts and of peft's comparison; texts' are not borrowed."""

from __future__ import annotations

from typing import Final

from advisor.catalog.methods.method import Method
from advisor.domain.recommendation import Setting
from advisor.literature.hyperparameters.objective_rates import scaled_as_lora

_DIFFUSERS: Final = "github:huggingface/diffusers@edc24228 examples/dreambooth/train_dreambooth_lora_flux2_klein.py"
_PEFT: Final = "github:huggingface/peft@54fbfdd8 method_comparison/image-gen/default_training_params.json"
_PEFT_FULL: Final = (
    "github:huggingface/peft@dd5afc5c method_comparison/image-gen/results/full-finetuning--flux2-klein-default.json"
)
PICTURES_SEEN: Final = 1500
"""In a training of peft's comparison on FLUX.2: 750 steps of 2 pictures."""
USUAL_BATCH: Final = 4
"""Pictures of a step where nobody says: `--train_batch_size` of diffusers' scripts."""
FULL: Final = Setting(
    name="learning_rate",
    value=5e-5,
    low=5e-6,
    high=1e-4,
    why="of peft's comparison on FLUX.2, 300 steps of 2 pictures; diffusers' scripts take 5e-6 for U-Nets",
    sources=(_PEFT_FULL, "github:huggingface/diffusers examples/dreambooth/train_dreambooth.py"),
)
ADAPTER: Final = Setting(
    name="learning_rate",
    value=1e-4,
    low=3e-5,
    high=1e-3,
    why="of peft's comparison on FLUX.2, LoRA over 750 steps of 2 pictures, and diffusers' examples",
    sources=(_PEFT, _DIFFUSERS),
)
_CONSTANT: Final = Setting(
    name="schedule",
    value="constant",
    choices=("constant", "cosine"),
    why="of diffusers' scripts and peft's comparison",
    sources=(_DIFFUSERS, _PEFT),
)
_NO_WARM_UP: Final = Setting(name="warmup_ratio", value=0.0, why="peft's comparison has none", sources=(_PEFT,))


def usual_epochs_of_pictures(samples: int) -> tuple[float, str]:
    """Passes over so many pictures where nobody says, and the sentence about them."""
    epochs = float(max(1, round(PICTURES_SEEN / samples)))
    return epochs, (
        f"epochs: {epochs:g}, as a training of peft's comparison on FLUX.2 sees {PICTURES_SEEN:,} pictures "
        "(750 steps of 2)"
    )


def denoising_settings(method: Method) -> tuple[Setting, ...]:
    """Learning rate and schedule of a method on a diffusion model, each with its source.

    Published rates are of all weights and of LoRA; another method's is its own on texts, moved as LoRA's is, within a
    wide range.
    """
    if method.family == "full":
        return (FULL, _CONSTANT, _NO_WARM_UP)
    return (scaled_as_lora(ADAPTER, method, "on diffusion models"), _CONSTANT, _NO_WARM_UP)
