"""Tiny vision-language models of each family that is priced with pictures; random weights, nothing downloaded."""

from __future__ import annotations

from typing import Any, Final

from advisor.catalog.models.spec import spec_of
from advisor.domain.model import ModelSpec

_TEXT: Final[dict[str, Any]] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 4096, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "tie_word_embeddings": False,
}  # fmt: skip
_ROPE: Final[dict[str, Any]] = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
_QWEN: Final[dict[str, Any]] = {**_TEXT, "rope_parameters": _ROPE}
_TOKENS: Final = {"image_token_id": 61, "video_token_id": 62, "vision_start_token_id": 59, "vision_end_token_id": 60}
_TOWER: Final[dict[str, Any]] = {"depth": 2, "num_heads": 2, "in_channels": 3, "spatial_merge_size": 2}
_SQUARE: Final[dict[str, Any]] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_channels": 3,
    "image_size": 28, "patch_size": 7,
}  # fmt: skip
_LATER: Final[dict[str, Any]] = {
    **_TOWER, "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32, "num_position_embeddings": 16,
    "patch_size": 16, "temporal_patch_size": 2,
}  # fmt: skip
_PIXTRAL: Final[dict[str, Any]] = {
    **_SQUARE,
    "model_type": "pixtral",
    "image_size": 84,
    "patch_size": 14,
    "head_dim": 16,
}
CONFIGS: Final[dict[str, dict[str, Any]]] = {
    "qwen2_vl": {
        "architectures": ["Qwen2VLForConditionalGeneration"], **_TOKENS,
        "text_config": {**_QWEN, "model_type": "qwen2_vl_text"},
        "vision_config": {**_TOWER, "embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2, "patch_size": 14},
    },
    "qwen2_5_vl": {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], **_TOKENS,
        "text_config": {**_QWEN, "model_type": "qwen2_5_vl_text"},
        "vision_config": {**_TOWER, "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32,
                          "patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1]},
    },
    "qwen3_vl": {
        "architectures": ["Qwen3VLForConditionalGeneration"], **_TOKENS,
        "text_config": {**_QWEN, "model_type": "qwen3_vl_text"},
        "vision_config": {**_LATER, "deepstack_visual_indexes": [0]},
    },
    "qwen3_5": {
        "architectures": ["Qwen3_5ForConditionalGeneration"], **_TOKENS,
        "text_config": {**_QWEN, "model_type": "qwen3_5_text", "layer_types": ["linear_attention", "full_attention"],
                        "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 16,
                        "linear_value_head_dim": 16},
        "vision_config": {**_LATER, "deepstack_visual_indexes": []},
    },
    "gemma3": {
        "architectures": ["Gemma3ForConditionalGeneration"], "image_token_index": 61, "mm_tokens_per_image": 4,
        "text_config": {**_TEXT, "model_type": "gemma3_text", "sliding_window": 512},
        "vision_config": {**_SQUARE, "model_type": "siglip_vision_model", "vision_use_head": False},
    },
    "llava": {
        "architectures": ["LlavaForConditionalGeneration"], "image_token_index": 61,
        "vision_feature_layer": -2, "vision_feature_select_strategy": "default",
        "text_config": {**_TEXT, "model_type": "llama"},
        "vision_config": {**_SQUARE, "model_type": "clip_vision_model", "projection_dim": 32},
    },
    "llava of pixtral": {
        "model_type": "llava", "architectures": ["LlavaForConditionalGeneration"], "image_token_index": 61,
        "vision_feature_layer": -1, "vision_feature_select_strategy": "full",
        "text_config": {**_TEXT, "model_type": "mistral"}, "vision_config": _PIXTRAL,
    },
    "mistral3": {
        "architectures": ["Mistral3ForConditionalGeneration"], "image_token_index": 61, "vision_feature_layer": -1,
        "spatial_merge_size": 2, "text_config": {**_TEXT, "model_type": "mistral"}, "vision_config": _PIXTRAL,
    },
    "paligemma": {
        "architectures": ["PaliGemmaForConditionalGeneration"], "image_token_index": 61, "projection_dim": 32,
        "text_config": {**_TEXT, "model_type": "gemma", "num_image_tokens": 16},
        "vision_config": {**_SQUARE, "model_type": "siglip_vision_model", "projection_dim": 32,
                          "vision_use_head": False},
    },
    "internvl": {
        "architectures": ["InternVLForConditionalGeneration"], "image_token_id": 61, "downsample_ratio": 0.5,
        "text_config": {**_TEXT, "model_type": "qwen2"},
        "vision_config": {**_SQUARE, "model_type": "internvl_vision", "image_size": [28, 28], "patch_size": [7, 7]},
    },
    "idefics3": {
        "architectures": ["Idefics3ForConditionalGeneration"], "image_token_id": 61, "scale_factor": 2,
        "text_config": {**_TEXT, "model_type": "llama"}, "vision_config": {**_SQUARE, "model_type": "idefics3_vision"},
    },
    "smolvlm": {
        "architectures": ["SmolVLMForConditionalGeneration"], "image_token_id": 61, "scale_factor": 2,
        "text_config": {**_TEXT, "model_type": "llama"}, "vision_config": {**_SQUARE, "model_type": "smolvlm_vision"},
    },
    "llama4": {
        "architectures": ["Llama4ForConditionalGeneration"], "image_token_index": 61,
        "text_config": {**_TEXT, "model_type": "llama4_text", "intermediate_size_mlp": 64, "num_local_experts": 2,
                        "num_experts_per_tok": 1, "attention_chunk_size": 512},
        "vision_config": {**_SQUARE, "model_type": "llama4_vision_model", "image_size": 28, "intermediate_size": 128,
                          "vision_output_dim": 32, "projector_input_dim": 32, "projector_output_dim": 32},
    },
    "gemma4": {
        "architectures": ["Gemma4ForConditionalGeneration"], "image_token_id": 61, "video_token_id": 62,
        "audio_token_id": 63, "vision_soft_tokens_per_image": 10,
        "text_config": {**_TEXT, "model_type": "gemma4_text", "hidden_size_per_layer_input": 8, "global_head_dim": 16,
                        "vocab_size_per_layer_input": 64, "num_kv_shared_layers": 0, "sliding_window": 512,
                        "layer_types": ["sliding_attention", "full_attention"]},
        "vision_config": {**_SQUARE, "model_type": "gemma4_vision", "patch_size": 14, "pooling_kernel_size": 2,
                          "head_dim": 16, "num_key_value_heads": 2, "position_embedding_size": 64},
    },
    "mllama": {
        "architectures": ["MllamaForConditionalGeneration"], "image_token_index": 64,
        "text_config": {**_TEXT, "model_type": "mllama_text_model", "num_hidden_layers": 3,
                        "cross_attention_layers": [1]},
        "vision_config": {**_SQUARE, "model_type": "mllama_vision_model", "attention_heads": 2,
                          "num_global_layers": 1, "intermediate_layers_indices": [0], "vision_output_dim": 64,
                          "max_num_tiles": 2, "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]]},
    },
}  # fmt: skip


def tiny(model_type: str) -> ModelSpec:
    """One of them as it would be resolved."""
    config = {"model_type": model_type, **CONFIGS[model_type]}
    return spec_of(config, name=f"tiny-{model_type}", asked=model_type, source="folder", where="a test")
