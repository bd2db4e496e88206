"""What a vision-language model is handed beside its texts: pictures as its processor makes them, and their tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

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

    P patches of a picture, N = B x pictures. Models that resize a picture to its own size: pixel_values
    [N x P, pixels of a patch], image_grid_thw [N,3], mm_token_type_ids [B,S]; the others: pixel_values [N,3,height,
    width]. Pixels are float32, as processors make them. `input_ids` is changed in place unless it has no values.
    """
    import torch

    rows, columns = images.grid
    tower = spec.config["vision_config"]
    count = input_ids.shape[0] * images.count
    marks = torch.zeros_like(input_ids)
    if input_ids.device.type != "meta":
        token = int(spec.config.get("image_token_id", spec.config.get("image_token_index", 0)))
        input_ids[input_ids == token] = 0
        for at in range(images.count):
            # a token between two pictures, as processors mark where each ends
            where = slice(at * (images.tokens + 1), at * (images.tokens + 1) + images.tokens)
            input_ids[:, where] = token
            marks[:, where] = 1
    if spec.model_type in ("llava", "gemma3"):
        side = int(tower["image_size"])
        inputs = {"pixel_values": floats(count, int(tower.get("num_channels") or 3), side, side)}
        return inputs | ({"token_type_ids": marks} if spec.model_type == "gemma3" else {})
    patch = int(tower.get("patch_size") or 14)
    width = int(tower.get("in_channels") or 3) * int(tower.get("temporal_patch_size") or 2) * patch**2
    grid = torch.tensor([[1, rows, columns]] * count, device="cpu").to(input_ids.device)
    return {"pixel_values": floats(count * rows * columns, width), "image_grid_thw": grid, "mm_token_type_ids": marks}
