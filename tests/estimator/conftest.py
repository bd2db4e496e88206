"""A made-up training step as a Timeline, small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from advisor.domain.trace.timeline import Timeline
from advisor.domain.trace.trace_schema import CATEGORIES, OP_CLASSES, PHASES


class Maker:
    """Writes a Timeline event by event: `birth`, `death`, `op` in the order they happen."""

    def __init__(self):
        self.polys, self.mem, self.ops, self.names = [], [], [], ["op"]
        self.category = {}
        self.at = 0
        self.step, self.phase = 0, "setup"

    def where(self, step, phase):
        self.step, self.phase = step, phase
        return self

    def poly(self, *terms):
        if not terms:
            return -1
        if terms not in self.polys:
            self.polys.append(terms)
        return self.polys.index(terms)

    def birth(self, storage, category, *terms):
        self.category[storage] = category
        self._mem(storage, True, self.poly(*terms))

    def death(self, storage):
        self._mem(storage, False, -1)

    def _mem(self, storage, alloc, poly):
        category = CATEGORIES.index(self.category[storage])
        self.mem.append((self.at, storage, alloc, poly, PHASES.index(self.phase), category, self.step))
        self.at += 1

    def op(self, kind, flop=(), moved=(), kernels=1, dtype=0, name="op"):
        if name not in self.names:
            self.names.append(name)
        row = (
            self.at,
            self.names.index(name),
            OP_CLASSES.index(kind),
            dtype,
            self.poly(*flop),
            self.poly(*moved),
            kernels,
            PHASES.index(self.phase),
            self.step,
        )
        self.ops.append(row)
        self.at += 1

    def timeline(self):
        mem = np.array(self.mem, dtype=np.int64).reshape(-1, 7)
        ops = np.array(self.ops, dtype=np.int64).reshape(-1, 9)
        return Timeline(
            polys=tuple(self.polys),
            names=tuple(self.names),
            dtypes=("bfloat16", "float32"),
            mem_at=mem[:, 0],
            mem_storage=mem[:, 1],
            mem_alloc=mem[:, 2].astype(bool),
            mem_poly=mem[:, 3],
            mem_phase=mem[:, 4],
            mem_category=mem[:, 5],
            mem_step=mem[:, 6],
            mem_unit=np.full(len(mem), -1),
            op_unit=np.full(len(ops), -1),
            **{
                f"op_{name}": ops[:, i]
                for i, name in enumerate(("at", "name", "class", "dtype", "flop", "bytes", "kernels", "phase", "step"))
            },
        )


MIB = 2**20
WIDTH = 4096


def toy(layers=3, *, holds_outputs=True, scale=1, zero_after=False):
    """Three frozen layers with an adapter each: weights, saved activations, logits, gradients, optimizer state.

    `holds_outputs`: the logits of a step live until the next forward pass has made its own, as in a plain loop.
    `zero_after`: gradients die at the end of their step, as in transformers' Trainer, else before the next one.
    """
    make = Maker()
    number = iter(range(10**6))
    ids = {}

    def birth(name, category, *terms):
        ids[name] = next(number)
        make.birth(ids[name], category, *terms)

    for layer in range(layers):
        birth(("weight", layer), "base weights", (32.0 * MIB, 0, 0, 0))
        birth(("adapter", layer), "adapter", (3.0 * MIB, 0, 0, 0))
    for step in (1, 2):
        make.where(step, "between")
        if step == 2 and not zero_after:
            for layer in range(layers):
                make.death(ids["gradient", layer])
        birth("inputs", "inputs", (8.0, 1, 1, 0))
        make.op("h2d", moved=((8.0, 1, 1, 0),))
        make.where(step, "forward")
        for layer in range(layers):
            make.op("module", kernels=0)
            make.op(
                "matmul", flop=((2.0 * WIDTH**2, 1, 1, 0),), moved=((4.0 * WIDTH, 1, 1, 0), (2.0 * WIDTH**2, 0, 0, 0))
            )
            birth(("saved", layer), "saved activations", (2.0 * WIDTH * scale, 1, 1, 0))
            make.op("elementwise", moved=((4.0 * WIDTH, 1, 1, 0),), kernels=2)
        if step == 2 and holds_outputs:
            previous = ids["logits"]
        birth("logits", "logits and loss", (4.0 * 8000, 1, 1, 0))
        make.op("matmul", flop=((2.0 * WIDTH * 8000, 1, 1, 0),), moved=((4.0 * 8000, 1, 1, 0),))
        if step == 2 and holds_outputs:
            make.death(previous)
        make.where(step, "loss")
        make.op("reduction", moved=((4.0 * 8000, 1, 1, 0),))
        make.op("d2h", moved=((4.0, 0, 0, 0),))
        make.where(step, "backward")
        for layer in reversed(range(layers)):
            birth("temporary", "temporaries", (2.0 * WIDTH, 1, 1, 0))
            make.op("matmul", flop=((4.0 * WIDTH**2, 1, 1, 0),), moved=((4.0 * WIDTH, 1, 1, 0),))
            birth(("gradient", layer), "gradients", (3.0 * MIB, 0, 0, 0))
            make.death(ids["temporary"])
            make.death(ids["saved", layer])
        if not holds_outputs:
            make.death(ids["logits"])
        make.where(step, "clip")
        make.op("foreach", moved=((9.0 * MIB, 0, 0, 0),), kernels=3, dtype=1)
        make.where(step, "optimizer")
        for layer in range(layers):
            if step == 1:
                birth(("moment", layer), "optimizer state", (6.0 * MIB, 0, 0, 0))
        make.op("foreach", moved=((60.0 * MIB, 0, 0, 0),), kernels=4, dtype=1)
        make.where(step, "between")
        for layer in range(layers if zero_after else 0):
            make.death(ids["gradient", layer])
        make.death(ids["inputs"])
    return make.timeline()


@pytest.fixture
def timeline():
    return toy()


@pytest.fixture(scope="session")
def toys():
    return toy


@pytest.fixture
def maker():
    return Maker
