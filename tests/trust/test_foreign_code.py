"""No file of a stranger's folder is ever run, whatever loads from it and whatever is typed on the terminal."""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from advisor import loading
from advisor.dataset import chat_template
from advisor.dataset.lengths import measure_lengths
from advisor.dataset.rows import read_rows
from advisor.domain.model import ModelSpec
from advisor.errors import AdvisorError, BadFile, UnsupportedModel
from advisor.exporters.from_config import read_config
from tests.trust.hostile import CARELESS, ENDLESS, HOSTILE, copy_of


@pytest.fixture
def says_yes(monkeypatch: pytest.MonkeyPatch):
    """A user, or a pipe, that answers every question with yes; reaching one fails the test."""
    asked: list[str] = []

    def answer(text: str = "") -> str:
        asked.append(text)
        return "y"

    monkeypatch.setattr(builtins, "input", answer)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 99))
    yield
    assert not asked


def attempts(folder: Path, spec: ModelSpec, rows: Path):
    """Everything that loads from a model folder; a refusal is an answer."""
    from advisor.assembly.base_model import auto_class
    from advisor.catalog.models import resolve_model

    yield lambda: loading.load_tokenizer(folder)
    yield lambda: measure_lengths(read_rows(rows), resolve_model(str(folder)))
    yield lambda: loading.load_model(auto_class(spec, "causal-lm"), folder)
    yield lambda: loading.load_auto_peft("AutoPeftModelForCausalLM", folder)
    yield lambda: read_config(folder / "axolotl.yaml")
    yield lambda: read_rows(folder)
    yield from (partial(read_rows, file) for file in sorted(folder.glob("train.*")))
    yield from (partial(loading.load_state, file, "cpu") for file in sorted(folder.glob("*.pt")))


@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_runs_a_folders_code(kind: str, tiny_llama: ModelSpec, tmp_path: Path, says_yes: None, monkeypatch):
    folder, mark = copy_of(Path(str(tiny_llama.weights)), tmp_path / "model"), tmp_path / "mark"
    HOSTILE[kind](folder, mark)
    rows = tmp_path / "chats.jsonl"
    chat = {"messages": [{"role": "user", "content": "w1"}, {"role": "assistant", "content": "w2"}]}
    rows.write_text("\n".join([json.dumps(chat)] * 5))
    monkeypatch.chdir(folder)
    for attempt in attempts(folder, tiny_llama, rows):
        with contextlib.suppress(AdvisorError):
            attempt()
        assert not mark.exists()


@pytest.mark.parametrize("kind", CARELESS)
def test_each_kind_does_run_where_a_program_trusts_it(kind: str, tiny_llama: ModelSpec, tmp_path: Path, monkeypatch):
    """Else nothing would be shown by its not having run."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder, mark = copy_of(Path(str(tiny_llama.weights)), tmp_path / "model"), tmp_path / "mark"
    HOSTILE[kind](folder, mark)
    with contextlib.suppress(Exception):
        # what came of it is nothing: the file had done its work by then
        CARELESS[kind](folder)
    assert mark.exists()


def test_every_kind_has_a_program_that_would_run_it():
    assert set(HOSTILE) - set(CARELESS) == {"hub_kernel"}


def test_a_config_that_asks_for_compiled_code_is_refused(tiny_llama: ModelSpec, tmp_path: Path):
    from advisor.assembly.base_model import auto_class

    folder = copy_of(Path(str(tiny_llama.weights)), tmp_path / "model")
    HOSTILE["hub_kernel"](folder, tmp_path / "mark")
    with pytest.raises(UnsupportedModel, match="compiled code"):
        loading.load_model(auto_class(tiny_llama, "causal-lm"), folder)


@pytest.mark.parametrize("kind", ["pickled_weights", "pickle_behind_an_index"])
def test_pickled_weights_are_refused_with_the_reason(kind: str, tiny_llama: ModelSpec, tmp_path: Path):
    from advisor.training.prepare import weights_folder

    folder = copy_of(Path(str(tiny_llama.weights)), tmp_path / "model")
    HOSTILE[kind](folder, tmp_path / "mark")
    with pytest.raises(UnsupportedModel, match="safetensors") as caught:
        weights_folder(tiny_llama.model_copy(update={"weights": str(folder)}))
    assert "pickle" in str(caught.value)


def test_lengths_under_a_tokenizer_of_foreign_code_are_estimated_and_said_so(tiny_llama: ModelSpec, tmp_path: Path):
    from advisor.catalog.models import resolve_model

    folder = copy_of(Path(str(tiny_llama.weights)), tmp_path / "model")
    HOSTILE["tokenizer_auto_map"](folder, tmp_path / "mark")
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join([json.dumps({"text": "w1 w2"})] * 5))
    found = measure_lengths(read_rows(rows), resolve_model(str(folder)))
    assert not found.measured
    assert "never run" in found.how


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENDLESS)
def test_a_template_that_does_not_end_is_refused_in_time(kind: str, tiny_llama: ModelSpec, monkeypatch):
    monkeypatch.setattr(chat_template, "RENDER_SECONDS", 1.0)
    tokenizer = loading.load_tokenizer(str(tiny_llama.weights))
    tokenizer.chat_template = ENDLESS[kind]
    began = time.monotonic()
    with pytest.raises((UnsupportedModel, chat_template.TemplateRefused)):
        chat_template.ChatRenderer(tokenizer).render([{"role": "user", "content": "w1"}])
    assert time.monotonic() - began < 20


def test_a_template_renders_as_transformers_does(tiny_llama: ModelSpec):
    tokenizer = loading.load_tokenizer(str(tiny_llama.weights))
    renderer = chat_template.ChatRenderer(tokenizer)
    for content in ("w1", "漢字 😀", "x" * 300_000, ""):
        turns = [{"role": "user", "content": content}]
        for prompt in (False, True):
            whole = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)
            assert renderer.render(turns, prompt=prompt) == whole


def test_a_template_that_refuses_a_role_goes_on_with_the_next_chat(tiny_llama: ModelSpec):
    tokenizer = loading.load_tokenizer(str(tiny_llama.weights))
    tokenizer.chat_template = "{% if messages[0].role != 'user' %}{{ raise_exception('no') }}{% endif %}yes"
    renderer = chat_template.ChatRenderer(tokenizer)
    with pytest.raises(chat_template.TemplateRefused, match="no"):
        renderer.render([{"role": "system", "content": "w1"}])
    assert renderer.render([{"role": "user", "content": "w1"}]) == "yes"


BROKEN_TOKENIZER = {
    "empty": b"",
    "cut": None,
    "garbage": bytes(range(256)) * 9,
    "array": b"[1, 2]",
    "nested": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "digits": b'{"version": ' + b"9" * 5000 + b"}",
    "utf-16": '{"version": "1.0"}'.encode("utf-16"),
    "number": b"3",
    "wrong types": b'{"version": "1.0", "model": [], "chat_template": 3, "tokenizer_class": {}, "added_tokens": 3}',
}


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("kind", BROKEN_TOKENIZER)
def test_broken_tokenizer_files_are_one_error_or_none(file: str, kind: str, tiny_llama: ModelSpec, tmp_path: Path):
    folder = copy_of(Path(str(tiny_llama.weights)), tmp_path / "model")
    whole = (folder / file).read_bytes() if (folder / file).is_file() else b"{}"
    content = BROKEN_TOKENIZER[kind]
    (folder / file).write_bytes(whole[: len(whole) // 2] if content is None else content)
    rows = tmp_path / "rows.jsonl"
    chat = {"messages": [{"role": "user", "content": "w1"}, {"role": "assistant", "content": "w2"}]}
    rows.write_text("\n".join([json.dumps(chat)] * 5))
    from advisor.catalog.models import resolve_model

    for attempt in (
        lambda: loading.load_tokenizer(folder),
        lambda: measure_lengths(read_rows(rows), resolve_model(str(folder))),
    ):
        with contextlib.suppress(BadFile, UnsupportedModel):
            attempt()


@pytest.mark.parametrize(
    ("file", "largest"),
    [
        ("tokenizer.json", loading.LARGEST_TOKENIZER_BYTES),
        ("tokenizer_config.json", loading.LARGEST_CONFIG_BYTES),
        ("special_tokens_map.json", loading.LARGEST_CONFIG_BYTES),
    ],
)
def test_a_file_that_would_fill_the_memory_is_not_read(file: str, largest: int, tiny_llama: ModelSpec, tmp_path: Path):
    """A gibibyte holds what is read: some 400 MiB of libraries, and 15 or 30 times the file, as was measured."""
    assert largest * (15 if file == "tokenizer.json" else 30) <= 600 * 2**20
    folder = copy_of(Path(str(tiny_llama.weights)), tmp_path / "model")
    with (folder / file).open("wb") as stream:
        stream.truncate(largest + 1)
    with pytest.raises(BadFile, match="bytes, which no such file has"):
        loading.load_tokenizer(folder)


def test_looping_links_are_one_error(tiny_llama: ModelSpec, tmp_path: Path):
    folder = copy_of(Path(str(tiny_llama.weights)), tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to("tokenizer.json")
    with pytest.raises(BadFile, match="link"):
        loading.load_tokenizer(folder)


def test_an_adapter_whose_base_lies_in_a_pickle_alone_is_refused(tiny_llama: ModelSpec, tmp_path: Path):
    """peft's own classes load the base as they are told: neither a pickle nor the Hub."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = copy_of(Path(str(tiny_llama.weights)), tmp_path / "model")
    base = AutoModelForCausalLM.from_pretrained(folder)
    adapter = get_peft_model(base, LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    adapter.save_pretrained(tmp_path / "adapter")
    assert loading.load_auto_peft("AutoPeftModelForCausalLM", tmp_path / "adapter") is not None
    for path in folder.glob("*.safetensors"):
        path.unlink()
    torch.save(base.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises((AdvisorError, OSError), match="safetensors"):
        loading.load_auto_peft("AutoPeftModelForCausalLM", tmp_path / "adapter")
