"""transformers' Trainer: `train.py`, and the settings that it reads beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from advisor.exporters.config_text import json_text
from advisor.exporters.export_job import ConfigCase, ExportedFile, Exporter, ExportJob
from advisor.exporters.expressible import against_kernels, against_method, against_optimizer, with_trainer
from advisor.exporters.hf_arguments import read_arguments, read_precision
from advisor.exporters.scripts.hf_script import hf_script, hf_settings
from advisor.exporters.settings import Settings
from advisor.exporters.several_gpus import started_on_all

PEFT_OPTIMIZERS: Final = ("loraplus", "lorafa")
"""Method optimizers that peft makes, so that a script without advisor can."""
PADDED: Final = ("padded", "grouped")
"""Batches that transformers' Trainer makes: of equal lengths once padded, in any order or sorted by length."""
NEEDS_MORE_INPUT: Final = {
    "multitask-prompt-tuning": "a task id with every row",
    "poly": "a task id with every row",
    "xlora": "trained LoRA adapters to mix",
}
"""Methods of peft's whose batches or adapters hold more than rows do -> what."""


def against_script(job: ExportJob) -> str | None:
    """Why a script of transformers' Trainer or TRL's cannot run a job, or None."""
    if job.method.name in NEEDS_MORE_INPUT:
        return f"{job.method.name} needs {NEEDS_MORE_INPUT[job.method.name]}, which rows of text do not hold"
    if job.spec.task_class in ("ImageClassification", "SpeechSeq2Seq"):
        return f"{job.spec.name} takes pixels or sound, and this script reads text"
    reason = against_method(job, optimizers=PEFT_OPTIMIZERS) or against_optimizer(job)
    reason = reason or against_kernels(job, "none" if job.recipe.trainer == "trl" else "liger")
    if reason is None:
        hf_settings(job)
    return reason


class HfTrainer(Exporter):
    """`train.py` and `training_args.json`."""

    name = "hf"
    says = "a script for transformers' Trainer and its training_args.json: every task, every method of peft's"

    def against(self, job: ExportJob) -> str | None:
        if job.recipe.batching not in PADDED:
            return "transformers' Trainer pads its batches: --to trl packs them"
        return against_script(job)

    def as_run(self, job: ExportJob) -> tuple[ExportJob, tuple[str, ...]]:
        return with_trainer(job, "hf", "transformers' Trainer")

    def files(self, job: ExportJob) -> tuple[ExportedFile, ...]:
        script = hf_script(job, self.format, self.command(job), inline=False)
        return (
            ExportedFile(name="train.py", text=script),
            ExportedFile(name="training_args.json", text=json_text(hf_settings(job))),
        )

    def command(self, job: ExportJob) -> str:
        return started_on_all(self.name, job, "python train.py")

    def recognises(self, document: Mapping[str, Any]) -> bool:
        if "model_init" in document:
            return True
        elsewhere = {"model", "model_name_or_path", "base_model"}
        return "output_dir" in document and "learning_rate" in document and not elsewhere & set(document)

    def read(self, settings: Settings) -> ConfigCase:
        case, notes = read_arguments(settings)
        model: Any = settings.get("model_init", {})
        quantization: Any = model.get("quantization") or {}
        base = "nf4" if quantization.get("load_in_4bit") else "int8" if quantization.get("load_in_8bit") else "dtype"
        case |= {
            "base": base,
            "trainer": "hf",
            "attn_implementation": model.get("attn_implementation"),
            **read_precision(settings, model.get("dtype")),
        }
        if not model:
            notes.append("TrainingArguments say nothing of model, length or adapter: they are asked of the options")
        own = {
            "model": settings.text("model_name_or_path"),
            "task": settings.text("task"),
            "seq_len": settings.whole("max_length"),
            "target_len": settings.whole("max_target_length"),
            "num_labels": settings.whole("num_labels"),
            "adapter_config": settings.get("adapter_config"),
            "head_learning_rate": settings.number("head_learning_rate"),
        }
        case |= {key: value for key, value in own.items() if value is not None}
        if model and "adapter_config" not in case:
            case["method"] = "full"
        optimizer: Any = settings.get("method_optimizer")
        if optimizer:
            case["optimizer"] = optimizer["name"]
            if "loraplus_lr_ratio" in optimizer:
                case["rate_ratio"] = optimizer["loraplus_lr_ratio"]
        return ConfigCase(case, tuple(notes))


HF_TRAINER = HfTrainer()
