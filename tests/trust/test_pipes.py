"""A pipe or a file without end is refused with its name: who read it would wait for ever, or fill the memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from advisor import loading, store
from advisor.catalog.models.checkpoint import tensor_names
from advisor.config_reader import read_config_file
from advisor.dataset.length_file import read_lengths
from advisor.domain.profile import Profile
from advisor.errors import BadFile
from advisor.interfaces.cli.main import run

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")


@contextmanager
def no_waiting(seconds: int = 60) -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise AssertionError("it waits for the pipe")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


READERS = {
    "document.json": lambda path: store.read_document(path),
    "packed.json.gz": lambda path: store.read_document(path),
    "config.yaml": lambda path: read_config_file(path),
    "lengths.txt": lambda path: read_lengths(str(path)),
    "chat_template.jinja": lambda path: loading.load_tokenizer(path.parent),
    "model.safetensors": lambda path: loading.load_model(None, path.parent),
    "adapter_config.json": lambda path: loading.load_auto_peft("AutoPeftModelForCausalLM", path.parent),
}


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_is_refused_by_name(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with no_waiting(), pytest.raises(BadFile, match=f"{name} is a pipe"):
        READERS[name](tmp_path / name)


def test_a_profile_that_is_a_pipe_is_left_out_with_a_word(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))
    place = tmp_path / "data" / "profiles"
    place.mkdir(parents=True)
    os.mkfifo(place / "mine.json")
    told: list[BadFile] = []
    with no_waiting():
        list(store.find(Profile, "profiles", on_bad=told.append))
    assert [Path(one.fields["path"]).name for one in told] == ["mine.json"]


@pytest.mark.parametrize("words", [["estimate", "--from"], ["evidence", "--predict"]])
def test_cases_come_from_no_pipe_of_a_name(tmp_path, words, capsys):
    os.mkfifo(tmp_path / "cases.jsonl")
    with no_waiting():
        assert run([*words, str(tmp_path / "cases.jsonl")]) == 4
    assert "is a pipe" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="the system has no /dev/zero")
@pytest.mark.parametrize("words", [["estimate", "--from"], ["evidence", "--predict"]])
def test_a_line_without_end_is_no_case(words, monkeypatch, capsys):
    monkeypatch.setattr("advisor.config_reader.LONGEST_LINE", 2**12)
    with no_waiting():
        assert run([*words, "/dev/zero"]) == 4
    assert "/dev/zero is no file of lines" in capsys.readouterr().err


def test_lengths_without_end_are_no_lengths(monkeypatch):
    monkeypatch.setattr(store, "LARGEST_BYTES", 2**21)
    with no_waiting(), pytest.raises(BadFile, match="is larger than"):
        read_lengths("/dev/zero")


def test_names_of_tensors_are_unknown_where_the_weights_are_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    with no_waiting():
        assert tensor_names(tmp_path) is None


def test_what_a_shell_pipes_in_is_read(tmp_path):
    reading, writing = os.pipe()
    os.write(writing, b'{"a": 1}')
    os.close(writing)
    assert store.read_document(f"/dev/fd/{reading}") == {"a": 1}
    os.close(reading)
