"""Records a training step run on the meta device: every op, every storage's birth and death.

What lives on the meta device stands for GPU memory; CPU tensors are host memory and only count when they
cross over. Layers are told apart by hooks in forward and by autograd's sequence numbers in backward, so
that repeated layers can be recognised in the stream.
"""

# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false, reportUnknownMemberType=false
# torch tells what a step does to memory only through names it keeps to itself, and says few of their types

from __future__ import annotations

import bisect
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from advisor.domain.trace.trace_schema import ALLOC, FREE, OP
from advisor.tracer import meta_outputs as outputs
from advisor.tracer.meta_kernels import BY_NAME, STAND_INS, hidden_temporaries
from advisor.tracer.op_costs import OpInfo, describe

aten = torch.ops.aten

Home = tuple[str, int] | None
"""The layer a storage or event belongs to: (stack, index), or None outside any."""


@dataclass(slots=True)
class Event:
    """One row of the recording. `shares` holds what each layer adds to an op over many tensors."""

    kind: int
    step: int
    phase: str
    home: Home
    storage: int = -1
    size: int = 0
    name: str = ""
    op_class: str = ""
    dtype: str = ""
    flop: int = 0
    traffic: tuple[int, ...] = ()
    kernels: int = 0
    shares: dict[tuple[str, int], tuple[int, int]] | None = None


@dataclass(slots=True)
class StorageRecord:
    """One storage: its home, category (filled in at the end), and size in bytes."""

    home: Home
    size: int
    born_phase: str
    born_step: int
    category: str = ""
    freed_phase: str = ""
    freed_step: int = -1
    tail: bool = False
    parts: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    piece: tuple[int, int, int] | None = None
    """Kind, size and all tokens, of a buffer for one piece of them: see `advisor.domain.trace.pieces`."""


_no_overrides = torch._C.DisableTorchFunction
"""While an op is read: its tensors' shapes and dtypes are then no calls for the modes around, microseconds each."""


class Recorder(TorchDispatchMode):
    """The dispatch mode. Use `recording(model_stacks)` around set-up and steps; `mark(phase)` as phases begin."""

    def __init__(self, *, padded: bool) -> None:
        super().__init__()
        self.padded = padded
        self.events: list[Event] = []
        self.storages: list[StorageRecord] = []
        self.assumptions: dict[str, str] = {}
        self.step = 0
        self.phase = "setup"
        self._ids: dict[int, int] = {}
        self._stack: list[Home] = []
        self._sequence: list[int] = []
        self._sequence_home: list[Home] = []
        self._home_of_parameter: dict[int, Home] = {}
        self._last_layers: set[Home] = set()
        self._tail = False
        self._closed = False

    # --- what the stepper and the tracer tell us -------------------------------------------------

    def mark(self, phase: str) -> None:
        """A phase begins. What runs after the last layer, forward or backward, belongs to the head and the loss."""
        self.phase = phase
        if phase == "forward":
            self._sequence.clear()
            self._sequence_home.clear()
        if phase != "backward":
            self._tail = False

    def watch_updates(self, optimizer: Any, parameters: Sequence[nn.Parameter]) -> None:
        """Updates within the backward pass: name the gradients, which are gone when it ends, and what updates make."""

        def name(p: torch.Tensor) -> None:
            if p.grad is not None:
                self.adopt(p.grad, self.home_of(p), "gradients")

        optimizer.around_update = self._updating
        for p in parameters:
            p.register_post_accumulate_grad_hook(name)

    @contextmanager
    def _updating(self) -> Generator[None]:
        """What an update makes is not the head's or the loss's."""
        tail, self._tail = self._tail, False
        try:
            yield
        finally:
            self._tail = tail

    def close(self) -> None:
        """The end of the recording: what dies from here on is the recorder's own tidying."""
        self._closed = True

    def begin_step(self, number: int) -> None:
        """Steps are numbered by the tracer: 1 the first, 2 the steady one."""
        self.step = number

    def note(self, name: str, op_class: str, dtype: str, flop: int, traffic: tuple[int, ...], kernels: int) -> None:
        """An op that no dispatch shows: a copy from the host, a fused kernel's matmul."""
        self.events.append(
            Event(OP, self.step, self.phase, self._home(), name=name, op_class=op_class, dtype=dtype,
                  flop=flop, traffic=traffic, kernels=kernels)
        )  # fmt: skip

    def assume(self, what: str, how: str) -> None:
        """A data-dependent op was bounded: said once in the trace."""
        self.assumptions.setdefault(what, how)

    @contextmanager
    def watching(self, stacks: Mapping[str, nn.ModuleList]) -> Generator[None]:
        """Follow the layers of these stacks by hooks, and count module calls, while inside."""
        handles: list[Any] = []
        for stack, layers in stacks.items():
            self._last_layers.add((stack, len(layers) - 1))
            for index, layer in enumerate(layers):
                home = (stack, index)
                for p in layer.parameters():
                    self._home_of_parameter[id(p)] = home
                handles.append(layer.register_forward_pre_hook(self._enter(home)))
                handles.append(layer.register_forward_hook(self._leave(), always_call=True))
        handles.append(nn.modules.module.register_module_forward_pre_hook(self._module_called))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    # --- layers ------------------------------------------------------------------------------------

    def _enter(self, home: Home) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            self._stack.append(home)
            self._boundary(home)
            if self.phase == "forward":
                self._tail = False

        return hook

    def _leave(self) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            left = self._stack.pop() if self._stack else None
            if self.phase == "forward" and left in self._last_layers:
                self._tail = True
            self._boundary(self._stack[-1] if self._stack else None)

        return hook

    def _boundary(self, home: Home) -> None:
        if self.phase in ("forward", "loss", "backward"):
            # in the backward pass: a layer run again, whose nodes may be walked at once
            self._sequence.append(torch.autograd._get_sequence_nr())
            self._sequence_home.append(home)

    def _module_called(self, module: nn.Module, *_: Any) -> None:
        self.events.append(Event(OP, self.step, self.phase, self._home(), name="module", op_class="module"))

    def _home(self) -> Home:
        if self._stack:
            return self._stack[-1]
        if self.phase != "backward":
            return None
        node: Any = torch._C._current_autograd_node()
        if node is None:
            return None
        variable = getattr(node, "variable", None)
        if variable is not None:
            return self._home_of_parameter.get(id(variable))
        at = bisect.bisect_right(self._sequence, node._sequence_nr()) - 1
        return self._sequence_home[at] if at >= 0 else None

    # --- ops -----------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        stand_in = STAND_INS.get(func.overloadpacket) or BY_NAME.get(func.overloadpacket.__name__)
        out = stand_in(self, func, args, kwargs) if stand_in else NotImplemented
        key = None
        if out is NotImplemented:
            with _no_overrides():
                key = outputs.key_of(func, args, kwargs)
            out = outputs.run(func, args, kwargs, key)
        with _no_overrides():
            self._record(func, args, kwargs, out, key)
        return out

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled: torch need not keep its compiler away, which costs a wrapper around each op."""
        return False

    def _record(self, func: Any, args: Any, kwargs: Any, out: Any, key: outputs.Key | None) -> None:
        home = self._home()
        inputs = list(outputs.tensors_in(args))
        if kwargs:
            inputs.extend(outputs.tensors_in(kwargs.values()))
        given = list(outputs.tensors_in((out,)))
        on_device = any(t.device.type == "meta" for t in inputs) or any(t.device.type == "meta" for t in given)
        if not on_device:
            return
        if home is None and self._tail and inputs and self.phase == "forward":
            home = self._home_in_tail(inputs)
        in_lists = bool(args) and isinstance(args[0], (list, tuple)) and bool(args[0])
        if in_lists and home is None and self.phase == "optimizer" and len(given) == 1:
            home = self._home_of_all(args[0])
        for size in hidden_temporaries(func, args, kwargs):
            self._temporary(size, home)
        for index, tensor in enumerate(given):
            if tensor.device.type != "meta":
                continue
            at = home
            if at is None and in_lists and index < len(args[0]) and len(given) == len(args[0]):
                at = self.home_of(args[0][index]) if isinstance(args[0][index], torch.Tensor) else None
            elif at is None and self.phase in ("optimizer", "clip", "setup", "between") and inputs and not in_lists:
                at = self.home_of(inputs[0])
            self._see(tensor, at, args if in_lists and len(given) == 1 else None)
        told = _told(key, func, args, kwargs, inputs, given, out)
        if told is None:
            return
        shares = None
        if in_lists and home is None and len(args[0]) > 1:
            shares = self._shares(args, sum(told.traffic))
        elif home is None and self.phase in ("optimizer", "clip", "between") and inputs:
            home = self.home_of(inputs[0])
        self.events.append(
            Event(OP, self.step, self.phase, home, name=told.name, op_class=told.op_class, dtype=told.dtype,
                  flop=told.flop, traffic=told.traffic, kernels=told.kernels, shares=shares)
        )  # fmt: skip

    def _home_in_tail(self, inputs: list[torch.Tensor]) -> Home:
        """After the last layer, a loop over layers' parameters (a regulariser) is told by the latest layer it reads."""
        home: Home = None
        for tensor in inputs:
            known = self._ids.get(tensor.untyped_storage()._cdata)
            storage = self.storages[known] if known is not None else None
            if storage is None or storage.home is None or not (storage.born_step == 0 or storage.tail):
                continue
            if home is None or storage.home[1] > home[1]:
                home = storage.home
        if self._sequence_home and self._sequence_home[-1] != home:
            # the op's own node is the one just made
            self._sequence.append(torch.autograd._get_sequence_nr() - 1)
            self._sequence_home.append(home)
        return home

    def _home_of_all(self, tensors: Any) -> Home:
        """The layer that owns every tensor of a list, None where they are of several."""
        homes = {self.home_of(t) for t in tensors if isinstance(t, torch.Tensor)}
        return homes.pop() if len(homes) == 1 else None

    def _shares(self, args: Any, traffic: int) -> dict[tuple[str, int], tuple[int, int]]:
        """Of an op over lists of tensors, each layer's (bytes, tensors)."""
        sizes: dict[tuple[str, int], list[int]] = {}
        first = [t for t in args[0] if isinstance(t, torch.Tensor)]
        total = sum(t.numel() * t.element_size() for t in first) or 1
        for tensor in first:
            home = self.home_of(tensor)
            if home is not None:
                entry = sizes.setdefault(home, [0, 0])
                entry[0] += tensor.numel() * tensor.element_size()
                entry[1] += 1
        return {home: (round(traffic * size / total), count) for home, (size, count) in sizes.items()}

    # --- storages ------------------------------------------------------------------------------------

    def home_of(self, tensor: torch.Tensor) -> Home:
        """The layer that owns a tensor's storage, None if none or unknown."""
        known = self._ids.get(tensor.untyped_storage()._cdata)
        return self.storages[known].home if known is not None else None

    def storage_id(self, tensor: torch.Tensor) -> int | None:
        """The id of a storage already seen."""
        return self._ids.get(tensor.untyped_storage()._cdata)

    def adopt(self, tensor: torch.Tensor, home: Home, category: str) -> None:
        """A tensor that exists before the step: a parameter, a buffer, an input."""
        if tensor.device.type != "meta":
            return
        self._see(tensor, home, None)
        known = self.storage_id(tensor)
        if known is not None and not self.storages[known].category:
            self.storages[known].category = category

    def of_pieces(self, tensor: torch.Tensor, kind: int, size: int, tokens: int) -> torch.Tensor:
        """A buffer just made that holds one piece of `tokens`: its size is no polynomial of the batch."""
        known = self.storage_id(tensor)
        if known is not None:
            self.storages[known].piece = (kind, size, tokens)
        return tensor

    def settle(self, tensor: torch.Tensor, home: Home) -> None:
        """State made of nothing (`torch.zeros`) belongs to the layer of the parameter it serves, and so does its op."""
        known = self.storage_id(tensor)
        if home is None or known is None or self.storages[known].home is not None:
            return
        self.storages[known].home = home
        at = next(i for i in reversed(range(len(self.events))) if self._bears(self.events[i], known))
        for event in self.events[at : at + 2]:
            if event.storage == known or event.kind == OP:
                event.home = event.home or home

    @staticmethod
    def _bears(event: Event, storage: int) -> bool:
        return event.kind == ALLOC and event.storage == storage

    def _see(self, tensor: torch.Tensor, home: Home, lists: Any) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._ids:
            return
        number = len(self.storages)
        size = storage.nbytes()
        entry = StorageRecord(home, size, self.phase, self.step, tail=self._tail)
        if lists is not None and home is None:
            # a stack of one value a parameter: what each layer adds, so that copied layers add too
            count = sum(1 for t in lists[0] if isinstance(t, torch.Tensor)) or 1
            for t in lists[0]:
                if isinstance(t, torch.Tensor) and (owner := self.home_of(t)) is not None:
                    entry.parts[owner] = entry.parts.get(owner, 0) + size // count
        self.storages.append(entry)
        self._ids[key] = number
        self.events.append(Event(ALLOC, self.step, self.phase, home, storage=number, size=size))
        weakref.finalize(storage, self._died, key, number)

    def _died(self, key: int, number: int) -> None:
        if self._ids.get(key) == number:
            del self._ids[key]
        if self._closed:
            return
        entry = self.storages[number]
        entry.freed_phase, entry.freed_step = self.phase, self.step
        self.events.append(Event(FREE, self.step, self.phase, self._home(), storage=number))

    def _temporary(self, size: int, home: Home) -> None:
        number = len(self.storages)
        self.storages.append(StorageRecord(home, size, self.phase, self.step, "temporaries", self.phase, self.step))
        self.events.append(Event(ALLOC, self.step, self.phase, home, storage=number, size=size))
        self.events.append(Event(FREE, self.step, self.phase, home, storage=number))


_descriptions: dict[outputs.Key, OpInfo | None] = {}


def _told(key: outputs.Key | None, func: Any, *rest: Any) -> OpInfo | None:
    """As `describe`, remembered: it depends on nothing but the forms in the key."""
    if key is None:
        return describe(func, *rest)
    if key not in _descriptions:
        if len(_descriptions) >= outputs.MOST_KEPT:
            _descriptions.clear()
        _descriptions[key] = describe(func, *rest)
    return _descriptions[key]
