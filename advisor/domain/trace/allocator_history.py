"""What PyTorch's CUDA caching allocator did, action by action, as it records it itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from advisor.domain.stored import Stored

Action = Literal[
    "alloc", "free_requested", "free_completed", "segment_alloc", "segment_free", "segment_map", "segment_unmap", "oom",
    "snapshot",
]  # fmt: skip
"""As `torch.cuda.memory` names them. A free is requested when the tensor dies and completed when no stream uses it."""
ACTIONS: tuple[Action, ...] = get_args(Action)


class History(Stored):
    """One device's actions in order: (action, address, bytes); bytes of an `alloc` are those requested.

    `reserved_bytes` and `allocated_bytes` are what was held before the first action.

    Source: torch 2.13, `torch.cuda.memory._snapshot()["device_traces"]`, written by
    torch/csrc/cuda/memory_snapshot.cpp.
    """

    KIND = "allocator-history"

    torch: str = ""
    device: str = ""
    reserved_bytes: int = 0
    allocated_bytes: int = 0
    actions: tuple[tuple[Action, int, int], ...]


def from_snapshot(snapshot: Mapping[str, Any], *, device: int = 0, torch: str = "", name: str = "") -> History:
    """The history in a snapshot; stacks, streams and times are left behind.

    Raises:
        ValueError: no history of that device was recorded, or an action nobody knows.
    """
    traces: Sequence[Sequence[Mapping[str, Any]]] = snapshot.get("device_traces", ())
    if device >= len(traces) or not traces[device]:
        raise ValueError(f"the snapshot holds no history of device {device}: was recording on?")
    entries = traces[device]
    unknown = sorted({str(entry["action"]) for entry in entries} - set(ACTIONS))
    if unknown:
        raise ValueError(f"unknown actions of the allocator: {', '.join(unknown)}")
    actions = [(e["action"], int(e.get("addr", e.get("device_free", 0))), int(e["size"])) for e in entries]
    return History.model_validate({"torch": torch, "device": name, "actions": actions})
