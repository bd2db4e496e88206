"""The plain PyTorch loop: the leanest trainer, and the reference the others are compared with."""

# pyright: reportUnknownMemberType=false
# torch's backward says no types

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from advisor.assembly.library_optimizers.backward_pass import backward_pass, updates_in_backward
from advisor.dataset.encoding import EncodedExample, collate
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.training.checkpoints import commit
from advisor.training.lr_schedule import make_schedule
from advisor.training.trainers.trainer import Work


class Loop:
    """Gradient accumulation weighs micro-batches by their trained tokens, as one large batch would."""

    name = "loop"

    def accepts(self, spec: ModelSpec, workload: Workload, recipe: Recipe) -> str | None:
        if recipe.batching != "padded":
            return "the plain loop trains padded batches only: --trainer trl packs them"
        return None

    def train(self, work: Work) -> None:
        import torch

        recipe, monitor = work.job.recipe, work.monitor
        optimizer = work.optimizer()
        schedule = make_schedule(recipe, optimizer, monitor.steps)
        scaler = torch.amp.GradScaler(work.device, enabled=_scales(work))
        done = _load(work, optimizer, schedule) if work.resume else 0
        parameters = [p for p in work.model.parameters() if p.requires_grad]
        work.model.train()
        for step, micro_batches in enumerate(_batches(work, monitor.steps), start=1):
            if step <= done:
                continue
            trained = sum(e.trained for batch in micro_batches for e in batch)
            total = 0.0
            for batch in micro_batches:
                share = sum(e.trained for e in batch) / trained
                inputs = {k: v.to(work.device) for k, v in collate(batch, work.tokenizer.pad_token_id).items()}
                with work.autocast():
                    loss: torch.Tensor = work.model(**inputs).loss * share
                backward_pass(optimizer, scaler.scale(loss), torch.autograd.backward)
                total += float(loss.detach())
            if not updates_in_backward(optimizer):
                if recipe.max_grad_norm:
                    scaler.unscale_(optimizer)
                    torch.nn.utils.clip_grad_norm_(parameters, recipe.max_grad_norm)
                scaler.step(optimizer)
                scaler.update()
            monitor.after_optimizer(step)
            schedule.step()  # pyright: ignore[reportCallIssue]
            optimizer.zero_grad()
            say = monitor.after_step(step, total)
            if say.checkpoint:
                _save(work, step, optimizer, schedule)
            if say.stop:
                return


def _scales(work: Work) -> bool:
    return work.device.startswith("cuda") and work.job.recipe.mixed_precision == "fp16"


def _batches(work: Work, steps: int) -> Iterator[list[list[EncodedExample]]]:
    """Micro-batches of each optimizer step; the order of every epoch follows from the seed alone."""
    micro, accumulation = work.job.recipe.micro_batch_size, work.job.recipe.gradient_accumulation
    made = 0
    for epoch in range(steps):
        order = list(work.examples)
        random.Random(f"{work.job.seed}/{epoch}").shuffle(order)
        batches = [order[i : i + micro] for i in range(0, len(order), micro)]
        for i in range(0, len(batches), accumulation):
            yield batches[i : i + accumulation]
            made += 1
            if made == steps:
                return


def _save(work: Work, step: int, optimizer: Any, schedule: Any) -> None:
    import torch
    from safetensors.torch import save_file

    folder = work.checkpoints / f"checkpoint-{step}"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(trainable_state(work.model), folder / "trainable.safetensors")
    torch.save(
        {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(), "rng": torch.get_rng_state()},
        folder / "optimizer.pt",
    )
    commit(folder, work.monitor.state())


def _load(work: Work, optimizer: Any, schedule: Any) -> int:
    """Bring back weights, optimizer and generator; the steps already done."""
    import torch

    from advisor.loading import load_state

    assert work.resume is not None
    load_trainable(work.model, work.resume / "trainable.safetensors")
    state = load_state(work.resume / "optimizer.pt", work.device)
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    torch.set_rng_state(state["rng"].cpu())
    return int(work.resume.name.rpartition("-")[2])


def trainable_state(model: Any) -> dict[str, Any]:
    """Name -> tensor of the parameters that train; a tensor shared under two names comes once."""
    seen: set[int] = set()
    state: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in seen:
            seen.add(id(parameter))
            state[name] = parameter.detach().contiguous().cpu()
    return state


def load_trainable(model: Any, path: Path) -> None:
    """Copy stored parameters into the model.

    Raises:
        ValueError: the names or shapes are not those of this model's trainable parameters.
    """
    import torch
    from safetensors.torch import load_file

    stored = load_file(path)
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if stored.keys() != own.keys():
        odd = sorted(stored.keys() ^ own.keys())
        raise ValueError(f"{path} holds other parameters than the model: {odd[0]} and {len(odd) - 1} more")
    with torch.no_grad():
        for name, tensor in stored.items():
            own[name].copy_(tensor)


LOOP = Loop()
