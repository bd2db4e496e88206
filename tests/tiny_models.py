"""Tiny models and data that a trial trains on in seconds: random weights from a seed, no network."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from advisor.domain.model import ModelSpec

WORDS = [f"w{i}" for i in range(60)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "</s>"]
CHAT = (
    "{% for m in messages %}{{ m['role'] + ' : ' + m['content'] + ' </s> ' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)


def make_tokenizer(folder: Path, *, encoder: bool) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {
        w: i for i, w in enumerate([*SPECIAL, *WORDS, "good", "bad", "user", "assistant", "system", ":", "yes", "no"])
    }
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if encoder:
        raw.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        made = PreTrainedTokenizerFast(
            tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
        )
    else:
        made = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", eos_token="</s>")
        made.chat_template = CHAT
    made.save_pretrained(str(folder))
    return made


def make_spec(folder: Path, architecture: str, task_class: str) -> ModelSpec:
    return ModelSpec(
        name=folder.name,
        asked=str(folder),
        source="folder",
        where=str(folder / "config.json"),
        config=json.loads((folder / "config.json").read_text()),
        task_class=task_class,  # type: ignore[arg-type]
        architecture=architecture,  # type: ignore[arg-type]
        weights=str(folder),
        context_length=64,
    )


def make_bert(folder: Path, hidden: int) -> ModelSpec:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=80,
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    return saved(BertModel, config, folder, "encoder", "SequenceClassification")


def saved(model: Any, config: Any, folder: Path, architecture: str, task_class: str) -> ModelSpec:
    """A model with weights from a seed and a tokenizer, in a folder."""
    import torch

    torch.manual_seed(0)
    model(config).save_pretrained(folder)
    make_tokenizer(folder, encoder=architecture == "encoder")
    return make_spec(folder, architecture, task_class)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    return make_bert(tmp_path_factory.mktemp("models") / "tiny-bert", 32)


@pytest.fixture(scope="session")
def wide_bert(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """As wide as a block of 4-bit weights."""
    return make_bert(tmp_path_factory.mktemp("models") / "wide-bert", 64)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    config = LlamaConfig(
        vocab_size=80,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=0,
        eos_token_id=4,
        bos_token_id=None,
    )
    return saved(LlamaForCausalLM, config, folder, "decoder", "CausalLM")


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    from transformers import T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("models") / "tiny-t5"
    config = T5Config(
        vocab_size=80,
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=2,
        pad_token_id=0,
        eos_token_id=4,
        decoder_start_token_id=0,
    )
    return saved(T5ForConditionalGeneration, config, folder, "encoder-decoder", "Seq2SeqLM")


def labelled(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Rows whose class is told by one word: learnable in a few dozen steps."""
    draw = random.Random(seed)
    rows = []
    for i in range(count):
        label = ("good", "bad")[i % 2]
        text = [*draw.choices(WORDS, k=draw.randint(4, 12)), label]
        draw.shuffle(text)
        rows.append({"text": " ".join(text), "label": label})
    return rows


def answered(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Prompts whose completion repeats their last word."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        text = draw.choices(WORDS, k=draw.randint(3, 8))
        rows.append({"prompt": " ".join(text) + " ", "completion": f"{text[-1]} yes"})
    return rows


def chats(count: int, seed: int = 0) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": r["prompt"]}, {"role": "assistant", "content": r["completion"]}]}
        for r in answered(count, seed)
    ]


def put_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own store."""
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OPTUNA_STORAGE", raising=False)
