"""`unsloth train --config`: a YAML file of sections, without a word for optimizer, schedule or clipping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from advisor.domain.plain_values import is_list
from advisor.exporters.adapter_document import lora_settings, module_names
from advisor.exporters.config_text import stanza, yaml_text
from advisor.exporters.export_job import ConfigCase, ExportedFile, Exporter, ExportJob
from advisor.exporters.expressible import against_method, against_recipe, warmup_steps, with_trainer
from advisor.exporters.settings import Settings

_LORA: Final = {
    "r": "lora_r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "target_modules": "target_modules",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
}
"""peft's key -> unsloth's, in its section `lora`."""
OPTIMIZER: Final = "adamw_8bit"
"""The only one that its command line runs on NVIDIA cards (unsloth 2026.10.9, unsloth_cli/commands/train.py)."""
SCHEDULE: Final = "linear"
"""The same command's, where nothing says otherwise (studio/backend/core/training/trainer.py)."""


class Unsloth(Exporter):
    """One YAML file."""

    name = "unsloth"
    says = "YAML for `unsloth train`: LoRA, rsLoRA, DoRA, QLoRA, full fine-tuning, with its own optimizer and schedule"

    def against(self, job: ExportJob) -> str | None:
        recipe = job.recipe
        if job.spec.architecture != "decoder":
            return "its command line trains causal language models"
        reason = against_method(job) or against_recipe(job, ("causal-lm",))
        if reason:
            return reason
        if recipe.base == "int8":
            return "it has no 8-bit base, only a 4-bit one"
        if recipe.dtype != "bfloat16" or recipe.mixed_precision == "fp16":
            return "it chooses the precision itself: bfloat16 where the GPU has it"
        if recipe.batching in ("padding-free", "grouped"):
            return f"it has no {recipe.batching} batches"
        if recipe.max_grad_norm != 1:
            return f"it clips gradients at 1, not at {recipe.max_grad_norm:g}"
        if job.workload.epochs != int(job.workload.epochs):
            return "it trains whole epochs only"
        if warmup_steps(job) is None:
            return "it counts its warm-up in steps, and the number of samples is unknown: --samples"
        if job.method.name == "full":
            return None
        reason = lora_settings(job.spec, job.workload.task, recipe, _LORA)[1]
        return reason or None

    def as_run(self, job: ExportJob) -> tuple[ExportJob, tuple[str, ...]]:
        job, notes = with_trainer(job, "unsloth", "unsloth")
        job = job.with_recipe(mixed_precision="bf16", lora_kernels=job.method.peft_type == "LORA")
        for field, value in (("optimizer", OPTIMIZER), ("schedule", SCHEDULE)):
            if getattr(job.recipe, field) != value:
                notes = (*notes, f"unsloth's command line always takes the {field} {value}, not {_of(job, field)}")
                job = job.with_recipe(**{field: value})
        return job, notes

    def files(self, job: ExportJob) -> tuple[ExportedFile, ...]:
        recipe, workload = job.recipe, job.workload
        full = job.method.name == "full"
        document: dict[str, Any] = {
            "model": job.model,
            "data": {"local_dataset": [job.data], "format_type": "auto"},
            "training": {
                "training_type": "full" if full else "lora",
                "load_in_4bit": recipe.base == "nf4",
                "max_seq_length": workload.seq_len,
                "num_epochs": int(workload.epochs),
                "learning_rate": recipe.learning_rate,
                "batch_size": recipe.micro_batch_size,
                "gradient_accumulation_steps": recipe.gradient_accumulation,
                "warmup_steps": warmup_steps(job),
                "weight_decay": recipe.weight_decay,
                "random_seed": job.seed,
                "packing": recipe.batching == "packed",
                "gradient_checkpointing": "unsloth" if recipe.gradient_checkpointing else "none",
                "output_dir": job.output,
            },
        }
        if not full:
            settings, _ = lora_settings(job.spec, workload.task, recipe, _LORA)
            keys = {theirs: settings[ours] for ours, theirs in _LORA.items() if ours in settings}
            targets = keys.get("target_modules")
            if is_list(targets):
                keys["target_modules"] = ",".join(targets)
            document["lora"] = {"use_rslora": False, "use_dora": False, "use_loftq": False, **keys}
        document["logging"] = {"enable_wandb": False, "enable_tensorboard": False}
        return (
            ExportedFile(name="unsloth.yaml", text=yaml_text(document, stanza(self.format, job, self.command(job)))),
        )

    def command(self, job: ExportJob) -> str:
        return "unsloth train --config unsloth.yaml"

    def recognises(self, document: Mapping[str, Any]) -> bool:
        return isinstance(document.get("training"), dict)

    def read(self, settings: Settings) -> ConfigCase:
        notes: list[str] = []
        four_bit = settings.flag("training.load_in_4bit")
        kind = settings.text("training.training_type")
        checkpointing: Any = settings.get("training.gradient_checkpointing")
        if str(checkpointing).lower() == "true":
            notes.append("gradient_checkpointing: true keeps layers' inputs on the GPU: estimated as moved to the host")
        steps = settings.whole("training.warmup_steps") or 0
        if steps:
            notes.append(f"a warm-up of {steps} steps is not used: it decides neither memory nor time")
        if (settings.whole("training.max_steps", 0) or 0) > 0:
            notes.append("max_steps ends the training before its epochs do: time and cost here are of all epochs")
        case: dict[str, Any] = {
            "model": settings.text("model"),
            "base": "nf4" if four_bit and kind != "full" else "dtype",
            "dtype": "bfloat16",
            "mixed_precision": "bf16",
            "seq_len": settings.whole("training.max_seq_length"),
            "epochs": settings.number("training.num_epochs"),
            "learning_rate": settings.number("training.learning_rate"),
            "batch_size": settings.whole("training.batch_size"),
            "gradient_accumulation": settings.whole("training.gradient_accumulation_steps"),
            "weight_decay": settings.number("training.weight_decay"),
            "warmup_ratio": 0.0,
            "schedule": SCHEDULE,
            "optimizer": OPTIMIZER,
            "batching": "packed" if settings.flag("training.packing") else "padded",
            "gradient_checkpointing": str(checkpointing).lower() not in ("none", "false", "no", "off", "0"),
            "trainer": "unsloth",
            "lora_kernels": kind != "full",
        }
        if case["batching"] == "packed":
            case["attn_implementation"] = "flash_attention_2"
        if kind == "full":
            if four_bit and settings.has("training.load_in_4bit"):
                settings.refuse("training.load_in_4bit", "quantised weights cannot be trained: it contradicts full")
            return ConfigCase({**case, "method": "full"}, tuple(notes))
        if settings.flag("lora.use_loftq"):
            settings.refuse("lora.use_loftq", "--adapter-config can say loftq")
        found = {ours: settings.get(f"lora.{theirs}") for ours, theirs in _LORA.items()}
        targets = settings.names("lora.target_modules")
        found["target_modules"] = module_names(targets)
        return ConfigCase(
            {**case, "adapter_config": {"peft_type": "LORA", "task_type": "CAUSAL_LM", **found}}, tuple(notes)
        )


def _of(job: ExportJob, field: str) -> str:
    return str(getattr(job.recipe, field))


UNSLOTH = Unsloth()
