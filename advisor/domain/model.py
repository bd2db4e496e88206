"""A model as resolved: which definition was found, where, and the sizes questions are asked about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import Field

from advisor.domain.plain_values import is_list, is_object
from advisor.domain.request.vocabulary import Task
from advisor.domain.stored import Value


def config_sha256(config: dict[str, Any]) -> str:
    """Digest of a model config, the same however it is laid out."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


Architecture = Literal["decoder", "encoder", "encoder-decoder", "denoiser"]
TaskClass = Literal[
    "CausalLM",
    "Seq2SeqLM",
    "SequenceClassification",
    "ImageTextToText",
    "ImageClassification",
    "SpeechSeq2Seq",
    "Denoising",
]
ModelSource = Literal["folder", "hub-cache", "hub", "catalogue"]

TASK_OF: Final[Mapping[TaskClass, Task]] = {
    "CausalLM": "causal-lm",
    "ImageTextToText": "causal-lm",
    "Seq2SeqLM": "seq2seq",
    "SpeechSeq2Seq": "seq2seq",
    "SequenceClassification": "sequence-classification",
    "ImageClassification": "sequence-classification",
    "Denoising": "denoising",
}
"""What a model is for, as its task class says."""

TASKS_ON: Final[Mapping[Architecture, tuple[Task, ...]]] = {
    "decoder": ("causal-lm", "sequence-classification", "seq2seq"),
    "encoder": ("sequence-classification",),
    "encoder-decoder": ("seq2seq",),
    "denoiser": ("denoising",),
}
"""The tasks each architecture can be trained for here, the usual one first."""


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
    own_head: bool = Field(
        False, description="the checkpoint holds output embeddings of its own, which its config's class would tie"
    )
    weights: str | None = Field(None, description="local folder holding weights and tokenizer, if any")
    gated: bool | None = None
    licence: str | None = None

    @property
    def digests(self) -> frozenset[str]:
        """What files say of a run that had this very config: today's digest, and an older way of writing it."""
        older = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()
        return frozenset({config_sha256(self.config), older})

    @property
    def text_config(self) -> dict[str, Any]:
        """The language model's part of a multimodal config, a picture classifier's tower, else the config itself."""
        inner = self.config.get(self.part)
        return inner if is_object(inner) else self.config

    @property
    def part(self) -> str:
        """The name of the part of a multimodal config that is trained."""
        parts: dict[TaskClass, str] = {"ImageClassification": "vision_config", "Denoising": "denoiser"}
        return parts.get(self.task_class, "text_config")

    @property
    def task(self) -> Task:
        """What it is fine-tuned for unless something else is asked."""
        return TASK_OF[self.task_class]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What it can be fine-tuned for here."""
        return TASKS_ON[self.architecture]

    @property
    def saved_as(self) -> tuple[str, ...]:
        """The classes that the config says it was saved as (`architectures`)."""
        named = self.config.get("architectures")
        return tuple(str(name) for name in named) if is_list(named) else ()

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
        names = ("num_hidden_layers", "n_layer", "num_layers", "decoder_layers", "encoder_layers", "n_layers")
        return self._first(*names, "num_stages")

    @property
    def hidden(self) -> int | None:
        widths = self.text_config.get("hidden_sizes")
        last = widths[-1] if is_list(widths) and widths else None
        return self._first("hidden_size", "n_embd", "d_model", "dim") or (last if isinstance(last, int) else None)

    @property
    def heads(self) -> int | None:
        return self._first("num_attention_heads", "n_head", "num_heads", "decoder_attention_heads", "n_heads")

    @property
    def vocabulary(self) -> int | None:
        return self._first("vocab_size")
