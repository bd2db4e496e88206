"""A step on the meta device allocates the bytes that the same step allocates for real, to the byte."""

from __future__ import annotations

import gc
import weakref
from importlib.metadata import version
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from advisor.assembly.attach import attach
from advisor.assembly.optimizers import make_optimizer
from advisor.catalog.methods import methods
from advisor.catalog.methods.method import Method
from advisor.tracer import meta_outputs as outputs
from advisor.tracer.meta_kernels import BY_NAME, STAND_INS
from tests.conformance.tiny import DECODER, ENCODER_DECODER, Tiny, recipe_of
from tests.selection import one_in

CANNOT_RUN = {
    "loftq": "peft quantises on the GPU while it initialises",
    "shira": "its sparse product runs on meta only under the tracer's own modes",
    "frod": "its sparse product runs on meta only under the tracer's own modes",
}
DIFFERS = {
    "lora-fa": "peft's optimizer steps under autocast of the device's kind, which meta has not",
    "alora": "taken to act on the whole sample: an upper bound",
    "velora": "a question of values is answered without the path that makes its tensors",
    "monteclora": "random matrices that need values are drawn in another way",
    "boft": "its permutation lies on the CPU, on meta over one element",
    "fourierft": "positions on the CPU are copied to the device at each call",
    "waveft": "a boolean index selects every element: an upper bound",
    "adamss": "clusters of equal size: real ones follow from the weights",
    "psoft": "slices of a decomposition are copies where LAPACK gives columns, views on meta",
    "osf": "slices of a decomposition are copies where LAPACK gives columns, views on meta",
    "cpt": "its loss goes through one sample, not one after the other",
    "trainable-tokens": "token ids on the CPU are copied to the device",
    "prompt-tuning": "prompt ids and mask, made on the CPU, are copied to the device",
    "p-tuning": "prompt ids and mask, made on the CPU, are copied to the device",
    "prefix-tuning": "prompt ids and mask, made on the CPU, are copied to the device",
    "mam": "its prefix's ids and mask, made on the CPU, are copied to the device",
    "unipelt": "its prefix's ids and mask, made on the CPU, are copied to the device",
    "cartridge": "prompt ids and mask, made on the CPU, are copied to the device",
}
"""Methods in which a stand-in or a copy from the CPU is in play: a real run on the CPU is not what meta stands for."""

FOUND = [m for m in methods() if not m.cannot]


class Counted(TorchDispatchMode):
    """Bytes of all storages that ops make, of those alive at the peak, and the data-dependent stand-ins."""

    padded = False

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.total = self.now = self.peak = 0

    def assume(self, what: str, how: str) -> None:
        del what, how

    def note(self, *_: Any) -> None:
        pass

    def of_pieces(self, tensor: Any, *_: Any) -> Any:
        return tensor

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        stand_in = STAND_INS.get(func.overloadpacket) or BY_NAME.get(func.overloadpacket.__name__)
        out = stand_in(self, func, args, kwargs) if stand_in else NotImplemented
        if out is NotImplemented:
            # what is remembered of an op on meta is part of what is compared
            out = outputs.run(func, args, kwargs, outputs.key_of(func, args, kwargs))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.see(tensor)
        return out

    def see(self, tensor: torch.Tensor) -> None:
        if tensor.layout is not torch.strided:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.alive:
            self.alive[key] = storage.nbytes()
            self.total += storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._died, key)

    def _died(self, key: int) -> None:
        self.now -= self.alive.pop(key, 0)


def two_steps(method: Method, tiny: Tiny, device: str) -> tuple[int, int]:
    """Bytes allocated over two steps, and alive at their peak, with the model and the batches."""
    torch.manual_seed(0)
    model: Any = tiny.fresh(device)
    model.set_attn_implementation("eager")
    recipe = recipe_of(method, attention="eager")
    model = attach(model, tiny.spec, tiny.workload, recipe).train()
    model.config.use_cache = False
    optimizer = make_optimizer(model, recipe, method.optimizer)
    batches = [_moved(tiny.batch(seed), device) for seed in range(2)]
    counted = Counted()
    return counted_steps(counted, model, optimizer, batches)


def counted_steps(counted: Counted, model: Any, optimizer: Any, batches: list[dict[str, Any]]) -> tuple[int, int]:
    """Bytes allocated over a step a batch, and alive at their peak, with the model and the batches."""
    gc.collect()
    gc.disable()
    try:
        with counted:
            for tensor in (*model.parameters(), *model.buffers(), *(t for batch in batches for t in batch.values())):
                counted.see(tensor)
            for batch in batches:
                model(**batch).loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                gc.collect()
    finally:
        gc.enable()
    return counted.total, counted.peak


def _moved(batch: dict[str, torch.Tensor], device: str) -> dict[str, torch.Tensor]:
    # two names of one tensor stay names of one
    once = {id(tensor): tensor.to(device) for tensor in batch.values()}
    return {name: once[id(tensor)] for name, tensor in batch.items()}


@pytest.mark.slow
@pytest.mark.parametrize("method", one_in(9, FOUND), ids=lambda m: m.name)
def test_meta_and_real_runs_allocate_the_same_bytes(method: Method) -> None:
    if method.name in CANNOT_RUN:
        pytest.skip(CANNOT_RUN[method.name])
    tiny = DECODER if "decoder" in method.architectures else ENCODER_DECODER
    real, empty = two_steps(method, tiny, "cpu"), two_steps(method, tiny, "meta")
    if method.name in DIFFERS:
        assert real != empty, "they agree by now: take the method out of DIFFERS"
        pytest.skip(DIFFERS[method.name])
    # with transformers 5.17 a real step makes one whole number more than an empty one
    assert real[0] - empty[0] in ((0, 8) if version("transformers").startswith("5.17.") else (0,))
    assert real[1] == empty[1]


def test_what_differs_are_methods_of_the_catalogue() -> None:
    assert {*DIFFERS, *CANNOT_RUN} <= {m.name for m in FOUND}
