"""Sizes of buffers that a kernel reuses piece by piece: how many tokens one piece holds is no polynomial of the batch.

A term `(c, kind, size, less)` of a trace has such a `kind`, below 0, where others have the power of B:
c times the tokens of one piece of the N = B * (S - less) tokens that are worked through (`OF_TARGETS`: of T - less).
"""

from __future__ import annotations

import math
from typing import Final

AT_MOST: Final = -1
"""Pieces of `size` tokens, or all of them where there are fewer: min(N, size)."""
POWER_OF_TWO: Final = -2
"""N tokens in about `size` pieces of a power of two: min(N, the least power of two that is no less than N / size)."""
OF_TARGETS: Final = -4
"""`AT_MOST`, of the N = B * (T - less) tokens of completions."""
QUARTER: Final = -3
"""At least four pieces, of `size` tokens at most: min(N / 4, size)."""


def worked_through(kind: int, batch: float, length: float, target: float, less: int) -> float:
    """The N tokens of a batch that are worked through piece by piece."""
    return batch * ((target if kind == OF_TARGETS else length) - less)


def tokens_in_piece(kind: int, size: int, tokens: float) -> float:
    """Tokens of one piece of so many."""
    if kind in (AT_MOST, OF_TARGETS):
        return min(tokens, float(size))
    if kind == QUARTER:
        return min(float(math.ceil(tokens / 4)), float(size))
    parts = max(1, math.ceil(tokens / size))
    return min(tokens, float(2 ** math.ceil(math.log2(parts))))
