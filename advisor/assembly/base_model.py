"""A model from its definition: on the meta device for tracing, or with real (random or loaded) weights.

Depth can be cut to trace a few layers: `layer_fields()` says which config fields hold each stack's depth,
and every per-layer list of the config is cut along. `tower_fields()` says it of a vision tower.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from advisor.assembly.denoisers.denoiser_model import build_denoiser
from advisor.assembly.dtypes import torch_dtype
from advisor.assembly.trainer_casts import prepare_base
from advisor.catalog.models.checkpoint import quantisation_of, stored_base
from advisor.catalog.models.spec import remote_code
from advisor.catalog.models.tasks import task_for
from advisor.domain.model import ModelSpec
from advisor.domain.plain_values import is_list, is_mapping
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import UnsupportedModel
from advisor.loading import auto_model, build_model, make_config

if TYPE_CHECKING:
    import torch
    from torch import nn

DEPTH_FIELDS = (
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "num_decoder_layers",
    "num_stages",
    "encoder_layers",
    "decoder_layers",
)
_ENCODER_DECODER_FIELDS = (("num_layers", "num_decoder_layers"), ("encoder_layers", "decoder_layers"))
_DENOISER_FIELDS = ("num_layers", "num_single_layers")
"""Keywords of diffusers' transformers; FLUX has two stacks. A U-Net has neither: its blocks are all unlike."""


_LAYER_DROP_FIELDS = ("encoder_layerdrop", "decoder_layerdrop", "layerdrop")
"""Chances of skipping a whole layer in a training step, per step and layer (Fan et al. 2019, arXiv:1909.11556)."""


def layer_drop(spec: ModelSpec) -> tuple[str, ...]:
    """What is said of a model that would skip layers at random: here it skips none."""
    if spec.task_class == "Denoising":
        return ()
    config = load_config(spec)
    given = {field: getattr(config, field, None) for field in _LAYER_DROP_FIELDS}
    told = ", ".join(f"{field} {value:g}" for field, value in given.items() if value)
    if not told:
        return ()
    return (f"LayerDrop ({told}) is taken as off: every step runs every layer; with it, a step costs this or less",)


def layer_fields(spec: ModelSpec) -> dict[str, int]:
    """The config fields that hold a depth, with the depth of each: one field, two for encoder-decoders and FLUX.

    None for a U-Net.

    Raises:
        UnsupportedModel: no field known to hold a depth.
    """
    config = spec.text_config
    if spec.architecture == "denoiser":
        return {field: config[field] for field in _DENOISER_FIELDS if field in config}
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


TOWER = "vision_config"
_OF_ONE_LAYER = re.compile(r"index|indic|layer_types|deepstack")


def tower_fields(spec: ModelSpec) -> dict[str, int]:
    """The depth of a vision tower by its dotted config field; {} without one, or where it names single layers.

    Such are blocks with attention of their own, and layers whose output is read besides the last few.
    """
    tower = spec.config.get(TOWER)
    if not is_mapping(tower):
        return {}
    read = spec.config.get("vision_feature_layer", -1)
    named = any(is_list(value) and value and _OF_ONE_LAYER.search(str(name)) for name, value in tower.items())
    if named or not isinstance(read, int) or read >= 0:
        return {}
    for field in (*DEPTH_FIELDS, "depth"):
        layers = tower.get(field)
        if isinstance(layers, int):
            return {f"{TOWER}.{field}": layers}
    return {}


def field_of(path: str, fields: Collection[str]) -> str | None:
    """Which of the fields holds the depth of the stack at a path; None where none does."""
    if "vision" in path or "visual" in path:
        return next((field for field in fields if "." in field), None)
    own = [field for field in fields if "." not in field]
    if not own:
        return None
    second = "decoder" in path.split(".") or "single_transformer_blocks" in path
    return own[1] if len(own) > 1 and second else own[0]


def cut_config(spec: ModelSpec, depth: Mapping[str, int]) -> dict[str, Any]:
    """The config with the depths given, and every list with one entry a layer cut to the same depth."""
    config = copy.deepcopy(spec.config)
    inner = config[spec.part] if isinstance(config.get(spec.part), dict) else config
    full = layer_fields(spec)
    for field, layers in depth.items():
        part, _, own = field.rpartition(".")
        if part:
            config[part][own] = layers
            continue
        for name, value in list(inner.items()):
            if is_list(value) and len(value) == full[field] and full[field] > 1:
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
    # how the weights are stored is asked of the catalogue (checkpoint.py); here it would only be carried along
    for stored in ("quantization_config", "compression_config"):
        fields.pop(stored, None)
    if not isinstance(model_type, str):
        raise UnsupportedModel(f"{spec.name}: its config has no model_type", cause=f"read from {spec.where}")
    try:
        return make_config(model_type, fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(spec, model_type, error) from error


def _unreadable(spec: ModelSpec, model_type: str, error: Exception) -> UnsupportedModel:
    from transformers import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING and isinstance(spec.config.get("auto_map"), dict):
        return remote_code(spec.name, spec.where, model_type)
    known = model_type in CONFIG_MAPPING
    return UnsupportedModel(
        f"{spec.name}: the installed transformers cannot read its config",
        cause=f"{type(error).__name__}: {error}",
        hints=[
            "correct its config.json"
            if known
            else "a newer transformers may know this architecture: pip install -U transformers"
        ],
        model=spec.name,
    )


def auto_class(spec: ModelSpec, task: str) -> Any:
    """The transformers auto class that builds this spec for a task.

    Raises:
        BadRequest: the task does not suit the architecture.
    """
    task = task_for(spec, task)
    if task == "sequence-classification":
        return auto_model(
            "ImageClassification" if spec.task_class == "ImageClassification" else "SequenceClassification"
        )
    if spec.architecture == "encoder-decoder":
        return auto_model("SpeechSeq2Seq" if spec.task_class == "SpeechSeq2Seq" else "Seq2SeqLM")
    # the whole model, as the class it was saved as and TRL load it, whether or not its language model could stand alone
    return auto_model("ImageTextToText" if spec.task_class == "ImageTextToText" else "CausalLM")


def build(
    spec: ModelSpec,
    workload: Workload,
    recipe: Recipe,
    *,
    device: str = "meta",
    depth: Mapping[str, int] | None = None,
) -> nn.Module:
    """The base model in training mode, without an adapter, with random weights unless on meta.

    LayerDrop is off: a step that skips layers at random is no fixed step. Quantised bases (int8, nf4) get the real
    bitsandbytes modules; on meta their packed weights have the true shapes and no values.

    Raises:
        UnsupportedModel, BadRequest: the model cannot be built, or not for this task.
        MissingExtra: a quantised base without bitsandbytes.
    """
    if spec.task_class == "Denoising":
        return build_denoiser(spec, recipe, device=device, depth=depth)
    import torch

    config = load_config(spec, depth)
    for inner in (config, config.get_text_config()):
        for field in _LAYER_DROP_FIELDS:
            if getattr(inner, field, None):
                setattr(inner, field, 0.0)
    _complete(config, workload)
    maker = auto_class(spec, workload.task)
    try:
        with torch.device(device):
            model = build_model(
                maker, config, dtype=torch_dtype(recipe.dtype), attn_implementation=_implementation(recipe)
            )
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError) as error:
        raise UnsupportedModel(
            f"{spec.name} cannot be built for {workload.task}",
            cause=f"{type(error).__name__}: {error}",
            model=spec.name,
        ) from error
    if spec.own_head:
        _untie(model)
    _keep_in_float32(model, torch_dtype(recipe.dtype))
    if recipe.base != "dtype":
        from advisor.assembly.quantize import quantise

        found = quantisation_of(spec.config)
        model = quantise(model, recipe, found[1] if found is not None and stored_base(spec) else {})
        model = prepare_base(model, recipe)
    model.train()
    return model


def _complete(config: Any, workload: Workload) -> None:
    """What a training sets in a config that lacks it: the head's size and loss, the tokens that pad and begin.

    Pictures of another size than the checkpoint's resize its position embeddings.
    """
    if workload.image_size is not None:
        tower = getattr(config, "vision_config", config)
        if hasattr(tower, "image_size"):
            tower.image_size = workload.image_size
    if workload.task == "sequence-classification":
        config.num_labels = workload.num_labels
        # transformers infers it from the labels' dtype alone where the config says nothing
        config.problem_type = "regression" if workload.num_labels == 1 else "single_label_classification"
        if getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = 0
    if getattr(config, "is_encoder_decoder", False) and getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = config.pad_token_id or 0


def _untie(model: Any) -> None:
    """Give the output embeddings weights of their own, as loading does where the checkpoint holds them."""
    from torch import nn

    head, tied = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None and head.weight is tied.weight:
        head.weight = nn.Parameter(nn.init.normal_(head.weight.detach().clone(), std=0.02))
        names = getattr(model, "all_tied_weights_keys", {})
        names.pop("lm_head.weight", None)


def _keep_in_float32(model: Any, dtype: torch.dtype) -> None:
    """Widen what transformers loads in float32 whatever the dtype: T5's `wo` under float16, gates of some experts.

    Source: transformers 5.23, `PreTrainedModel._get_dtype_plan`; `from_config` does not apply it.
    """
    import torch
    from torch import nn

    kept: set[str] = set()
    if dtype in (torch.float16, torch.bfloat16):
        kept |= set(getattr(model, "_keep_in_fp32_modules_strict", None) or ())
    if dtype == torch.float16:
        kept |= set(getattr(model, "_keep_in_fp32_modules", None) or ())
    if not kept:
        return
    wanted = re.compile("|".join(rf"((^|\.){name}($|\.))" for name in sorted(kept)))
    for path, module in model.named_modules():
        for name, parameter in list(module.named_parameters(path, recurse=False)):
            if wanted.search(name) and parameter.is_floating_point():
                setattr(module, name.rpartition(".")[2], nn.Parameter(parameter.detach().float()))


def _implementation(recipe: Recipe) -> str | None:
    # None lets transformers choose as it does when loading: sdpa where an architecture has it, else eager.
    # flash-attn's own package refuses the meta device; the tracer routes attention by itself, and sdpa
    # without a mask reaches the same kernel
    return "eager" if recipe.attention == "eager" else None


def stacks(model: nn.Module) -> dict[str, nn.ModuleList]:
    """The repeated blocks of a model: path -> ModuleList, outermost ones of two or more equal-named blocks."""
    from torch import nn

    from advisor.assembly.adapters.module_search import named_modules

    found: dict[str, nn.ModuleList] = {}
    for path, module in named_modules(model):
        if not isinstance(module, nn.ModuleList) or len(module) < 1:
            continue
        if any(path.startswith(outer + ".") for outer in found):
            continue
        if any(True for _ in module[0].children()):
            found[path] = module
    return found
