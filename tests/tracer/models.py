"""Small models from configs, eight layers deep, for the tracer's laws."""

from __future__ import annotations

from typing import Any

from advisor.domain.model import ModelSpec

LAYERS = 8

_LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": LAYERS,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1024, "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}  # fmt: skip
_BERT: dict[str, Any] = {
    "model_type": "bert", "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": LAYERS,
    "num_attention_heads": 4, "vocab_size": 1024, "max_position_embeddings": 512,
}  # fmt: skip
_T5: dict[str, Any] = {
    "model_type": "t5", "d_model": 128, "d_ff": 256, "d_kv": 32, "num_layers": LAYERS, "num_decoder_layers": LAYERS,
    "num_heads": 4, "vocab_size": 1024, "is_encoder_decoder": True, "decoder_start_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
_MIXTRAL: dict[str, Any] = {**_LLAMA, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}


def spec(config: dict[str, Any], architecture: str, task_class: str, context: int) -> ModelSpec:
    return ModelSpec(
        name=f"tiny-{config['model_type']}", asked="tiny", source="folder", where="a test", config=config,
        task_class=task_class, architecture=architecture, context_length=context,
    )  # fmt: skip  # pyright: ignore


DECODER = spec(_LLAMA, "decoder", "CausalLM", 2048)
ENCODER = spec(_BERT, "encoder", "SequenceClassification", 512)
ENCODER_DECODER = spec(_T5, "encoder-decoder", "Seq2SeqLM", 512)
MIXTURE = spec(_MIXTRAL, "decoder", "CausalLM", 2048)

TASKS = {"decoder": "causal-lm", "encoder": "sequence-classification", "encoder-decoder": "seq2seq"}
