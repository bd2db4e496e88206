"""The lengths that are said are the lengths that are trained on, and what is cut off is not made into tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.dataset import measure_lengths, read_rows
from advisor.dataset.encoding import GIANT_A_TOKEN, IGNORED, MARGIN, Encoder
from advisor.dataset.lengths import TokenLengths
from advisor.dataset.splits import read
from advisor.domain.model import ModelSpec
from advisor.domain.workload import Workload
from advisor.errors import BadRequest
from tests.tiny_models import WORDS, make_tokenizer

words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)
TOOLS = "{% for t in tools or [] %}{{ t | tojson }} {% endfor %}"
CHAT = (
    "{% for m in messages %}{{ m['role'] + ' : ' + m['content'] + ' </s> ' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {kind: Path(tmp_path_factory.mktemp(kind)) for kind in ("decoder", "encoder")}
    for kind, folder in made.items():
        tokenizer = make_tokenizer(folder, encoder=kind == "encoder")
        if kind == "decoder":
            tokenizer.chat_template = TOOLS + CHAT
            tokenizer.save_pretrained(str(folder))
        (folder / "config.json").write_text("{}")
    return made


def spec_of(folder: Path, architecture: str) -> ModelSpec:
    return ModelSpec(
        name="m",
        asked="m",
        source="folder",
        where=str(folder),
        config={},
        task_class="CausalLM",
        architecture=architecture,  # type: ignore[arg-type]
        weights=str(folder),
        context_length=10**6,
    )


def tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


ROWS = st.one_of(
    st.lists(st.fixed_dictionaries({"text": words}), min_size=1, max_size=5),
    st.lists(st.fixed_dictionaries({"prompt": words, "completion": words}), min_size=1, max_size=5),
    st.lists(st.fixed_dictionaries({"text": words, "label": st.sampled_from("ab")}), min_size=1, max_size=5),
    st.lists(
        st.fixed_dictionaries(
            {
                "instruction": words,
                "output": words,
                "system": words,
                "history": st.lists(st.tuples(words, words).map(list), max_size=2),
            }
        ),
        min_size=1,
        max_size=5,
    ),
)


@settings(deadline=None, max_examples=40)
@given(ROWS)
def test_lengths_said_are_lengths_encoded(folders, tmp_path_factory: pytest.TempPathFactory, rows):
    labelled = "label" in rows[0]
    folder = folders["encoder" if labelled else "decoder"]
    path = tmp_path_factory.mktemp("d") / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = measure_lengths(read_rows(path), spec_of(folder, "encoder" if labelled else "decoder"))
    kind, task, normalised, _ = read(str(path), None)
    work = Workload(model="m", task=task, seq_len=10**6)
    encoder = Encoder(tokenizer_of(folder), work, kind, ["a", "b"])
    trained = [len(encoder._one(row).input_ids) for row in normalised]
    assert said.measured
    assert list(said.sizes) == sorted(trained)
    assert said.max == max(trained)


def test_tools_are_counted_as_the_template_writes_them(folders, tmp_path: Path):
    turns = [{"role": "user", "content": "w1"}, {"role": "assistant", "content": "w2"}]
    path = tmp_path / "a.jsonl"
    row = {"messages": turns, "tools": [{"name": "w3", "description": "w4 w5 w6 w7"}]}
    path.write_text(json.dumps(row) + "\n")
    with_tools = measure_lengths(read_rows(path), spec_of(folders["decoder"], "decoder"))
    path.write_text(json.dumps({"messages": turns}) + "\n")
    without = measure_lengths(read_rows(path), spec_of(folders["decoder"], "decoder"))
    assert with_tools.mean > without.mean + 4
    assert with_tools.notes == ()


def test_what_a_template_does_not_write_is_said(tmp_path: Path):
    make_tokenizer(tmp_path, encoder=False)  # its template knows no tools
    (tmp_path / "config.json").write_text("{}")
    path = tmp_path / "a.jsonl"
    turns = [{"role": "user", "content": "w1 w2"}, {"role": "assistant", "content": "w3"}]
    path.write_text(json.dumps({"messages": turns, "tools": [{"name": "w4 w5 w6 w7"}]}) + "\n")
    found = measure_lengths(read_rows(path), spec_of(tmp_path, "decoder"))
    assert any("leaves out" in note and "tools" in note for note in found.notes)


def test_turns_that_the_template_refuses_are_refused_in_words(tmp_path: Path):
    tokenizer = make_tokenizer(tmp_path, encoder=False)
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    work = Workload(model="m", seq_len=9)
    row = {"messages": [{"role": "user", "content": "w1"}, {"role": "assistant", "content": "w2"}]}
    with pytest.raises(BadRequest, match="refuses a chat of the rows, whose turns are of user, assistant"):
        Encoder(tokenizer, work, "messages", ()).encode([row])


class Counting:
    """A tokenizer that remembers the longest text it was given."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.longest = inner, 0

    def __call__(self, text: str, **how: Any) -> Any:
        self.longest = max(self.longest, len(text))
        return self.inner(text, **how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("text", {"text": "{}"}),
        ("text-label", {"text": "{}", "label": "a"}),
        ("prompt-completion", {"prompt": "{}", "completion": "w1 w2"}),
        ("prompt-completion", {"prompt": "w1 w2", "completion": "{}"}),
        ("messages", {"messages": [{"role": "user", "content": "{}"}, {"role": "assistant", "content": "w1 w2"}]}),
        ("messages", {"messages": [{"role": "user", "content": "w1"}, {"role": "assistant", "content": "{}"}]}),
    ],
)
def test_of_a_giant_row_only_what_stays_is_made_into_tokens(folders, kind: Any, row: dict[str, Any]):
    text = " ".join(WORDS[i % len(WORDS)] for i in range(200_000))
    row = json.loads(json.dumps(row).replace("{}", text))
    tokenizer = Counting(tokenizer_of(folders["encoder" if kind == "text-label" else "decoder"]))
    work, limit = Workload(model="m", seq_len=20), 20
    (cut,) = Encoder(tokenizer, work, kind, ["a"]).encode([row])
    assert tokenizer.longest <= GIANT_A_TOKEN * (limit + MARGIN)
    whole = Encoder(tokenizer, work.model_copy(update={"seq_len": 10**6}), kind, ["a"])._one(row)
    assert cut.cut
    assert len(cut.input_ids) == limit
    ids, labels = whole.input_ids, whole.labels
    if kind == "prompt-completion" and row["prompt"] == "w1 w2":
        answer = [i for i, label in zip(ids, labels, strict=True) if label != IGNORED]
        assert cut.input_ids == answer[:limit]
    elif kind == "text-label":
        assert cut.input_ids == [*ids[: limit - 1], ids[-1]]
    elif kind == "text":
        assert cut.input_ids == ids[:limit]
    else:
        assert cut.input_ids == ids[-limit:]
        assert cut.labels == labels[-limit:]


def test_how_many_rows_are_longer_is_said_of_all_rows():
    fields = {"n": 100, "mean": 10.0, "p50": 10.0, "p95": 10.0, "how": "", "measured": True}
    lengths = TokenLengths(**fields, max=900, sizes=(10,) * 98 + (50, 60))  # type: ignore[arg-type]
    assert lengths.beyond(20, 1000) == 20
    assert lengths.beyond(500, 1000) == 1, "the longest of the file need not be in the sample"
    assert lengths.beyond(900, 1000) == 0
