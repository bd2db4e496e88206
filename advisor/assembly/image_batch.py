"""What a vision-language model is handed beside its texts: pictures as its processor makes them, and their tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from advisor.catalog.models.image_tokens import AREAS, most_tokens, pooled, reads_own_size, tile_side
from advisor.domain.model import ModelSpec
from advisor.domain.workload import SampleImages

if TYPE_CHECKING:
    import torch


def image_inputs(
    spec: ModelSpec,
    images: SampleImages,
    input_ids: torch.Tensor,
    floats: Callable[..., torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Pixels and marks for `input_ids` [B,S], in each row of which pictures take the first positions.

    P patches of a picture, N = B x pictures, T tiles of each of Z x Z pixels. Besides pixel_values, in float32 as
    processors make them: of towers that read any size [N x P, pixels of a patch], with image_grid_thw [N,3] and
    mm_token_type_ids [B,S]; of Pixtral's [N,3,height,width], with image_sizes [N,2]; of towers of one size
    [N x T,3,Z,Z], of Idefics3 and SmolVLM [B, pictures x T,3,Z,Z] with pixel_attention_mask, of Llama 3.2 Vision
    [B, pictures, T,3,Z,Z] with what says which tiles are there and who attends to them. `input_ids` is changed in
    place unless it has no values.
    """
    import torch

    rows, columns = images.grid
    tower = spec.config["vision_config"]
    batch, count = input_ids.shape[0], input_ids.shape[0] * images.count
    marks = _place(spec, images, input_ids)
    channels = int(tower.get("num_channels") or tower.get("in_channels") or 3)
    if spec.model_type in AREAS:
        patch = int(tower.get("patch_size") or 14)
        width = channels * int(tower.get("temporal_patch_size") or 2) * patch**2
        grid = torch.tensor([[1, rows, columns]] * count, device="cpu").to(input_ids.device)
        pixels = floats(count * rows * columns, width)
        return {"pixel_values": pixels, "image_grid_thw": grid, "mm_token_type_ids": marks}
    if reads_own_size(spec):
        patch = int(tower.get("patch_size") or 16)
        sizes = torch.tensor([[rows * patch, columns * patch]] * count, device="cpu").to(input_ids.device)
        return {"pixel_values": floats(count, channels, rows * patch, columns * patch), "image_sizes": sizes}
    if spec.model_type == "gemma4":
        pool, patch = pooled(spec)
        room = most_tokens(spec) * pool**2
        pixels = floats(count, room, channels * patch**2)
        return {
            "pixel_values": pixels,
            "image_position_ids": _positions(images, room, input_ids, count),
            "mm_token_type_ids": marks,
        }
    side = tile_side(spec)
    if spec.model_type in ("idefics3", "smolvlm"):
        pixels = floats(batch, images.count * images.tiles, channels, side, side)
        mask = torch.ones(batch, images.count * images.tiles, side, side, dtype=torch.long, device=input_ids.device)
        return {"pixel_values": pixels, "pixel_attention_mask": mask}
    if spec.model_type == "mllama":
        pixels = floats(batch, images.count, images.tiles, channels, side, side)
        return {"pixel_values": pixels, **_attended(images, input_ids)}
    pixels = floats(count * images.tiles, channels, side, side)
    return {"pixel_values": pixels, **({"token_type_ids": marks} if spec.model_type in TYPED else {})}


TYPED: Final = frozenset({"gemma3", "paligemma"})
"""Model types whose processor hands on which positions are pictures', or may be seen by all before them."""


def _place(spec: ModelSpec, images: SampleImages, input_ids: torch.Tensor) -> torch.Tensor:
    """Put the tokens of pictures where they belong, and say so: [B,S] with 1 there. Without values nothing is put."""
    import torch

    marks = torch.zeros_like(input_ids)
    if input_ids.device.type == "meta":
        return marks
    token = int(spec.config.get("image_token_id", spec.config.get("image_token_index", 0)))
    input_ids[input_ids == token] = 0
    for at in range(images.count):
        # a token between two pictures, as processors mark where each ends
        first = at * (images.tokens + 1)
        where = slice(first, first + (images.tokens - images.marks))
        input_ids[:, where] = token
        marks[:, where] = 1
    return marks


def _positions(images: SampleImages, room: int, input_ids: torch.Tensor, count: int) -> torch.Tensor:
    """[N,P,2]: column and row of each patch of N pictures, -1 where there is room for more."""
    import torch

    if input_ids.device.type == "meta":
        return torch.empty(count, room, 2, dtype=torch.long, device="meta")
    rows, columns = images.grid
    found = torch.full((room, 2), -1, device=input_ids.device)
    at = torch.arange(rows * columns, device=input_ids.device)
    found[: rows * columns] = torch.stack([at % columns, at // columns], dim=-1)
    return found.repeat(count, 1, 1)


def _attended(images: SampleImages, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every text sees every tile of every picture of its sample."""
    import torch

    def ones(*shape: int) -> torch.Tensor:
        return torch.ones(*shape, dtype=torch.long, device=input_ids.device)

    batch, length = input_ids.shape
    return {
        "aspect_ratio_ids": ones(batch, images.count),
        "aspect_ratio_mask": ones(batch, images.count, images.tiles),
        "cross_attention_mask": ones(batch, length, images.count, images.tiles),
    }
