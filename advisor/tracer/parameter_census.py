"""What each parameter of a model is, by name: how a cut model is held to the whole one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from advisor.assembly.parameter_count import logical_size
from advisor.domain.trace.trace_schema import Repeat


@dataclass(frozen=True, slots=True)
class ParameterFact:
    """One parameter: the numbers in it (two to a byte in 4-bit storage), its shape and dtype, whether it is trained."""

    numbers: int
    shape: tuple[int, ...]
    dtype: str
    trained: bool
    of_base: bool = False
    """Whether it was there before the adapter."""


Census = dict[str, ParameterFact]
"""Parameter name -> fact; a parameter that several modules share is there once, under its first name."""


def census_of(model: nn.Module, base: Container[int] = ()) -> Census:
    """Every parameter of a model; `base` holds the ids of those that were there before the adapter."""
    return {
        name: ParameterFact(logical_size(p), tuple(p.shape), str(p.dtype), p.requires_grad, id(p) in base)
        for name, p in model.named_parameters()
    }


def totals(facts: Iterable[ParameterFact]) -> tuple[int, int]:
    """(trained, total) numbers."""
    trained = total = 0
    for fact in facts:
        total += fact.numbers
        trained += fact.numbers if fact.trained else 0
    return trained, total


def expert_share(facts: Iterable[tuple[str, ParameterFact]]) -> float:
    """The share of the base's numbers that lies in experts held as one tensor for all, which no linear layer holds."""
    total = fused = 0
    for name, fact in facts:
        if fact.of_base:
            total += fact.numbers
            fused += fact.numbers if len(fact.shape) == 3 and "experts" in name.split(".") else 0
    return fused / max(1, total)


def grown(cut: Census, stacks: Mapping[str, int], repeats: Sequence[Repeat]) -> Iterator[tuple[str, ParameterFact]]:
    """The parameters that a cut model stands for: those of copied layers once a copy, under their true layer's name.

    Args:
        stacks: the cut stacks, path -> traced layers.
    """
    for name, fact in cut.items():
        stack = next((path for path in stacks if name.startswith(path + ".")), None)
        if stack is None:
            yield name, fact
            continue
        layer, _, rest = name[len(stack) + 1 :].partition(".")
        for true in true_layers(int(layer), stack, repeats):
            yield f"{stack}.{true}.{rest}", fact


def true_layers(layer: int, stack: str, repeats: Sequence[Repeat]) -> Iterator[int]:
    """The layers of the whole model that a traced layer stands for."""
    before = sum(r.extra * r.period for r in repeats if r.stack == stack and r.first + r.period <= layer)
    yield layer + before
    for repeat in repeats:
        if repeat.stack == stack and repeat.first <= layer < repeat.first + repeat.period:
            yield from (layer + before + copy * repeat.period for copy in range(1, repeat.extra + 1))


def difference(whole: Census, cut: Census, stacks: Mapping[str, int], repeats: Sequence[Repeat]) -> str | None:
    """Where the whole model is not what its cut stands for, in words; None where both are the same.

    Parameters inside the cut stacks are compared name by name. Those outside may be numbered by layer (one module
    a layer in a list of their own), so they are compared by what they are.
    """
    stood: Census = dict(grown(cut, stacks, repeats))
    inside = {name for name in {*whole, *stood} if any(name.startswith(path + ".") for path in stacks)}
    for name in sorted(inside):
        if whole.get(name) != stood.get(name):
            return f"{name} is {_words(whole.get(name))} in the whole model, {_words(stood.get(name))} in its copy"
    outside = [Counter(fact for name, fact in facts.items() if name not in inside) for facts in (whole, stood)]
    for fact in (outside[0] - outside[1]) + (outside[1] - outside[0]):
        return f"outside the layers, {_words(fact)} is there {outside[0][fact]} times, {outside[1][fact]} in the copy"
    return None


def _words(fact: ParameterFact | None) -> str:
    if fact is None:
        return "absent"
    return f"{'trained' if fact.trained else 'frozen'} {list(fact.shape)} {fact.dtype.removeprefix('torch.')}"
