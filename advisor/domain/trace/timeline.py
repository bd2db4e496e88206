"""The flat form of a Trace: every layer present, arrays that numpy evaluates at any batch shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from advisor.domain.trace.pieces import tokens_in_piece, worked_through
from advisor.domain.trace.trace_schema import Poly

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Memory events and ops of the run's set-up, first and steady step, in the order they happen.

    M memory events and N ops, each an array; `*_at` is the position in the common order, so that the two
    can be merged (position of op i is `op_at[i]`, of memory event j `mem_at[j]`; all distinct, ascending).

    `mem_unit` and `op_unit` tell the layer an event happens in, a number of its own for each layer of each stack;
    -1 outside any.

    Memory: `mem_storage` (id), `mem_alloc` (True: born, False: dies), `mem_poly` (index into `polys`; -1 on a
    death), `mem_phase`, `mem_category`, `mem_step` (0, 1, 2).
    Ops: `op_name`, `op_class`, `op_dtype` (indexes into `names`, OP_CLASSES, `dtypes`), `op_flop`, `op_bytes`
    (poly indexes, -1 zero), `op_kernels`, `op_phase`, `op_step`.
    """

    polys: tuple[Poly, ...]
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    mem_at: Ints
    mem_storage: Ints
    mem_alloc: NDArray[np.bool_]
    mem_poly: Ints
    mem_phase: Ints
    mem_category: Ints
    mem_step: Ints
    mem_unit: Ints
    op_at: Ints
    op_name: Ints
    op_class: Ints
    op_dtype: Ints
    op_flop: Ints
    op_bytes: Ints
    op_kernels: Ints
    op_phase: Ints
    op_step: Ints
    op_unit: Ints

    def values(self, batch: int, length: float, target: float = 0) -> Floats:
        """Every poly at one batch shape (B, S, T); one extra 0.0 at the end, so that index -1 reads zero."""
        out = np.zeros(len(self.polys) + 1)
        for i, poly in enumerate(self.polys):
            out[i] = sum(
                c * batch**b * length**s * target**t
                if b >= 0
                else c * tokens_in_piece(b, s, worked_through(b, batch, length, target, t))
                for c, b, s, t in poly
            )
        return out

    def bytes_of(self, batch: int, length: float, target: float = 0) -> Ints:
        """[M] bytes born (+) by each memory event, 0 on deaths."""
        born = self.values(batch, length, target)[self.mem_poly]
        return np.where(self.mem_alloc, np.rint(born), 0).astype(np.int64)
