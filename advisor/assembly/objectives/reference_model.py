"""Where a preference objective's reference log-probabilities come from, and the frozen copy where there is one.

Source: trl 1.16, `DPOTrainer.__init__`: with a peft adapter the reference is the policy with its adapter off, else a
second model of the same dtype; with `precompute_ref_log_probs` there is none in the step.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advisor.assembly.base_model import build
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import Reference
from advisor.domain.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn


@dataclass(frozen=True, slots=True)
class ReferencePass:
    """`how` the reference is had; `model` the frozen copy, where there is one."""

    how: Reference | None = None
    model: nn.Module | None = None

    @contextmanager
    def entered(self, policy: Any) -> Generator[Any]:
        """The reference's forward pass, without gradients: the copy's, or the policy's with its adapter off."""
        import torch

        with torch.no_grad():
            if self.model is not None:
                yield self.model
                return
            with policy.disable_adapter():
                yield policy


def build_reference(
    spec: ModelSpec,
    workload: Workload,
    recipe: Recipe,
    *,
    device: str = "meta",
    depth: Mapping[str, int] | None = None,
) -> nn.Module | None:
    """The frozen copy of the base model, in evaluation mode; None where the recipe has none.

    Raises: as `build`.
    """
    if recipe.reference != "copy":
        return None
    copy = build(spec, workload, recipe, device=device, depth=depth)
    disable_dropout(copy)
    return copy.eval().requires_grad_(False)


def disable_dropout(model: nn.Module) -> None:
    """No dropout anywhere, adapters included, as TRL's preference and reward trainers have it by default."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
