"""Rows to ids: what is learned, what is cut, what never moves."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.dataset.encoding import IGNORED, Encoder, collate
from advisor.domain.workload import Workload
from advisor.errors import BadRequest
from tests.tiny_models import WORDS, make_tokenizer

words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=20).map(" ".join)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return make_tokenizer(Path(tmp_path_factory.mktemp("tok")), encoder=False)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return make_tokenizer(Path(tmp_path_factory.mktemp("tok2")), encoder=True)


def work(length: int, task: str = "causal-lm") -> Workload:
    return Workload(model="m", task=task, seq_len=length)  # type: ignore[arg-type]


@given(prompt=words, completion=words, limit=st.integers(2, 30))
@settings(deadline=None)
def test_a_completion_stays_whole_while_its_prompt_gives_way(decoder, prompt, completion, limit):
    [example] = Encoder(decoder, work(limit), "prompt-completion", ()).encode(
        [{"prompt": prompt, "completion": completion}]
    ) or [None]
    if example is None:
        return
    answer = [*decoder(completion)["input_ids"], decoder.eos_token_id]
    assert len(example.input_ids) <= limit
    learned = [label for label in example.labels if label != IGNORED]
    assert learned == answer[: len(learned)]
    assert len(learned) == min(len(answer), limit)
    # of a prompt the end stays, which the question stands at
    kept = example.input_ids[: len(example.input_ids) - len(learned)]
    assert kept == decoder(prompt)["input_ids"][len(decoder(prompt)["input_ids"]) - len(kept) :]
    assert example.cut == (len(decoder(prompt)["input_ids"]) + len(answer) > limit)


def test_only_the_assistants_turns_are_learned(decoder):
    row = {
        "messages": [
            {"role": "user", "content": "w1 w2"},
            {"role": "assistant", "content": "w3"},
            {"role": "user", "content": "w4"},
            {"role": "assistant", "content": "w5 yes"},
        ]
    }
    [example] = Encoder(decoder, work(60), "messages", ()).encode([row])
    learned = decoder.decode([label for label in example.labels if label != IGNORED])
    assert learned.split() == ["w3", "</s>", "w5", "yes", "</s>"]
    assert example.reference == "w5 yes"
    assert decoder.decode(example.prompt).split()[-2:] == ["assistant", ":"]


def test_where_a_template_writes_what_it_asks_with_otherwise_the_last_turn_alone_is_learned(tmp_path):
    """A prompt that ends with a mark which no written turn has, as templates of reasoning models do."""
    tokenizer = make_tokenizer(tmp_path, encoder=False)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}</s>{% endif %} {% endfor %}"
        "{% if add_generation_prompt %}w9{% endif %}"
    )
    turns = [("user", "w1"), ("assistant", "w2 w3"), ("user", "w4"), ("assistant", "w5 yes")]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    [example] = Encoder(tokenizer, work(60), "messages", ()).encode([row])
    assert tokenizer.decode([label for label in example.labels if label != IGNORED]).split() == ["w5", "yes", "</s>"]
    assert tokenizer.decode(example.prompt).split()[-1] == "w4"


def test_chats_without_a_template_are_refused(encoder):
    with pytest.raises(BadRequest, match="no chat template"):
        Encoder(encoder, work(30), "messages", ())


def test_a_long_text_keeps_its_beginning_and_its_closing_mark(encoder):
    row = {"text": " ".join(WORDS[:30]), "label": "good"}
    [example] = Encoder(encoder, work(10, "sequence-classification"), "text-label", ("bad", "good")).encode([row])
    assert example.cut
    assert example.labels == 1
    assert example.input_ids == [2, *encoder(" ".join(WORDS[:8]), add_special_tokens=False)["input_ids"], 3]


def test_a_batch_pads_to_its_longest_row_and_learns_no_padding(decoder):
    rows = [{"prompt": "w1 ", "completion": "w2"}, {"prompt": "w1 w2 w3 ", "completion": "w4 w5"}]
    examples = Encoder(decoder, work(20), "prompt-completion", ()).encode(rows)
    batch = collate(examples, decoder.pad_token_id)
    assert batch["input_ids"].shape == (2, max(len(e.input_ids) for e in examples))
    assert (batch["labels"][batch["attention_mask"] == 0] == IGNORED).all()
