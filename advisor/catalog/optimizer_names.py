"""Optimizers by the names transformers' TrainingArguments gives them: which are modelled, and why others are not.

Source: transformers 5.23, training_args.OptimizerNames and trainer_optimizer.py, which say what class each name is and
from what package it comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from advisor.errors import IllegalRecipe, UnknownName


@dataclass(frozen=True, slots=True)
class Named:
    """One name. `package` is what brings it beside torch and transformers; `refused` why no recipe can have it."""

    name: str
    package: str = ""
    refused: str = ""
    instead: str = ""

    @property
    def keeps_updates(self) -> bool:
        """Whether weights stored in bfloat16 keep what a step changes below half a bit of them: Kahan summation."""
        return self.package == "torch-optimi"

    @property
    def in_backward(self) -> bool:
        """Whether it updates each parameter within the backward pass, so that gradients never exist all at once."""
        return self.package == "lomo-optim"

    @property
    def quality_unknown(self) -> str:
        """Why no quality is predicted under it; "" for AdamW, of which the studies are, in whatever bits of state."""
        if "adamw" in self.name:
            return ""
        return f"no study in the catalogue compares methods under {self.name}, and what AdamW's say is not borrowed"

    @property
    def paged(self) -> bool:
        """Whether its state lies in unified memory, which the driver moves between device and host."""
        return self.name.startswith("paged_")


def _modelled(names: str, package: str = "") -> list[Named]:
    return [Named(name, package) for name in names.split()]


def _refused(names: str, package: str, why: str, instead: str) -> list[Named]:
    return [Named(name, package, why, instead) for name in names.split()]


_IN_BACKWARD: Final = "its package, which is not among those traced, updates weights within the backward pass"
_COMPILED: Final = (
    "torch.compile makes its step (torchao 0.18, optim/adam.py), whose buffers no step without a device shows; its "
    "state alone is known: two moments in 4 or 8 bits each, with a float32 scale of every 256"
)
_TWO_MODES: Final = (
    "it trains at other weights than it is scored and saved at (schedulefree 1.4, train() and eval()), and no trainer "
    "here changes them when it scores"
)
_UNTRACED: Final = "its package {} is not among those traced, so its state and its steps would be a guess"

OPTIMIZERS: Final[tuple[Named, ...]] = (
    *_modelled("adamw_torch adamw_torch_fused adamw_torch_loop adafactor adagrad rmsprop sgd sgd_momentum"),
    *_modelled("adamw_8bit adamw_bnb_8bit paged_adamw_8bit paged_adamw_32bit", "bitsandbytes"),
    *_modelled("ademamix ademamix_8bit paged_ademamix_8bit paged_ademamix_32bit", "bitsandbytes"),
    *_modelled("lion_8bit lion_32bit paged_lion_8bit paged_lion_32bit", "bitsandbytes"),
    *_modelled("rmsprop_bnb rmsprop_bnb_8bit rmsprop_bnb_32bit", "bitsandbytes"),
    *_modelled("stable_adamw", "torch-optimi"),
    *_modelled("lomo adalomo", "lomo-optim"),
    *_refused("adamw_torch_xla", "torch_xla", "it runs on XLA devices alone", "adamw_torch"),
    *_refused("adamw_torch_npu_fused", "torch_npu", "it runs on Ascend NPUs alone", "adamw_torch_fused"),
    *_refused("adamw_anyprecision", "torchdistx", _UNTRACED.format("torchdistx"), "adamw_torch"),
    *_refused("adamw_torch_4bit adamw_torch_8bit", "torchao", _COMPILED, "adamw_8bit"),
    *_refused(
        "galore_adamw galore_adamw_8bit galore_adafactor", "galore_torch", _UNTRACED.format("galore_torch"),
        "adamw_torch with the method galore, advisor's own form of it",
    ),
    *_refused(
        "galore_adamw_layerwise galore_adamw_8bit_layerwise galore_adafactor_layerwise", "galore_torch", _IN_BACKWARD,
        "adamw_torch with the method galore, advisor's own form of it",
    ),
    *_refused("grokadamw", "grokadamw", _UNTRACED.format("grokadamw"), "adamw_torch"),
    *_refused(
        "schedule_free_radam schedule_free_adamw schedule_free_sgd", "schedulefree", _TWO_MODES, "adamw_torch",
    ),
    *_refused("apollo_adamw", "apollo_torch", _UNTRACED.format("apollo_torch"), "adafactor"),
    *_refused("apollo_adamw_layerwise", "apollo_torch", _IN_BACKWARD, "adafactor"),
)  # fmt: skip
"""Every name of transformers, and two of ours: `adamw_torch_loop` (foreach=False) and `sgd_momentum` (0.9)."""


@dataclass(frozen=True, slots=True)
class Package:
    """How a package that is no part of advisor is imported, and the extra that brings it."""

    module: str
    extra: str


PACKAGES: Final = {
    "bitsandbytes": Package("bitsandbytes", "quant"),
    "torch-optimi": Package("optimi", "optimi"),
    "lomo-optim": Package("lomo_optim", "lomo"),
}
"""Of the optimizers that are modelled."""
OF_BITSANDBYTES: Final = frozenset(one.name for one in OPTIMIZERS if one.package == "bitsandbytes")
KEEPS_UPDATES: Final = frozenset(one.name for one in OPTIMIZERS if one.keeps_updates)


def optimizer_named(name: str) -> Named | None:
    """What is known of a name; None of one that transformers has not, such as a method's own."""
    return next((one for one in OPTIMIZERS if one.name == name), None)


def updates_in_backward(name: str) -> bool:
    """Whether the optimizer of a name takes no step of its own: each backward pass is one, so none accumulates."""
    named = optimizer_named(name)
    return named is not None and named.in_backward


def quality_under(name: str) -> str:
    """Why no quality is predicted under the optimizer of a name; "" where one is."""
    named = optimizer_named(name)
    return "" if named is None else named.quality_unknown


def find_optimizer(name: str) -> Named:
    """The optimizer of a name.

    Raises:
        UnknownName: transformers has no such optimizer.
        IllegalRecipe: it has, and it is not modelled; says why and what to take instead.
    """
    found = optimizer_named(name)
    if found is None:
        known = [one.name for one in OPTIMIZERS if not one.refused]
        raise UnknownName.of("optimizer", name, known, list_with="advisor estimate --help")
    if found.refused:
        raise IllegalRecipe(
            f"the optimizer {name} is not modelled: {found.refused}",
            hints=[f"to go on: {found.instead}"],
            optimizer=name,
            package=found.package,
        )
    return found
