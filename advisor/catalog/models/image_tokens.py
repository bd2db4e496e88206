"""How many positions a picture takes in the sequence of a vision-language model, by the model's own image processor.

Sources: transformers 5.23. `Qwen2VLImageProcessor` resizes a picture to whole blocks of `patch_size` x `merge_size`
pixels within bounds on its area (`smart_resize`) and gives a token a block. Gemma 3 takes every picture at the vision
tower's size and pools it to `mm_tokens_per_image` tokens, pan-and-scan off as its processor has it. LLaVA 1.5 takes
them at the tower's size, a token a patch, its class token left out by `vision_feature_select_strategy` "default".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from advisor import store
from advisor.domain.model import ModelSpec
from advisor.domain.plain_values import is_mapping, is_object
from advisor.domain.workload import SampleImages
from advisor.errors import BadRequest, UnsupportedModel

AREAS: Final[Mapping[str, tuple[int, int]]] = {
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl"), (3_136, 12_845_056)),
    **dict.fromkeys(("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"), (65_536, 16_777_216)),
}
"""Fewest and most pixels of a resized picture: what the `preprocessor_config.json` of the published checkpoints says
(Qwen/Qwen2-VL-7B-Instruct and Qwen2.5-VL: min_pixels, max_pixels; Qwen3-VL and Qwen3.5: size)."""
WIDEST: Final = 200
"""`smart_resize` refuses a picture whose sides differ more than so many times."""

Rule = Callable[[ModelSpec, int, int], tuple[tuple[int, int], int]]
"""(spec, width, height) -> what the tower reads of a picture, in patches, and its tokens in the sequence."""


def sample_images(spec: ModelSpec, count: int | None, size: tuple[int, int] | None) -> SampleImages | None:
    """The pictures of one sample; None where there are none.

    Args:
        count: pictures of a sample; None where nobody says.
        size: width and height in pixels.

    Raises:
        UnsupportedModel: pictures are asked of a model whose processor is not modelled.
        BadRequest: a size without pictures, pictures without a size where tokens follow from it, a size that the
            processor refuses.
    """
    if not count:
        if size is None:
            return None
        raise BadRequest(
            f"--image-size says how large pictures are, and no number of pictures was given for {spec.name}",
            hints=["add: --images 1", "or leave it out: texts alone are priced then"],
            model=spec.name,
        )
    rule = RULES.get(spec.model_type)
    if rule is None:
        known = ", ".join(sorted(RULES))
        raise UnsupportedModel(
            f"{spec.name} cannot be priced with pictures yet: how its processor turns them into tokens is not modelled",
            cause=f"its model type is {spec.model_type!r}; those that are modelled: {known}",
            hints=["texts alone: --images 0", "or take a model of these types: see advisor models"],
            model=spec.name,
        )
    width, height = size or _own_size(spec)
    grid, tokens = rule(spec, width, height)
    return SampleImages(count=count, width=width, height=height, grid=grid, tokens=tokens)


def _own_size(spec: ModelSpec) -> tuple[int, int]:
    """The size of a model that takes every picture at one."""
    side = _tower(spec).get("image_size")
    if isinstance(side, int) and spec.model_type not in AREAS:
        return side, side
    raise BadRequest(
        f"how large the pictures are decides their number of tokens in {spec.name}, and nobody says",
        hints=["for example: --image-size 1024x768"],
        model=spec.name,
    )


def _tower(spec: ModelSpec) -> Mapping[str, Any]:
    inner = spec.config.get("vision_config")
    return inner if is_mapping(inner) else {}


def _dynamic(spec: ModelSpec, width: int, height: int) -> tuple[tuple[int, int], int]:
    tower = _tower(spec)
    patch, merge = int(tower.get("patch_size") or 14), int(tower.get("spatial_merge_size") or 2)
    if max(width, height) > WIDEST * min(width, height):
        raise BadRequest(
            f"pictures of {width} x {height} pixels: {spec.name}'s processor refuses sides that differ more than "
            f"{WIDEST} times",
            hints=["cut or pad them"],
            model=spec.name,
        )
    least, most = _areas(spec)
    rows, columns = (side // patch for side in resized(width, height, patch * merge, least, most))
    return (rows, columns), rows * columns // merge**2


def resized(width: int, height: int, block: int, least: int, most: int) -> tuple[int, int]:
    """(height, width) of a picture in whole blocks, its area within bounds and its sides in proportion.

    Sides are rounded to the nearest block first; an area beyond a bound is scaled to it.
    """
    down, across = (round(side / block) * block for side in (height, width))
    if down * across > most:
        shrink = math.sqrt(height * width / most)
        return (
            max(block, math.floor(height / shrink / block) * block),
            max(block, math.floor(width / shrink / block) * block),
        )
    if down * across < least:
        grow = math.sqrt(least / (height * width))
        return math.ceil(height * grow / block) * block, math.ceil(width * grow / block) * block
    return down, across


def _areas(spec: ModelSpec) -> tuple[int, int]:
    """Bounds on a picture's area: of the processor beside the weights where it lies there, else as published."""
    least, most = AREAS[spec.model_type]
    if spec.weights is None:
        return least, most
    path = Path(spec.weights) / "preprocessor_config.json"
    if not path.is_file():
        return least, most
    told = store.read_document(path)
    size = told.get("size")
    own: Mapping[str, Any] = size if is_object(size) else {}
    found = (
        own.get("shortest_edge") or told.get("min_pixels"),
        own.get("longest_edge") or told.get("max_pixels"),
    )
    return (
        found[0] if isinstance(found[0], int) else least,
        found[1] if isinstance(found[1], int) else most,
    )


def _square(spec: ModelSpec) -> tuple[int, int]:
    """Patches of a tower that takes every picture at its own size."""
    side, patch = (_tower(spec).get(field) for field in ("image_size", "patch_size"))
    if not (isinstance(side, int) and isinstance(patch, int) and 0 < patch <= side):
        raise UnsupportedModel(
            f"{spec.name}: its config does not say how its vision tower cuts pictures",
            hints=[f"image_size and patch_size are needed in the vision_config of {spec.where}"],
            model=spec.name,
        )
    return side // patch, side // patch


def _pooled(spec: ModelSpec, _width: int, _height: int) -> tuple[tuple[int, int], int]:
    return _square(spec), int(spec.config.get("mm_tokens_per_image") or 256)


def _patches(spec: ModelSpec, _width: int, _height: int) -> tuple[tuple[int, int], int]:
    rows, columns = _square(spec)
    whole = spec.config.get("vision_feature_select_strategy") == "full"
    return (rows, columns), rows * columns + (1 if whole else 0)


RULES: Final[Mapping[str, Rule]] = {**dict.fromkeys(AREAS, _dynamic), "gemma3": _pooled, "llava": _patches}
"""Model type -> its processor's rule. A type that is not here is refused with pictures, never priced as texts."""
