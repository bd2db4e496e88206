"""torch's own FSDP2 on tiny models without devices: fake tensors, a fake process group, each allocation counted."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

BLOCK = 512
"""Bytes to which CUDA's allocator rounds."""


class LiveBytes(TorchDispatchMode):
    """Bytes of all storages seen alive, `now` and at the `peak` since it was last set."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.now = self.peak = 0

    def see(self, tensor: Any) -> None:
        tensor = getattr(tensor, "_local_tensor", tensor)
        if not isinstance(tensor, torch.Tensor):
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, -(-storage.nbytes() // BLOCK) * BLOCK
        if key not in self.sizes:
            weakref.finalize(storage, self.gone, key)
        self.now += size - self.sizes.get(key, 0)
        self.sizes[key] = size
        self.peak = max(self.peak, self.now)

    def gone(self, key: int) -> None:
        self.now -= self.sizes.pop(key, 0)

    def resized(self, storage: Any) -> None:
        if storage._cdata in self.sizes:
            size = -(-storage.nbytes() // BLOCK) * BLOCK
            self.now += size - self.sizes[storage._cdata]
            self.sizes[storage._cdata] = size
            self.peak = max(self.peak, self.now)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((out, args, kwargs)):
            if isinstance(tensor, torch.Tensor):
                self.see(tensor)
        return out


@contextmanager
def ranks(count: int) -> Iterator[Any]:
    """A mesh of so many ranks, of which this process is the first and the others are not there."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=count)
    try:
        yield init_device_mesh("cpu", (count,))
    finally:
        dist.destroy_process_group()


@contextmanager
def resizes_seen(live: LiveBytes) -> Iterator[None]:
    resize = torch.UntypedStorage.resize_

    def watched(storage, size):
        out = resize(storage, size)
        live.resized(storage)
        return out

    torch.UntypedStorage.resize_ = watched
    try:
        yield
    finally:
        torch.UntypedStorage.resize_ = resize


def sharded_llama(config: dict[str, Any], mesh: Any, *, checkpointing: bool, mixed: bool):
    """A Llama wrapped as accelerate wraps it: a unit a layer, the embedding, the last norm with the head, the rest."""
    from transformers.models.llama import LlamaConfig, LlamaForCausalLM

    torch.set_default_dtype(torch.float32 if mixed else torch.bfloat16)
    try:
        model = LlamaForCausalLM(LlamaConfig(**config, use_cache=False))
    finally:
        torch.set_default_dtype(torch.float32)
    if checkpointing:
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False, "preserve_rng_state": False})
    half = torch.bfloat16
    policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=half) if mixed else MixedPrecisionPolicy()
    settings: dict[str, Any] = {"mesh": mesh, "mp_policy": policy}
    for layer in model.model.layers:
        fully_shard(layer, **settings, reshard_after_forward=True)
    fully_shard(model.model.embed_tokens, **settings, reshard_after_forward=True)
    fully_shard([model.model.norm, model.lm_head], **settings, reshard_after_forward=False)
    fully_shard(model, **settings)
    return model.train()


def run(
    config: dict[str, Any],
    count: int,
    shape: tuple[int, int],
    *,
    checkpointing: bool,
    mixed: bool,
    accumulation: int = 1,
) -> dict[str, int]:
    """Bytes on one of `count` ranks in the second step of full fine-tuning, at their peak in each part and after it."""
    live = LiveBytes()
    found: dict[str, int] = {}

    def part(name: str) -> None:
        found[name], found[f"after {name}"] = live.peak, live.now
        live.peak = live.now

    with ranks(count) as mesh, resizes_seen(live), FakeTensorMode(allow_non_fake_inputs=True):
        model = sharded_llama(config, mesh, checkpointing=checkpointing, mixed=mixed)
        optimizer = torch.optim.AdamW(model.parameters(), foreach=True, weight_decay=0.0)
        gc.collect()
        with live:
            for tensor in (*model.parameters(), *model.buffers()):
                live.see(tensor)
            part("start")
            for _ in range(2):
                for number in range(accumulation):
                    tokens = torch.zeros(shape, dtype=torch.long)
                    model.set_requires_gradient_sync(number == accumulation - 1)
                    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                        out = model(input_ids=tokens, labels=tokens)
                    part("forward")
                    out.loss.backward()
                    part("backward")
                    del out
                optimizer.step()
                part("optimizer")
                optimizer.zero_grad()
                gc.collect()
                part("between")
    return found
