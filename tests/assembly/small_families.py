"""A small model of every family of the catalogue: its own definition with the sizes cut down."""

from __future__ import annotations

import copy
from typing import Any

from advisor.catalog.models import models
from advisor.catalog.models.index import ModelEntry
from advisor.catalog.models.spec import spec_of
from advisor.domain.model import ModelSpec

_SIZES: dict[str, int] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "word_embed_proj_dim"), 64),
    **dict.fromkeys(("intermediate_size", "intermediate_size_mlp", "d_ff", "ffn_dim", "hidden_dim"), 128),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "n_inner"), 128),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "n_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "num_global_key_value_heads"), 2),
    **dict.fromkeys(("head_dim", "d_kv", "global_head_dim"), 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "experts_per_token", "top_k_experts"), 2),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "depth"), 2),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), 512),
    "pooler_hidden_size": 64,
    "q_lora_rank": 32,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 16,
    "v_head_dim": 16,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "hidden_size_per_layer_input": 16,
    "num_kv_shared_layers": 0,
    "max_position_embeddings": 256,
    "max_source_positions": 64,
    "max_target_positions": 64,
    "n_positions": 256,
}


def small(entry: ModelEntry) -> ModelSpec:
    """The entry's definition, two layers of width 64."""
    return spec_of(_cut(entry.load()), name=f"small-{entry.model_type}", asked="small", source="folder", where="a test")


def families() -> list[ModelEntry]:
    """The first entry of each model type."""
    return list({entry.model_type: entry for entry in reversed(models())}.values())


def _turned(rope: dict[str, Any]) -> dict[str, Any]:
    """Rotary settings for heads of 16: in Qwen-VL's whole half of a head is shared out among time, height and width."""
    sections = rope.get("mrope_section", ())
    whole = sum(sections) == 64
    return {**rope, "mrope_section": [one // 8 for one in sections]} if whole else rope


def _cut(config: dict[str, Any]) -> dict[str, Any]:
    config = copy.deepcopy(config)
    layers = next((config[f] for f in ("num_hidden_layers", "n_layer", "num_layers") if f in config), None)
    for field, value in list(config.items()):
        if isinstance(value, dict):
            config[field] = _cut(value) if field.endswith("_config") else _turned(value)
        elif isinstance(value, list) and layers is not None and len(value) == layers:
            config[field] = value[:1] + value[-1:]
        elif field in _SIZES and isinstance(value, int) and not isinstance(value, bool):
            config[field] = min(value, _SIZES[field])
        elif field.endswith("_token_id") and isinstance(value, int):
            config[field] = value % 500
    if "kv_lora_rank" in config and "num_key_value_heads" in config:
        # latent attention has a key for each query head: transformers repeats keys to nonsense where they are fewer
        config["num_key_value_heads"] = config["num_attention_heads"]
    return config
