"""`swift sft config.yaml`: ms-swift, whose arguments are its own and those of transformers' Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from advisor.catalog.methods import options_of
from advisor.domain.request.vocabulary import MIXED_FLAGS
from advisor.exporters.adapter_document import lora_settings, module_names
from advisor.exporters.config_text import stanza, yaml_text
from advisor.exporters.export_job import ConfigCase, ExportedFile, Exporter, ExportJob
from advisor.exporters.expressible import against_method, against_recipe, with_trainer
from advisor.exporters.hf_arguments import read_arguments, read_precision, training_arguments
from advisor.exporters.settings import Settings

_LORA: Final = {
    "r": "lora_rank",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "target_modules": "target_modules",
    "target_parameters": "target_parameters",
    "modules_to_save": "modules_to_save",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
    "init_lora_weights": "init_weights",
}
"""peft's key -> ms-swift's."""
_STARTS: Final = ("pissa", "olora", "gaussian", "loftq")
_ADAM_BETA2: Final = 0.999
"""torch's own, which recipes mean; ms-swift takes 0.95 where nothing is written (4.6.0)."""
_NOT_MODELLED: Final = {
    "use_galore": "this form of GaLore is not modelled",
    "sequence_parallel_size": "what several devices exchange and hold is not modelled",
    "lisa_activated_layers": "LISA is not modelled",
    "use_ray": "what several devices exchange and hold is not modelled",
    "enable_dft_loss": "DFT is not modelled",
    "freeze_parameters": "freezing of chosen layers is not read from configs",
    "trainable_parameters": "training of chosen layers is not read from configs",
    "adapters": "the adapter that training goes on with is not read from the config",
}
_OWN: Final = {"tuner_type", "train_type", "tuner_backend", "torch_dtype", "quant_bits", "quant_method", "use_hf"}


class MsSwift(Exporter):
    """One YAML file."""

    name = "ms-swift"
    says = "YAML for `swift sft`: LoRA, rsLoRA, DoRA, LoRA+, PiSSA, OLoRA, QLoRA, full fine-tuning"

    def against(self, job: ExportJob) -> str | None:
        recipe = job.recipe
        if job.spec.architecture != "decoder":
            return "ms-swift trains causal language models"
        reason = against_method(job, optimizers=("loraplus",)) or against_recipe(job, ("causal-lm",))
        if reason:
            return reason
        if recipe.batching not in ("padded", "grouped") and recipe.attention != "flash_attention_2":
            return "packed and padding-free batches need flash_attention_2"
        if job.method.name == "full":
            return None
        return _lora(job)[1] or None

    def as_run(self, job: ExportJob) -> tuple[ExportJob, tuple[str, ...]]:
        return with_trainer(job, "hf", "ms-swift")

    def files(self, job: ExportJob) -> tuple[ExportedFile, ...]:
        recipe = job.recipe
        document: dict[str, Any] = {
            "model": job.model,
            "use_hf": True,
            **_adapter_keys(job),
            "torch_dtype": recipe.dtype,
            "attn_impl": recipe.attention,
            "dataset": [job.data],
            "split_dataset_ratio": 0.0,
            "max_length": job.workload.seq_len,
            "truncation_strategy": "right",
            "packing": recipe.batching == "packed",
            "padding_free": recipe.batching in ("packed", "padding-free"),
        }
        if recipe.base != "dtype":
            document |= {"quant_method": "bnb", "quant_bits": 4 if recipe.base == "nf4" else 8}
        if recipe.base == "nf4":
            document |= {
                "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_use_double_quant": True,
                "bnb_4bit_compute_dtype": recipe.compute_dtype,
            }
        arguments = training_arguments(job, checkpointing="gradient_checkpointing")
        arguments["warmup_ratio"] = arguments.pop("warmup_steps")
        arguments.pop("train_sampling_strategy")
        document |= {**arguments, "group_by_length": recipe.batching == "grouped", "adam_beta2": _ADAM_BETA2}
        text = yaml_text(document, stanza(self.format, job, self.command(job)))
        return (ExportedFile(name="ms_swift.yaml", text=text),)

    def command(self, job: ExportJob) -> str:
        return "swift sft ms_swift.yaml"

    def recognises(self, document: Mapping[str, Any]) -> bool:
        return "model" in document and bool(_OWN & set(document))

    def read(self, settings: Settings) -> ConfigCase:
        own = {key: why for key, why in _NOT_MODELLED.items() if key != "sequence_parallel_size"}
        settings.refuse_if_set(own)
        if (settings.whole("sequence_parallel_size", 1) or 1) > 1:
            settings.refuse("sequence_parallel_size", _NOT_MODELLED["sequence_parallel_size"])
        if settings.text("task_type", "causal_lm") != "causal_lm":
            settings.refuse("task_type", "only causal_lm is read from ms-swift's configs")
        if settings.text("tuner_backend", "peft") != "peft":
            settings.refuse("tuner_backend", "unsloth's kernels are not modelled")
        case, notes = read_arguments(settings)
        base = _base(settings)
        weights = settings.text("torch_dtype")
        case |= _precision(settings, weights)
        packing = settings.flag("packing")
        case |= {
            "model": settings.text("model"),
            "seq_len": settings.whole("max_length"),
            "base": base,
            "batching": "packed"
            if packing
            else "padding-free"
            if settings.flag("padding_free")
            else case.get("batching", "padded"),
            "trainer": "hf",
            "attn_implementation": {"flash_attn": "flash_attention_2", None: "sdpa"}.get(
                settings.text("attn_impl"), settings.text("attn_impl")
            ),
            **_read_adapter(settings, base),
        }
        settings.number("adam_beta2")
        return ConfigCase(case, tuple(notes))


def _lora(job: ExportJob) -> tuple[dict[str, Any], str]:
    settings, reason = lora_settings(job.spec, job.workload.task, job.recipe, _LORA, patterns=True)
    start = settings.get("init_lora_weights")
    if start is not None and not str(start).startswith(_STARTS):
        return {}, f"it has no word for init_lora_weights = {start!r}"
    return settings, reason


def _adapter_keys(job: ExportJob) -> dict[str, Any]:
    if job.method.name == "full":
        return {"tuner_type": "full"}
    settings, _ = _lora(job)
    keys: dict[str, Any] = {"tuner_type": "lora", "tuner_backend": "peft", "use_rslora": False, "use_dora": False}
    keys |= {theirs: settings[ours] for ours, theirs in _LORA.items() if ours in settings}
    named = keys.get("target_modules")
    if isinstance(named, str):
        key = "target_modules" if named == "all-linear" else "target_regex"
        keys = {name: value for name, value in keys.items() if name != "target_modules"}
        keys[key] = [named] if named == "all-linear" else named
    if job.method.optimizer == "loraplus":
        keys["lorap_lr_ratio"] = float(options_of(job.method, job.recipe.options)["rate_ratio"])
    return keys


def _base(settings: Settings) -> str:
    bits, method = settings.get("quant_bits"), settings.text("quant_method")
    if bits is None and method is None:
        return "dtype"
    if method not in ("bnb", None) or bits not in (4, 8):
        settings.refuse("quant_bits", f"{method} with {bits} bits is not modelled: bnb with 4 or 8 is")
    if bits == 4 and settings.text("bnb_4bit_quant_type", "nf4") != "nf4":
        settings.refuse("bnb_4bit_quant_type", "only nf4 is modelled")
    settings.flag("bnb_4bit_use_double_quant", True)
    settings.text("bnb_4bit_compute_dtype")
    return "nf4" if bits == 4 else "int8"


def _precision(settings: Settings, weights: str | None) -> dict[str, Any]:
    """ms-swift mixes precisions in the weights' own 16 bits where no switch is written, in float16 over float32."""
    if settings.has("bf16") or settings.has("fp16"):
        return read_precision(settings, weights)
    if weights == "float32":
        return {"dtype": "float32", "mixed_precision": "fp16"}
    return {"dtype": weights, "mixed_precision": MIXED_FLAGS.get(weights or "")}


def _read_adapter(settings: Settings, base: str) -> dict[str, Any]:
    kind = settings.text("tuner_type") or settings.text("train_type", "lora")
    if kind == "full":
        if base != "dtype":
            settings.refuse("quant_bits", "quantised weights cannot be trained, only an adapter beside them")
        return {"method": "full"}
    if kind != "lora":
        settings.refuse("tuner_type", f"{kind!r} is not read from configs: --adapter-config can say it")
    found = {ours: settings.get(theirs) for ours, theirs in _LORA.items()}
    settings.refuse_both("target_regex", "target_modules")
    targets = settings.text("target_regex") or settings.names("target_modules")
    found["target_modules"] = module_names(targets)
    start = str(found["init_lora_weights"])
    found["init_lora_weights"] = None if start.lower() in ("true", "none") else start
    kept = {key: value for key, value in found.items() if value is not None}
    case: dict[str, Any] = {"adapter_config": {"peft_type": "LORA", "task_type": "CAUSAL_LM", **kept}}
    ratio = settings.number("lorap_lr_ratio")
    return case if ratio is None else {**case, "optimizer": "loraplus", "rate_ratio": ratio}


MS_SWIFT = MsSwift()
