"""How image processors resize a picture and cut it into tiles: arithmetic of pixels, no model.

Every function takes (width, height) in pixels. Sources: transformers 5.23, the image processors named at each.
"""

from __future__ import annotations

import math

LARGEST_SIDE = 4096
"""Idefics3 and SmolVLM shrink what is larger still, before they cut it."""


def resized(width: int, height: int, block: int, least: int, most: int) -> tuple[int, int]:
    """(height, width) of a picture in whole blocks, its area within bounds and its sides in proportion.

    Sides are rounded to the nearest block first; an area beyond a bound is scaled to it. Qwen2-VL's `smart_resize`.
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


def shrunk(width: int, height: int, longest: int, block: int) -> tuple[int, int]:
    """(rows, columns) of blocks of a picture that is shrunk until no side is longer than `longest`.

    Pixtral's `get_resize_output_image_size`: a block that is begun counts.
    """
    ratio = max(height, width) / longest
    if ratio > 1:
        height, width = (max(1, math.floor(side / ratio)) for side in (height, width))
    return (height - 1) // block + 1, (width - 1) // block + 1


def split(width: int, height: int, tile: int, longest: int) -> tuple[int, int]:
    """(rows, columns) of square tiles; (0, 0) where the picture is not cut. Idefics3's and SmolVLM's processors.

    The longer side is made `longest`, sides are even, and each is rounded up to whole tiles.
    """
    height, width = _longest_side(height, width, longest, even=True)
    if max(height, width) > LARGEST_SIDE:
        height, width = _longest_side(height, width, LARGEST_SIDE, even=False)
    aspect = width / height
    if width >= height:
        columns = math.ceil(width / tile)
        rows = math.ceil(int(columns * tile / aspect) / tile)
    else:
        rows = math.ceil(height / tile)
        columns = math.ceil(int(rows * tile * aspect) / tile)
    rows, columns = max(1, rows), max(1, columns)
    return (rows, columns) if rows * columns > 1 else (0, 0)


def _longest_side(height: int, width: int, longest: int, *, even: bool) -> tuple[int, int]:
    aspect = width / height
    if width >= height:
        width, height = longest, int(longest / aspect)
        height += height % 2 if even else 0
    else:
        height, width = longest, int(longest * aspect)
        width += width % 2 if even else 0
    return max(height, 1), max(width, 1)


def nearest_grid(width: int, height: int, tile: int, most: int) -> tuple[int, int]:
    """(rows, columns) of at most `most` tiles, of the aspect nearest to the picture's; the picture is stretched to it.

    Of two as near, the one of more tiles while they cover less than twice the picture. GOT-OCR2's
    `get_optimal_tiled_canvas`, which InternVL uses.
    """
    sides = range(1, most + 1)
    grids = sorted(
        ((across, down) for across in sides for down in sides if across * down <= most),
        key=lambda grid: grid[0] * grid[1],
    )
    best, least = (1, 1), math.inf
    for across, down in grids:
        away = abs(width / height - across / down)
        if away < least or (away == least and width * height > 0.5 * tile**2 * across * down):
            best, least = (across, down), away
    return best[1], best[0]


def roomiest_grid(width: int, height: int, tile: int, most: int) -> tuple[int, int]:
    """(rows, columns) of at most `most` tiles that hold the picture undistorted with the least enlargement.

    Where none holds it, those that shrink it least; of several, those of the least area. Llama 4's `get_best_fit`.
    """
    grids = [(down, across) for down in range(1, most + 1) for across in range(1, most // down + 1)]
    # the processor compares them as float32, in which nearly equal ones are equal
    scales = {grid: min(grid[0] * tile / height, grid[1] * tile / width) for grid in grids}
    enlarging = [scale for scale in scales.values() if scale >= 1]
    chosen = min(enlarging) if enlarging else max(scales.values())
    alike = [grid for grid, scale in scales.items() if math.isclose(scale, chosen, rel_tol=1e-7)]
    return min(alike, key=lambda grid: grid[0] * grid[1])


def within_patches(width: int, height: int, block: int, most: int) -> tuple[int, int]:
    """(rows, columns) of blocks, as large as `most` blocks allow with the sides in proportion.

    Gemma 4's `get_aspect_ratio_preserving_size`; a side too short for a block gets one.
    """
    factor = math.sqrt(most * block**2 / (height * width))
    rows, columns = (math.floor(factor * side / block) for side in (height, width))
    if rows == 0 and columns:
        return 1, min(width // height, most)
    if columns == 0 and rows:
        return min(height // width, most), 1
    return rows, columns
