"""A model from its definition: on the meta device for tracing, or with real (random or loaded) weights.

Depth can be cut to trace a few layers: `layer_fields()` says which config fields hold each stack's depth,
and every per-layer list of the config is cut along.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advisor.assembly.dtypes import storage_dtype, torch_dtype
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import BadRequest, UnsupportedModel
from advisor.loading import auto_model, build_model, make_config

if TYPE_CHECKING:
    from torch import nn

DEPTH_FIELDS = (
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "num_decoder_layers",
    "encoder_layers",
    "decoder_layers",
)
_ENCODER_DECODER_FIELDS = (("num_layers", "num_decoder_layers"), ("encoder_layers", "decoder_layers"))


def layer_fields(spec: ModelSpec) -> dict[str, int]:
    """The config fields that hold a depth, with the depth of each: one field, or two for encoder-decoders.

    Raises:
        UnsupportedModel: no field known to hold a depth.
    """
    config = spec.text_config
    if spec.architecture == "encoder-decoder":
        for encoder, decoder in _ENCODER_DECODER_FIELDS:
            if isinstance(config.get(encoder), int):
                depth = config[encoder]
                return {encoder: depth, decoder: config.get(decoder) or depth}
    for field in DEPTH_FIELDS:
        if isinstance(config.get(field), int):
            return {field: config[field]}
    raise UnsupportedModel(
        f"{spec.name}: its config has no field for the number of layers",
        hints=[f"one of {', '.join(DEPTH_FIELDS)} is needed in {spec.where}"],
        model=spec.name,
    )


def cut_config(spec: ModelSpec, depth: Mapping[str, int]) -> dict[str, Any]:
    """The config with the depths given, and every list with one entry a layer cut to the same depth."""
    config = copy.deepcopy(spec.config)
    inner = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    full = layer_fields(spec)
    for field, layers in depth.items():
        for name, value in list(inner.items()):
            if isinstance(value, list) and len(value) == full[field] and full[field] > 1:
                inner[name] = value[:layers]
        inner[field] = layers
    return config


def load_config(spec: ModelSpec, depth: Mapping[str, int] | None = None) -> Any:
    """The transformers config object of a spec.

    Raises:
        UnsupportedModel: transformers does not know the architecture, or refuses the values.
    """
    fields = cut_config(spec, depth) if depth else copy.deepcopy(spec.config)
    model_type = fields.pop("model_type", None)
    fields.pop("transformers_version", None)
    if not isinstance(model_type, str):
        raise UnsupportedModel(f"{spec.name}: its config has no model_type", cause=f"read from {spec.where}")
    try:
        return make_config(model_type, fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnsupportedModel(
            f"{spec.name}: the installed transformers cannot read its config",
            cause=f"{type(error).__name__}: {error}",
            hints=["a newer transformers may know this architecture: pip install -U transformers"],
            model=spec.name,
        ) from error


def auto_class(spec: ModelSpec, task: str) -> Any:
    """The transformers auto class that builds this spec for a task.

    Raises:
        BadRequest: the task does not suit the architecture.
    """
    import transformers

    if task == "sequence-classification":
        if spec.task_class == "ImageClassification":
            return auto_model("ImageClassification")
        return auto_model("SequenceClassification")
    if task == "seq2seq" and spec.architecture == "encoder-decoder":
        if spec.task_class == "SpeechSeq2Seq":
            return auto_model("SpeechSeq2Seq")
        return auto_model("Seq2SeqLM")
    if task in ("causal-lm", "seq2seq") and spec.architecture == "decoder":
        known = transformers.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        return auto_model("CausalLM" if spec.model_type in known else "ImageTextToText")
    better = {"encoder": "sequence-classification", "encoder-decoder": "seq2seq", "decoder": "causal-lm"}
    raise BadRequest(
        f"{spec.name} is an {spec.architecture} model: it cannot be trained for {task}",
        hints=[f"to use it: --task {better[spec.architecture]}"],
        model=spec.name,
        task=task,
    )


def build(
    spec: ModelSpec,
    workload: Workload,
    recipe: Recipe,
    *,
    device: str = "meta",
    depth: Mapping[str, int] | None = None,
) -> nn.Module:
    """The base model in training mode, without an adapter, with random weights unless on meta.

    Quantised bases (int8, nf4) get the real bitsandbytes modules; on meta their packed weights have the true
    shapes and no values.

    Raises:
        UnsupportedModel, BadRequest: the model cannot be built, or not for this task.
        MissingExtra: a quantised base without bitsandbytes.
    """
    import torch

    config = load_config(spec, depth)
    if workload.task == "sequence-classification":
        config.num_labels = workload.num_labels
        if getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = 0
    maker = auto_class(spec, workload.task)
    try:
        with torch.device(device):
            model = build_model(
                maker, config, dtype=torch_dtype(storage_dtype(recipe)), attn_implementation=_implementation(recipe)
            )
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError) as error:
        raise UnsupportedModel(
            f"{spec.name} cannot be built for {workload.task}",
            cause=f"{type(error).__name__}: {error}",
            model=spec.name,
        ) from error
    if recipe.base != "dtype":
        from advisor.assembly.quantize import quantise

        model = quantise(model, recipe)
    model.train()
    return model


def _implementation(recipe: Recipe) -> str | None:
    # None lets transformers choose as it does when loading: sdpa where an architecture has it, else eager.
    # flash-attn's own package refuses the meta device; the tracer routes attention by itself, and sdpa
    # without a mask reaches the same kernel
    return "eager" if recipe.attention == "eager" else None


def stacks(model: nn.Module) -> dict[str, nn.ModuleList]:
    """The repeated blocks of a model: path -> ModuleList, outermost ones of two or more equal-named blocks."""
    from torch import nn

    found: dict[str, nn.ModuleList] = {}
    for path, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or len(module) < 1:
            continue
        if any(path.startswith(outer + ".") for outer in found):
            continue
        if any(True for _ in module[0].children()):
            found[path] = module
    return found
