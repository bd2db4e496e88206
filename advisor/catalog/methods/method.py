"""What the catalogue knows of one fine-tuning method: a value and a few pure functions, no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from advisor.domain.model import Architecture, ModelSpec
    from advisor.domain.recipe import Recipe
    from advisor.domain.request.vocabulary import Base, Family, Task

OptionValue = int | float | str | bool | list[str] | list[int] | None


@dataclass(frozen=True, slots=True)
class MethodSource:
    """Where a figure was read: an address, and the place in it. No pydantic, which takes longer than all methods."""

    address: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class Option:
    """One hyperparameter of a method: its default and the range worth searching, each with a source.

    `low`/`high` bound numbers (searched in logarithm when `log`), `choices` everything else.
    """

    default: OptionValue
    source: MethodSource
    says: str = ""
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[OptionValue, ...] = ()


@dataclass(frozen=True, slots=True)
class Method:
    """One method. `name` is kebab-case and unique; `evidence_names` are what studies in the findings call it.

    Exactly one way of attaching is set: `peft_type` (+ `peft_options`, which turns our options into keyword
    arguments of peft's config class), or `attach`, the address "module:function" of our own implementation
    in `advisor.assembly.adapters`, imported only when a model is built.
    """

    name: str
    title: str
    says: str
    family: Family
    subfamily: str
    paper: MethodSource
    year: int | None
    options: Mapping[str, Option]
    learning_rate: Option
    peft_type: str | None = None
    peft_options: Callable[[ModelSpec, Mapping[str, Any]], dict[str, Any]] | None = None
    attach: str | None = None
    default_base: Base = "dtype"
    bases: frozenset[Base] = frozenset({"dtype"})
    architectures: frozenset[Architecture] = frozenset({"decoder", "encoder", "encoder-decoder", "denoiser"})
    tasks: frozenset[Task] = frozenset({"causal-lm", "sequence-classification", "seq2seq", "denoising"})
    optimizer: str | None = None
    """An optimizer the method is defined by (`loraplus`, `lorafa`, `galore`); None: any."""
    trains_in_base_dtype: bool = False
    """What it trains is stored in the base's dtype: the base's own weights, or tensors that peft leaves in that dtype.
    False: float32 beside a 16-bit base, as peft casts adapters (autocast_adapter_dtype). New heads do not count."""
    checkpointing: bool = True
    """Works under gradient checkpointing."""
    mergeable: bool = False
    inference_overhead: str = "none once merged"
    serving: str = ""
    """How several adapters are served at once, if they can be."""
    evidence_names: tuple[str, ...] = ()
    unrolls: bool = True
    """False: a traced layer cannot stand for its copies, so every layer is traced (found by comparing both traces)."""
    fewest_layers: int = 4
    """Layers (periods of them, where they repeat in one) that are traced first. 6: with 4 the two in the middle of a
    decoder differ, since the first or the last reaches into them (found by tracing); more are traced where they do."""
    prompt: Literal["", "input", "cache"] = ""
    """What stands before every sample and takes positions of its own: embeddings before the `input`'s, or a `cache` of
    past keys and values, which stands before the target where the model has a decoder beside its encoder."""
    any_rank: bool = False
    """Its rank may exceed a layer's width: what it trains is one vector as long as the rank."""
    start_up: str = ""
    """What initialisation costs beyond loading, e.g. an SVD of every target."""
    identity_at_start: bool = True
    """The forward pass equals the base model's before the first step."""
    failure_modes: tuple[str, ...] = ()
    forgetting: str = ""
    core: bool = False
    """Offered by `recommend` without being asked for."""
    refuse: Callable[[ModelSpec, Recipe, Task], str | None] | None = None
    """A further reason this method cannot run, or None; says the nearest legal choice."""
    after: str | None = None
    """Address of a function(model, options) run on the attached model, e.g. to freeze what peft leaves trainable."""
    adapter_marks: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What tells this method apart in an adapter_config of its peft_type: key -> value (`True`: anything set)."""
    needs_data: bool = False
    """Initialisation reads training batches, which every training gives it; a model only measured goes without."""
    start_reads: tuple[int, Literal["rows", "batches", "times the width in tokens"]] = (0, "rows")
    """How much of the training rows the initialisation reads at most, where it reads any; its file says whose figure
    it is. Batches are of the recipe's micro-batch; the width is the model's hidden size."""
    needs_peft: str = "0.19.0"
    """The first peft that has the method."""
    checkpoint: str = "the trained tensors only"
    """What the saved adapter holds."""
    transposed: bool = True
    """Runs on layers that hold their weight transposed (GPT-2's Conv1D)."""
    multi_adapter: bool = True
    """Several adapters of this method fit on one loaded model."""
    cannot: str = ""
    """Why this method is described but not trainable through advisor; empty for all others."""
    notice: str = ""
    """What every answer about this method says besides, e.g. that nothing is known of it yet."""
    sources: tuple[MethodSource, ...] = field(default=())
