"""Sparse matrices on the meta device, which has none: indices and values kept apart, work done as CUDA does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch


class Coo:
    """A sparse [rows, columns] matrix as SHiRA and FRoD use one: added to a dense weight, coalesced, made dense.

    Adding scatters the values into the dense matrix; coalescing sorts the flattened indices. Gradients reach
    `values` by a gather, as autograd's own sparse formulas do.
    """

    def __init__(self, indices: torch.Tensor, values: torch.Tensor, size: Sequence[int]) -> None:
        self.indices = indices
        self.values = values
        self.size = tuple(size)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        dense, sparse = args[0], args[1]
        if name == "_sparse_mm" and isinstance(dense, Coo):
            # a product with the matrix made dense: an upper bound, since the forward needs no dense matrix; the
            # backward makes one, the gradient of all entries, before it keeps those that there are
            return dense.to_dense() @ sparse
        if name in ("__iadd__", "add_") and isinstance(sparse, Coo):
            return dense.index_put_(sparse._where(dense), sparse.values.to(dense.dtype), accumulate=True)
        if name in ("__add__", "__radd__", "add") and isinstance(sparse, Coo):
            return dense.index_put(sparse._where(dense), sparse.values.to(dense.dtype), accumulate=True)
        raise NotImplementedError(f"{name} of a sparse matrix without values")

    def _where(self, dense: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        indices = self.indices.to(dense.device)
        return indices[0], indices[1]

    def coalesce(self) -> Coo:
        """Sorted, without duplicates (all taken as distinct: an upper bound)."""
        flat = self.indices[0] * self.size[1] + self.indices[1]
        _, order = flat.sort()
        return Coo(self.indices.clone(), self.values.index_select(0, order), self.size)

    def to_dense(self) -> torch.Tensor:
        """The [rows, columns] matrix in the values' dtype."""
        out = torch.zeros(self.size, dtype=self.values.dtype, device=self.values.device)
        return out.index_put(self._where(out), self.values, accumulate=True)

    def _nnz(self) -> int:
        return int(self.values.shape[0])

    def to(self, *args: Any, **kwargs: Any) -> Coo:
        """Values moved or cast; indices follow the device."""
        values = self.values.to(*args, **kwargs)
        return Coo(self.indices.to(values.device), values, self.size)
