"""What a checkpoint holds beyond what its sizes tell: quantised weights, output embeddings of its own, a trained head.

No torch: a config's own words and, where the weights lie in a folder, the names in the safetensors headers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from advisor.domain.model import ModelSpec
from advisor.domain.plain_values import is_mapping, is_object
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import Base
from advisor.domain.workload import Workload
from advisor.errors import UnsupportedModel

LOADED_UNPACKED: Final = {"mxfp4": "Mxfp4Config(dequantize=True)", "fp8": "FineGrainedFP8Config(dequantize=True)"}
"""Formats that transformers unpacks into 16-bit weights while loading, and the setting that asks for it.

Source: transformers 5.23, utils/quantization_config.py; neither trains packed (`is_trainable` is False).
"""

_TIED_ANYWAY: Final = frozenset({"t5", "mt5", "umt5"})
"""Model types whose config class takes no notice of `tie_word_embeddings: false`, and ties unless the file has both.

Source: transformers 5.23, configuration_t5.py, `__post_init__`, and `PreTrainedModel.tie_weights`.
"""
_INPUT_NAMES: Final = ("shared.weight", "embed_tokens.weight", "wte.weight", "word_embeddings.weight")
_OUTPUT_NAMES: Final = ("lm_head.weight", "embed_out.weight")
_HEADER_BYTES: Final = 100_000_000
"""The largest header that safetensors itself reads."""


def quantisation_of(config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """How the checkpoint's weights are stored: the method's name in lower case and its settings; None: as numbers."""
    settings = config.get("quantization_config") or config.get("compression_config")
    if not is_mapping(settings) or not settings:
        return None
    method = settings.get("quant_method")
    if not method and (settings.get("load_in_4bit") or settings.get("load_in_8bit")):
        method = "bitsandbytes"
    return str(method or "unnamed").lower(), settings


def stored_base(spec: ModelSpec) -> Base | None:
    """The base that a checkpoint quantised by bitsandbytes is loaded as, whatever is asked; None for any other."""
    found = quantisation_of(spec.config)
    if found is None or found[0] not in ("bitsandbytes", "bitsandbytes_4bit", "bitsandbytes_8bit"):
        return None
    return "int8" if found[1].get("load_in_8bit") and not found[1].get("load_in_4bit") else "nf4"


def with_stored_base(spec: ModelSpec, recipe: Recipe) -> Recipe:
    """The recipe on the base that the checkpoint is loaded as."""
    stored = stored_base(spec)
    return recipe if stored is None else recipe.model_copy(update={"base": stored})


def refuse_unmodelled_storage(spec: ModelSpec) -> ModelSpec:
    """The spec, unless its weights are packed in a way that no recipe here trains on.

    Raises:
        UnsupportedModel: GPTQ, AWQ, compressed-tensors and others, by name.
    """
    found = quantisation_of(spec.config)
    if found is None or found[0] in LOADED_UNPACKED or stored_base(spec) is not None:
        return spec
    bits = found[1].get("bits") or found[1].get("w_bit") or found[1].get("nbits")
    raise UnsupportedModel(
        f"{spec.name} holds weights quantised by {found[0].upper()}{f' to {bits} bits' if bits else ''}: training on "
        "them is not modelled",
        cause=f"quantization_config of {spec.where}",
        hints=[
            "to price adapters on 4-bit weights: the model before quantisation with --method qlora",
            "a checkpoint of bitsandbytes (4 or 8 bits) is priced as it comes",
        ],
        model=spec.name,
        quantisation=found[0],
    )


def has_own_head(config: Mapping[str, Any], weights: str | None) -> bool:
    """Whether output embeddings are loaded that the config's class would tie to the input embeddings.

    The weights' own names decide where they lie in a folder: transformers ties nothing that the file holds twice.
    Without weights a T5 config's `tie_word_embeddings: false` says that they were saved apart.
    """
    if config.get("model_type") not in _TIED_ANYWAY:
        return False
    names = tensor_names(Path(weights)) if weights else None
    if names:
        return any(n.endswith(_OUTPUT_NAMES) for n in names) and any(n.endswith(_INPUT_NAMES) for n in names)
    return config.get("tie_word_embeddings") is False


def tensor_names(folder: Path) -> frozenset[str] | None:
    """Names of the tensors in a folder's safetensors files; None where there are none, or they cannot be read."""
    index = folder / "model.safetensors.index.json"
    try:
        if index.is_file() and index.stat().st_size <= _HEADER_BYTES:
            document = json.loads(index.read_bytes())
            names = document.get("weight_map") if is_object(document) else None
            return frozenset(map(str, names)) if is_object(names) else None
        weights = folder / "model.safetensors"
        if not weights.is_file():
            return None
        with weights.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 0 < size <= _HEADER_BYTES:
                return None
            header = json.loads(file.read(size))
            return frozenset(map(str, header)) - {"__metadata__"} if is_object(header) else None
    except (OSError, ValueError, RecursionError):
        return None


def head_outputs(spec: ModelSpec) -> int | None:
    """Outputs of the classification head that the checkpoint holds; None where it holds none, or does not say."""
    for name in spec.saved_as:
        if name.endswith(("ForSequenceClassification", "ForImageClassification", "RewardModel")):
            labels, number = spec.config.get("id2label"), spec.config.get("num_labels")
            if is_mapping(labels) and labels:
                return len(labels)
            if isinstance(number, int) and not isinstance(number, bool) and number > 0:
                return number
            return 1 if name.endswith("RewardModel") else None
    return None


def notes_of(spec: ModelSpec, workload: Workload) -> tuple[str, ...]:
    """What a reader must know of this checkpoint to take an answer about it for what it is."""
    notes: list[str] = []
    found = quantisation_of(spec.config)
    if found is not None and found[0] in LOADED_UNPACKED:
        notes.append(
            f"the checkpoint is stored in {found[0]} and priced as loaded with {LOADED_UNPACKED[found[0]]}: 16-bit "
            "weights; packed ones cannot be trained on"
        )
    stored = stored_base(spec)
    if found is not None and stored is not None:
        kind = "8 bits" if stored == "int8" else f"4 bits ({found[1].get('bnb_4bit_quant_type') or 'fp4'})"
        notes.append(f"the base is priced as the checkpoint holds it: in {kind}, by bitsandbytes")
    trained = trained_length(spec.config)
    if trained is not None and max(workload.seq_len, workload.target_len or 0) > trained:
        notes.append(
            f"{spec.name} was trained on {trained} tokens; its positions are relative and set no limit, but what it "
            "makes of longer texts is not known"
        )
    if spec.task_class == "ImageTextToText" and workload.images is None:
        notes.append(
            "text alone is priced: the whole model is loaded, vision tower included, but no image is in the batch; "
            "image tokens and the tower's activations come on top: --images 1"
        )
    if spec.architecture == "encoder-decoder" and workload.task == "seq2seq" and _lacks_start(spec.config):
        notes.append("its config names no decoder_start_token_id, which training needs: pad_token_id is taken")
    return tuple(notes)


def _lacks_start(config: Mapping[str, Any]) -> bool:
    return config.get("model_type") in _TIED_ANYWAY and config.get("decoder_start_token_id") is None


def trained_length(config: Mapping[str, Any]) -> int | None:
    """Tokens that a model of relative positions alone was trained on, which is no limit; None for all others."""
    if not has_endless_positions(config):
        return None
    length = config.get("n_positions")
    return length if isinstance(length, int) and not isinstance(length, bool) and length > 0 else None


def has_endless_positions(config: Mapping[str, Any]) -> bool:
    """Whether positions are relative only, as in T5: any length can be run."""
    return "relative_attention_num_buckets" in config and "max_position_embeddings" not in config
