"""`llamafactory-cli train`: a YAML file, and the entry of the rows in `dataset_info.json` beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

from advisor.catalog.methods import options_of
from advisor.domain.plain_values import is_list
from advisor.domain.request.vocabulary import MIXED_DTYPES, MIXED_FLAGS
from advisor.exporters.adapter_document import lora_settings, module_names
from advisor.exporters.config_text import json_text, stanza, yaml_text
from advisor.exporters.export_job import ConfigCase, ExportedFile, Exporter, ExportJob
from advisor.exporters.expressible import against_method, against_recipe, with_trainer
from advisor.exporters.hf_arguments import SHARDED, read_arguments, training_arguments
from advisor.exporters.settings import Settings

_LORA: Final = {
    "r": "lora_rank",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "modules_to_save": "additional_target",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
}
"""peft's key -> LLaMA-Factory's; targets and PiSSA's start are written otherwise."""
_ATTENTION: Final = {"sdpa": "sdpa", "eager": "disabled", "flash_attention_2": "fa2"}
_OFF: Final = ("enable_liger_kernel", "use_unsloth", "use_unsloth_gc", "shift_attn", "upcast_layernorm")
_NOT_MODELLED: Final = {
    "use_unsloth": "unsloth's kernels are not modelled",
    "use_unsloth_gc": "activations moved to the host are not modelled",
    "shift_attn": "shifted attention is not modelled",
    "use_galore": "this form of GaLore is not modelled",
    "use_apollo": "APOLLO is not modelled",
    "use_badam": "BAdam is not modelled",
    "use_muon": "Muon is not modelled",
    "use_adam_mini": "Adam-mini is not modelled",
    "use_llama_pro": "added blocks are not modelled",
    "mixture_of_depths": "mixture of depths is not modelled",
    "use_kt": "KTransformers are not modelled",
    "use_mca": SHARDED,
    "ray_num_workers": SHARDED,
    "fp8": "8-bit floating point is not modelled",
    "adapter_name_or_path": "the adapter that training goes on with is not read from the config",
}


class LlamaFactory(Exporter):
    """A YAML file and `dataset_info.json`."""

    name = "llamafactory"
    says = "YAML for `llamafactory-cli train`: LoRA, rsLoRA, DoRA, PiSSA, LoRA+, QLoRA, full fine-tuning"

    def against(self, job: ExportJob) -> str | None:
        recipe = job.recipe
        if job.spec.architecture != "decoder":
            return "LLaMA-Factory trains causal language models"
        reason = against_method(job, optimizers=("loraplus",)) or against_recipe(job, ("causal-lm",))
        if reason:
            return reason
        if recipe.batching == "padding-free":
            return "it has no padding-free batches without packing"
        if recipe.batching == "packed" and recipe.attention != "flash_attention_2":
            return "packed rows see each other without flash_attention_2"
        full = job.method.name == "full"
        if recipe.mixed_precision == "no" and recipe.dtype != "bfloat16":
            return f"it trains in {recipe.dtype} only by mixing precisions, and the recipe does not"
        mixed = MIXED_DTYPES.get(recipe.mixed_precision)
        if mixed is not None and recipe.dtype != ("float32" if full else mixed):
            held = "float32" if full else mixed
            return f"mixing in {mixed} it holds weights in {held}, and the recipe in {recipe.dtype}"
        if full:
            return None
        return _lora(job)[1] or None

    def as_run(self, job: ExportJob) -> tuple[ExportJob, tuple[str, ...]]:
        job, notes = with_trainer(job, "hf", "LLaMA-Factory")
        return job, (*notes, f"rows: chats under `messages` in {job.data}, as dataset_info.json says")

    def files(self, job: ExportJob) -> tuple[ExportedFile, ...]:
        recipe = job.recipe
        document: dict[str, Any] = {
            "model_name_or_path": job.model,
            "stage": "sft",
            "do_train": True,
            **_adapter_keys(job),
            "dataset_dir": ".",
            "dataset": "rows",
            "cutoff_len": job.workload.seq_len,
            "val_size": 0.0,
            "packing": recipe.batching == "packed",
            "neat_packing": recipe.batching == "packed",
            "flash_attn": _ATTENTION[recipe.attention],
            "disable_gradient_checkpointing": not recipe.gradient_checkpointing,
            "use_reentrant_gc": False,
            "pure_bf16": recipe.mixed_precision == "no",
            **dict.fromkeys(_OFF, False),
        }
        if recipe.base != "dtype":
            document |= {"quantization_bit": 4 if recipe.base == "nf4" else 8, "quantization_method": "bnb"}
        if recipe.base == "nf4":
            document |= {"quantization_type": "nf4", "double_quantization": True}
        arguments = training_arguments(job, checkpointing="gradient_checkpointing")
        for key in ("gradient_checkpointing", "gradient_checkpointing_kwargs", "warmup_steps", "use_liger_kernel"):
            arguments.pop(key, None)
        # transformers before 5, which LLaMA-Factory takes too, reads warmup_steps as a whole number
        document |= {**arguments, "warmup_ratio": recipe.warmup_ratio}
        rows = {
            "file_name": PurePath(job.data).as_posix(),
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
        }
        return (
            ExportedFile(
                name="llamafactory.yaml", text=yaml_text(document, stanza(self.format, job, self.command(job)))
            ),
            ExportedFile(name="dataset_info.json", text=json_text({"rows": rows})),
        )

    def command(self, job: ExportJob) -> str:
        return "llamafactory-cli train llamafactory.yaml"

    def recognises(self, document: Mapping[str, Any]) -> bool:
        own = {"finetuning_type", "stage", "cutoff_len", "template", "lora_rank", "pure_bf16", "dataset_dir"}
        return "model_name_or_path" in document and bool(own & set(document))

    def read(self, settings: Settings) -> ConfigCase:
        settings.refuse_if_set(_NOT_MODELLED)
        if settings.text("stage", "sft") not in ("sft", "pt"):
            settings.refuse("stage", f"{settings.get('stage')!r}: only supervised fine-tuning is modelled")
        kind = settings.text("finetuning_type")
        if kind not in ("lora", "full"):
            settings.refuse("finetuning_type", f"{kind!r} is not read from configs: --adapter-config can say oft")
        case, notes = read_arguments(settings)
        bits = settings.whole("quantization_bit")
        base = {None: "dtype", 4: "nf4", 8: "int8"}.get(bits)
        if base is None:
            settings.refuse("quantization_bit", f"{bits} bits are not modelled: 4 and 8 are")
        if base != "dtype":
            self._check_quantisation(settings, notes, base, kind)
        packing = settings.flag("packing") or settings.flag("neat_packing")
        if packing and not settings.flag("neat_packing"):
            notes.append("packing without neat_packing lets rows see each other: estimated as if they did not")
        attention = {v: k for k, v in _ATTENTION.items()} | {"auto": "sdpa"}
        asked = settings.text("flash_attn", "auto") or "auto"
        if asked not in attention:
            settings.refuse("flash_attn", f"{asked!r} is not modelled: auto, disabled, sdpa and fa2 are")
        case |= {
            "model": settings.text("model_name_or_path"),
            "seq_len": settings.whole("cutoff_len"),
            "batching": "packed" if packing else case.get("batching", "padded"),
            "base": base,
            "trainer": "hf",
            "attn_implementation": attention[asked],
            "gradient_checkpointing": not settings.flag("disable_gradient_checkpointing"),
            **_precision(settings, notes, kind),
            **_read_adapter(settings, kind),
        }
        if case["gradient_checkpointing"] and settings.flag("use_reentrant_gc"):
            notes.append("use_reentrant_gc is estimated as off, which keeps other tensors")
        if settings.flag("enable_liger_kernel"):
            case["use_liger_kernel"] = True
        for key in ("upcast_layernorm", "upcast_lmhead_output"):
            if settings.flag(key):
                notes.append(f"{key}: what is cast to float32 is not in the estimate")
        return ConfigCase(case, tuple(notes))

    @staticmethod
    def _check_quantisation(settings: Settings, notes: list[str], base: str, kind: str) -> None:
        if kind == "full":
            settings.refuse("quantization_bit", "quantised weights cannot be trained, only an adapter beside them")
        if settings.text("quantization_method", "bnb") not in ("bnb", "bitsandbytes"):
            settings.refuse("quantization_method", "only bitsandbytes (bnb) is modelled")
        if base == "nf4" and settings.text("quantization_type") != "nf4":
            settings.refuse("quantization_type", "only nf4 is modelled")
        if base == "nf4" and not settings.flag("double_quantization"):
            notes.append(
                "double_quantization is off: scales take 0.37 bits a weight more (arXiv:2305.14314, section 3)"
            )


def _lora(job: ExportJob) -> tuple[dict[str, Any], str]:
    settings, reason = lora_settings(
        job.spec, job.workload.task, job.recipe, (*_LORA, "target_modules", "init_lora_weights")
    )
    start = settings.get("init_lora_weights")
    if start is not None and not str(start).startswith("pissa"):
        return {}, f"it has no word for init_lora_weights = {start!r}"
    return settings, reason


def _adapter_keys(job: ExportJob) -> dict[str, Any]:
    if job.method.name == "full":
        return {"finetuning_type": "full"}
    settings, _ = _lora(job)
    keys: dict[str, Any] = {"finetuning_type": "lora", "use_rslora": False, "use_dora": False}
    keys |= {theirs: settings[ours] for ours, theirs in _LORA.items() if ours in settings}
    targets = settings.get("target_modules", "all")
    named = "all" if targets == "all-linear" else targets
    keys["lora_target"] = ",".join(named) if is_list(named) else named
    start = str(settings.get("init_lora_weights", ""))
    if start:
        keys |= {"pissa_init": True, "pissa_iter": int(start.rpartition("_")[2]) if "niter" in start else -1}
    if job.method.optimizer == "loraplus":
        keys["loraplus_lr_ratio"] = options_of(job.method, job.recipe.options)["rate_ratio"]
    return keys


def _precision(settings: Settings, notes: list[str], kind: str) -> dict[str, Any]:
    """16 bits as LLaMA-Factory means them: full fine-tuning keeps float32 weights unless `pure_bf16`."""
    bf16, fp16, pure = settings.flag("bf16"), settings.flag("fp16"), settings.flag("pure_bf16")
    if bf16 and fp16:
        settings.refuse("bf16", "it contradicts fp16: at most one of them can be set")
    if pure:
        return {"dtype": "bfloat16", "mixed_precision": "no"}
    if not bf16 and not fp16:
        notes.append("neither bf16 nor fp16: weights stay in the checkpoint's own dtype, here taken as the GPU's")
        return {"dtype": None, "mixed_precision": "no"}
    dtype = "bfloat16" if bf16 else "float16"
    return {"dtype": "float32" if kind == "full" else dtype, "mixed_precision": MIXED_FLAGS[dtype]}


def _read_adapter(settings: Settings, kind: str) -> dict[str, Any]:
    if kind == "full":
        return {"method": "full"}
    found = {ours: settings.get(theirs) for ours, theirs in _LORA.items()}
    rank = settings.whole("lora_rank") or 0
    found["lora_alpha"] = settings.number("lora_alpha") or 2 * rank
    targets = settings.names("lora_target")
    found["target_modules"] = "all-linear" if targets == "all" else module_names(targets)
    if settings.flag("pissa_init"):
        rounds = settings.whole("pissa_iter", 16) or 0
        found["init_lora_weights"] = "pissa" if rounds < 0 else f"pissa_niter_{rounds}"
    kept = {key: value for key, value in found.items() if value is not None}
    case: dict[str, Any] = {"adapter_config": {"peft_type": "LORA", "task_type": "CAUSAL_LM", **kept}}
    ratio = settings.number("loraplus_lr_ratio")
    return case if ratio is None else {**case, "optimizer": "loraplus", "rate_ratio": ratio}


LLAMAFACTORY = LlamaFactory()
