"""How many positions a picture takes in the sequence of a vision-language model, by the model's own image processor.

Sources: transformers 5.23, the `processing_*.py` and `image_processing_*.py` of each family, as their rules say below.
What a processor's file beside the weights sets counts before what is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from advisor import store
from advisor.catalog.models.image_tiles import nearest_grid, resized, roomiest_grid, shrunk, split, within_patches
from advisor.domain.model import ModelSpec
from advisor.domain.plain_values import is_list, is_mapping, is_object
from advisor.domain.workload import SampleImages
from advisor.errors import BadRequest, UnsupportedModel

AREAS: Final[Mapping[str, tuple[int, int]]] = {
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl"), (3_136, 12_845_056)),
    **dict.fromkeys(("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"), (65_536, 16_777_216)),
}
"""Fewest and most pixels of a resized picture: what the `preprocessor_config.json` of the published checkpoints says
(Qwen/Qwen2-VL-7B-Instruct and Qwen2.5-VL: min_pixels, max_pixels; Qwen3-VL and Qwen3.5: size)."""
USUAL: Final[Mapping[str, tuple[int, int]]] = {
    "siglip_vision_model": (224, 16), "clip_vision_model": (224, 32), "internvl_vision": (448, 14),
    "idefics3_vision": (224, 32), "smolvlm_vision": (224, 32), "mllama_vision_model": (448, 14),
    "llama4_vision_model": (448, 14), "pixtral": (1024, 16),
}  # fmt: skip
"""Sides of a picture and of a patch, in pixels, of towers whose config names none: their classes' own."""
WIDEST: Final = 200
"""`smart_resize` refuses a picture whose sides differ more than so many times."""

OF_ONE_SIZE: Final = frozenset({"gemma3", "llava", "paligemma", "mllama"})
"""Model types that take every picture at one size: nobody need say how large it is."""
MLLAMA_TILES: Final = 4
"""Tiles of a picture for Llama 3.2 Vision, where its config does not say (`max_num_tiles`)."""
INTERNVL_TILES: Final = 12
"""Most tiles of a picture without its thumbnail: `max_patches` of `GotOcr2ImageProcessor`, as published files say."""
LLAMA4_TILES: Final = 16
"""The same for Llama 4: `max_patches` of `Llama4ImageProcessor`."""
GEMMA4_TOKENS: Final = 280
"""Most tokens of a picture for Gemma 4: `max_soft_tokens` of `Gemma4ImageProcessor`."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What becomes of one picture: `SampleImages` says what its fields mean."""

    grid: tuple[int, int]
    tokens: int
    marks: int = 0
    tiles: int = 1


Rule = Callable[[ModelSpec, int, int], Picture]
"""(spec, width, height) -> what the tower reads of a picture, and its tokens in the sequence."""


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
    made = rule(spec, width, height)
    return SampleImages(
        count=count, width=width, height=height, grid=made.grid, tokens=made.tokens, marks=made.marks, tiles=made.tiles
    )


def _own_size(spec: ModelSpec) -> tuple[int, int]:
    """The size of a model that takes every picture at one."""
    side = _tower(spec).get("image_size")
    if isinstance(side, int) and spec.model_type in OF_ONE_SIZE and not reads_own_size(spec):
        return side, side
    raise BadRequest(
        f"how large the pictures are decides their number of tokens in {spec.name}, and nobody says",
        hints=["for example: --image-size 1024x768"],
        model=spec.name,
    )


def _tower(spec: ModelSpec) -> Mapping[str, Any]:
    """The tower's part of the config, with the sizes that it leaves to its class, as PaliGemma's do."""
    inner = spec.config.get("vision_config")
    told: Mapping[str, Any] = inner if is_mapping(inner) else {}
    side, patch = USUAL.get(str(told.get("model_type")), (None, None))
    return {"image_size": side, "patch_size": patch, **told}


def reads_own_size(spec: ModelSpec) -> bool:
    """Whether its tower is Pixtral's, which reads every picture at its own size, in patches of one sequence."""
    return spec.model_type in ("llava", "mistral3") and _tower(spec).get("model_type") == "pixtral"


def _dynamic(spec: ModelSpec, width: int, height: int) -> Picture:
    """Qwen: whole blocks of `patch_size` x `merge_size` pixels within bounds on the area, a token a block."""
    tower = _tower(spec)
    patch, merge = int(tower.get("patch_size") or 14), int(tower.get("spatial_merge_size") or 2)
    if max(width, height) > WIDEST * min(width, height):
        raise BadRequest(
            f"pictures of {width} x {height} pixels: {spec.name}'s processor refuses sides that differ more than "
            f"{WIDEST} times",
            hints=["cut or pad them"],
            model=spec.name,
        )
    least, most = AREAS[spec.model_type]
    # older files say min_pixels and max_pixels
    least = _told(spec, "size", "shortest_edge") or _told(spec, "min_pixels") or least
    most = _told(spec, "size", "longest_edge") or _told(spec, "max_pixels") or most
    rows, columns = (side // patch for side in resized(width, height, patch * merge, least, most))
    return Picture((rows, columns), rows * columns // merge**2)


def _told(spec: ModelSpec, *path: str) -> int | None:
    """A whole number of the processor's file beside the weights; None where no such file says it."""
    if spec.weights is None:
        return None
    for name, within in (("preprocessor_config.json", ()), ("processor_config.json", ("image_processor",))):
        file = Path(spec.weights) / name
        found: Any = store.read_document(file) if file.is_file() else {}
        for key in (*within, *path):
            found = found.get(key) if is_object(found) else None
        if isinstance(found, int) and found > 0:
            return found
    return None


def _square(spec: ModelSpec) -> tuple[int, int]:
    """Patches of a tower that takes every picture, or tile of one, at its own size."""
    side, patch = (_one(_tower(spec).get(field)) for field in ("image_size", "patch_size"))
    if not (isinstance(side, int) and isinstance(patch, int) and 0 < patch <= side):
        raise UnsupportedModel(
            f"{spec.name}: its config does not say how its vision tower cuts pictures",
            hints=[f"image_size and patch_size are needed in the vision_config of {spec.where}"],
            model=spec.name,
        )
    return side // patch, side // patch


def _one(side: Any) -> Any:
    """A side, where a square's two are written down."""
    return side[0] if is_list(side) and len(side) == 2 and side[0] == side[1] else side


def tile_side(spec: ModelSpec) -> int:
    """Pixels of a side of what the tower reads at once, where that is always of one size."""
    rows, _ = _square(spec)
    return rows * int(_one(_tower(spec)["patch_size"]))


def _pooled(spec: ModelSpec, _width: int, _height: int) -> Picture:
    """Gemma 3: at the tower's size, pooled; pan-and-scan is off as its processor has it."""
    return Picture(_square(spec), int(spec.config.get("mm_tokens_per_image") or 256))


def _patches(spec: ModelSpec, width: int, height: int) -> Picture:
    """LLaVA 1.5 and PaliGemma: at the tower's size, a token a patch; a class token is left out by "default"."""
    if reads_own_size(spec):
        return _lines(spec, width, height)
    rows, columns = _square(spec)
    whole = spec.model_type == "llava" and spec.config.get("vision_feature_select_strategy") == "full"
    return Picture((rows, columns), rows * columns + (1 if whole else 0))


def _lines(spec: ModelSpec, width: int, height: int) -> Picture:
    """Pixtral: shrunk to the tower's size, a token a block, and one more that ends each line of blocks."""
    tower = _tower(spec)
    side, patch = tower.get("image_size"), int(tower.get("patch_size") or 16)
    merge = int(spec.config.get("spatial_merge_size") or 2) if spec.model_type == "mistral3" else 1
    longest = _told(spec, "size", "longest_edge") or (side if isinstance(side, int) else 1024)
    rows, columns = shrunk(width, height, longest, patch * merge)
    return Picture((rows * merge, columns * merge), rows * (columns + 1), marks=rows)


def _split(spec: ModelSpec, width: int, height: int) -> Picture:
    """Idefics3 and SmolVLM: enlarged to four tiles a side, cut, and the whole picture beside its tiles.

    Each tile has a mark around it and one that names it, each row a line break, the whole picture three marks.
    """
    tile = _told(spec, "max_image_size", "longest_edge") or tile_side(spec)
    rows, columns = split(width, height, tile, _told(spec, "size", "longest_edge") or 4 * tile)
    grid = _square(spec)
    each = grid[0] * grid[1] // int(spec.config.get("scale_factor") or 2) ** 2
    marks = 3 + rows * (2 * columns + 1)
    tiles = rows * columns + 1
    return Picture(grid, tiles * each + marks, marks=marks, tiles=tiles)


def _stretched(spec: ModelSpec, width: int, height: int) -> Picture:
    """InternVL: stretched to the grid of tiles of its aspect, a thumbnail beside several, a mark before and after."""
    most = _told(spec, "max_patches") or INTERNVL_TILES
    rows, columns = nearest_grid(width, height, tile_side(spec), most)
    tiles = rows * columns + (1 if rows * columns > 1 else 0)
    grid = _square(spec)
    each = round(grid[0] * grid[1] * float(spec.config.get("downsample_ratio") or 0.5) ** 2)
    return Picture(grid, tiles * each + 2, marks=2, tiles=tiles)


def _padded(spec: ModelSpec, width: int, height: int) -> Picture:
    """Llama 4: undistorted in the grid that holds it, the whole picture beside several tiles.

    A mark after each tile, one before and one after the picture, and one before the whole of it.
    """
    rows, columns = roomiest_grid(width, height, tile_side(spec), _told(spec, "max_patches") or LLAMA4_TILES)
    several = rows * columns > 1
    grid = _square(spec)
    each = round(grid[0] * grid[1] * float(_tower(spec).get("pixel_shuffle_ratio") or 0.5) ** 2)
    tiles = rows * columns + 1 if several else 1
    marks = 3 + (rows * columns if several else 0)
    return Picture(grid, tiles * each + marks, marks=marks, tiles=tiles)


def _beside(spec: ModelSpec, _width: int, _height: int) -> Picture:
    """Llama 3.2 Vision: padded to its most tiles, which layers of their own attend to; one token stands for them."""
    return Picture(_square(spec), 1, marks=1, tiles=int(_tower(spec).get("max_num_tiles") or MLLAMA_TILES))


def _budget(spec: ModelSpec, width: int, height: int) -> Picture:
    """Gemma 4: as large as its tokens allow, each pooled of a square of patches; a mark before and after."""
    pool, patch = pooled(spec)
    rows, columns = within_patches(width, height, pool * patch, most_tokens(spec))
    return Picture((rows * pool, columns * pool), rows * columns + 2, marks=2)


def pooled(spec: ModelSpec) -> tuple[int, int]:
    """Patches along a side of what Gemma 4 pools to a token, and pixels along a side of a patch."""
    tower = _tower(spec)
    return int(tower.get("pooling_kernel_size") or 3), int(tower.get("patch_size") or 16)


def most_tokens(spec: ModelSpec) -> int:
    """Tokens of a picture for which Gemma 4's tower has room, whatever its size."""
    told = _told(spec, "max_soft_tokens") or spec.config.get("vision_soft_tokens_per_image")
    return told if isinstance(told, int) else GEMMA4_TOKENS


RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(AREAS, _dynamic),
    "gemma3": _pooled,
    **dict.fromkeys(("llava", "paligemma"), _patches),
    "mistral3": _lines,
    **dict.fromkeys(("idefics3", "smolvlm"), _split),
    "internvl": _stretched,
    "llama4": _padded,
    "mllama": _beside,
    "gemma4": _budget,
}
"""Model type -> its processor's rule. A type that is not here is refused with pictures, never priced as texts."""
