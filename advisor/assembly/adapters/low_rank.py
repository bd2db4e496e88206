"""Low-rank updates peft lacks: DyLoRA (arXiv:2210.07558), NOLA (arXiv:2310.02556), SVFT (arXiv:2405.19597).

Shapes: W [O, I], R rank, N random bases.
"""

# pyright: reportUnknownMemberType=false
# torch.linalg has no types

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from advisor.assembly.adapters import module_search as layers
from advisor.assembly.adapters.wrapped_module import Delta, adapter_dtype, place_of, wrap_linears
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe

Options = Mapping[str, Any]


def _check_rank(name: str, inner: nn.Module, rank: int) -> None:
    narrow = min(layers.widths(inner))
    if rank > narrow:
        raise IllegalRecipe(
            f"{name}: rank {rank} is above the width of a layer adapted ({narrow})",
            hints=[f"nearest legal choice: rank {narrow}"],
            method=name,
            rank=rank,
            widest=narrow,
        )


class DyLoRA(Delta):
    """LoRA whose rank is cut at random in every training step, so that any smaller rank works afterwards."""

    def __init__(self, inner: nn.Module, rank: int, alpha: float) -> None:
        super().__init__(inner)
        width_in, width_out = layers.widths(inner)
        place: dict[str, Any] = {"device": place_of(inner), "dtype": adapter_dtype(inner)}
        self.a = nn.Parameter(torch.empty(rank, width_in, **place))
        self.b = nn.Parameter(torch.zeros(width_out, rank, **place))
        nn.init.kaiming_uniform_(self.a, a=5**0.5)
        self.rank, self.alpha = rank, alpha

    def _kept(self) -> torch.Tensor:
        """[R] ones up to this step's rank, times its scale; the full rank outside training."""
        index = torch.arange(self.rank, device=self.a.device)
        cut = torch.randint(1, self.rank + 1, (1,), device=self.a.device) if self.training else self.rank
        return (index < cut) * (self.alpha / cut)

    def delta(self) -> torch.Tensor:
        return (self.b * self._kept().to(self.b.dtype)) @ self.a

    def add(self, x: torch.Tensor) -> torch.Tensor:
        return ((x @ self.a.T) * self._kept().to(x.dtype)) @ self.b.T


def attach_dylora(model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options) -> nn.Module:
    """On every target."""

    def make(inner: nn.Module) -> nn.Module:
        _check_rank("dylora", inner, options["rank"])
        return DyLoRA(inner, options["rank"], options["alpha"])

    wrap_linears(model, options["target_modules"], make)
    return model


class RandomBases(nn.Module):
    """N frozen random pairs of factors for one layer shape, shared by all layers of that shape."""

    def __init__(self, width_in: int, width_out: int, rank: int, count: int, place: dict[str, Any]) -> None:
        super().__init__()
        self.count = count
        made = torch.Generator().manual_seed(width_in * 7919 + width_out)
        meta = torch.device(place["device"]).type == "meta"
        for name, shape in (("a", (count, rank, width_in)), ("b", (count, width_out, rank))):
            drawn = torch.empty(shape, **place) if meta else torch.randn(shape, generator=made).to(**place)
            self.register_buffer(name, drawn / shape[-1] ** 0.5)


class NoLA(Delta):
    """(sum of u_n B_n) (sum of v_n A_n), the A_n [R, I] and B_n [O, R] random and frozen; u starts at zero."""

    def __init__(self, inner: nn.Module, bases: RandomBases, alpha: float, rank: int) -> None:
        super().__init__(inner)
        count = bases.count
        place: dict[str, Any] = {"device": place_of(inner), "dtype": adapter_dtype(inner)}
        self.u = nn.Parameter(torch.zeros(count, **place))
        self.v = nn.Parameter(torch.full((count,), count**-0.5, **place))
        self.scale = alpha / rank
        # a tuple, so that the shared bases are registered once, with the model
        self._bases = (bases,)

    def _factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        bases: Any = self._bases[0]
        left = torch.einsum("n,nor->or", self.u, bases.b)
        return left, torch.einsum("n,nri->ri", self.v, bases.a)

    def delta(self) -> torch.Tensor:
        left, right = self._factors()
        return self.scale * left @ right

    def add(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self._factors()
        return self.scale * (x @ right.T) @ left.T


def attach_nola(model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options) -> nn.Module:
    """On every target; one set of random bases a layer shape, kept on the model as `nola_bases`."""
    shared = nn.ModuleDict()

    def make(inner: nn.Module) -> nn.Module:
        _check_rank("nola", inner, options["rank"])
        width_in, width_out = layers.widths(inner)
        key = f"{width_in}x{width_out}"
        if key not in shared:
            place = {"device": place_of(inner), "dtype": adapter_dtype(inner)}
            shared[key] = RandomBases(width_in, width_out, options["rank"], options["bases"], place)
        bases = shared[key]
        assert isinstance(bases, RandomBases)
        return NoLA(inner, bases, options["alpha"], options["rank"])

    wrap_linears(model, options["target_modules"], make)
    model.add_module("nola_bases", shared)
    return model


def singular_vectors(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(U [O, K], V^T [K, I]) of a matrix [O, I] in float32, by the exact decomposition; K is its shorter side."""
    left, _, right = cast("tuple[torch.Tensor, ...]", torch.linalg.svd(matrix, full_matrices=False))
    return left, right


class SVFT(Delta):
    """W + U diag(m) V^T with U [O, K], V [I, K] the weight's singular vectors, frozen; m starts at zero."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        weight: torch.Tensor = inner.weight  # type: ignore[assignment]
        width_in, width_out = layers.widths(inner)
        dtype = adapter_dtype(inner)
        matrix = weight.detach().float()
        left, right = singular_vectors(matrix if matrix.shape[0] == width_out else matrix.T)
        self.register_buffer("left", left.to(weight.dtype).contiguous(), persistent=False)
        self.register_buffer("right", right.to(weight.dtype).contiguous(), persistent=False)
        self.m = nn.Parameter(torch.zeros(min(width_in, width_out), device=weight.device, dtype=dtype))

    def delta(self) -> torch.Tensor:
        vectors: Any = self
        return (vectors.left.to(self.m.dtype) * self.m) @ vectors.right.to(self.m.dtype)

    def add(self, x: torch.Tensor) -> torch.Tensor:
        vectors: Any = self
        return ((x @ vectors.right.to(x.dtype).T) * self.m) @ vectors.left.to(x.dtype).T


def attach_svft(model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options) -> nn.Module:
    """On every target: its plain (diagonal) form."""
    wrap_linears(model, options["target_modules"], SVFT)
    return model
