"""Rows to token ids, the same for every trainer; what of a row too long is cut off (CUT_RULE), and how many were."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from advisor.dataset.chat_template import ChatRenderer
from advisor.dataset.splits import RowKind
from advisor.domain.workload import Workload
from advisor.errors import BadRequest

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""The label torch's cross-entropy leaves out."""

CHATS_AT_ONCE: Final = 64
"""Rows whose chats are rendered together: asking for them one by one takes longer than rendering them."""

CUT_RULE: Final[Mapping[RowKind | Literal["pairs"], str]] = {
    "text": "the first tokens stay",
    "text-label": "the first tokens stay",
    "prompt-completion": "the prompt loses its beginning, a completion that is too long itself its end",
    "messages": "the oldest tokens go",
    "pairs": "input and target keep their beginnings",
}
"""What of a row beyond the workload's `seq_len` stays, by kind; `pairs` is for an encoder and a decoder."""


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """One row as ids. `labels` are ids with IGNORED where nothing is learned, or one class.

    `prompt` and `reference` serve generation: the ids to continue and the text wanted.
    """

    input_ids: list[int]
    labels: list[int] | int
    prompt: list[int]
    reference: str
    cut: bool

    @property
    def trained(self) -> int:
        """Tokens that enter the loss; 1 for a classification."""
        return 1 if isinstance(self.labels, int) else sum(label != IGNORED for label in self.labels[1:])


class Encoder:
    """Turns normalised rows into examples with one tokenizer; `pairs` for models with an encoder and a decoder.

    Raises:
        BadRequest: chat messages with a tokenizer that has no chat template.
    """

    def __init__(
        self, tokenizer: Any, workload: Workload, kind: RowKind, labels: Sequence[str], *, pairs: bool = False
    ) -> None:
        self.tokenizer = tokenizer
        self.chats = ChatRenderer(tokenizer)
        self._rendered: dict[tuple[int, int, bool], str] = {}
        self.pairs = pairs
        self.workload = workload
        self.kind = kind
        self.classes = {label: i for i, label in enumerate(labels)}
        if kind == "messages" and not getattr(tokenizer, "chat_template", None):
            raise BadRequest(
                "the rows are chat messages, and the model's tokenizer has no chat template",
                hints=["use an instruction-tuned model, or rows with prompt and completion"],
            )

    def encode(self, rows: Iterable[Mapping[str, Any]]) -> list[EncodedExample]:
        """One example a row; rows in which nothing would be learned (a single token) are left out."""
        examples: list[EncodedExample] = []
        for part in batched(rows, CHATS_AT_ONCE):
            if self.kind == "messages":
                self._render(part)
            examples.extend(self._one(row) for row in part)
        return [example for example in examples if example.trained]

    def _one(self, row: Mapping[str, Any]) -> EncodedExample:
        limit = self.workload.seq_len
        if self.kind == "text-label":
            ids = self._ids(row["text"], special=True)
            kept = self._keep_ends(ids, limit)
            return EncodedExample(kept, self.classes[row["label"]], [], row["label"], len(ids) > limit)
        if self.pairs:
            return self._pair(row)
        if self.kind == "text":
            ids = self._ids(row["text"], special=True) + self._end()
            half = max(1, min(limit, len(ids)) // 2)
            reference = self.tokenizer.decode(ids[half:limit], skip_special_tokens=True)
            return EncodedExample(ids[:limit], ids[:limit], ids[:half], reference, len(ids) > limit)
        if self.kind == "prompt-completion":
            return self._completion(row["prompt"], row["completion"])
        return self._chat(row["messages"])

    def _pair(self, row: Mapping[str, Any]) -> EncodedExample:
        """Encoder input and decoder target; each keeps its beginning."""
        limit, target = self.workload.seq_len, self.workload.target_len or self.workload.seq_len
        source, wanted = self._ids(row["prompt"], special=True), self._ids(row["completion"], special=True)
        cut = len(source) > limit or len(wanted) > target
        source, wanted = self._keep_ends(source, limit), self._keep_ends(wanted, target)
        return EncodedExample(source, wanted, source, row["completion"], cut)

    def _completion(self, prompt: str, completion: str) -> EncodedExample:
        limit = self.workload.seq_len
        before = self._ids(prompt, special=True, end=False)
        after = self._ids(completion) + self._end()
        room = max(0, limit - len(after))
        kept = before[max(0, len(before) - room) :]
        answer = after[: limit - len(kept)]
        cut = len(kept) < len(before) or len(answer) < len(after)
        return EncodedExample(kept + answer, [IGNORED] * len(kept) + answer, kept, completion, cut)

    def _chat(self, messages: Sequence[Mapping[str, str]]) -> EncodedExample:
        """Every assistant turn is learned; where the template rewrites earlier turns, only the last one is."""
        whole = self._template(messages, len(messages), prompt=False)
        labels = [IGNORED] * len(whole)
        last = (0, len(whole))
        turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        for i in turns:
            before = self._template(messages, i, prompt=True)
            through = self._template(messages, i + 1, prompt=False)
            if whole[: len(through)] == through and through[: len(before)] == before:
                labels[len(before) : len(through)] = through[len(before) :]
                last = (len(before), len(through))
            elif i == turns[-1]:
                start = _shared(before, whole)
                labels[start:] = whole[start:]
                last = (start, len(whole))
        limit = self.workload.seq_len
        start = max(0, len(whole) - limit)
        reference = messages[turns[-1]]["content"] if turns else ""
        return EncodedExample(whole[start:], labels[start:], whole[start : max(start, last[0])], reference, start > 0)

    def _template(self, messages: Sequence[Mapping[str, str]], end: int, *, prompt: bool) -> list[int]:
        """Ids of the first `end` messages; with `prompt`, and the beginning of an answer."""
        if not end:
            return []
        text = self._rendered.get((id(messages), end, prompt))
        if text is None:
            text = self.chats.render(messages[:end], prompt=prompt)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _render(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Render at once all that `_chat` will ask for; the rows, and so the identity of each chat, stay meanwhile."""
        wanted: dict[tuple[int, int, bool], tuple[Sequence[Mapping[str, str]], bool]] = {}
        for row in rows:
            messages = row["messages"]
            ends = {(len(messages), False)}
            for i, message in enumerate(messages):
                if message["role"] == "assistant":
                    ends |= {(i, True), (i + 1, False)}
            wanted |= {(id(messages), end, prompt): (messages[:end], prompt) for end, prompt in ends if end}
        self._rendered = dict(zip(wanted, self.chats.render_all(list(wanted.values())), strict=True))

    def _ids(self, text: str, *, special: bool = False, end: bool = True) -> list[int]:
        ids = list(self.tokenizer(text, add_special_tokens=special)["input_ids"])
        if not end and ids and ids[-1] in (self.tokenizer.eos_token_id, self.tokenizer.sep_token_id):
            ids.pop()
        return ids

    def _end(self) -> list[int]:
        return [] if self.tokenizer.eos_token_id is None else [self.tokenizer.eos_token_id]

    def _keep_ends(self, ids: list[int], limit: int) -> list[int]:
        """The first `limit` tokens, the closing special token kept where there is one."""
        if len(ids) <= limit:
            return ids
        closing = ids[-1] in (self.tokenizer.eos_token_id, self.tokenizer.sep_token_id)
        return [*ids[: limit - 1], ids[-1]] if closing and limit > 1 else ids[:limit]


def batched(rows: Iterable[Mapping[str, Any]], size: int) -> Iterator[list[Mapping[str, Any]]]:
    """Rows in lists of at most `size`."""
    rest = iter(rows)
    while part := list(itertools.islice(rest, size)):
        yield part


def _shared(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the common beginning."""
    for i, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return i
    return min(len(left), len(right))


def collate(examples: Sequence[EncodedExample], pad: int, *, left: bool = False) -> dict[str, torch.Tensor]:
    """A padded batch: input_ids, attention_mask [B,S], labels [B], [B,S] or [B,T] for encoder-decoders."""
    import torch

    ids, mask = _padded([e.input_ids for e in examples], pad, left)
    batch = {"input_ids": ids, "attention_mask": mask}
    if isinstance(examples[0].labels, int):
        batch["labels"] = torch.tensor([e.labels for e in examples])
    else:
        batch["labels"], _ = _padded([list(_sequence(e.labels)) for e in examples], IGNORED, left)
    return batch


def collate_prompts(prompts: Sequence[Sequence[int]], pad: int, *, left: bool) -> dict[str, torch.Tensor]:
    """Prompts to generate from; decoders need them padded on the left."""
    ids, mask = _padded([list(p) for p in prompts], pad, left)
    return {"input_ids": ids, "attention_mask": mask}


def _sequence(labels: list[int] | int) -> list[int]:
    return [labels] if isinstance(labels, int) else labels


def _padded(rows: Sequence[list[int]], pad: int, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    width = max(len(row) for row in rows)
    ids, mask = torch.full((len(rows), width), pad), torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[i, place] = torch.tensor(row)
        mask[i, place] = 1
    return ids, mask
