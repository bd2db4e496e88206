"""Updates within the backward pass: what the stand-ins hold and do is what lomo-optim holds and does."""

from __future__ import annotations

import importlib.util
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from advisor.assembly.library_optimizers.fused_backward import NAMES, TracedAdaLomo, TracedLomo, fused_optimizer
from advisor.assembly.optimizers import make_optimizer
from advisor.domain.recipe import Recipe
from advisor.errors import IllegalRecipe, MissingExtra

torch.set_num_threads(1)
STAND_INS: dict[str, Any] = {"lomo": TracedLomo, "adalomo": TracedAdaLomo}


class Storages(TorchDispatchMode):
    """Every storage made inside: the bytes alive, the most there were, and births and deaths in order."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.events: list[int] = []
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_flatten(out)[0]:
            if isinstance(value, torch.Tensor) and value.untyped_storage()._cdata not in self.alive:
                storage = value.untyped_storage()
                self.alive[storage._cdata] = storage.nbytes()
                self.events.append(storage.nbytes())
                self.peak = max(self.peak, sum(self.alive.values()))
                weakref.finalize(storage, self._died, storage._cdata)
        return out

    def _died(self, key: int) -> None:
        self.events.append(-self.alive.pop(key))


def two_steps(make: Callable[[nn.Module], Any], dtype: torch.dtype) -> tuple[Storages, nn.Module]:
    torch.manual_seed(0)
    layers = [nn.Embedding(50, 24), nn.Linear(24, 40), nn.Tanh(), nn.LayerNorm(40), nn.Linear(40, 50)]
    model = nn.Sequential(*layers).to(dtype)
    seen = Storages()
    with seen:
        seen.alive = {p.untyped_storage()._cdata: 0 for p in model.parameters()}
        optimizer = make(model)
        for _ in range(2):
            loss = model(torch.arange(48).reshape(4, 12)).float().square().mean()
            optimizer.fused_backward(loss, 0.01)
            del loss
    return seen, model


def larger(seen: Storages) -> list[int]:
    """Births and deaths of more than a number or two: those are as many, their order is not followed."""
    return [size for size in seen.events if abs(size) >= 64]


MEASURED = {
    ("lomo", torch.bfloat16, 0.0): (58568, 160, 1260.815911),
    ("lomo", torch.bfloat16, 0.1): (58568, 160, 1260.749579),
    ("lomo", torch.float32, 0.0): (68744, 96, 1260.693894),
    ("lomo", torch.float32, 0.1): (68744, 96, 1258.173795),
    ("adalomo", torch.bfloat16, 0.0): (60164, 302, 1259.206770),
    ("adalomo", torch.bfloat16, 0.1): (60164, 302, 1256.861465),
    ("adalomo", torch.float32, 0.0): (70340, 238, 1259.208143),
    ("adalomo", torch.float32, 0.1): (70340, 238, 1257.123357),
}  # fmt: skip
"""Optimizer, type of the weights, decay -> peak in bytes beside the weights, births and deaths, sum of the weights."""


@pytest.mark.parametrize(("name", "dtype", "decay"), MEASURED)
def test_the_stand_in_holds_the_bytes_and_ends_at_the_weights_of_the_library(
    name: str, dtype: torch.dtype, decay: float, monkeypatch: pytest.MonkeyPatch
):
    """`MEASURED`: lomo-optim 0.1.1 on a CPU with torch 2.13.0, AdaLomo's statistics kept off CUDA."""
    seen, model = two_steps(lambda model: STAND_INS[name](model, 0.01, decay), dtype)
    weights = sum(float(p.detach().double().abs().sum()) for p in model.parameters())
    peak, count, total = MEASURED[name, dtype, decay]
    assert (seen.peak, len(larger(seen))) == (peak, count)
    assert weights == pytest.approx(total, rel=1e-6)
    if importlib.util.find_spec("lomo_optim") is None:
        return
    lomo_optim: Any = importlib.import_module("lomo_optim")
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self: self)
    library, own = two_steps(lambda model: getattr(lomo_optim, NAMES[name])(model, lr=0.01, weight_decay=decay), dtype)
    assert larger(library) == larger(seen)
    assert all(torch.equal(p, q) for p, q in zip(own.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("name", STAND_INS)
def test_no_more_than_two_gradients_exist_at_once(name: str):
    """LOMO's reason to be: of twelve alike layers the gradients of two, where others keep twelve."""
    model = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(12)))
    optimizer = fused_optimizer(name, model.to("meta"), 0.01, 0.0)
    for p in model.parameters():
        p.register_hook(lambda gradient: counts.append(sum(p.grad is not None for p in model.parameters())))
    counts: list[int] = []
    optimizer.fused_backward(model(torch.ones(2, 64, device="meta")).sum(), 0.01)  # pyright: ignore
    # the hook of the optimizer has run before this one
    assert counts == [0] * 12
    assert all(p.grad is None for p in model.parameters())


def test_adalomos_state_is_a_number_a_row_and_a_column_of_every_parameter_frozen_ones_too():
    model = nn.Sequential(nn.Linear(30, 20), nn.LayerNorm(20)).to("meta")
    model[0].requires_grad_(False)
    optimizer = make_optimizer(model, Recipe(method="full", optimizer="adalomo"))
    numbers = sum(value.numel() for state in optimizer.state.values() for value in state.values())
    assert numbers == (30 + 20) + 20 + 20 + 20


def test_adalomo_over_more_than_rows_and_columns_is_refused_where_they_are_trained():
    frozen = nn.Conv2d(3, 4, 5, bias=False).to("meta").requires_grad_(False)
    state = make_optimizer(frozen, Recipe(method="full", optimizer="adalomo")).state[frozen.weight]
    assert [value.numel() for value in state.values()] == [4, 3]
    with pytest.raises(IllegalRecipe, match="has 4 dimensions"):
        make_optimizer(nn.Conv2d(3, 4, 5).to("meta"), Recipe(method="full", optimizer="adalomo"))


@pytest.mark.skipif(importlib.util.find_spec("lomo_optim") is not None, reason="lomo-optim is installed")
def test_without_the_package_a_training_is_told_what_to_install():
    with pytest.raises(MissingExtra) as refused:
        make_optimizer(nn.Linear(4, 4), Recipe(method="full", optimizer="lomo"))
    assert "pip install 'advisor[lomo]'" in " ".join(refused.value.hints)
