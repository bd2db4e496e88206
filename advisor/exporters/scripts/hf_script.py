"""`train.py` for transformers' Trainer: any task, any method of peft's, settings beside it or within."""

from __future__ import annotations

from typing import Any, Final

from advisor.catalog.trainer_formats import TrainerFormat
from advisor.exporters.config_text import stanza
from advisor.exporters.export_job import ExportJob
from advisor.exporters.hf_arguments import training_arguments
from advisor.exporters.scripts.literals import assembled, python_literal
from advisor.exporters.scripts.script_text import (
    CAUSAL_ROWS,
    FREEZE_A,
    HEAD_RATE,
    LABELLED_ROWS,
    LOADING,
    OPTIMIZERS,
    REALLOCATED,
    REALLOCATION,
    SEQ2SEQ_ROWS,
    adapter_settings,
    auto_class,
    header,
    model_settings,
    optimizer_settings,
)
from advisor.exporters.scripts.trl_script import loading_line

OWN_KEYS: Final = (
    "model_name_or_path",
    "task",
    "data",
    "model_init",
    "adapter_config",
    "method_optimizer",
    "max_length",
    "max_target_length",
    "num_labels",
    "head_learning_rate",
)
"""What `train.py` reads of its settings itself; the rest are TrainingArguments."""


def hf_settings(job: ExportJob) -> dict[str, Any]:
    """Everything that the script reads."""
    workload = job.workload
    arguments = training_arguments(job)
    own: dict[str, Any] = {
        "model_name_or_path": job.model,
        "task": workload.task,
        "data": job.data,
        "model_init": model_settings(job),
        "max_length": workload.seq_len,
    }
    optional = {
        "adapter_config": adapter_settings(job),
        "method_optimizer": optimizer_settings(job),
        "head_learning_rate": job.recipe.head_learning_rate,
        "num_labels": workload.num_labels if workload.task == "sequence-classification" else None,
        "max_target_length": (workload.target_len or workload.seq_len) if workload.task == "seq2seq" else None,
    }
    return {**own, **{key: value for key, value in optional.items() if value is not None}, **arguments}


def hf_script(job: ExportJob, format: TrainerFormat, command: str, *, inline: bool) -> str:
    """The script; `inline` writes the settings into it, else it reads `training_args.json` beside it."""
    task, settings = job.workload.task, hf_settings(job)
    labelled, paired = task == "sequence-classification", job.spec.architecture == "encoder-decoder"
    adapter, reallocated = settings.get("adapter_config"), False
    if adapter is not None:
        reallocated = adapter["peft_type"] in REALLOCATED
    rows = LABELLED_ROWS if labelled else SEQ2SEQ_ROWS if paired else CAUSAL_ROWS
    collator = "DataCollatorWithPadding" if labelled else "DataCollatorForSeq2Seq"
    source = python_literal("SETTINGS", settings) if inline else _READ
    parts = [
        header(format, stanza(format, job, command)),
        _imports(job, collator, reallocated=reallocated, read=not inline),
        source,
        _constants(settings, labelled=labelled, paired=paired),
        LOADING,
        rows,
    ]
    defined_by = job.method.optimizer
    parts += [OPTIMIZERS] if defined_by else []
    parts += [FREEZE_A] if defined_by == "lorafa" else []
    parts += [REALLOCATION] if reallocated else []
    parts += [HEAD_RATE] if settings.get("head_learning_rate") else []
    return assembled([*parts, _main(job, collator, reallocated=reallocated)])


_READ: Final = """
# every setting: this script's own, and transformers' TrainingArguments
SETTINGS = json.loads(Path(__file__).with_name("training_args.json").read_text(encoding="utf-8"))
"""


def _imports(job: ExportJob, collator: str, *, reallocated: bool, read: bool) -> str:
    names = {
        auto_class(job),
        "AutoTokenizer",
        "BitsAndBytesConfig",
        collator,
        "Trainer",
        "TrainingArguments",
        "set_seed",
    }
    names |= {"TrainerCallback"} if reallocated else set()
    lines = ["import json"] if read else []
    lines += ["import re"] if job.recipe.head_learning_rate else []
    lines += ["from pathlib import Path", ""] if read else [""] if lines else []
    lines += ["import torch", "from datasets import load_dataset"]
    if job.method.name != "full":
        lines.append("from peft import get_peft_config, get_peft_model")
    if job.method.optimizer:
        lines.append("from peft.optimizers import create_lorafa_optimizer, create_loraplus_optimizer")
    ordered = sorted(names, key=lambda name: (name.islower(), name))
    return "\n".join([*lines, "from transformers import (", *(f"    {name}," for name in ordered), ")"])


def _constants(settings: dict[str, Any], *, labelled: bool, paired: bool) -> str:
    lines = [
        "OWN_KEYS = (",
        *(f'    "{key}",' for key in OWN_KEYS),
        ")",
        "OWN = {key: SETTINGS.pop(key, None) for key in OWN_KEYS}",
        'NAME, MODEL, ADAPTER = OWN["model_name_or_path"], OWN["model_init"], OWN["adapter_config"]',
        'MAX_LENGTH = OWN["max_length"]',
    ]
    lines += ['MAX_TARGET_LENGTH = OWN["max_target_length"] or MAX_LENGTH'] if paired else []
    lines += ['NUM_LABELS = OWN["num_labels"]'] if labelled else []
    lines += ['OPTIMIZER = OWN["method_optimizer"]'] if settings.get("method_optimizer") else []
    lines += ['HEAD_LEARNING_RATE = OWN["head_learning_rate"]'] if settings.get("head_learning_rate") else []
    lines += ["args = TrainingArguments(**SETTINGS)", "set_seed(args.seed)"]
    return "\n".join(lines)


def _main(job: ExportJob, collator: str, *, reallocated: bool) -> str:
    labelled = job.workload.task == "sequence-classification"
    lines = [
        "",
        "tokenizer = AutoTokenizer.from_pretrained(NAME)",
        "if tokenizer.pad_token_id is None:",
        "    tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token",
        loading_line('OWN["data"]', job.data),
    ]
    if labelled:
        lines.append('LABELS = sorted(set(rows["label"]))')
    lines.append("rows = rows.map(encode, remove_columns=rows.column_names)")
    more = ", num_labels=NUM_LABELS" if labelled else ""
    lines.append(f"model, new = load({auto_class(job)}{more})")
    if labelled:
        lines.append("model.config.pad_token_id = tokenizer.pad_token_id")
    if job.method.name != "full":
        lines.append("model = get_peft_model(model, get_peft_config(ADAPTER))")
    if job.method.optimizer == "lorafa":
        lines.append("freeze_lora_a(model)")
    lines += [
        f"trainer = Trainer(model=model, args=args, train_dataset=rows, data_collator={collator}(tokenizer))",
    ]
    if reallocated:
        lines.append("trainer.add_callback(Reallocation())")
    if job.method.optimizer:
        lines.append("trainer.optimizer = method_optimizer(model, args)")
    if job.recipe.head_learning_rate:
        lines.append("give_head_its_rate(trainer, new)")
    return "\n".join([*lines, "trainer.train()", "trainer.save_model()", "tokenizer.save_pretrained(args.output_dir)"])
