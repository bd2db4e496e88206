"""Laws for the model definitions, and where a name is looked for."""

from __future__ import annotations

import contextlib
import http.server
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.catalog.models import ModelEntry, hub, models, resolve_model, tokenizer_folder
from advisor.catalog.models.index import FOLDER, lookup, names
from advisor.catalog.models.spec import context_of, kind_of, spec_of
from advisor.errors import AdvisorError, UnknownName, UnsupportedModel
from tests.selection import one_in

EVERY_MODEL = pytest.mark.parametrize("entry", one_in(4, models()), ids=lambda entry: entry.id)
STAGED = {"swin", "swinv2", "convnext", "convnextv2"}
"""Whose heads, if any, are a list: one number a stage."""
TINY = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 256,
    "max_position_embeddings": 128,
}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    hub._reach.cache_clear()
    return tmp_path / "home"


def put(folder: Path, config: Any, *extra: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    for name in extra:
        (folder / name).write_text("{}")
    return folder


def put_in_cache(tmp_path: Path, repo: str, config: Any, *extra: str) -> Path:
    base = tmp_path / "hf" / "hub" / f"models--{repo.replace('/', '--')}"
    (base / "refs").mkdir(parents=True)
    (base / "refs" / "main").write_text("c0ffee")
    return put(base / "snapshots" / "c0ffee", config, *extra)


# -- the data -------------------------------------------------------------------------------------------------


def test_all_models_and_aliases_are_there():
    assert len(models()) == 412
    assert sum(len(entry.aliases) for entry in models()) == 868
    assert Counter(entry.verified for entry in models()) == {"yes": 383, "rounded": 28, "no": 1}


def test_no_name_means_two_models():
    owners: dict[str, set[str]] = {}
    for entry in models():
        for name in (entry.id, *entry.aliases):
            owners.setdefault(name.lower(), set()).add(entry.id)
    assert {name: ids for name, ids in owners.items() if len(ids) > 1} == {}


def test_every_definition_belongs_to_one_entry():
    files = sorted(path.name for path in (FOLDER / "configs").glob("*.json"))
    assert files == sorted(entry.config for entry in models())


@EVERY_MODEL
def test_every_entry_resolves_to_a_whole_definition(entry: ModelEntry):
    spec = resolve_model(entry.id)
    assert (spec.name, spec.source, spec.task_class) == (entry.id, "catalogue", entry.task_class)
    assert spec.model_type == entry.model_type
    assert spec.parameters == entry.parameters
    assert spec.layers is not None
    assert spec.hidden is not None
    assert (spec.heads is None) == (entry.model_type in STAGED)
    assert (spec.vocabulary is None) == (entry.task_class == "ImageClassification")
    encoder_decoder = entry.task_class in ("Seq2SeqLM", "SpeechSeq2Seq")
    assert (spec.architecture == "encoder-decoder") == encoder_decoder
    assert (spec.architecture == "encoder") == (entry.task_class in ("SequenceClassification", "ImageClassification"))


@EVERY_MODEL
def test_the_kind_is_read_from_the_definition_as_the_catalogue_has_it(entry: ModelEntry):
    assert kind_of(entry.load())[0] == entry.task_class


@EVERY_MODEL
def test_parameters_are_more_than_the_embedding_and_a_verified_count_is_the_published_one(entry: ModelEntry):
    spec = resolve_model(entry.id)
    assert spec.hidden is not None
    if spec.vocabulary is not None:
        assert entry.parameters > 0.5 * spec.vocabulary * spec.hidden
    if entry.verified == "yes" and entry.count_rule == "total":
        assert entry.parameters == entry.published_parameters
    if entry.text_parameters is not None:
        assert entry.text_parameters < entry.parameters


@EVERY_MODEL
def test_transformers_reads_every_definition_with_the_sizes_we_read(entry: ModelEntry):
    from transformers import AutoConfig

    spec, config = resolve_model(entry.id), AutoConfig.from_pretrained(FOLDER / "configs" / entry.config)
    assert config.model_type == entry.model_type
    read = config.get_text_config()
    if spec.task_class == "ImageClassification":
        read = getattr(config, "vision_config", config)
    if entry.model_type in STAGED:
        assert len(read.depths) == spec.layers
        return
    assert (read.hidden_size, read.num_attention_heads) == (spec.hidden, spec.heads)
    layers = spec.layers if entry.model_type != "whisper" else config.encoder_layers
    assert read.num_hidden_layers == layers
    if spec.vocabulary is not None:
        assert read.vocab_size == spec.vocabulary


def test_every_id_and_alias_is_found_whatever_the_case():
    for entry in models():
        for name in (entry.id, *entry.aliases):
            for typed in (name, name.upper(), f" {name} "):
                assert lookup(typed.strip()) is entry


def test_the_owner_may_be_left_out_where_one_model_is_called_so():
    assert resolve_model("llama-3.1-8b").name == "meta-llama/Llama-3.1-8B"
    assert resolve_model("Qwen2.5-7B").name == "Qwen/Qwen2.5-7B"


def test_an_alias_is_said_to_be_one():
    spec = resolve_model("unsloth/Meta-Llama-3.1-8B-bnb-4bit")
    assert spec.name == "meta-llama/Llama-3.1-8B"
    assert spec.asked == "unsloth/Meta-Llama-3.1-8B-bnb-4bit"
    assert "another name" in spec.where


def test_a_search_wants_all_its_words():
    found = models("qwen3 moe")
    assert found
    assert all("qwen3" in entry.id.lower() for entry in found)
    with pytest.raises(UnknownName) as caught:
        models("Qwen/Qwen3-9B")
    assert "Qwen/Qwen3-8B" in caught.value.fields["near"]
    assert models() == models("")


# -- where a name is looked for -------------------------------------------------------------------------------


def test_a_local_folder_is_read_and_its_weights_are_noticed(tmp_path: Path):
    folder = put(tmp_path / "tiny", TINY)
    spec = resolve_model(str(folder))
    assert (spec.source, spec.architecture, spec.layers, spec.context_length) == ("folder", "decoder", 2, 128)
    assert spec.parameters is None, "nobody counted them"
    assert spec.weights is None
    (folder / "model.safetensors").write_bytes(b"")
    assert resolve_model(str(folder)).weights == str(folder)
    assert resolve_model(str(folder / "config.json")).config == spec.config


def test_a_local_folder_comes_before_a_catalogue_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path / "gpt2", TINY)
    assert resolve_model("gpt2").source == "catalogue"
    monkeypatch.chdir(tmp_path)
    assert resolve_model("gpt2").source == "folder"


def test_an_empty_folder_does_not_hide_a_catalogue_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "gpt2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve_model("gpt2").source == "catalogue"
    with pytest.raises(UnsupportedModel, match=r"no config\.json"):
        resolve_model("./gpt2")


def test_the_hub_cache_comes_before_the_catalogue_and_needs_no_network(tmp_path: Path):
    put_in_cache(tmp_path, "openai-community/gpt2", TINY, "model.safetensors", "tokenizer.json")
    spec = resolve_model("openai-community/gpt2")
    assert spec.source == "hub-cache"
    assert spec.config == TINY
    assert spec.parameters is None, "the catalogue's count is of another size"
    assert spec.weights
    assert tokenizer_folder(spec) == Path(spec.weights)


def test_a_cached_definition_of_the_catalogues_sizes_has_the_catalogues_count(tmp_path: Path):
    entry = lookup("openai-community/gpt2")
    assert entry is not None
    put_in_cache(tmp_path, entry.id, {**entry.load(), "bos_token_id": 1})
    spec = resolve_model(entry.id)
    assert spec.source == "hub-cache"
    assert spec.parameters == entry.parameters


def test_hf_hub_cache_moves_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put_in_cache(tmp_path, "my/own", TINY)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    with pytest.raises(UnknownName):
        resolve_model("my/own")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    assert resolve_model("my/own").source == "hub-cache"


class _Hub(http.server.BaseHTTPRequestHandler):
    """A Hub that has `my/online`, answers 404 for all else, and counts requests."""

    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        found = self.path.startswith("/my/online/resolve/main/config.json")
        body = json.dumps(TINY).encode() if found else b""
        self.send_response(200 if found or self.path == "/" else 404)
        self.send_header("ETag", '"abc"')
        self.send_header("X-Repo-Commit", "c0ffee")
        if not found:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A Hub on this machine; huggingface_hub reads HF_ENDPOINT when imported, so its constant is set too."""
    import huggingface_hub.constants as constants

    asked: list[str] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Hub,), {"asked": asked}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    yield asked
    server.shutdown()
    server.server_close()


def test_the_hub_is_asked_for_what_is_not_on_this_machine_and_its_answer_cached(online: list[str]):
    spec = resolve_model("my/online")
    assert spec.source == "hub"
    assert spec.config == TINY
    before = len(online)
    assert resolve_model("my/online").source == "hub-cache"
    assert len(online) == before


def test_what_the_hub_does_not_have_falls_to_the_catalogue_and_that_is_said(online: list[str]):
    spec = resolve_model("openai-community/gpt2")
    assert online, "the Hub comes before the catalogue"
    assert spec.source == "catalogue"
    assert "the Hub has no such model" in spec.where
    with pytest.raises(UnknownName, match="the Hub has no such model"):
        resolve_model("my/other")


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_means_no_request(online: list[str], monkeypatch: pytest.MonkeyPatch, variable: str):
    monkeypatch.setenv(variable, "1")
    assert variable in resolve_model("gpt2").where
    with pytest.raises(UnknownName, match=variable):
        resolve_model("my/online")
    assert online == []


def test_an_unreachable_hub_costs_two_seconds_once_and_nothing_after(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://192.0.2.1")  # a documentation address: nobody answers
    monkeypatch.setenv("NO_PROXY", "*")
    start = time.perf_counter()
    assert "could not be reached" in resolve_model("gpt2").where
    assert time.perf_counter() - start < 2
    hub._reach.cache_clear()  # as a new process
    start = time.perf_counter()
    assert "min ago" in resolve_model("gpt2").where
    assert resolve_model("bert-base-cased").source == "catalogue"
    assert time.perf_counter() - start < 0.5


# -- bad input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "near"),
    [("meta-llama/Llama-3.1-9B", "meta-llama/Llama-3.1-8B"), ("gpt3", "gpt2"), ("brt-base", "bart-base")],
)
def test_an_unknown_model_is_refused_with_near_names(typed: str, near: str):
    with pytest.raises(UnknownName) as caught:
        resolve_model(typed)
    assert near in " ".join(caught.value.fields["near"])
    assert "advisor models" in str(caught.value)
    assert all(name in names() for name in caught.value.fields["near"])


@pytest.mark.parametrize(
    "typed", ["", " ", "a\0b", "x" * 5000, "../../nowhere", "./none", "/none/config.json", "a//b", "~"]
)
def test_what_names_no_model_is_refused(typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises((UnknownName, UnsupportedModel)):
        resolve_model(typed)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_text_makes_the_search_crash(text: str):
    with contextlib.suppress(AdvisorError):
        assert resolve_model(text).config


def without(*fields: str) -> dict[str, Any]:
    return {key: value for key, value in TINY.items() if key not in fields}


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({}, "model_type"),
        (without("model_type"), "model_type"),
        ({**TINY, "model_type": 7}, "model_type"),
        (without("num_hidden_layers"), "num_hidden_layers"),
        (without("hidden_size"), "hidden_size"),
        ({**TINY, "num_hidden_layers": 0}, "num_hidden_layers"),
        ({**TINY, "num_hidden_layers": -2}, "num_hidden_layers"),
        ({**TINY, "hidden_size": 10**12}, "hidden_size"),
        ({**TINY, "hidden_size": "wide"}, "hidden_size"),
        ({**TINY, "vocab_size": 0}, "vocab_size"),
        ({**TINY, "num_attention_heads": -1}, "num_attention_heads"),
        ({**TINY, "model_type": "new", "architectures": ["NewModel"]}, "architectures"),
        ({**TINY, "model_type": "new", "architectures": "LlamaForCausalLM"}, "architectures"),
        ("{", ""),
        ("", ""),
        ("[]", ""),
    ],
)
def test_a_definition_without_what_every_model_needs_is_refused_by_field(tmp_path: Path, config: Any, field: str):
    folder = put(tmp_path / "m", config)
    with pytest.raises(UnsupportedModel) as caught:
        resolve_model(str(folder))
    assert caught.value.fields["field"] == field
    assert str(folder) in str(caught.value)


def test_a_folder_with_something_else_says_what_it_is(tmp_path: Path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UnsupportedModel, match="adapter"):
        resolve_model(str(tmp_path))
    (tmp_path / "adapter_config.json").rename(tmp_path / "model.gguf")
    with pytest.raises(UnsupportedModel, match="gguf"):
        resolve_model(str(tmp_path))


def test_an_unknown_type_is_told_by_the_class_it_was_saved_as():
    new = {**TINY, "model_type": "new"}
    assert kind_of({**new, "architectures": ["NewForCausalLM"]}) == ("CausalLM", "decoder")
    assert kind_of({**new, "architectures": ["NewForMaskedLM"]}) == ("SequenceClassification", "encoder")
    assert kind_of({**new, "is_encoder_decoder": True}) == ("Seq2SeqLM", "encoder-decoder")
    classifier = kind_of({**TINY, "architectures": ["LlamaForSequenceClassification"]})
    assert classifier == ("SequenceClassification", "decoder")
    assert kind_of({**TINY, "architectures": ["LlamaForRewardModel"]}) == classifier


def test_a_multimodal_definition_is_answered_from_its_text_part():
    config = {"model_type": "pair", "text_config": TINY, "vision_config": {"hidden_size": 8}}
    spec = spec_of(config, name="n", asked="n", source="folder", where="here")
    assert (spec.task_class, spec.hidden, spec.context_length) == ("ImageTextToText", 64, 128)


def test_rows_of_positions_that_no_token_reaches_do_not_count():
    import torch
    from transformers import MPNetConfig, MPNetModel

    entry = lookup("sentence-transformers/all-mpnet-base-v2")
    assert entry is not None
    assert context_of(entry.load()) == entry.context_length == 512
    tiny = MPNetConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=10,
    )  # fmt: skip
    model, longest = MPNetModel(tiny), context_of(tiny.to_dict())
    assert longest == 8
    model(input_ids=torch.full((1, longest), 5))
    with pytest.raises(IndexError):
        model(input_ids=torch.full((1, longest + 1), 5))


def test_resolving_needs_no_torch_and_no_transformers():
    code = (
        "import sys; from advisor.catalog.models import resolve_model; resolve_model('gpt2');"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
