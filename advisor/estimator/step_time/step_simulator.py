"""Step time: the op list replayed on two clocks.

The host issues ops in order, at a cost an op, a view, a module call, a launch. The device runs each kernel when
it was issued and the one before has ended, for max(FLOP / rate, bytes / bandwidth) + a start-up time. A copy
across PCIe or an `.item()` holds the host until the device has caught up. So a step is bound by products, by
bandwidth, by launches or by transfers, and which one shows.

Shapes here: N ops of a steady step, L batch lengths.
Left out: overlap of kernels on one device, the launch queue's finite depth (1,024), clock throttling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from advisor.catalog.constants import time_constants
from advisor.catalog.gpus.capabilities import no_bf16
from advisor.domain.hardware import Gpu
from advisor.domain.trace.timeline import Floats, Ints, Timeline
from advisor.domain.trace.trace_schema import OP_CLASSES, PHASES
from advisor.errors import BadRequest
from advisor.estimator.cpu_device import PROCESSOR
from advisor.estimator.polynomials import Polynomials

TIME_NAMES: Final = (
    "matmul_half",
    "matmul_single",
    "attention",
    "flash_attention",
    "bandwidth",
    "cache_gain",
    "cache_bytes",
    "kernel_s",
    "forward_op_s",
    "backward_op_s",
    "view_s",
    "backward_view_s",
    "module_s",
    "launch_s",
    "transfer_bytes_s",
    "sync_s",
    "step_s",
)
"""Constants of the time model, in the order of every parameter vector."""
HOST_NAMES: Final = ("forward_op_s", "backward_op_s", "view_s", "backward_view_s", "module_s", "launch_s", "sync_s")
"""Those that are seconds of the host's processor: a slow one is slow at all of them."""
BOUNDS: Final = ("matmul", "attention", "bandwidth", "launches", "transfers", "host")
"""What a second of a step is spent on; `host` is the device idle because the host has not issued its next op."""

CAUSAL_BLOCK: Final = 128
"""Queries that a fused kernel takes at once: in a causal call it skips the blocks above the diagonal, and computes
those on it whole. Source: https://arxiv.org/abs/2307.08691, section 3.1.1 (blocks of 64 or 128, by head width)."""
_FLASH: Final = "_scaled_dot_product_flash_attention"
_FUSED: Final = (_FLASH, "_scaled_dot_product_efficient_attention")

_CLASS: Final = {name: i for i, name in enumerate(OP_CLASSES)}
_MICRO: Final = [PHASES.index(p) for p in ("forward", "loss", "backward")]
_HALF: Final = frozenset({"bf16", "fp16", "bfloat16", "float16", "int8", "uint8", "float8_e4m3fn"})


@dataclass(frozen=True, slots=True)
class Rates:
    """The datasheet of one device: FLOP/s of half and single precision products, bytes/s; `notes`: what is missing.

    `overlaps`: the host issues ops ahead of the device; on a processor each is done before the next is issued.
    """

    half_flop_s: float
    single_flop_s: float
    bytes_s: float
    notes: tuple[str, ...] = ()
    overlaps: bool = True


@dataclass(frozen=True, slots=True)
class Clocks:
    """One replay: `step_s` [L], seconds by phase [L, phases] and by bound [L, BOUNDS]; rows add up to `step_s`."""

    step_s: Floats
    phase_s: Floats
    bound_s: Floats


def rates_of(gpu: Gpu, dtype: str = "") -> Rates:
    """The figures of the catalogue that the time model needs; in bfloat16, those of a card that may not have it.

    Raises:
        BadRequest: the bandwidth, or every compute rate, is unknown: a step time would be invention.
    """
    half, single = gpu.bf16_flop_s, gpu.fp32_flop_s
    emulated = no_bf16(gpu) if dtype == "bfloat16" else ""
    if emulated and single is not None:
        half = single
    if gpu.bandwidth_bytes_s is None or (half is None and single is None):
        raise BadRequest(
            f"the catalogue has no memory bandwidth or no compute rate for {gpu.name}, so no step time can be given",
            hints=[f"to see what is known: advisor gpus {gpu.name}"],
            gpu=gpu.name,
        )
    notes: list[str] = [emulated] if emulated else []
    if half is None:
        assert single is not None
        half = single
        notes.append(f"{gpu.name} has no catalogued half precision rate: its single precision rate stands in")
    if single is None:
        single = half / 8
        notes.append(f"{gpu.name} has no catalogued single precision rate: an eighth of half precision stands in")
    return Rates(half, single, gpu.bandwidth_bytes_s, tuple(notes), overlaps=gpu.vendor != PROCESSOR)


def default_time(generation: str = "") -> Floats:
    """[len(TIME_NAMES)] the catalogue's constants: a generation's where it has them, else the generic ones."""
    constants = time_constants(generation)
    return np.array([constants[name].value for name in TIME_NAMES])


def causal_share(lengths: Floats) -> Floats:
    """[L] share of the whole rectangle of scores that a causal call of a fused kernel computes."""
    return np.minimum(1.0, (1.0 + CAUSAL_BLOCK / lengths) / 2)


class Ops:
    """The ops of a steady step at L lengths, ready to be replayed with any constants.

    `causal`: the model is a decoder, so a fused attention op that reads no mask is called causally, and its FLOP
    are those of the blocks on and below the diagonal. With a mask to read (padded batches) it computes every block,
    and so does unfused attention, whose products are ordinary ones.
    """

    __slots__ = (
        "backward",
        "bytes",
        "causal",
        "device",
        "flop",
        "is_attention",
        "is_flash",
        "is_module",
        "is_product",
        "is_view",
        "kernels",
        "phase",
        "segments",
        "single",
        "sync",
    )

    def __init__(
        self,
        timeline: Timeline,
        batch: int,
        lengths: Floats,
        targets: Floats | None = None,
        *,
        causal: bool = False,
    ) -> None:
        self.causal = causal
        chosen = timeline.op_step == 2
        kind: Ints = timeline.op_class[chosen]
        values = Polynomials(timeline).at(batch, lengths, np.zeros_like(lengths) if targets is None else targets)
        self.flop: Floats = values[:, timeline.op_flop[chosen]]
        self.bytes: Floats = values[:, timeline.op_bytes[chosen]]
        names = np.array([*timeline.names, ""])[timeline.op_name[chosen]]
        self.is_flash: NDArray[np.bool_] = np.char.startswith(names, _FLASH)
        if causal:
            skips = _reads_no_mask(timeline)[chosen]
            self.flop[:, skips] *= causal_share(lengths)[:, None]
        self.kernels: Floats = timeline.op_kernels[chosen].astype(np.float64)
        self.phase: Ints = timeline.op_phase[chosen]
        self.backward: NDArray[np.bool_] = self.phase == PHASES.index("backward")
        self.is_view: NDArray[np.bool_] = kind == _CLASS["view"]
        self.is_module: NDArray[np.bool_] = kind == _CLASS["module"]
        self.is_product: NDArray[np.bool_] = kind == _CLASS["matmul"]
        self.is_attention: NDArray[np.bool_] = kind == _CLASS["attention"]
        self.sync: NDArray[np.bool_] = (kind == _CLASS["h2d"]) | (kind == _CLASS["d2h"])
        self.device: NDArray[np.bool_] = ~(self.is_view | self.is_module | self.sync)
        half = np.array([name.removeprefix("torch.") in _HALF for name in timeline.dtypes], dtype=bool)
        dtype = timeline.op_dtype[chosen]
        self.single: NDArray[np.bool_] = ~half[dtype] if half.size else np.ones(len(dtype), dtype=bool)
        stops = np.flatnonzero(self.sync)
        starts = np.concatenate(([0], stops + 1))
        self.segments = list(zip(starts.tolist(), [*stops.tolist(), len(kind)], strict=True))

    def host_seconds(self, model: dict[str, float]) -> Floats:
        """[N] what the host spends on each op, waits left out."""
        cost = np.where(self.backward, model["backward_op_s"], model["forward_op_s"])
        view = np.where(self.backward, model["backward_view_s"], model["view_s"])
        cost = np.where(self.is_view, view, cost)
        cost = np.where(self.is_module, model["module_s"], cost)
        cost = np.where(self.sync, model["sync_s"], cost)
        return cost + model["launch_s"] * np.maximum(self.kernels - 1, 0) * self.device

    def device_seconds(self, model: dict[str, float], rates: Rates) -> tuple[Floats, Floats, Floats]:
        """[L, N] seconds of arithmetic, of memory traffic, and [N] of start-up, of each op on the device."""
        share = np.where(self.single, model["matmul_single"], model["matmul_half"])
        share = np.where(self.is_attention, model["attention"], share)
        share = np.where(self.is_flash, model["flash_attention"], share)
        rate = np.where(self.single, rates.single_flop_s, rates.half_flop_s) * share
        arithmetic = self.flop / rate * (self.is_product | self.is_attention)
        cached = 1 + model["cache_gain"] / (1 + self.bytes / model["cache_bytes"])
        traffic = self.bytes / (rates.bytes_s * model["bandwidth"] * cached) * self.device
        return arithmetic, traffic, model["kernel_s"] * self.kernels * self.device


def _reads_no_mask(timeline: Timeline) -> NDArray[np.bool_]:
    """[N] fused attention ops whose traffic has no term quadratic in the length: they read no mask of scores."""
    fused = np.array([name.startswith(_FUSED) for name in timeline.names] + [False])
    quadratic = np.array([any(b >= 0 and s + t >= 2 for _, b, s, t in poly) for poly in timeline.polys] + [False])
    return fused[timeline.op_name] & ~quadratic[timeline.op_bytes]


def run_clocks(ops: Ops, rates: Rates, constants: Floats) -> Clocks:
    """Both clocks over one micro-batch and its optimizer step."""
    model: dict[str, float] = dict(zip(TIME_NAMES, constants.tolist(), strict=True))
    host_cost = ops.host_seconds(model)
    arithmetic, traffic, start_up = ops.device_seconds(model, rates)
    busy = np.maximum(arithmetic, traffic) + start_up
    if not rates.overlaps:
        return _in_turn(ops, host_cost, busy, (arithmetic, traffic, start_up), model)
    copy = ops.bytes / model["transfer_bytes_s"]
    lengths, count = busy.shape
    host, device = np.zeros(lengths), np.zeros(lengths)
    finish = np.zeros((lengths, count))
    idle = np.zeros((lengths, count))
    for start, stop in ops.segments:
        if stop > start:
            issued = host[:, None] + np.cumsum(host_cost[start:stop])
            work = np.cumsum(busy[:, start:stop], axis=1)
            on_device = ops.device[start:stop]
            ready = np.where(on_device, issued - (work - busy[:, start:stop]), -np.inf)
            ended = np.maximum(np.maximum.accumulate(ready, axis=1), device[:, None]) + work
            before = np.concatenate((device[:, None], ended[:, :-1]), axis=1)
            idle[:, start:stop] = ended - before - busy[:, start:stop]
            finish[:, start:stop] = np.maximum(issued, ended)
            host, device = issued[:, -1], ended[:, -1]
        if stop < count:
            waited = np.maximum(host, device)
            idle[:, stop] = waited - device + host_cost[stop]
            host = device = waited + host_cost[stop] + copy[:, stop]
            finish[:, stop] = device
    last = np.maximum(host, device)
    finish = np.maximum.accumulate(finish, axis=1)
    spent = np.diff(finish, axis=1, prepend=0.0)
    phases = np.zeros((lengths, len(PHASES)))
    for phase in range(len(PHASES)):
        phases[:, phase] = spent[:, ops.phase == phase].sum(axis=1)
    phases[:, PHASES.index("between")] += model["step_s"]
    bounds = _bounds(ops, arithmetic, traffic, start_up, copy)
    bounds[:, BOUNDS.index("host")] = idle.sum(axis=1) + (last - device) + model["step_s"]
    return Clocks(last + model["step_s"], phases, bounds)


def _in_turn(
    ops: Ops, host_cost: Floats, busy: Floats, parts: tuple[Floats, Floats, Floats], model: dict[str, float]
) -> Clocks:
    """Host and device as one: each op is issued, then done."""
    spent = busy + host_cost
    phases = np.zeros((len(busy), len(PHASES)))
    for phase in range(len(PHASES)):
        phases[:, phase] = spent[:, ops.phase == phase].sum(axis=1)
    phases[:, PHASES.index("between")] += model["step_s"]
    bounds = _bounds(ops, *parts, np.zeros_like(busy))
    bounds[:, BOUNDS.index("host")] = host_cost.sum() + model["step_s"]
    return Clocks(phases.sum(axis=1), phases, bounds)


def _bounds(ops: Ops, arithmetic: Floats, traffic: Floats, start_up: Floats, copy: Floats) -> Floats:
    """[L, BOUNDS] device seconds by what bounds each op; `host` is left 0."""
    out = np.zeros((len(arithmetic), len(BOUNDS)))
    computes = arithmetic >= traffic
    out[:, 0] = (arithmetic * (computes & ops.is_product)).sum(axis=1)
    out[:, 1] = (arithmetic * (computes & ops.is_attention)).sum(axis=1)
    out[:, 2] = (traffic * ~(computes & (ops.is_product | ops.is_attention))).sum(axis=1)
    out[:, 3] = start_up.sum()
    out[:, 4] = (copy * ops.sync).sum(axis=1)
    return out


def step_seconds(ops: Ops, rates: Rates, constants: Floats) -> Floats:
    """[L] what `run_clocks` gives as `step_s`, without the account of where the time went: for fitting."""
    model: dict[str, float] = dict(zip(TIME_NAMES, constants.tolist(), strict=True))
    issued = np.cumsum(ops.host_seconds(model))
    arithmetic, traffic, start_up = ops.device_seconds(model, rates)
    busy = np.maximum(arithmetic, traffic)
    busy += start_up
    if not rates.overlaps:
        return busy.sum(axis=1) + issued[-1] + model["step_s"] if len(issued) else busy.sum(axis=1) + model["step_s"]
    work = np.cumsum(busy, axis=1)
    copy = ops.bytes[:, ops.sync] / model["transfer_bytes_s"]
    host = device = np.zeros(len(busy))
    issued_before = work_before = 0.0
    on_device = ops.device
    for number, (start, stop) in enumerate(ops.segments):
        if stop > start:
            chosen = np.flatnonzero(on_device[start:stop]) + start
            if chosen.size:
                first = np.max(issued[chosen] - work[:, chosen] + busy[:, chosen], axis=1)
                ended = work[:, stop - 1]
                device = np.maximum(first - issued_before + host + ended, device + ended - work_before)
            host = host + issued[stop - 1] - issued_before
        if stop < len(issued):
            waited = np.maximum(host, device) + issued[stop] - (issued[stop - 1] if stop else 0.0)
            host = device = waited + copy[:, number]
            issued_before, work_before = issued[stop], work[:, stop]
    return np.maximum(host, device) + model["step_s"]


def accumulate(clocks: Clocks, accumulation: int) -> Clocks:
    """A step of several micro-batches: forward, loss and backward repeat, clipping and the optimizer do not."""
    if accumulation == 1:
        return clocks
    again = clocks.phase_s[:, _MICRO].sum(axis=1)
    phases = clocks.phase_s.copy()
    phases[:, _MICRO] *= accumulation
    step = clocks.step_s + (accumulation - 1) * again
    return Clocks(step, phases, clocks.bound_s * (step / clocks.step_s)[:, None])
