"""`train.py` for TRL's SFTTrainer: causal language models, any method of peft's."""

from __future__ import annotations

from typing import Any

from advisor.catalog.trainer_formats import TrainerFormat
from advisor.exporters.config_text import stanza
from advisor.exporters.export_job import ExportJob
from advisor.exporters.formats.trl_cli import builder_of
from advisor.exporters.hf_arguments import sft_arguments, training_arguments
from advisor.exporters.scripts.literals import assembled, python_literal
from advisor.exporters.scripts.script_text import (
    FREEZE_A,
    OPTIMIZERS,
    REALLOCATED,
    REALLOCATION,
    adapter_settings,
    header,
    model_settings,
    optimizer_settings,
)


def trl_script(job: ExportJob, format: TrainerFormat, command: str) -> str:
    """The script, its settings within."""
    adapter, optimizer = adapter_settings(job), optimizer_settings(job)
    model = model_settings(job)
    arguments: dict[str, Any] = {
        **training_arguments(job, checkpointing="gradient_checkpointing"),
        **sft_arguments(job),
        "model_init_kwargs": {key: model[key] for key in ("dtype", "attn_implementation")},
    }
    reallocated = adapter is not None and adapter["peft_type"] in REALLOCATED
    parts = [header(format, stanza(format, job, command)), _imports(job, optimizer, reallocated=reallocated), ""]
    parts.append(python_literal("ARGUMENTS", arguments))
    parts += [python_literal("ADAPTER", adapter)] if adapter is not None else []
    parts += [f"OPTIMIZER = {optimizer!r}", OPTIMIZERS] if optimizer is not None else []
    parts += [FREEZE_A] if job.method.optimizer == "lorafa" else []
    parts += [REALLOCATION] if reallocated else []
    parts.append(_main(job, model, adapter is not None, reallocated=reallocated))
    return assembled(part for part in parts if part)


def loading_line(path: str, data: str) -> str:
    """The line that reads the rows."""
    return f'rows = load_dataset({builder_of(data)!r}, data_files={path}, split="train")'


def _imports(job: ExportJob, optimizer: dict[str, Any] | None, *, reallocated: bool) -> str:
    lines = ["import torch"] if optimizer is not None else []
    lines.append("from datasets import load_dataset")
    lines += ["from peft import get_peft_config"] if job.method.name != "full" else []
    if optimizer is not None:
        lines.append("from peft.optimizers import create_lorafa_optimizer, create_loraplus_optimizer")
    names = [
        *(["BitsAndBytesConfig"] if job.recipe.base != "dtype" else []),
        *(["TrainerCallback"] if reallocated else []),
    ]
    lines += [f"from transformers import {', '.join(names)}"] if names else []
    return "\n".join([*lines, "from trl import SFTConfig, SFTTrainer"])


def _main(job: ExportJob, model: dict[str, Any], has_adapter: bool, *, reallocated: bool) -> str:
    lines = [
        "",
        loading_line(repr(job.data), job.data),
        "trainer = SFTTrainer(",
        f"    model={job.model!r},",
        "    args=SFTConfig(**ARGUMENTS),",
        "    train_dataset=rows,",
    ]
    lines += ["    peft_config=get_peft_config(ADAPTER),"] if has_adapter else []
    if "quantization" in model:
        lines.append(f"    quantization_config=BitsAndBytesConfig(**{model['quantization']!r}),")
    lines.append(")")
    lines += ["trainer.add_callback(Reallocation())"] if reallocated else []
    lines += ["freeze_lora_a(trainer.model)"] if job.method.optimizer == "lorafa" else []
    lines += ["trainer.optimizer = method_optimizer(trainer.model, trainer.args)"] if job.method.optimizer else []
    return "\n".join([*lines, "trainer.train()", "trainer.save_model()"])
