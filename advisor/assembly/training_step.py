"""One optimizer step as each trainer really takes it: what stays alive when, and which loss it computes.

The differences that matter for memory: a plain loop keeps the last outputs (with logits and key-value cache)
alive until the next forward returns; transformers' Trainer drops them before backward and runs without a
cache; TRL's SFTTrainer never builds the logits at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from advisor.assembly.library_optimizers.backward_pass import backward_pass, updates_in_backward
from advisor.domain.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn

Mark = Callable[[str], None]
"""Told the phase that begins: between, forward, loss, backward, clip, optimizer."""


class Stepper:
    """Takes training steps of one recipe on one model.

    `mark` is called as each phase begins. `loss_of` takes (model, inputs) and returns the loss, where it is another
    than the model's own. `backward` runs the backward pass.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        *,
        mark: Mark,
        loss_of: Callable[[nn.Module, dict[str, Any]], torch.Tensor] | None = None,
        backward: Callable[[torch.Tensor], None] | None = None,
    ) -> None:
        import torch

        self.model = model
        self.optimizer = optimizer
        self.recipe = recipe
        self.mark = mark
        self.loss_of = loss_of
        self.backward = backward or torch.autograd.backward
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.outputs: Any = None
        self.loss: torch.Tensor | None = None
        self.inputs: dict[str, Any] = {}
        self.taken = 0
        self.accumulating = False

    def step(self, make_inputs: Callable[[], dict[str, Any]]) -> None:
        """One micro-batch forward and backward, clipping, the optimizer's step."""
        import torch

        self.mark("between")
        if self.recipe.trainer == "loop":
            self._loop_forward(make_inputs)
        else:
            self.inputs = make_inputs()
            self.mark("forward")
            self.loss = self._trainer_loss(dict(self.inputs))
            if self.recipe.trainer != "trl":
                self.inputs = {}
        self.mark("backward")
        assert self.loss is not None
        self._backward(self.loss)
        if self.recipe.max_grad_norm:
            self.mark("clip")
            torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.max_grad_norm)
        self.mark("optimizer")
        if not updates_in_backward(self.optimizer):
            self.optimizer.step()
        self.accumulating = False
        self._reallocate()
        if self.recipe.trainer != "loop":
            self.mark("between")
            self.optimizer.zero_grad()

    def _backward(self, loss: torch.Tensor) -> None:
        backward_pass(self.optimizer, loss, self.backward)

    def _reallocate(self) -> None:
        """AdaLoRA's own part of a step, as peft prescribes it after each: importance scores, and ranks pruned by them.

        Steps are counted from the end of its warm-up: most steps of a training prune, the first few do not.
        """
        base: Any = getattr(self.model, "base_model", None)
        reallocate = getattr(base, "update_and_allocate", None)
        if reallocate is None:
            return
        self.taken += 1
        adapter = getattr(base, "trainable_adapter_name", None)
        if adapter is None:
            # AdaMSS has a method of this name too, and no ranks to prune
            reallocate(self.taken)
            return
        config = base.peft_config[adapter]
        pruning = config.total_step - config.tfinal - config.tinit
        # peft cannot prune nothing: with ranks that start where they end, scores are all there is
        first = config.tinit if pruning > self.taken and config.init_r > config.target_r else 0
        reallocate(first + self.taken)

    def _trainer_loss(self, inputs: dict[str, Any]) -> torch.Tensor:
        if self.loss_of is not None:
            return self.loss_of(self.model, inputs)
        return self.model(**inputs).loss

    def _loop_forward(self, make_inputs: Callable[[], dict[str, Any]]) -> None:
        """A plain loop clears gradients before the first micro-batch of a step, and keeps the last outputs."""
        if not self.accumulating:
            self.optimizer.zero_grad()
        self.inputs = make_inputs()
        self.mark("forward")
        if self.loss_of is not None:
            self.loss = self.loss_of(self.model, dict(self.inputs))
            return
        self.outputs = self.model(**self.inputs)
        self.loss = self.outputs.loss

    def micro_batch(self, make_inputs: Callable[[], dict[str, Any]]) -> None:
        """Forward and backward alone, as the first micro-batches of a gradient accumulation."""
        if self.recipe.trainer == "loop":
            self.mark("between")
            self._loop_forward(make_inputs)
            self.accumulating = True
            assert self.loss is not None
            self.mark("backward")
            self._backward(self.loss)
            return
        inputs = make_inputs()
        self.mark("forward")
        loss = self._trainer_loss(inputs)
        self.mark("backward")
        self._backward(loss)
