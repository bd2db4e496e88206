"""A campaign: which runs to measure, described in a file or on the command line as grids of choices."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import BeforeValidator, Field

from advisor import store
from advisor.catalog.methods import find_method
from advisor.domain.plain_values import is_object, is_sequence
from advisor.domain.recipe import autocast_fields
from advisor.domain.request.vocabulary import (
    Attention,
    Base,
    Batching,
    DeviceKind,
    DType,
    MixedPrecision,
    OwnTrainer,
    Task,
)
from advisor.domain.stored import Stored, Value
from advisor.errors import BadRequest, UnknownName

FOLDER: Final = Path(__file__).parent / "campaigns"
MOST_RUNS: Final = 5000
"""More than a month of runs is a slip of the keyboard."""

T = TypeVar("T")


def _listed(value: Any) -> Any:
    return value if is_sequence(value) else [value]


Axis = Annotated[tuple[T, ...], BeforeValidator(_listed), Field(min_length=1)]
"""One value or a list of them; every combination of a grid's axes is a run."""
Size = Annotated[int, Field(ge=1, le=10**7)]


class Choice(Value):
    """One combination of a grid: a run but for the machine."""

    model: str
    method: str
    batch_size: int
    seq_len: int
    gradient_checkpointing: bool
    dtype: DType
    base: Base | None
    optimizer: str | None
    trainer: OwnTrainer
    attention: Attention
    mixed_precision: MixedPrecision
    gradient_accumulation: int
    batching: Batching
    target_len: int | None
    task: Task | None
    layers: int | None
    mean_seq_len: float | None
    steps: int | None
    history: bool | None
    options: dict[str, Any]


class Grid(Value):
    """Axes whose every combination is a run. `layers` cuts the model down; `options` are the method's own.

    With `mean_seq_len` each step has a length of its own around that mean, `seq_len` at most. `steps` and `history`
    overrule the campaign's.
    """

    model: Axis[Annotated[str, Field(min_length=1)]]
    method: Axis[Annotated[str, Field(min_length=1)]]
    batch_size: Axis[Size] = (1,)
    seq_len: Axis[Size] = (512,)
    gradient_checkpointing: Axis[bool] = (False,)
    dtype: Axis[DType] = ("bfloat16",)
    base: Axis[Base | None] = (None,)
    optimizer: Axis[str | None] = (None,)
    trainer: Axis[OwnTrainer] = ("hf",)
    attention: Axis[Attention] = ("sdpa",)
    mixed_precision: Axis[MixedPrecision] = ("no",)
    gradient_accumulation: Axis[Size] = (1,)
    batching: Batching = "padded"
    target_len: Size | None = None
    task: Task | None = None
    layers: Size | None = Field(None, description="depth to cut every stack of layers down to")
    mean_seq_len: float | None = Field(None, gt=0)
    steps: int | None = Field(None, ge=1, le=10**5)
    history: bool | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many runs."""
        total = 1
        for name in _AXES:
            total *= len(getattr(self, name))
        return total

    def choices(self) -> Iterator[Choice]:
        """Every combination, models outermost."""
        rest = self.model_dump(exclude=set(_AXES))
        for values in itertools.product(*(getattr(self, name) for name in _AXES)):
            yield Choice.model_validate({**dict(zip(_AXES, values, strict=True)), **rest})


_AXES: Final = (
    "model",
    "method",
    "batch_size",
    "seq_len",
    "gradient_checkpointing",
    "dtype",
    "base",
    "optimizer",
    "trainer",
    "attention",
    "mixed_precision",
    "gradient_accumulation",
)


def _in_todays_words(campaign: dict[str, Any]) -> dict[str, Any]:
    """Version 1 said `autocast`: float32 weights of a plain base, products in `dtype`; a grid for each such dtype."""
    grids = campaign.get("grids")
    if not is_sequence(grids) or not all(is_object(grid) for grid in grids):
        return campaign  # refused for that
    return {**campaign, "grids": [new for grid in grids for new in _without_autocast(grid)]}


def _without_autocast(grid: dict[str, Any]) -> Iterator[dict[str, Any]]:
    rest = {name: value for name, value in grid.items() if name != "autocast"}
    for autocast in _listed(grid.get("autocast", False)):
        if not autocast:
            yield rest
            continue
        usual = (("method", ()), ("dtype", "bfloat16"), ("base", None))
        for method, dtype, base in itertools.product(*(_listed(rest.get(name, value)) for name, value in usual)):
            held = base or _usual_base(method)
            words = autocast_fields({"dtype": dtype, "base": held})
            yield {**rest, "method": method, "dtype": dtype, "base": base, **words}


def _usual_base(method: str) -> Base:
    try:
        return find_method(method).default_base
    except UnknownName:
        return "dtype"  # refused by its name when its run is made


class Campaign(Stored):
    """Runs to measure on one kind of device, within a time. `largest_batch` bisects besides, at each setting's
    first batch size, for the largest that fits."""

    KIND = "campaign"
    VERSION = 2
    UPGRADES = {1: _in_todays_words}  # noqa: RUF012, as its base declares it

    name: str = Field(min_length=1)
    says: str = ""
    device: DeviceKind = "auto"
    time_budget_seconds: float | None = Field(None, gt=0)
    run_timeout_seconds: float = Field(600, gt=0)
    steps: int = Field(5, ge=1, le=10**5)
    warmup: int = Field(2, ge=1, le=10**4)
    threads: int | None = Field(None, ge=1, le=4096)
    evaluation: bool = True
    saving: bool = True
    largest_batch: bool = False
    history: bool = Field(False, description="keep what the caching allocator did in the warm-up, in histories/")
    grids: tuple[Grid, ...] = Field(min_length=1)

    def choices(self) -> Iterator[Choice]:
        """Every run once, grids in order.

        Raises:
            BadRequest: more runs than anyone waits for.
        """
        total = sum(grid.size for grid in self.grids)
        if total > MOST_RUNS:
            raise BadRequest(
                f"campaign {self.name!r} has {total:,} runs, more than {MOST_RUNS:,}",
                cause=f"every combination of a grid's lists is a run: {[grid.size for grid in self.grids]}",
                hints=["shorten the lists, or split the grid into several"],
                runs=total,
            )
        seen: set[str] = set()
        for grid in self.grids:
            for choice in grid.choices():
                key = choice.model_dump_json()
                if key not in seen:
                    seen.add(key)
                    yield choice


def shipped_campaigns() -> tuple[str, ...]:
    """Names of the campaigns that come with advisor."""
    return tuple(path.stem for path in store.listing(FOLDER))


def load_campaign(name: str) -> Campaign:
    """The campaign in a file, or a shipped one by its name.

    Raises:
        UnknownName: neither a file nor a shipped campaign.
        BadFile: the file is no campaign as expected.
    """
    path = store.expanded(name)
    if name in shipped_campaigns():
        path = FOLDER / f"{name}.json"
    elif path.suffix != ".json" and not path.is_file():
        raise UnknownName.of(
            "campaign", name, shipped_campaigns(), list_with="advisor profile --help; or give a file.json"
        )
    return store.read(Campaign, path)
