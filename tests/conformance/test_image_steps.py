"""A vision-language model's step with pictures allocates on meta what it allocates for real, to the byte.

Counted are tensors of floats. Integers tell of pictures' sizes and of positions: transformers makes them with small
tensors of its own, the tracer as the finished ones.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from torch.utils._pytree import tree_leaves

from advisor.assembly.attach import attach
from advisor.assembly.base_model import build
from advisor.assembly.batch import make_batch
from advisor.assembly.optimizers import make_optimizer
from advisor.catalog.methods import find_method
from advisor.catalog.models.image_tokens import AREAS, sample_images
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.tracer.fused_kernels.images_at_once import images_at_once
from tests.conformance.test_allocated_bytes import Counted, counted_steps
from tests.selection import one_in
from tests.vision_models import CONFIGS, tiny

LENGTH = 160
OF_SIZES = ("get_vision_interpolation_indices_and_weights", "get_vision_position_ids", "get_rope_index")
"""What transformers makes of the sizes of pictures, function by function."""


class OfFloats(Counted):
    """Bytes of floats alone, but for those made while transformers reads sizes; what it makes of them counts."""

    hidden = False

    def see(self, tensor: torch.Tensor) -> None:
        if tensor.is_floating_point() and not self.hidden:
            super().see(tensor)

    @contextmanager
    def unseen(self, model: Any) -> Generator[None]:
        """Positions and their weights made of sizes are seen once they are made."""
        code = sys.modules[type(model).__module__]
        with ExitStack() as patches:
            for name in OF_SIZES:
                for place in (code, getattr(model, "model", model)):
                    if hasattr(place, name):
                        patches.enter_context(mock.patch.object(place, name, self._quiet(getattr(place, name))))
            yield

    def _quiet(self, function: Any) -> Any:
        def made(*args: Any, **kwargs: Any) -> Any:
            self.hidden = True
            found = function(*args, **kwargs)
            self.hidden = False
            for tensor in tree_leaves(found):
                if isinstance(tensor, torch.Tensor):
                    self.see(tensor)
            return found

        return made


def workload_of(name: str, count: int = 1, size: tuple[int, int] = (84, 56)) -> Workload:
    images = sample_images(tiny(name), count, size)
    return Workload(model=name, seq_len=LENGTH, images=images)


def two_steps(name: str, method: str, workload: Workload, batch: int, device: str) -> tuple[int, int]:
    """Bytes allocated over two steps, and alive at their peak, with the model and the batches."""
    torch.manual_seed(0)
    spec = tiny(name)
    recipe = Recipe(method=method, dtype="float32", attention="eager", micro_batch_size=batch)
    base: Any = build(spec, workload, recipe, device=device)
    model: Any = attach(base, spec, workload, recipe).train()
    base.config.use_cache = False
    optimizer = make_optimizer(model, recipe, find_method(method).optimizer)
    batches = [
        make_batch(spec, workload, batch, LENGTH, 0, padded=False, device=device, dtype=torch.float32, seed=seed)
        for seed in range(2)
    ]
    counted: Any = OfFloats()
    as_it_is = images_at_once(model, workload, counted) if device == "meta" else counted.unseen(base)
    with as_it_is:
        return counted_steps(counted, model, optimizer, batches)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method"), one_in(3, [(n, m) for n in CONFIGS for m in ("full", "lora")]))
def test_meta_and_real_steps_with_pictures_allocate_the_same_bytes(name: str, method: str) -> None:
    workload = workload_of(name)
    real, empty = (two_steps(name, method, workload, 1, device) for device in ("cpu", "meta"))
    assert real == empty


TOGETHER = [name for name in CONFIGS if tiny(name).model_type not in AREAS]
"""Families whose pictures transformers does not take apart: several are one op for real too."""


@pytest.mark.slow
@pytest.mark.parametrize("name", one_in(3, TOGETHER))
def test_several_pictures_of_a_batch_allocate_the_same_bytes(name: str) -> None:
    workload = workload_of(name, 2)
    real, empty = (two_steps(name, "lora", workload, 2, device) for device in ("cpu", "meta"))
    # of Pixtral's mask, each picture's part is filled by itself: a number a picture and step
    numbers = 2 * 3 * 4 if "pixtral" in str(tiny(name).config["vision_config"]) else 0
    assert real == (empty[0] + numbers, empty[1])


@pytest.mark.slow
def test_several_pictures_of_a_batch_come_near_it() -> None:
    """Eager attention copies what a loop over pictures views: all pictures at once allocate a little more."""
    workload = workload_of("qwen2_5_vl", 2)
    real, empty = (two_steps("qwen2_5_vl", "lora", workload, 2, device) for device in ("cpu", "meta"))
    assert real[0] <= empty[0] <= 1.03 * real[0]
    assert empty[1] == pytest.approx(real[1], rel=0.02)
