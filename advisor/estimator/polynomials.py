"""The polynomials of a timeline at many batch shapes at once."""

from __future__ import annotations

import numpy as np

from advisor.domain.trace.pieces import tokens_in_piece, worked_through
from advisor.domain.trace.timeline import Floats, Timeline


class Polynomials:
    """Every poly of a timeline as flat arrays of terms.

    `at` evaluates coefficient * B**b * S**s * T**t for L lengths in one go; the Timeline's own `values` does the
    same for one shape and is what tests hold this equal to.
    """

    __slots__ = ("coefficient", "count", "of_b", "of_s", "of_t", "pieces", "poly")

    def __init__(self, timeline: Timeline) -> None:
        every = [(i, *term) for i, poly in enumerate(timeline.polys) for term in poly]
        flat = [term for term in every if term[2] >= 0]
        self.pieces = [term for term in every if term[2] < 0]
        table = np.array(flat, dtype=np.float64).reshape(len(flat), 5)
        self.count = len(timeline.polys)
        self.poly = table[:, 0].astype(np.int64)
        self.coefficient = table[:, 1]
        self.of_b, self.of_s, self.of_t = table[:, 2], table[:, 3], table[:, 4]

    def at(self, batch: int, lengths: Floats, targets: Floats) -> Floats:
        """[L, polys + 1]; the last column is 0, which index -1 reads."""
        out = np.zeros((len(lengths), self.count + 1))
        for row, (length, target) in enumerate(zip(lengths, targets, strict=True)):
            terms = self.coefficient * float(batch) ** self.of_b * length**self.of_s * target**self.of_t
            out[row, :-1] = np.bincount(self.poly, weights=terms, minlength=self.count)
            for poly, coefficient, kind, size, less in self.pieces:
                tokens = worked_through(kind, batch, float(length), float(target), less)
                out[row, poly] += coefficient * tokens_in_piece(kind, size, tokens)
        return out
