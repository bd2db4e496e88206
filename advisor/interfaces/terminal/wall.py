"""The wall of batch and length as text: what fits, what may, what does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from advisor.domain.candidate import Candidate
from advisor.domain.units import GIB
from advisor.estimator.memory.feasibility import Cell

MARKS: Final = {"fits": "", "may fit": "?", "does not fit": "-"}


def wall(cells: Sequence[Cell], candidate: Candidate) -> Iterator[str]:
    """A line a micro-batch with GiB for what fits, `?` after what may, `-` for what does not."""
    lengths = sorted({cell.length for cell in cells})
    width = max(7, *(len(f"{length:,}") + 1 for length in lengths))
    yield f"what fits, GiB ({candidate.recipe.method}; ? may fit, - does not)"
    yield f"{'batch':>7}{''.join(f'{length:>{width},}' for length in lengths)}  tokens"
    for batch in sorted({cell.batch for cell in cells}):
        said = [_said(cell) for cell in cells if cell.batch == batch]
        yield f"{batch:>7}{''.join(f'{cell:>{width}}' for cell in said)}"


def _said(cell: Cell) -> str:
    if cell.verdict == "does not fit":
        return MARKS[cell.verdict]
    return f"{cell.mid / GIB:.1f}{MARKS[cell.verdict]}"
