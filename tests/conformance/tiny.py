"""Tiny models of every kind, with batches of a task each can learn; weights from a seed, nothing downloaded."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    Qwen3MoeConfig,
    T5Config,
)
from transformers.utils import logging

from advisor.catalog.methods.method import Method
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload

logging.set_verbosity_error()
torch.set_num_threads(1)

VOCABULARY, LENGTH, BATCH = 48, 16, 8
_COMMON: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@dataclass(frozen=True)
class Tiny:
    """One tiny architecture and the task it is fine-tuned for."""

    name: str
    config: PretrainedConfig
    kind: Any
    task_class: Any
    architecture: Any
    task: Any
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> ModelSpec:
        return ModelSpec(
            name=self.name,
            asked=self.name,
            source="catalogue",
            where="tests",
            config=self.config.to_dict(),
            task_class=self.task_class,
            architecture=self.architecture,
        )

    @property
    def workload(self) -> Workload:
        return Workload(model=self.name, task=self.task, seq_len=LENGTH)

    def fresh(self, device: str = "cpu", dtype: torch.dtype = torch.float32) -> nn.Module:
        """A new copy of the pre-trained tiny model, or one without training on another device or of another dtype."""
        if device == "cpu" and dtype == torch.float32:
            return copy.deepcopy(_pretrained(self.name))
        with torch.device(device):
            made: nn.Module = self.kind.from_config(copy.deepcopy(self.config), dtype=dtype)
        return made

    def batch(self, seed: int, shift: int = 3) -> dict[str, torch.Tensor]:
        """Sequences that count upwards by `shift`; classes tell the step apart; seq2seq adds `shift` to each token."""
        made = torch.Generator().manual_seed(seed)
        start = torch.randint(0, VOCABULARY - 4, (BATCH, 1), generator=made)
        mask = torch.ones(BATCH, LENGTH, dtype=torch.long)
        if self.task == "sequence-classification":
            labels = torch.randint(0, 2, (BATCH,), generator=made)
            steps = torch.arange(LENGTH)[None] * (shift + labels)[:, None]
            return {"input_ids": (start + steps) % (VOCABULARY - 4) + 4, "attention_mask": mask, "labels": labels}
        if self.task == "seq2seq":
            ids = (start + torch.arange(LENGTH)[None]) % (VOCABULARY - 4) + 4
            return {"input_ids": ids, "attention_mask": mask, "labels": (ids - 4 + shift) % (VOCABULARY - 4) + 4}
        ids = (start + torch.arange(LENGTH)[None] * shift) % (VOCABULARY - 4) + 4
        return {"input_ids": ids, "attention_mask": mask, "labels": ids}


DECODER = Tiny(
    "tiny-llama",
    LlamaConfig(**_COMMON, num_key_value_heads=2, tie_word_embeddings=False),
    AutoModelForCausalLM,
    "CausalLM",
    "decoder",
    "causal-lm",
)
ENCODER = Tiny(
    "tiny-bert",
    BertConfig(**_COMMON, num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
    AutoModelForSequenceClassification,
    "SequenceClassification",
    "encoder",
    "sequence-classification",
)
ENCODER_DECODER = Tiny(
    "tiny-t5",
    T5Config(
        d_model=64,
        d_ff=128,
        d_kv=16,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        vocab_size=VOCABULARY,
        decoder_start_token_id=0,
        dropout_rate=0.0,
    ),
    AutoModelForSeq2SeqLM,
    "Seq2SeqLM",
    "encoder-decoder",
    "seq2seq",
)
MIXTURE = Tiny(
    "tiny-qwen3-moe",
    Qwen3MoeConfig(
        **_COMMON,
        moe_intermediate_size=32,
        num_experts=4,
        num_experts_per_tok=2,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=False,
    ),
    AutoModelForCausalLM,
    "CausalLM",
    "decoder",
    "causal-lm",
)
TRANSPOSED = Tiny(
    "tiny-gpt2",
    GPT2Config(
        n_embd=64,
        n_layer=2,
        n_head=4,
        vocab_size=VOCABULARY,
        n_positions=512,
        bos_token_id=1,
        eos_token_id=2,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    ),
    AutoModelForCausalLM,
    "CausalLM",
    "decoder",
    "causal-lm",
)
TINY: dict[str, Tiny] = {t.name: t for t in (DECODER, ENCODER, ENCODER_DECODER, MIXTURE, TRANSPOSED)}


@cache
def _pretrained(name: str) -> nn.Module:
    """The model after a short training on steps of one, so that there is something to adapt."""
    tiny = TINY[name]
    torch.manual_seed(0)
    model: nn.Module = tiny.kind.from_config(copy.deepcopy(tiny.config), dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(120):
        loss = model(**tiny.batch(step, shift=1)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    for head in ("classifier", "score"):
        if hasattr(model, head):
            nn.init.normal_(getattr(model, head).weight, std=0.02)
    return model.eval()


_SMALL: dict[str, Any] = {
    "bottleneck": 8,
    "rank": 4,
    "initial_rank": 6,
    "target_rank": 4,
    "virtual_tokens": 6,
    "encoder_hidden_size": 32,
    "coefficients": 200,
    "frequencies": 200,
    "kept_rank": 16,
    "groups": 8,
    "bases": 16,
    "subspaces": 4,
    "tokens": [4, 5, 6, 7],
    "first_positions": 4,
    "last_positions": 4,
    "invocation_tokens": [4],
    "width": 32,
    "total_steps": 10000,
    "vectors": 32,
    "blocks": 1,
    "reach": 10,
}


def small_options(method: Method) -> dict[str, Any]:
    """Options of a size that fits a model of width 64; everything else stays at the catalogue's defaults."""
    return {name: value for name, value in _SMALL.items() if name in method.options}


def recipe_of(method: Method, **changes: Any) -> Recipe:
    base = "dtype" if "dtype" in method.bases else method.default_base
    return Recipe(method=method.name, base=base, options=small_options(method), dtype="float32", **changes)
