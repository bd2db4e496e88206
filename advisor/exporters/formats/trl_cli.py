"""`trl sft --config`: TRL's own command line, which trains LoRA, rsLoRA, DoRA and whole models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

from advisor.domain.request.vocabulary import DType
from advisor.exporters.adapter_document import lora_settings, module_names
from advisor.exporters.config_text import stanza, yaml_text
from advisor.exporters.export_job import ConfigCase, ExportedFile, Exporter, ExportJob
from advisor.exporters.expressible import LORA_CASTS, against_method, against_recipe, with_trainer
from advisor.exporters.hf_arguments import read_arguments, read_precision, sft_arguments, training_arguments
from advisor.exporters.settings import Settings
from advisor.exporters.several_gpus import quantised_storage, started_on_all

_LORA: Final = {
    "r": "lora_r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "target_modules": "lora_target_modules",
    "target_parameters": "lora_target_parameters",
    "modules_to_save": "lora_modules_to_save",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
}
"""peft's key -> TRL's."""
_ONE_NAME: Final = re.compile(r"\(\.\*\\\.\)\?(?P<name>.+)")
"""How one module name is written: TRL takes it out of its list, and to peft a text is a pattern of whole paths."""
_NOT_MODELLED: Final = {
    "activation_offloading": "activations moved to the host are not modelled",
    "accelerate_config": "what several devices exchange and hold is not modelled",
    "bnb_4bit_quant_storage": "packed weights in another dtype than bytes are not modelled",
}


class TrlCli(Exporter):
    """One YAML file."""

    name = "trl"
    says = "YAML for `trl sft --config`: LoRA, rsLoRA, DoRA, QLoRA, full fine-tuning"

    def against(self, job: ExportJob) -> str | None:
        if job.spec.architecture != "decoder":
            return "TRL's SFTTrainer trains decoders only: --to hf"
        reason = against_method(job) or against_recipe(job, ("causal-lm", "seq2seq"), liger="none")
        if reason:
            return reason
        if job.recipe.batching not in ("padded", "grouped") and job.recipe.attention != "flash_attention_2":
            return "packed and padding-free batches need flash_attention_2, or rows would see each other"
        if job.recipe.method == "full" and job.recipe.adapter_config is None:
            return None
        reason = _lora(job)[1]
        return f"{reason}: --to script can" if reason else None

    def as_run(self, job: ExportJob) -> tuple[ExportJob, tuple[str, ...]]:
        job, notes = with_trainer(job, "trl", "TRL")
        return job, (*notes, *((LORA_CASTS,) if job.recipe.base != "dtype" else ()))

    def files(self, job: ExportJob) -> tuple[ExportedFile, ...]:
        recipe = job.recipe
        document: dict[str, Any] = {
            "model_name_or_path": job.model,
            "dtype": recipe.dtype,
            "attn_implementation": recipe.attention,
            "datasets": [{"path": builder_of(job.data), "data_files": {"train": job.data}, "split": "train"}],
            **sft_arguments(job),
            **_adapter_keys(job),
            "load_in_8bit": recipe.base == "int8",
            "load_in_4bit": recipe.base == "nf4",
        }
        if recipe.base == "nf4":
            document |= {"bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True, **quantised_storage(job)}
        document |= training_arguments(job, checkpointing="gradient_checkpointing")
        return (ExportedFile(name="trl.yaml", text=yaml_text(document, stanza(self.format, job, self.command(job)))),)

    def command(self, job: ExportJob) -> str:
        return started_on_all(self.name, job, "trl sft --config trl.yaml")

    def recognises(self, document: Mapping[str, Any]) -> bool:
        others = {"finetuning_type", "stage", "cutoff_len", "template", "model_init"}
        own = {"use_peft", "lora_r", "dataset_name", "datasets", "max_length", "max_seq_length", "torch_dtype", "dtype"}
        return "model_name_or_path" in document and not others & set(document) and bool(own & set(document))

    def read(self, settings: Settings) -> ConfigCase:
        settings.refuse_if_set(_NOT_MODELLED)
        settings.refuse_both("load_in_8bit", "load_in_4bit")
        case, notes = read_arguments(settings)
        base = "nf4" if settings.flag("load_in_4bit") else "int8" if settings.flag("load_in_8bit") else "dtype"
        if base == "nf4":
            _check_nf4(settings, notes)
        weights: Any = settings.get("torch_dtype") or settings.get("dtype")
        case |= read_precision(settings, None if weights == "auto" else weights)
        if (settings.whole("num_processes", 1) or 1) > 1:
            case["gpus"] = settings.whole("num_processes")
        packing = settings.flag("packing")
        if packing and settings.text("packing_strategy") != "bfd":
            notes.append("packing_strategy is estimated as bfd, which fills blocks as full")
        batching = (
            "packed" if packing else "padding-free" if settings.flag("padding_free") else case.get("batching", "padded")
        )
        if settings.text("loss_type", "nll") == "dft":
            settings.refuse("loss_type", "DFT builds the logits that the estimate of TRL leaves out")
        length = settings.whole("max_seq_length") if settings.has("max_seq_length") else settings.whole("max_length")
        case |= {
            "model": settings.text("model_name_or_path"),
            "seq_len": length,
            "batching": batching,
            "base": base,
            "trainer": "trl",
            "attn_implementation": settings.text("attn_implementation"),
            **_read_adapter(settings, notes, base),
        }
        return ConfigCase(case, tuple(notes))


def builder_of(data: str) -> str:
    """What `datasets` calls the format of a file, by its name."""
    suffix = PurePath(data).suffix.lower()
    return {".csv": "csv", ".parquet": "parquet", ".arrow": "arrow", ".txt": "text"}.get(suffix, "json")


def _lora(job: ExportJob) -> tuple[dict[str, Any], str]:
    return lora_settings(job.spec, job.workload.task, job.recipe, _LORA, patterns=True)


def _adapter_keys(job: ExportJob) -> dict[str, Any]:
    if job.method.name == "full":
        return {"use_peft": False}
    settings, _ = _lora(job)
    keys: dict[str, Any] = {"use_peft": True, "lora_task_type": "CAUSAL_LM", "use_rslora": False, "use_dora": False}
    keys |= {theirs: settings[ours] for ours, theirs in _LORA.items() if ours in settings}
    named = keys.get("lora_target_modules")
    if isinstance(named, str):
        keys["lora_target_modules"] = [named]
    elif named is not None and len(named) == 1:
        keys["lora_target_modules"] = [rf"(.*\.)?{re.escape(named[0])}"]
    return keys


def _read_adapter(settings: Settings, notes: list[str], base: DType | str) -> dict[str, Any]:
    """The method with its options, as an adapter config, or full fine-tuning."""
    found = {ours: settings.get(theirs) for ours, theirs in _LORA.items()}
    task_type = settings.text("lora_task_type", "CAUSAL_LM")
    if not settings.flag("use_peft"):
        if base != "dtype":
            settings.refuse("use_peft", "quantised weights cannot be trained, only an adapter beside them")
        if settings.has("lora_r"):
            notes.append("lora_* keys are not used: use_peft is not set, so TRL trains the whole model")
        return {"method": "full"}
    names = settings.names("lora_target_modules")
    single = _ONE_NAME.fullmatch(names) if isinstance(names, str) else None
    found["target_modules"] = [re.sub(r"\\(.)", r"\1", single["name"])] if single else module_names(names)
    kept = {key: value for key, value in found.items() if value is not None}
    return {"adapter_config": {"peft_type": "LORA", "task_type": task_type, **kept}}


def _check_nf4(settings: Settings, notes: list[str]) -> None:
    if settings.text("bnb_4bit_quant_type") != "nf4":
        settings.refuse("bnb_4bit_quant_type", "only nf4 is modelled")
    if not settings.flag("use_bnb_nested_quant"):
        notes.append("use_bnb_nested_quant is off: scales take 0.37 bits a weight more (arXiv:2305.14314)")


TRL_CLI = TrlCli()
