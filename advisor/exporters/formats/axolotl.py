"""`axolotl train`: a YAML file. It accepts unknown keys in silence, so only those of its schema are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from advisor.domain.plain_values import is_object
from advisor.domain.request.vocabulary import MIXED_DTYPES, MIXED_FLAGS
from advisor.exporters.adapter_document import lora_settings, module_names
from advisor.exporters.config_text import stanza, yaml_text
from advisor.exporters.export_job import ConfigCase, ExportedFile, Exporter, ExportJob
from advisor.exporters.expressible import against_method, against_recipe, with_trainer
from advisor.exporters.formats.trl_cli import builder_of
from advisor.exporters.hf_arguments import CHECKPOINTED, SHARDED, read_warmup
from advisor.exporters.settings import Settings

_LORA: Final = {
    "r": "lora_r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "target_modules": "lora_target_modules",
    "target_parameters": "lora_target_parameters",
    "modules_to_save": "lora_modules_to_save",
    "use_rslora": "peft_use_rslora",
    "use_dora": "peft_use_dora",
    "init_lora_weights": "peft_init_lora_weights",
    "rank_pattern": "lora_rank_pattern",
    "alpha_pattern": "lora_alpha_pattern",
    "layers_to_transform": "peft_layers_to_transform",
}
"""peft's key -> axolotl's."""
_OFF: Final = (
    "lora_mlp_kernel",
    "lora_qkv_kernel",
    "lora_o_kernel",
    "lora_embedding_kernel",
    "chunked_cross_entropy",
    "activation_offloading",
    "torch_compile",
    "fp8",
    "tf32",
    "group_by_length",
    "auto_find_batch_size",
)
"""Switches that decide memory or time: axolotl turns the first four on where they are not written (0.21)."""
_LORA_KERNELS: Final = _OFF[:3]
_FUSED: Final = "its fused kernels are not modelled"
_LIGER: Final = {
    "liger_rope": "layers",
    "liger_rms_norm": "layers",
    "liger_glu_activation": "layers",
    "liger_fused_linear_cross_entropy": "loss",
}
"""What Liger's plugin takes, each on its own (axolotl 0.19, integrations/liger/args.py)."""
_LIGER_PLUGIN: Final = "axolotl.integrations.liger.LigerPlugin"
_CUT_PLUGIN: Final = "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"
_NOT_MODELLED: Final = {
    **dict.fromkeys(_OFF[3:5], _FUSED),
    **dict.fromkeys(("flash_attn_cross_entropy", "flash_attn_fuse_mlp", "tiled_mlp", "use_kernels"), _FUSED),
    **dict.fromkeys(("deepspeed", "fsdp_config", "sequence_parallel_degree", "context_parallel_size"), SHARDED),
    **dict.fromkeys(("tensor_parallel_size", "dp_shard_size", "dp_replicate_size"), SHARDED),
    "activation_offloading": "activations moved to the host are not modelled",
    "layer_offloading": "layers moved to the host are not modelled",
    "fp8": "8-bit floating point is not modelled",
    "rl": "only supervised fine-tuning is modelled",
    "reward_model": "only supervised fine-tuning is modelled",
    "process_reward_model": "only supervised fine-tuning is modelled",
    "unfrozen_parameters": "training of chosen layers is not read from configs",
    "quantize_moe_experts": "quantised experts are not modelled",
    "qat": "quantisation while training is not modelled",
    "gptq": "GPTQ is not modelled",
    "relora": "restarts of LoRA are not modelled",
    "lisa_n_layers": "LISA is not modelled",
    "lora_fp32_gradients": "gradients in another dtype than their weights are not modelled",
    "optim_target_modules": "optimizers of chosen layers are not modelled",
}
_OWN: Final = {"lora_target_linear", "micro_batch_size", "sequence_len", "sample_packing", "adapter", "num_epochs"}


class Axolotl(Exporter):
    """One YAML file."""

    name = "axolotl"
    says = "YAML for `axolotl train`: LoRA and its variants that are one setting, LoRA+, QLoRA, full fine-tuning"

    def against(self, job: ExportJob) -> str | None:
        recipe = job.recipe
        if job.spec.architecture != "decoder":
            return "axolotl trains causal language models"
        reason = against_method(job, optimizers=("loraplus",))
        reason = reason or against_recipe(job, ("causal-lm",), prepares=True, liger="any")
        if reason:
            return reason
        if recipe.batching == "padding-free" or (recipe.batching == "packed" and recipe.attention == "eager"):
            return f"it has no {recipe.batching} batches with {recipe.attention} attention"
        if recipe.mixed_precision != "no" and recipe.dtype != MIXED_DTYPES[recipe.mixed_precision]:
            return f"it loads weights in the type that it mixes in; the recipe keeps them in {recipe.dtype}"
        if job.method.name == "full":
            return None
        return _lora(job)[1] or None

    def as_run(self, job: ExportJob) -> tuple[ExportJob, tuple[str, ...]]:
        job, notes = with_trainer(job, "axolotl", "axolotl")
        more: list[str] = []
        recipe = job.recipe
        if recipe.dtype != "float32" and recipe.mixed_precision == "no":
            job = job.with_recipe(mixed_precision=MIXED_FLAGS[recipe.dtype])
            more.append(f"axolotl mixes precisions whenever it computes in {recipe.dtype}; the recipe does not")
        if recipe.base != "dtype" and not recipe.prepare_kbit_training:
            job = job.with_recipe(prepare_kbit_training=True)
            more.append("axolotl prepares a quantised base as peft does, norms in float32; the recipe does not")
        return job, (*notes, *more)

    def files(self, job: ExportJob) -> tuple[ExportedFile, ...]:
        recipe = job.recipe
        document: dict[str, Any] = {
            "base_model": job.model,
            **_adapter_keys(job),
            "load_in_8bit": recipe.base == "int8",
            "load_in_4bit": recipe.base == "nf4",
            "datasets": [
                {
                    "path": job.data,
                    "ds_type": builder_of(job.data),
                    "type": "chat_template",
                    "field_messages": "messages",
                }
            ],
            "output_dir": job.output,
            "sequence_len": job.workload.seq_len,
            "sample_packing": recipe.batching == "packed",
            "pad_to_sequence_len": recipe.batching == "packed",
            "micro_batch_size": recipe.micro_batch_size,
            "gradient_accumulation_steps": recipe.gradient_accumulation,
            "num_epochs": job.workload.epochs,
            "optimizer": "adamw_torch" if job.method.optimizer else recipe.optimizer,
            "lr_scheduler": recipe.schedule,
            "learning_rate": recipe.learning_rate,
            "warmup_ratio": recipe.warmup_ratio,
            "weight_decay": recipe.weight_decay,
            "max_grad_norm": recipe.max_grad_norm,
            "bf16": recipe.dtype == "bfloat16",
            "fp16": recipe.dtype == "float16",
            "gradient_checkpointing": recipe.gradient_checkpointing,
        }
        if recipe.gradient_checkpointing:
            document["gradient_checkpointing_kwargs"] = dict(CHECKPOINTED)
        document |= {"attn_implementation": recipe.attention, **dict.fromkeys(_OFF, False)}
        document |= dict.fromkeys(_LORA_KERNELS, recipe.lora_kernels) | _plugins(job)
        document["group_by_length"] = recipe.batching == "grouped"
        document |= {"val_set_size": 0.0, "saves_per_epoch": 1, "logging_steps": 10, "seed": job.seed}
        text = yaml_text(document, stanza(self.format, job, self.command(job)))
        return (ExportedFile(name="axolotl.yaml", text=text),)

    def command(self, job: ExportJob) -> str:
        return "axolotl train axolotl.yaml"

    def recognises(self, document: Mapping[str, Any]) -> bool:
        return "base_model" in document and bool(_OWN & set(document))

    def read(self, settings: Settings) -> ConfigCase:
        settings.refuse_if_set(_NOT_MODELLED)
        settings.refuse_both("load_in_8bit", "load_in_4bit")
        settings.refuse_both("flash_attention", "sdp_attention")
        settings.refuse_both("warmup_ratio", "warmup_steps")
        notes: list[str] = []
        base = "nf4" if settings.flag("load_in_4bit") else "int8" if settings.flag("load_in_8bit") else "dtype"
        checkpointing: Any = settings.get("gradient_checkpointing")
        if isinstance(checkpointing, str) and checkpointing not in ("true", "false"):
            settings.refuse("gradient_checkpointing", f"{checkpointing!r}: activations moved away are not modelled")
        kwargs: Any = settings.get("gradient_checkpointing_kwargs")
        if checkpointing and is_object(kwargs) and kwargs.get("use_reentrant"):
            notes.append("use_reentrant: true is estimated as false, which keeps other tensors")
        case: dict[str, Any] = {
            "model": settings.text("base_model"),
            "batch_size": settings.whole("micro_batch_size"),
            "gradient_accumulation": settings.whole("gradient_accumulation_steps"),
            "seq_len": settings.whole("sequence_len"),
            "epochs": settings.number("num_epochs"),
            "learning_rate": settings.number("learning_rate"),
            "schedule": settings.text("lr_scheduler"),
            "weight_decay": settings.number("weight_decay"),
            "max_grad_norm": settings.number("max_grad_norm"),
            "gradient_checkpointing": bool(checkpointing) and checkpointing != "false",
            "batching": _batching(settings),
            "base": base,
            "trainer": "axolotl",
            "attn_implementation": _attention(settings),
            **_precision(settings, notes),
            "prepare_kbit_training": base != "dtype",
            **read_warmup(settings, notes),
            **_read_adapter(settings, base),
        }
        if settings.flag("torch_compile"):
            case["torch_compile"] = True
        if settings.has("max_steps"):
            settings.whole("max_steps")
            notes.append("max_steps ends the training before its epochs do: time and cost here are of all epochs")
        if settings.has("batch_size"):
            settings.refuse("batch_size", "axolotl derives it: give micro_batch_size and gradient_accumulation_steps")
        _kernels(settings, notes, case)
        return ConfigCase(case, tuple(notes))


def _lora(job: ExportJob) -> tuple[dict[str, Any], str]:
    return lora_settings(job.spec, job.workload.task, job.recipe, _LORA, patterns=True)


def _adapter_keys(job: ExportJob) -> dict[str, Any]:
    if job.method.name == "full":
        return {}
    settings, _ = _lora(job)
    adapter = "qlora" if job.recipe.base == "nf4" else "lora"
    keys: dict[str, Any] = {"adapter": adapter}
    keys |= {theirs: settings[ours] for ours, theirs in _LORA.items() if ours in settings}
    if keys.get("lora_target_modules") == "all-linear":
        del keys["lora_target_modules"]
        keys["lora_target_linear"] = True
    keys |= {"peft_autocast_adapter_dtype": True, "embeddings_skip_upcast": True}
    if job.method.optimizer == "loraplus":
        from advisor.catalog.methods import options_of

        keys["loraplus_lr_ratio"] = options_of(job.method, job.recipe.options)["rate_ratio"]
    return keys


def _batching(settings: Settings) -> str:
    packed, grouped = settings.flag("sample_packing"), settings.flag("group_by_length")
    if packed and grouped:
        settings.refuse("group_by_length", "it contradicts sample_packing")
    return "packed" if packed else "grouped" if grouped else "padded"


def _attention(settings: Settings) -> str:
    """Which attention; several keys of older versions say the same."""
    if settings.flag("flash_attention"):
        return "flash_attention_2"
    if settings.flag("eager_attention"):
        return "eager"
    for key in ("xformers_attention", "flex_attention", "sage_attention", "flash_optimum"):
        if settings.flag(key):
            settings.refuse(key, "only sdpa, eager and flash_attention_2 are modelled")
    settings.flag("sdp_attention")
    return settings.text("attn_implementation") or "sdpa"


def _precision(settings: Settings, notes: list[str]) -> dict[str, Any]:
    """16 bits as axolotl means them: weights and mixed precision; `auto` is bfloat16 where the GPU has it."""
    bf16: Any = settings.get("bfloat16") or settings.get("bf16")
    fp16 = bool(settings.flag("fp16") or settings.flag("float16"))
    if fp16 and bf16 is True:
        settings.refuse("bf16", "it contradicts fp16: at most one of them can be set")
    if bf16 == "auto" and not fp16:
        notes.append("bf16: auto is taken as bfloat16, which a GPU older than Ampere lacks")
    if not fp16 and not bf16:
        return {"dtype": "float32", "mixed_precision": "no"}
    dtype = "float16" if fp16 else "bfloat16"
    return {"dtype": dtype, "mixed_precision": MIXED_FLAGS[dtype]}


def _read_adapter(settings: Settings, base: str) -> dict[str, Any]:
    """The method with its options, and the optimizer that makes it LoRA+."""
    adapter = settings.text("adapter")
    optimizer = settings.text("optimizer")
    if adapter is None:
        if base != "dtype":
            settings.refuse("load_in_4bit", "quantised weights cannot be trained, only an adapter beside them")
        return {"method": "full", "optimizer": optimizer}
    if adapter not in ("lora", "qlora"):
        settings.refuse("adapter", f"{adapter!r} is not read from axolotl's configs: --adapter-config can say it")
    if adapter == "qlora" and base != "nf4":
        settings.refuse("adapter", "qlora contradicts load_in_4bit, which is not set")
    found = {ours: settings.get(theirs) for ours, theirs in _LORA.items()}
    found["target_modules"] = _targets(settings)
    kept = {key: value for key, value in found.items() if value is not None}
    case: dict[str, Any] = {"adapter_config": {"peft_type": "LORA", "task_type": "CAUSAL_LM", **kept}}
    ratio = settings.number("loraplus_lr_ratio")
    if ratio is None:
        return {**case, "optimizer": optimizer}
    return {**case, "optimizer": "loraplus", "rate_ratio": ratio}


def _targets(settings: Settings) -> Any:
    if settings.flag("lora_target_linear"):
        if settings.has("lora_target_modules"):
            settings.refuse("lora_target_linear", "it contradicts lora_target_modules, which names fewer")
        return "all-linear"
    found = settings.names("lora_target_modules")
    return module_names(found)


def _plugins(job: ExportJob) -> dict[str, Any]:
    """Liger and cut cross entropy, which are plugins."""
    recipe = job.recipe
    liger = recipe.layer_kernels == "liger", recipe.fused_loss == "liger"
    plugins = [_LIGER_PLUGIN] if any(liger) else []
    keys: dict[str, Any] = {key: liger[what == "loss"] for key, what in _LIGER.items()} if plugins else {}
    if recipe.fused_loss == "cce":
        plugins.append(_CUT_PLUGIN)
        keys["cut_cross_entropy"] = True
    return {"plugins": plugins, **keys} if plugins else {}


def _kernels(settings: Settings, notes: list[str], case: dict[str, Any]) -> None:
    """Fused kernels: LoRA's, which axolotl turns on of itself, and those of plugins."""
    asked = [settings.flag(key) for key in _LORA_KERNELS if settings.has(key)]
    adapts = settings.has("adapter")
    case["lora_kernels"] = adapts and case["base"] != "int8" and (any(asked) if asked else True)
    if len(set(asked)) > 1:
        notes.append("some lora_*_kernel are on and others off: estimated with all of them on")
    elif not asked and case["lora_kernels"]:
        notes.append("axolotl turns its fused LoRA kernels on unless lora_*_kernel are false: estimated so")
    if adapts and not settings.flag("embeddings_skip_upcast"):
        notes.append("axolotl casts embeddings to float32 unless embeddings_skip_upcast is set: not in the estimate")
    settings.flag("peft_autocast_adapter_dtype", True)
    settings.flag("pad_to_sequence_len")
    _read_plugins(settings, notes, case)


def _read_plugins(settings: Settings, notes: list[str], case: dict[str, Any]) -> None:
    said = settings.names("plugins") or []
    named = [said] if isinstance(said, str) else said
    unknown = [name for name in named if name not in (_LIGER_PLUGIN, _CUT_PLUGIN)]
    if unknown:
        settings.refuse("plugins", f"what {', '.join(unknown)} changes is not modelled")
    chosen = {key: settings.flag(key) for key in _LIGER if settings.has(key)}
    if _LIGER_PLUGIN in named:
        layers = [chosen.get(key, False) for key, what in _LIGER.items() if what == "layers"]
        case["use_liger_kernel"] = any(layers)
        if any(layers) and not all(layers):
            notes.append("some of Liger's layer kernels are on: estimated with all of them on")
        case["fused_loss"] = "liger" if chosen.get("liger_fused_linear_cross_entropy") else "none"
    if _CUT_PLUGIN in named and settings.flag("cut_cross_entropy", True):
        if case.get("fused_loss") == "liger":
            settings.refuse("cut_cross_entropy", "it contradicts liger_fused_linear_cross_entropy")
        case["fused_loss"] = "cce"


AXOLOTL = Axolotl()
