"""bitsandbytes' optimizers as far as memory goes: their state's types and sizes, and one kernel a parameter.

Source: bitsandbytes 0.50.2, optim/optimizer.py (Optimizer1State, Optimizer2State), optim/ademamix.py and _ops.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch

from advisor.assembly.library_optimizers.stand_in_kernels import define_kernels

SMALLEST_IN_8_BITS: Final = 4096
"""Elements from which a state is held in 8 bits."""
BLOCK: Final = 256
"""Elements of 8-bit state that share a scale."""
MAP: Final = 256
"""Values that 8 bits stand for."""

SIGNATURES: Final = {
    "optimizer_update_32bit": "(str optimizer_name, Tensor(a0!) g, Tensor(a1!) p, Tensor(a2!) state1, "
    "Tensor(a3!)? state2, Tensor(a4!)? unorm_vec, float max_unorm, float param_norm, float beta1, float beta2, "
    "float beta3, float alpha, float eps, float weight_decay, int step, float lr, float gnorm_scale, "
    "bool skip_zeros=False) -> ()",
    "optimizer_update_8bit_blockwise": "(str optimizer_name, Tensor(a0!) g, Tensor(a1!) p, Tensor(a2!) state1, "
    "Tensor(a3!)? state2, float beta1, float beta2, float beta3, float alpha, float eps, int step, float lr, "
    "Tensor(a4!) qmap1, Tensor(a5!)? qmap2, Tensor(a6!) absmax1, Tensor(a7!)? absmax2, float weight_decay, "
    "float gnorm_scale, bool skip_zeros=False) -> ()",
}


def define_updates() -> None:
    """Make the two kernels known to torch; they change their arguments and give nothing."""
    define_kernels("bitsandbytes", SIGNATURES)


class Blockwise(torch.optim.Optimizer):
    """One or two moments a parameter, in float32 or in 8 bits with a scale a block."""

    KIND = "adam"
    MOMENTS = 2

    def __init__(
        self, params: Any, lr: float, weight_decay: float = 0.0, optim_bits: int = 32, is_paged: bool = False
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.bits, self.is_paged = optim_bits, is_paged
        self.maps = [torch.zeros(MAP) for _ in range(2)] if optim_bits == 8 else []

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # pyright: ignore
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if not self.state[p]:
                    self.init_state(p)
                self.prefetch_state(p)
                self.update_step(p, group)

    def init_state(self, p: torch.Tensor) -> None:
        """Make the state of a parameter, in the order in which the library makes it."""
        state, small = self.state[p], p.numel() < SMALLEST_IN_8_BITS
        state["step"] = 0
        if self.bits == 32 or small:
            for number in range(1, self.MOMENTS + 1):
                state[f"state{number}"] = self.get_state_buffer(p, torch.float32)
            return
        self.maps[: self.MOMENTS] = [one.to(p.device) for one in self.maps[: self.MOMENTS]]
        for number in range(1, self.MOMENTS + 1):
            state[f"state{number}"] = self.get_state_buffer(p, torch.uint8)
            state[f"qmap{number}"] = self.maps[number - 1]
        for number in range(1, self.MOMENTS + 1):
            state[f"absmax{number}"] = torch.zeros((_blocks(p),), dtype=torch.float32, device=p.device)

    def update_step(self, p: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        # the library makes both contiguous, which costs a call and, as they are, no memory
        p.data, p.grad = p.data.contiguous(), p.grad.contiguous()  # pyright: ignore
        state["step"] += 1
        second = state.get("state2")
        rates = (state["step"], group["lr"])
        if state["state1"].dtype == torch.float32:
            torch.ops.bitsandbytes.optimizer_update_32bit(
                self.KIND, p.grad, p, state["state1"], second, None, 0.0, 0.0, 0.9, 0.999, 0.0, 0.0, 1e-8,
                group["weight_decay"], *rates, 1.0, False,
            )  # fmt: skip
            return
        torch.ops.bitsandbytes.optimizer_update_8bit_blockwise(
            self.KIND, p.grad, p, state["state1"], second, 0.9, 0.999, 0.0, 0.0, 1e-8, *rates, state["qmap1"],
            state.get("qmap2"), state["absmax1"], state.get("absmax2"), group["weight_decay"], 1.0, False,
        )  # fmt: skip

    def get_state_buffer(self, p: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """A moment of a parameter; `optimizers` puts another in its place where state is paged."""
        return torch.zeros_like(p, dtype=dtype, device=p.device)

    def prefetch_state(self, p: torch.Tensor) -> None:
        """Nothing to fetch without paging."""


def _blocks(p: torch.Tensor) -> int:
    return -(-p.numel() // BLOCK)


class AdamW(Blockwise):
    """Two moments."""


class Lion(Blockwise):
    """One moment."""

    KIND = "lion"
    MOMENTS = 1


class RMSprop(Blockwise):
    """One moment."""

    KIND = "rmsprop"
    MOMENTS = 1


class AdEMAMix(Blockwise):
    """A fast and a slow first moment, in one tensor twice as long, and the second."""

    KIND = "ademamix"

    def init_state(self, p: torch.Tensor) -> None:
        state, small = self.state[p], p.numel() < SMALLEST_IN_8_BITS
        state["step"] = 0
        dtype = torch.float32 if self.bits == 32 or small else torch.uint8
        if dtype == torch.uint8:
            self.maps[:] = [one.to(p.device) for one in self.maps]
            state["qmap1"], state["qmap2"] = self.maps
            state["absmax1"] = torch.zeros((2, _blocks(p)), dtype=torch.float32, device=p.device)
            state["absmax2"] = torch.zeros((_blocks(p),), dtype=torch.float32, device=p.device)
        state["state1"] = self._get_state_double_buffer(p, dtype)
        state["state2"] = self.get_state_buffer(p, dtype)

    def _get_state_double_buffer(self, p: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.zeros((2, *p.size()), dtype=dtype, device=p.device)
