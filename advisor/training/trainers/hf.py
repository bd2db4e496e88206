"""transformers' Trainer, driven step by step by the monitor; its own evaluation and saving stay off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.catalog.optimizer_names import updates_in_backward
from advisor.dataset.encoding import EncodedExample, collate
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.training.checkpoints import commit
from advisor.training.lr_schedule import make_schedule
from advisor.training.trainers.trainer import Work

if TYPE_CHECKING:
    import torch
    from transformers import TrainerCallback

LOOK_AT_LOSS_EVERY = 10
"""Steps between two looks at the loss: each look waits for the device."""


class HuggingFace:
    """Runs `Trainer` with our optimizer and schedule, so that a recipe means the same in every trainer."""

    name = "hf"

    def accepts(self, spec: ModelSpec, workload: Workload, recipe: Recipe) -> str | None:
        if recipe.batching != "padded":
            return "transformers' Trainer pads its batches: --trainer trl packs them"
        return None

    def train(self, work: Work) -> None:
        from transformers import Trainer, TrainingArguments

        class MonitoredTrainer(Trainer):
            """Keeps the last losses where the callback can see them."""

            def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
                loss = super().training_step(*args, **kwargs)
                watch.losses.append(loss.detach())
                return loss

        watch = watcher(work)
        pad = work.tokenizer.pad_token_id
        trainer = MonitoredTrainer(
            model=work.model,
            args=TrainingArguments(**arguments(work), remove_unused_columns=False),
            train_dataset=_TorchDataset(work.examples),  # type: ignore[arg-type]
            data_collator=lambda rows: collate(rows, pad),
            optimizers=optimizer_and_schedule(work),
            callbacks=[watch],
        )
        trainer.train(resume_from_checkpoint=str(work.resume) if work.resume else None)


class _TorchDataset:
    """The examples as torch's Dataset asks for them."""

    def __init__(self, examples: Sequence[EncodedExample]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i: int) -> EncodedExample:
        return self.examples[i]


def optimizer_and_schedule(work: Work) -> tuple[Any, Any]:
    """The recipe's optimizer, and its schedule over the monitor's steps."""
    optimizer = work.optimizer()
    return optimizer, make_schedule(work.job.recipe, optimizer, work.monitor.steps)


def arguments(work: Work) -> dict[str, Any]:
    """TrainingArguments that both transformers' and TRL's trainer take."""
    job, recipe = work.job, work.job.recipe
    return {
        "output_dir": str(work.checkpoints),
        "max_steps": work.monitor.steps,
        "per_device_train_batch_size": recipe.micro_batch_size,
        "gradient_accumulation_steps": recipe.gradient_accumulation,
        "learning_rate": recipe.learning_rate,
        "max_grad_norm": recipe.max_grad_norm,
        "bf16": recipe.mixed_precision == "bf16",
        "fp16": recipe.mixed_precision == "fp16",
        "use_cpu": work.device == "cpu",
        # the Trainer goes by the name: LOMO's backward pass is another
        **({"optim": recipe.optimizer} if updates_in_backward(recipe.optimizer) else {}),
        "seed": job.seed,
        "data_seed": job.seed,
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "run_name": f"{job.study}-{job.number}",
        "disable_tqdm": True,
        "dataloader_pin_memory": work.device != "cpu",
    }


def watcher(work: Work) -> Any:
    """A callback between transformers' trainer and the monitor, with a list `losses` the trainer fills."""
    from transformers import TrainerCallback

    class MonitorCallback(TrainerCallback):
        def __init__(self) -> None:
            self.losses: list[Any] = []

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            work.monitor.after_optimizer(state.global_step + 1)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            due = state.global_step % LOOK_AT_LOSS_EVERY == 0 or state.global_step == 1
            loss = float(sum(self.losses)) / max(1, len(self.losses)) if due and self.losses else None
            self.losses.clear()
            say = work.monitor.after_step(state.global_step, loss)
            control.should_save = say.checkpoint
            control.should_training_stop = control.should_training_stop or say.stop
            return control

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            if folder.is_dir():
                commit(folder, work.monitor.state())

    callback: TrainerCallback = MonitorCallback()
    return callback


HF = HuggingFace()
