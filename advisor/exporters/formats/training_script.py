"""One Python file with everything in it, for TRL where the recipe was priced for it, else transformers' Trainer."""

from __future__ import annotations

from advisor.catalog.trainer_formats import TrainerFormat, trainer_format
from advisor.exporters.export_job import ExportedFile, Exporter, ExportJob
from advisor.exporters.expressible import LORA_CASTS, with_trainer
from advisor.exporters.formats.hf_trainer import PADDED, against_script
from advisor.exporters.scripts.hf_script import hf_script
from advisor.exporters.scripts.trl_script import trl_script
from advisor.exporters.several_gpus import started_on_all


class TrainingScript(Exporter):
    """`train.py`, which `uv run` and Hugging Face Jobs can start as it is."""

    name = "script"
    says = "one Python file with its settings within, for TRL or transformers' Trainer: every method of peft's"

    @property
    def format(self) -> TrainerFormat:
        return trainer_format("trl")

    def format_of(self, job: ExportJob) -> TrainerFormat:
        return trainer_format("trl" if job.recipe.trainer == "trl" else "hf")

    def against(self, job: ExportJob) -> str | None:
        reason = against_script(job)
        if reason:
            return reason
        if job.recipe.trainer == "trl":
            if job.spec.architecture != "decoder" or job.workload.task == "sequence-classification":
                return "TRL's SFTTrainer trains causal language models only: --to hf"
            if job.recipe.head_learning_rate is not None:
                return "SFTTrainer trains no new head"
        if job.recipe.batching not in PADDED and (
            job.recipe.trainer != "trl" or job.recipe.attention != "flash_attention_2"
        ):
            return "packed and padding-free batches need the trainer trl and flash_attention_2"
        return None

    def as_run(self, job: ExportJob) -> tuple[ExportJob, tuple[str, ...]]:
        if job.recipe.trainer == "trl":
            job, notes = with_trainer(job, "trl", "TRL")
            return job, (*notes, *((LORA_CASTS,) if job.recipe.base != "dtype" else ()))
        return with_trainer(job, "hf", "transformers' Trainer")

    def files(self, job: ExportJob) -> tuple[ExportedFile, ...]:
        if job.recipe.trainer == "trl":
            text = trl_script(job, self.format_of(job), self.command(job))
        else:
            text = hf_script(job, self.format_of(job), self.command(job), inline=True)
        return (ExportedFile(name="train.py", text=text),)

    def command(self, job: ExportJob) -> str:
        return started_on_all(self.name, job, "python train.py")


TRAINING_SCRIPT = TrainingScript()
