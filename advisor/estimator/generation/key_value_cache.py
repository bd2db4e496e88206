"""Bytes of the key-value cache of one sequence, by the model's own attention.

Sources: transformers 5.23, `cache_utils.DynamicCache` (layers of a sliding window keep window - 1 tokens; latent
attention is cached expanded, as keys and values of every head) and the families' attention modules.
"""

from __future__ import annotations

from typing import Any, Final

from advisor.domain.model import ModelSpec
from advisor.domain.plain_values import is_list
from advisor.errors import UnsupportedModel

SLIDING: Final = ("sliding_attention", "chunked_attention")
FULL: Final = ("full_attention", "attention")


def cache_bytes(spec: ModelSpec, tokens: float, item: int, *, windowed: bool = True) -> float:
    """Bytes that the keys and values of `tokens` take in all layers, `item` bytes a number.

    Args:
        windowed: False: before the next token, while a layer of a sliding window holds all that it was given at once.

    Raises:
        UnsupportedModel: layers without a key-value cache (recurrent, state space), whose states are not modelled.
    """
    config = spec.text_config
    width = _width(spec)
    window = _window(config)
    return sum(
        (min(tokens, window - 1) if windowed and kind in SLIDING else tokens) * width * item
        for kind in _layers(spec, config)
    )


def layers_of(spec: ModelSpec) -> int:
    """Layers that keep keys and values of their own. Raises as `cache_bytes`."""
    return len(_layers(spec, spec.text_config))


def groups_of(spec: ModelSpec) -> float:
    """Query heads that share one head of keys and values."""
    heads = spec.heads or 1
    return heads / _shared_heads(spec.text_config, heads)


def _layers(spec: ModelSpec, config: dict[str, Any]) -> list[str]:
    """The kind of each layer that keeps keys and values of its own."""
    named = config.get("layer_types")
    count = spec.layers or 0
    kinds = [str(kind) for kind in named][:count] if is_list(named) else ["full_attention"] * count
    if not is_list(named) and config.get("sliding_window") and config.get("use_sliding_window") is not False:
        kinds = ["sliding_attention"] * count
    recurrent = {kind for kind in kinds if kind not in SLIDING + FULL}
    states = ("ssm_state_size", "state_size", "mamba_d_state", "linear_num_value_heads")
    unlike = any(config.get(name) for name in states)
    if not kinds or recurrent or unlike:
        raise UnsupportedModel(
            f"what generation by {spec.name} keeps is not modelled: not all of its layers have keys and values",
            cause=f"layers of kind {', '.join(sorted(recurrent)) or spec.model_type}",
            hints=["a training that generates nothing: --objective dpo, or sft"],
            model=spec.name,
        )
    shared = config.get("num_kv_shared_layers")
    return kinds[: count - shared] if isinstance(shared, int) and shared > 0 else kinds


def _window(config: dict[str, Any]) -> float:
    found = config.get("sliding_window") or config.get("attention_chunk_size")
    return float(found) if isinstance(found, int) else float("inf")


def _width(spec: ModelSpec) -> float:
    """Numbers of keys and values that a layer keeps for a token."""
    config = spec.text_config
    heads, hidden = spec.heads or 1, spec.hidden or 0
    if config.get("kv_lora_rank"):
        keys = int(config.get("qk_nope_head_dim") or 0) + int(config.get("qk_rope_head_dim") or 0)
        return float(heads * (keys + int(config.get("v_head_dim") or 0)))
    head = config.get("head_dim")
    return 2.0 * _shared_heads(config, heads) * (int(head) if isinstance(head, int) else hidden // heads)


def _shared_heads(config: dict[str, Any], heads: int) -> int:
    """Heads of keys and values."""
    if config.get("kv_lora_rank"):
        return heads
    if config.get("multi_query") and not config.get("new_decoder_architecture"):
        return 1
    found = config.get("num_key_value_heads") or config.get("num_kv_heads")
    return int(found) if isinstance(found, int) else heads
