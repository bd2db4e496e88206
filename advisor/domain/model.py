"""A model as resolved: which definition was found, where, and the sizes questions are asked about."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from advisor.domain.stored import Value

Architecture = Literal["decoder", "encoder", "encoder-decoder"]
TaskClass = Literal[
    "CausalLM", "Seq2SeqLM", "SequenceClassification", "ImageTextToText", "ImageClassification", "SpeechSeq2Seq"
]
ModelSource = Literal["folder", "hub-cache", "hub", "catalogue"]


class ModelSpec(Value):
    """One model definition (a Hugging Face `config.json`) and where it was found.

    `config` is the whole dict; the properties read the sizes that every family spells differently and
    are None where the family has no such thing. Multimodal configs are answered from their text part.
    """

    name: str = Field(description="canonical id, or the folder given")
    asked: str = Field(description="what the user typed")
    source: ModelSource
    where: str = Field(description="one clause for the reader: which file or catalogue row")
    config: dict[str, Any]
    task_class: TaskClass
    architecture: Architecture
    parameters: int | None = Field(None, description="tied tensors once; None when only building it would tell")
    context_length: int | None = None
    weights: str | None = Field(None, description="local folder holding weights and tokenizer, if any")
    gated: bool | None = None
    licence: str | None = None

    @property
    def text_config(self) -> dict[str, Any]:
        """The language model's part of a multimodal config, else the config itself."""
        inner = self.config.get("text_config")
        return inner if isinstance(inner, dict) else self.config

    @property
    def model_type(self) -> str:
        return str(self.config.get("model_type", ""))

    def _first(self, *names: str) -> int | None:
        for name in names:
            value = self.text_config.get(name)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        return None

    @property
    def layers(self) -> int | None:
        return self._first("num_hidden_layers", "n_layer", "num_layers", "decoder_layers", "encoder_layers", "n_layers")

    @property
    def hidden(self) -> int | None:
        return self._first("hidden_size", "n_embd", "d_model", "dim")

    @property
    def heads(self) -> int | None:
        return self._first("num_attention_heads", "n_head", "num_heads", "decoder_attention_heads", "n_heads")

    @property
    def vocabulary(self) -> int | None:
        return self._first("vocab_size")
