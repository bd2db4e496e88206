"""One micro-batch of the right shapes: what a collator would hand the model for this task."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from advisor.assembly.denoisers.denoiser_batch import denoiser_batch
from advisor.assembly.image_batch import image_inputs
from advisor.assembly.objectives.preference_batch import preference_batch
from advisor.assembly.objectives.rollout_batch import rollout_batch, scored_before
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload

if TYPE_CHECKING:
    import torch


def make_batch(
    spec: ModelSpec,
    workload: Workload,
    batch: int,
    length: int,
    target: int,
    *,
    padded: bool,
    device: str,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    recipe: Recipe | None = None,
) -> dict[str, torch.Tensor]:
    """Model inputs of B = `batch` samples of S = `length` tokens (T = `target` for an encoder-decoder).

    Text: input_ids[B,S], labels ([B,S], [B] or [B,T]) and, when padded, attention_mask[B,S] with a zero in it,
    so that no model takes the shortcut it has for full batches. Images: pixel_values; audio:
    input_features; both in `dtype`. Texts with pictures: see `image_inputs`. Diffusion models (`denoiser_batch`) and
    other objectives have batches of their own (`preference_batch`, `rollout_batch`, where T is a completion's length),
    in which what the `recipe` computes beforehand stands.
    """
    import torch

    make = torch.Generator().manual_seed(seed)
    vocabulary = spec.vocabulary or 2

    def tokens(rows: int, columns: int) -> torch.Tensor:
        if device == "meta":
            return torch.empty(rows, columns, dtype=torch.long, device="meta")
        return torch.randint(0, vocabulary, (rows, columns), generator=make).to(device)

    def floats(*shape: int, of: torch.dtype | None = dtype) -> torch.Tensor:
        if device == "meta":
            return torch.empty(*shape, device="meta", dtype=of)
        return torch.randn(*shape, generator=make).to(device=device, dtype=of)

    if spec.task_class == "Denoising":
        return denoiser_batch(spec, batch, length, target, floats, dtype)
    inputs: dict[str, torch.Tensor] = {}
    if workload.rollout is not None and recipe is not None:
        scored = scored_before(workload, recipe)
        return rollout_batch(workload, scored, tokens, batch, length, target, padded=padded)
    if workload.objective != "sft":
        reference = None if recipe is None else recipe.reference
        return preference_batch(workload.objective, reference, tokens, batch, length, padded=padded)
    if spec.task_class == "ImageClassification":
        size = workload.image_size or int(spec.text_config.get("image_size") or 224)
        inputs["pixel_values"] = floats(batch, int(spec.text_config.get("num_channels") or 3), size, size)
    elif spec.task_class == "SpeechSeq2Seq":
        frames = 2 * int(spec.config.get("max_source_positions") or 1500)
        inputs["input_features"] = floats(batch, int(spec.config.get("num_mel_bins") or 80), frames)
    else:
        inputs["input_ids"] = tokens(batch, length)
        if padded:
            mask = torch.ones(batch, length, dtype=torch.long, device=device)
            if device != "meta":
                mask[0, -1] = 0
            inputs["attention_mask"] = mask
        if workload.images is not None:
            inputs |= image_inputs(
                spec, workload.images, inputs["input_ids"], functools.partial(floats, of=torch.float32)
            )
    if workload.task == "sequence-classification":
        if device == "meta":
            inputs["labels"] = torch.empty(batch, dtype=torch.long, device="meta")
        else:
            inputs["labels"] = torch.randint(0, workload.num_labels, (batch,), generator=make).to(device)
    elif spec.architecture == "encoder-decoder":
        inputs["labels"] = tokens(batch, target)
    else:
        inputs["labels"] = inputs["input_ids"].clone()
    return inputs
