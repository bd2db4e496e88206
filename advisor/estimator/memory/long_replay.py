"""Reserved memory as a long training sees it: micro-batches of varying length through the allocator.

A batch that is longer than all before it finds every cached block a little too small, so new segments are asked for
and the old ones stay cached: reserved memory grows with each such record, until the card is full and the allocator
gives whole cached segments back. A batch that is no record finds the blocks of one that was, and changes nothing; so
of thousands of batches only the records are played, and a test holds that equal to playing all.
Small blocks (up to 1 MiB) lie in segments of their own.

Shapes here: N micro-batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from advisor.domain.trace.timeline import Ints
from advisor.errors import DoesNotFit
from advisor.estimator.batch_lengths import Shape
from advisor.estimator.memory.block_pool import UNIT, BlockPool
from advisor.estimator.memory.step_program import StepProgram, Stretches


@dataclass(frozen=True, slots=True)
class LongReplay:
    """What became of N micro-batches. Bytes.

    `reserved` is the peak so far after each micro-batch that ended, `left` what is reserved in the end; `released`
    tells whether cached segments were given back to make room. `failed` is the number of the micro-batch that found
    no room, None where all ended.
    """

    reserved: tuple[int, ...]
    left: int
    released: bool
    failed: int | None

    @property
    def peak(self) -> int:
        return self.reserved[-1] if self.reserved else 0


def replay_long(
    program: StepProgram, shapes: Sequence[Shape], *, accumulation: int = 1, limit: int | None = None
) -> LongReplay:
    """The first step and steady ones until all micro-batches are played or one finds no room.

    Args:
        shapes: [N] in order, all of one number of rows.
        accumulation: micro-batches a step. More than two are played as two, the last of all being a second one: from
            the second on every micro-batch meets the same gradients.
        limit: bytes the device can give.
    """
    units = program.units(shapes)
    small = _Pass(program, units, small=True, limit=None)
    small.run(accumulation)
    beside = small.pool.peak_reserved * UNIT
    large = _Pass(program, units, small=False, limit=None if limit is None else max(0, limit - beside) // UNIT)
    failed: int | None = None
    try:
        large.run(accumulation)
    except DoesNotFit:
        failed = large.at
    peaks = tuple(peak * UNIT + beside for peak in large.reserved[:failed])
    return LongReplay(peaks, large.pool.reserved * UNIT + beside, large.pool.released, failed)


class _Pass:
    """One pool's part of a run; `units` [N, sizes] of the program. `at` is the micro-batch that is being played."""

    def __init__(self, program: StepProgram, units: Ints, *, small: bool, limit: int | None) -> None:
        self.program = program
        self.units = units
        self.small = small
        self.pool = BlockPool(program.slots, small=small, limit=limit)
        self.reserved: list[int] = []
        self.at = 0

    def run(self, accumulation: int) -> None:
        self.pool.play(*self.program.set_up.of_pool(self.units[0], small=self.small))
        count = len(self.units)
        starts = range(count) if accumulation == 1 else [0, *range(2 - count % 2, count, 2)]
        for start, end in zip(starts, [*starts[1:], count], strict=True):
            self._step(self.program.steady if start else self.program.first, start, end)

    def _step(self, step: Stretches, start: int, end: int) -> None:
        program, pool, small = self.program, self.pool, self.small
        steady = step is program.steady
        self.at = start
        pool.play(*step.head.of_pool(self.units[start], small=small))
        pool.play(*step.micro.of_pool(self.units[start], small=small))
        self.reserved.append(pool.peak_reserved)
        for self.at in range(start + 1, end):
            units = self.units[self.at]
            if steady:
                pool.move(program.heirs)
            pool.play(*program.steady.further.of_pool(units, small=small))
            if not steady:
                pool.move(program.heirs)
            self.reserved.append(pool.peak_reserved)
        pool.play(*step.tail.of_pool(self.units[end - 1], small=small))
        self.reserved[-1] = pool.peak_reserved
        if steady:
            pool.move(program.heirs)
            pool.play(program.leftovers, [-1] * len(program.leftovers))
