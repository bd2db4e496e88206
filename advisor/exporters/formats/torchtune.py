"""`tune run`: torchtune's own models, known one by one by the configs it shipped; it is no longer developed."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Final

from advisor.catalog.models import resolve_model
from advisor.domain.model import ModelSpec
from advisor.exporters.adapter_document import lora_settings
from advisor.exporters.config_text import stanza, yaml_text
from advisor.exporters.export_job import ExportedFile, Exporter, ExportJob
from advisor.exporters.expressible import against_method, against_recipe, warmup_steps, with_trainer

_LORA: Final = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_dora")
"""peft's keys that its LoRA builders have a word for."""
_ATTENTION: Final = {"q_proj": "q_proj", "k_proj": "k_proj", "v_proj": "v_proj", "o_proj": "output_proj"}
_MLP: Final = {"gate_proj", "up_proj", "down_proj"}
_OPTIMIZERS: Final[dict[str, dict[str, Any]]] = {
    "adamw_torch": {"_component_": "torch.optim.AdamW", "fused": False},
    "adamw_torch_fused": {"_component_": "torch.optim.AdamW", "fused": True},
    "sgd": {"_component_": "torch.optim.SGD"},
    "adamw_8bit": {"_component_": "bitsandbytes.optim.AdamW8bit"},
    "adamw_bnb_8bit": {"_component_": "bitsandbytes.optim.AdamW8bit"},
    "paged_adamw_8bit": {"_component_": "bitsandbytes.optim.PagedAdamW8bit"},
}
_UNPRICED: Final = "torchtune runs models and a loss of its own: the estimate is of transformers', and a guide only"


class Torchtune(Exporter):
    """One YAML file."""

    name = "torchtune"
    says = "YAML for `tune run`: LoRA, DoRA, QLoRA and full fine-tuning of the models it knows (no longer developed)"

    def against(self, job: ExportJob) -> str | None:
        recipe = job.recipe
        reason = against_method(job) or against_recipe(job, ("causal-lm",))
        if reason:
            return reason
        known = self._model(job)
        if known is None:
            return f"it has no config of {job.spec.name}"
        if known[self._kind(job)] is None:
            return f"it shipped no {self._kind(job)} config of {job.spec.name}"
        if recipe.base == "int8" or recipe.mixed_precision != "no" or recipe.dtype == "float16":
            return "it trains in bfloat16 or float32, on a 4-bit base or none"
        if recipe.batching in ("padding-free", "grouped"):
            return f"it has no {recipe.batching} batches"
        if recipe.attention != "sdpa":
            return f"it calls torch's own attention, not {recipe.attention}"
        if recipe.optimizer not in _OPTIMIZERS:
            return f"its configs have no word for the optimizer {recipe.optimizer}"
        if recipe.schedule not in ("cosine", "constant"):
            return f"it has no schedule {recipe.schedule}"
        if job.workload.epochs != int(job.workload.epochs):
            return "it trains whole epochs only"
        if recipe.schedule == "cosine" and warmup_steps(job) is None:
            return "it counts its warm-up in steps, and the number of samples is unknown: --samples"
        return None if job.method.name == "full" else _targets(job)[1] or None

    def as_run(self, job: ExportJob) -> tuple[ExportJob, tuple[str, ...]]:
        job, notes = with_trainer(job, job.recipe.trainer, "torchtune")
        folder = PurePath(job.spec.name).name
        return job, (*notes, _UNPRICED, f"it reads the model from {folder}/: tune download {job.spec.name}")

    def files(self, job: ExportJob) -> tuple[ExportedFile, ...]:
        recipe, workload, known = job.recipe, job.workload, self._model(job)
        assert known is not None
        folder = PurePath(job.spec.name).name
        model: dict[str, Any] = {"_component_": known[self._kind(job)]}
        if job.method.name != "full":
            model |= _targets(job)[0]
        tokenizer = {
            key: f"{folder}/{value}" if key != "_component_" else value for key, value in known["tokenizer"].items()
        }
        tokenizer["max_seq_len"] = workload.seq_len
        schedule = {
            "_component_": "torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup",
            "num_warmup_steps": warmup_steps(job),
        }
        document: dict[str, Any] = {
            "output_dir": job.output,
            "model": model,
            "tokenizer": tokenizer,
            "checkpointer": {
                "_component_": known["checkpointer"],
                "checkpoint_dir": folder,
                "checkpoint_files": known["checkpoint_files"],
                "recipe_checkpoint": None,
                "output_dir": job.output,
                "model_type": known["model_type"],
            },
            "resume_from_checkpoint": False,
            "dataset": {
                "_component_": "torchtune.datasets.chat_dataset",
                "source": "json",
                "data_files": job.data,
                "conversation_column": "messages",
                "conversation_style": "openai",
                "split": "train",
                "packed": recipe.batching == "packed",
            },
            "seed": job.seed,
            "shuffle": True,
            "batch_size": recipe.micro_batch_size,
            "gradient_accumulation_steps": recipe.gradient_accumulation,
            "epochs": int(workload.epochs),
            "max_steps_per_epoch": None,
            "clip_grad_norm": recipe.max_grad_norm or None,
            "optimizer": {
                **_OPTIMIZERS[recipe.optimizer],
                "weight_decay": recipe.weight_decay,
                "lr": recipe.learning_rate,
            },
            "loss": {"_component_": "torchtune.modules.loss.CEWithChunkedOutputLoss"},
            "compile": False,
            "device": "cuda",
            "dtype": {"bfloat16": "bf16", "float32": "fp32"}[recipe.dtype],
            "enable_activation_checkpointing": recipe.gradient_checkpointing,
            "enable_activation_offloading": False,
            "metric_logger": {
                "_component_": "torchtune.training.metric_logging.DiskLogger",
                "log_dir": f"{job.output}/logs",
            },
            "log_every_n_steps": 10,
            "log_peak_memory_stats": True,
        }
        if recipe.schedule == "cosine":
            document["lr_scheduler"] = schedule
        if job.method.name == "full":
            document["optimizer_in_bwd"] = False
        else:
            document["save_adapter_weights_only"] = False
        text = yaml_text(document, stanza(self.format, job, self.command(job)))
        return (ExportedFile(name="torchtune.yaml", text=text),)

    def command(self, job: ExportJob) -> str:
        kind = "full" if job.method.name == "full" else "lora"
        return f"tune run {kind}_finetune_single_device --config torchtune.yaml"

    def _model(self, job: ExportJob) -> dict[str, Any] | None:
        """The shipped config of the model, or of one of the same architecture and sizes."""
        exact = next((one for one in self.format.models if one["hub_id"] == job.spec.name), None)
        if exact is not None:
            return exact
        family = str(job.spec.model_type)
        alike = [one for one in self.format.models if one["family"] == family]
        return next((one for one in alike if _sizes(resolve_model(one["hub_id"])) == _sizes(job.spec)), None)

    @staticmethod
    def _kind(job: ExportJob) -> str:
        return "full" if job.method.name == "full" else "qlora" if job.recipe.base == "nf4" else "lora"


def _sizes(spec: ModelSpec) -> tuple[int | None, ...]:
    return spec.layers, spec.hidden, spec.heads, spec.vocabulary


def _targets(job: ExportJob) -> tuple[dict[str, Any], str]:
    """The LoRA keys of a model's builder, and why it cannot take them."""
    settings, reason = lora_settings(job.spec, job.workload.task, job.recipe, _LORA)
    if reason:
        return {}, reason
    named: str | list[str] = settings.get("target_modules", [])
    names = {named} if isinstance(named, str) else set(named)
    mlp = names & _MLP
    if (mlp and mlp != _MLP) or names - _MLP - set(_ATTENTION):
        return {}, f"it adapts attention layers and whole feed-forwards, not {', '.join(sorted(names))}"
    return {
        "lora_attn_modules": [theirs for ours, theirs in _ATTENTION.items() if ours in names],
        "apply_lora_to_mlp": bool(mlp),
        "apply_lora_to_output": False,
        "lora_rank": settings["r"],
        "lora_alpha": settings["lora_alpha"],
        "lora_dropout": settings.get("lora_dropout", 0.0),
        **({"use_dora": True} if settings.get("use_dora") else {}),
    }, ""


TORCHTUNE = Torchtune()
