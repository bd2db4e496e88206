"""TRL's own trainers on a tiny model on the CPU, allocating as they do on a GPU: Triton kernels that do nothing.

On a GPU with Triton, TRL takes the learned positions alone out of the hidden states and folds tiles of logits in
kernels, which allocate nothing; on a CPU it would do otherwise.
"""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from advisor.tracer.fused_kernels import fused_lm_head
from tests.conformance.tiny import VOCABULARY

TILE = 8
"""Tokens of a tile of logits: fewer than any batch here has."""


class Kernel:
    """A Triton kernel that is launched and writes nothing."""

    def __getitem__(self, grid: Any) -> Any:
        return lambda *_, **__: None


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let TRL take the ways it takes where Triton is."""
    heads = importlib.import_module("trl.kernels.chunked_logprob")
    utils = importlib.import_module("trl.trainer.utils")
    triton, language = types.ModuleType("triton"), types.ModuleType("triton.language")
    triton.jit, triton.cdiv = (lambda f: f), (lambda a, b: -(-a // b))  # type: ignore[attr-defined]
    language.constexpr = int  # type: ignore[attr-defined]
    triton.language = language  # type: ignore[attr-defined]
    for module in (heads, utils):
        monkeypatch.setattr(module, "_use_triton", lambda device: True)
    monkeypatch.setattr(heads, "triton", triton, raising=False)
    monkeypatch.setattr(heads, "_forward_kernel", Kernel())
    monkeypatch.setattr(heads, "_backward_kernel", Kernel())
    monkeypatch.setattr(heads, "TOKEN_CHUNK_SIZE", TILE)
    monkeypatch.setattr(fused_lm_head, "TOKEN_TILE", TILE)
    with pytest.MonkeyPatch.context() as imports:
        imports.setitem(sys.modules, "triton", triton)
        imports.setitem(sys.modules, "triton.language", language)
        imports.delitem(sys.modules, "trl.kernels.logprob_entropy", raising=False)
        entropy = importlib.import_module("trl.kernels.logprob_entropy")
    sys.modules.pop("trl.kernels.logprob_entropy", None)
    monkeypatch.setattr(entropy, "_forward_kernel", Kernel())
    monkeypatch.setattr(entropy, "_backward_kernel", Kernel())
    for name in ("orpo", "cpo"):
        trainer = importlib.import_module(f"trl.experimental.{name}.{name}_trainer")
        monkeypatch.setattr(
            trainer,
            "selective_log_softmax",
            lambda logits, ids: entropy.selective_log_softmax_and_entropy(logits, ids)[0],
        )


def tokenizer() -> Any:
    """One token a word; `</s>` ends a text, and nothing begins one."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(3, VOCABULARY)}
    bare = Tokenizer(models.WordLevel({"<pad>": 0, "<s>": 1, "</s>": 2, **words}, unk_token="w3"))
    bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=bare, pad_token="<pad>", eos_token="</s>")


def rows(objective: str, number: int, length: int) -> list[dict[str, Any]]:
    """Rows whose every sequence has `length` tokens, the first of them the prompt and the last `</s>`."""
    answer = "".join(f" w{3 + i}" for i in range(length - 2))
    if objective == "sft":
        return [{"prompt": "w4", "completion": answer} for _ in range(number)]
    if objective == "kto":
        return [{"prompt": "w4", "completion": answer, "label": i % 2 == 0} for i in range(number)]
    return [{"prompt": "w4", "chosen": answer, "rejected": answer} for _ in range(number)]


def trainer_of(objective: str, model: Any, folder: Path, batch: int, length: int, **changes: Any) -> Any:
    """TRL's trainer of an objective, ready for a step of `batch` samples in float32."""
    from datasets import Dataset

    address, config, settings = {
        "sft": ("trl.trainer.sft_trainer.SFTTrainer", "SFTConfig", {"completion_only_loss": True}),
        "dpo": ("trl.trainer.dpo_trainer.DPOTrainer", "DPOConfig", {}),
        "ipo": ("trl.trainer.dpo_trainer.DPOTrainer", "DPOConfig", {"loss_type": ["ipo"]}),
        "kto": ("trl.trainer.kto_trainer.KTOTrainer", "KTOConfig", {}),
        "orpo": ("trl.experimental.orpo.orpo_trainer.ORPOTrainer", "ORPOConfig", {}),
        "cpo": ("trl.experimental.cpo.cpo_trainer.CPOTrainer", "CPOConfig", {}),
        "simpo": ("trl.experimental.cpo.cpo_trainer.CPOTrainer", "CPOConfig", {"loss_type": "simpo", "cpo_alpha": 0.0}),
        "reward": ("trl.trainer.reward_trainer.RewardTrainer", "RewardConfig", {}),
    }[objective]
    place, _, name = address.rpartition(".")
    module = importlib.import_module(place)
    precomputed = {"precompute_ref_log_probs": True} if changes.pop("precomputed", False) else {}
    arguments = getattr(module, config)(
        output_dir=str(folder),
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=batch,
        max_length=64,
        **settings,
        **precomputed,
    )
    made = getattr(module, name)(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows(objective, 2 * batch, length)),
        processing_class=tokenizer(),
        **changes,
    )
    made.current_gradient_accumulation_steps = 1
    torch.set_grad_enabled(True)
    return made
