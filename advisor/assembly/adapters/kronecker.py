"""Kronecker-product methods: Compacter's adapters (arXiv:2106.04647) and KronA's weight update (arXiv:2212.10650).

Shapes: I input width, O output width, N number of Kronecker terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from advisor.assembly.adapters import module_search as layers
from advisor.assembly.adapters.bottleneck import ACTIVATIONS, SerialAdapter
from advisor.assembly.adapters.wrapped_module import Delta, adapter_dtype, place_of, replace, wrap_linears
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe

Options = Mapping[str, Any]


def kronecker_sum(small: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Sum over n of small[n] (x) (left[n] @ right[n]): [N, N, N], [N, I/N, 1], [N, 1, O/N] -> [I, O]."""
    large = left @ right
    product = torch.einsum("nij,nkl->ikjl", small, large)
    return product.reshape(small.shape[1] * large.shape[1], small.shape[2] * large.shape[2])


class KroneckerLinear(nn.Module):
    """A linear layer whose weight is a sum of N Kronecker products with a rank-one large factor (LPHM)."""

    def __init__(
        self, width_in: int, width_out: int, small: nn.Parameter, device: torch.device, dtype: torch.dtype, zero: bool
    ) -> None:
        super().__init__()
        terms = small.shape[0]
        self.small = small
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.left = nn.Parameter(torch.empty(terms, width_in // terms, 1, **place))
        self.right = nn.Parameter(torch.empty(terms, 1, width_out // terms, **place))
        self.bias = nn.Parameter(torch.zeros(width_out, **place))
        nn.init.normal_(self.left, std=0.1)
        if zero:
            nn.init.zeros_(self.right)
        else:
            nn.init.normal_(self.right, std=0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ kronecker_sum(self.small, self.left, self.right) + self.bias


class KroneckerBottleneck(nn.Module):
    """Compacter's adapter: both projections are KroneckerLinear, their small factors shared by all layers."""

    def __init__(self, width: int, options: Options, small: nn.Parameter, device: torch.device) -> None:
        super().__init__()
        middle = options["bottleneck"]
        self.down = KroneckerLinear(width, middle, small, device, small.dtype, zero=False)
        self.act = ACTIVATIONS[options["activation"]]()
        self.up = KroneckerLinear(middle, width, small, device, small.dtype, zero=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(self.act(self.down(x.to(self.down.left.dtype))))


def _compacter(model: nn.Module, spec: ModelSpec, options: Options, kinds: tuple[str, ...]) -> nn.Module:
    terms = options["terms"]
    places = [place for place in layers.sublayers(model) if place.kind in kinds]
    uneven = [w for w in (*(p.width_out for p in places), options["bottleneck"]) if w % terms]
    if uneven:
        raise IllegalRecipe(
            f"compacter: {terms} terms do not divide the width {uneven[0]}",
            hints=["nearest legal choice: a number of terms that divides the hidden size and the bottleneck"],
            method="compacter",
        )
    first = model.get_submodule(places[0].exit)
    small = nn.Parameter(torch.empty(terms, terms, terms, device=place_of(first), dtype=adapter_dtype(first)))
    nn.init.normal_(small, std=0.5)
    for place in places:
        inner = model.get_submodule(place.exit)
        made = KroneckerBottleneck(place.width_out, options, small, place_of(inner))
        replace(model, place.exit, lambda m, made=made: SerialAdapter(m, made))
    return model


def attach_compacter(
    model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options
) -> nn.Module:
    """After attention and feed-forward of every block."""
    return _compacter(model, spec, options, ("attention", "cross-attention", "feed-forward"))


def attach_compacter_plus(
    model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options
) -> nn.Module:
    """Compacter++: after the feed-forward only."""
    return _compacter(model, spec, options, ("feed-forward",))


class KronA(Delta):
    """W + scale * A (x) B with A [O1, I1], B [O2, I2], O1 O2 = O and I1 I2 = I; B starts at zero."""

    def __init__(self, inner: nn.Module, rows: int, columns: int, scale: float) -> None:
        super().__init__(inner)
        width_in, width_out = layers.widths(inner)
        place: dict[str, Any] = {"device": place_of(inner), "dtype": adapter_dtype(inner)}
        self.scale = scale
        self.a = nn.Parameter(torch.empty(rows, columns, **place))
        self.b = nn.Parameter(torch.zeros(width_out // rows, width_in // columns, **place))
        nn.init.normal_(self.a, std=columns**-0.5)

    def delta(self) -> torch.Tensor:
        return self.scale * torch.kron(self.a, self.b)

    def add(self, x: torch.Tensor) -> torch.Tensor:
        # (A (x) B) x without the product's full size: fold x to [..., I1, I2]
        folded = x.reshape(*x.shape[:-1], self.a.shape[1], self.b.shape[1])
        out = torch.einsum("oi,...ij,pj->...op", self.a, folded, self.b)
        return self.scale * out.reshape(*x.shape[:-1], self.a.shape[0] * self.b.shape[0])


def _square_factor(width: int) -> int:
    """The divisor of `width` nearest below its square root: the most even split."""
    return max(d for d in range(1, int(width**0.5) + 1) if width % d == 0)


def attach_krona(model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options) -> nn.Module:
    """Both factors as even in size as the layer's widths allow, which is the fewest parameters."""

    def make(inner: nn.Module) -> nn.Module:
        width_in, width_out = layers.widths(inner)
        return KronA(inner, _square_factor(width_out), _square_factor(width_in), options["scale"])

    wrap_linears(model, options["target_modules"], make)
    return model
