"""TRL's SFTTrainer: causal language models without ever building tokens x vocabulary logits; packed batches too."""

# pyright: reportUnknownMemberType=false
# trl's and datasets' functions name only some of their types

from __future__ import annotations

import importlib.util
from typing import Any

from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import MissingExtra
from advisor.training.trainers.hf import arguments, optimizer_and_schedule, watcher
from advisor.training.trainers.trainer import Work


class Trl:
    """Runs `SFTTrainer` on our own token ids, so that rows are cut by the same rule as everywhere."""

    name = "trl"

    def accepts(self, spec: ModelSpec, workload: Workload, recipe: Recipe) -> str | None:
        if workload.task == "sequence-classification" or spec.architecture != "decoder":
            return "TRL's SFTTrainer trains causal language models only: --trainer hf"
        if recipe.batching != "padded" and recipe.attention != "flash_attention_2":
            return "packed and padding-free batches need flash_attention_2, or rows would see each other"
        if importlib.util.find_spec("trl") is None:
            raise MissingExtra.of("trl", extra="trl", why="--trainer trl")
        return None

    def train(self, work: Work) -> None:
        from datasets import Dataset
        from trl.data_utils import pack_dataset
        from trl.trainer.sft_config import SFTConfig
        from trl.trainer.sft_trainer import SFTTrainer

        class MonitoredSFTTrainer(SFTTrainer):
            """Keeps the last losses where the callback can see them."""

            def training_step(self, *args: Any, **kwargs: Any) -> Any:
                loss = super().training_step(*args, **kwargs)
                watch.losses.append(loss.detach())
                return loss

        watch = watcher(work)
        rows = Dataset.from_list([{"input_ids": e.input_ids, "labels": e.labels} for e in work.examples])
        packed = work.job.recipe.batching == "packed"
        if packed:
            rows = pack_dataset(rows, seq_length=work.job.workload.seq_len, strategy="bfd")
        settings = SFTConfig(
            **arguments(work),
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=work.job.workload.seq_len if packed else None,
            packing=packed,
            padding_free=work.job.recipe.batching == "padding-free",
            gradient_checkpointing=False,  # set on the model itself, where every trainer finds it
        )
        trainer = MonitoredSFTTrainer(
            model=work.model,
            args=settings,
            train_dataset=rows,
            processing_class=work.tokenizer,
            optimizers=optimizer_and_schedule(work),
            callbacks=[watch],
        )
        trainer.train(resume_from_checkpoint=str(work.resume) if work.resume else None)


TRL = Trl()
