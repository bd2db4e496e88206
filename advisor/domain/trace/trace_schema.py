"""One training run's first two steps as allocations and ops; knows no device, needs no torch to read.

A `Trace` is compact: every size is a polynomial in the batch's shape, and repeated layers are stored
once. `advisor.domain.trace.timeline.expand()` turns it into the flat `Timeline` that the estimator replays.

Shapes here: B samples in a micro-batch, S padded input length, T padded target length (seq2seq only).
"""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

from pydantic import Field

from advisor.domain.stored import Stored, Value

Category = Literal[
    "base weights",
    "adapter",
    "gradients",
    "optimizer state",
    "saved activations",
    "logits and loss",
    "temporaries",
    "inputs",
    "buffers",
    "paged state",
]
"""What a storage is for. The tracer decides; `inputs` and `buffers` are reported under base weights.

`paged state` is optimizer state in unified memory: the allocator knows nothing of it, the driver moves it.
"""
CATEGORIES: Final[tuple[Category, ...]] = get_args(Category)

Phase = Literal["setup", "forward", "loss", "backward", "clip", "optimizer", "between"]
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)

OpClass = Literal[
    "matmul", "attention", "elementwise", "reduction", "copy", "foreach", "view", "module", "h2d", "d2h", "other"
]
"""`view` launches nothing; `module` is one nn.Module call (Python time); `h2d`/`d2h` cross PCIe and synchronise."""
OP_CLASSES: Final[tuple[OpClass, ...]] = get_args(OpClass)

ALLOC: Final = 0
FREE: Final = 1
OP: Final = 2

FOREACH_CHUNK: Final = 110
"""Tensors that one multi-tensor kernel takes (torch's multi_tensor_apply: 110 at depth 1, fewer deeper)."""

Term = tuple[float, int, int, int]
"""coefficient * B**b * S**s * T**t; where b is below 0, one piece of the tokens: see `pieces`"""
Poly = tuple[Term, ...]


class Part(Value):
    """A stretch of the run spent in one layer of one stack (or outside any, `layer` None).

    `events` are integer rows:
      (ALLOC, storage, poly)                    storage is born with poly bytes
      (FREE, storage)                           storage dies
      (OP, name, op_class, dtype, flop_poly, bytes_poly, kernels)
    A negative `kernels` is the number of tensors in a multi-tensor op, FOREACH_CHUNK of them to a kernel.
    Polys index `Trace.polys`; -1 is zero. `bytes` of an op is what its kernels read and write; of `h2d`
    and `d2h` ops what crosses PCIe. FLOP count a multiply-add as 2.
    """

    step: Literal[0, 1, 2] = Field(description="0 set-up, 1 first step (creates optimizer state), 2 steady step")
    phase: Phase
    stack: str | None = None
    layer: int | None = None
    events: tuple[tuple[int, ...], ...]


class Repeat(Value):
    """Layers of one stack that repeat: layers `first .. first+period-1` stand for `count` such periods.

    The trace holds at least three periods; the middle one (starting at `first`) is copied until the stack
    has its true depth. Sums over layers inside one op (foreach, clipping) are stored per layer, see `Share`.
    """

    stack: str
    first: int = Field(description="traced index of the first layer of the copied period")
    period: int = Field(ge=1)
    extra: int = Field(ge=0, description="periods to insert after the copied one")


class Share(Value):
    """A poly that is a sum over layers: what each traced layer adds to poly `poly`, so that copies add too."""

    poly: int
    stack: str
    layer: int
    adds: Poly
    tensors: int = Field(0, description="tensors of this layer in the op, for its kernel count")


def _counted(what: str) -> str:
    return f"{what}: all of them counted: an upper bound"


_REWORDED: Final = {
    "bool(tensor): a padded batch answers False, a full one True": (
        "padding: batches of several samples hold some, batches of one sample none"
    ),
    "tensor.item(): read as 1": "values read during the step: each taken as 1",
    "tensor.tolist(): read as ones": "values read during the step: each taken as 1",
    "nonzero: every element counted: an upper bound": _counted("elements chosen by value"),
    "boolean indexing: every element selected: an upper bound": _counted("elements chosen by value"),
    "boolean assignment: every element assigned: an upper bound": _counted("elements chosen by value"),
    "masked_select: every element selected: an upper bound": _counted("elements chosen by value"),
    "bincount: as many bins as minlength": "tokens counted by expert: no expert beyond the model's own",
    "int8 outlier columns: none: LLM.int8() finds a handful, which the data decide": (
        "int8 outlier columns: none counted; LLM.int8() keeps a handful in 16 bits, as the data decide"
    ),
    "unique: every element distinct: an upper bound": "distinct values: every value counted as one: an upper bound",
}
"""Assumptions as `trace/1` has them, in torch's words -> in a reader's."""


def _in_plain_words(fields: dict[str, Any]) -> dict[str, Any]:
    """`trace/1` to `trace/2`: assumptions are said in a reader's words."""
    told = [_REWORDED.get(text, text) for text in fields.get("assumptions", ())]
    return {**fields, "assumptions": list(dict.fromkeys(told))}


class Trace(Stored):
    """The first two training steps of one model with one method, for every batch shape.

    `key` is the SHA-256 of everything the events depend on (model config, method, options, precision,
    optimizer, trainer, series of the libraries), so equal keys mean equal traces.
    """

    KIND = "trace"
    VERSION = 2
    UPGRADES = {1: _in_plain_words}  # noqa: RUF012, as its base declares it

    key: str
    model: str
    method: str
    settings: dict[str, str | int | float | bool | None] = Field(description="the recipe, for people")
    versions: dict[str, str]
    layers: dict[str, int] = Field(description="true depth of each stack")
    trainable_parameters: int
    total_parameters: int
    names: tuple[str, ...] = Field(description="op names")
    dtypes: tuple[str, ...]
    polys: tuple[Poly, ...]
    shares: tuple[Share, ...] = ()
    storages: tuple[tuple[int, int, int], ...] = Field(
        description="per storage: category index, owner stack index (-1 none), owner layer (-1 none)"
    )
    stacks: tuple[str, ...] = ()
    parts: tuple[Part, ...]
    repeats: tuple[Repeat, ...] = ()
    assumptions: tuple[str, ...] = Field((), description="data-dependent ops and how they were bounded")
    valid_batch_min: int = 1
