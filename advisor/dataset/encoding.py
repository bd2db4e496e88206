"""Rows to token ids, the same for every trainer; what of a row too long is cut off (CUT_RULE), and how many were."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from advisor.dataset.chat_template import Chat, ChatRenderer, TemplateRefused
from advisor.dataset.columns import NOT_COUNTED
from advisor.dataset.row_formats import RowKind
from advisor.domain.plain_values import is_list, is_mapping
from advisor.domain.workload import Workload
from advisor.errors import BadRequest

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""The label torch's cross-entropy leaves out."""

CHATS_AT_ONCE: Final = 64
"""Rows whose chats are rendered together: asking for them one by one takes longer than rendering them."""
GIANT_A_TOKEN: Final = 32
"""Characters of a text for each token wanted of it, beyond which only a part is made into tokens: English has some 4 a
token, and what of a row is cut off anyway need not be read for every trial."""
MARGIN: Final = 64
"""Tokens beyond those wanted, since the ones where a text was parted differ from those of the whole."""

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

    The lengths that are said before a training and the ids it trains on are made by the same lines here.

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

    def sizes(self, rows: Iterable[Mapping[str, Any]]) -> list[tuple[int, int]]:
        """`size` of each row."""
        found: list[tuple[int, int]] = []
        for part in batched(rows, CHATS_AT_ONCE):
            if self.kind == "messages":
                self._render(part, whole_only=True)
            found.extend(self.size(row) for row in part)
        return found

    def size(self, row: Mapping[str, Any]) -> tuple[int, int]:
        """Tokens of a row uncut: of the input or the whole, and of an encoder-decoder's target (else 0)."""
        if self.kind == "text-label":
            return len(self._ids(row["text"], special=True)), 0
        if self.pairs:
            return len(self._ids(row["prompt"], special=True)), len(self._ids(row["completion"], special=True))
        if self.kind == "text":
            return len(self._ids(row["text"], special=True) + self._end()), 0
        if self.kind == "prompt-completion":
            before = self._ids(row["prompt"], special=True, end=False)
            return len(before) + len(self._ids(row["completion"]) + self._end()), 0
        return len(self._tokens(self._whole_chat(row))), 0

    def left_out(self, row: Mapping[str, Any]) -> tuple[int, int]:
        """Characters of a chat that the model's template does not write, and all of them."""
        text = self._whole_chat(row)
        parts = [part for part in (*_texts(row["messages"], chat=True), *_texts(row.get("tools") or [])) if part]
        missing = [
            part for part in parts if part not in text and json.dumps(part, ensure_ascii=False)[1:-1] not in text
        ]
        return sum(map(len, missing)), sum(map(len, parts))

    def _one(self, row: Mapping[str, Any]) -> EncodedExample:
        limit = self.workload.seq_len
        if self.kind == "text-label":
            ids = self._first(row["text"], limit, special=True)
            kept = self._keep_ends(ids, limit)
            return EncodedExample(kept, self.classes[row["label"]], [], row["label"], len(ids) > limit)
        if self.pairs:
            return self._pair(row)
        if self.kind == "text":
            ids = self._first(row["text"], limit, special=True) + self._end()
            half = max(1, min(limit, len(ids)) // 2)
            reference = self.tokenizer.decode(ids[half:limit], skip_special_tokens=True)
            return EncodedExample(ids[:limit], ids[:limit], ids[:half], reference, len(ids) > limit)
        if self.kind == "prompt-completion":
            return self._completion(row["prompt"], row["completion"])
        return self._chat(row["messages"], row.get("tools"))

    def _pair(self, row: Mapping[str, Any]) -> EncodedExample:
        """Encoder input and decoder target; each keeps its beginning."""
        limit, target = self.workload.seq_len, self.workload.target_len or self.workload.seq_len
        source = self._first(row["prompt"], limit, special=True)
        wanted = self._first(row["completion"], target, special=True)
        cut = len(source) > limit or len(wanted) > target
        source, wanted = self._keep_ends(source, limit), self._keep_ends(wanted, target)
        return EncodedExample(source, wanted, source, row["completion"], cut)

    def _completion(self, prompt: str, completion: str) -> EncodedExample:
        limit = self.workload.seq_len
        after = self._first(completion, limit) + self._end()
        room = max(0, limit - len(after))
        before = self._last(prompt, room)
        kept = before[max(0, len(before) - room) :]
        answer = after[: limit - len(kept)]
        cut = len(kept) < len(before) or len(answer) < len(after)
        return EncodedExample(kept + answer, [IGNORED] * len(kept) + answer, kept, completion, cut)

    def _chat(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None) -> EncodedExample:
        """Every assistant turn is learned; where the template rewrites earlier turns, only the last one is."""
        limit = self.workload.seq_len
        text = self._written(messages, len(messages), tools, prompt=False)
        turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        reference = messages[turns[-1]]["content"] if turns else ""
        texts = {
            i: (
                self._written(messages, i, tools, prompt=True),
                self._written(messages, i + 1, tools, prompt=False),
            )
            for i in turns
        }
        if len(text) > GIANT_A_TOKEN * (limit + MARGIN):
            return self._giant_chat(text, list(texts.values()), reference)
        whole = self._tokens(text)
        labels = [IGNORED] * len(whole)
        last = (0, len(whole))
        for i, (before_text, through_text) in texts.items():
            before, through = self._tokens(before_text), self._tokens(through_text)
            if whole[: len(through)] == through and through[: len(before)] == before:
                labels[len(before) : len(through)] = through[len(before) :]
                last = (len(before), len(through))
            elif i == turns[-1]:
                start = _shared(before, whole)
                labels[start:] = whole[start:]
                last = (start, len(whole))
        start = max(0, len(whole) - limit)
        return EncodedExample(whole[start:], labels[start:], whole[start : max(start, last[0])], reference, start > 0)

    def _giant_chat(self, text: str, turns: Sequence[tuple[str, str]], reference: str) -> EncodedExample:
        """A chat of which most is cut off: only its end is made into tokens, turn by turn."""
        limit = self.workload.seq_len
        spans = [
            (len(before), len(through))
            for before, through in turns
            if text.startswith(through) and through.startswith(before)
        ]
        edges = sorted({0, len(text), *(place for span in spans for place in span)})
        ids: list[int] = []
        labels: list[int] = []
        for start, end in reversed(list(itertools.pairwise(edges))):
            piece = self._last(text[start:end], limit - len(ids), special=False)
            learned = (start, end) in spans
            ids, labels = piece + ids, (piece if learned else [IGNORED] * len(piece)) + labels
            if len(ids) >= limit:
                break
        ids, labels = ids[-limit:], labels[-limit:]
        answer = next((i for i in range(len(labels) - 1, -1, -1) if labels[i] != IGNORED), len(labels))
        while answer > 0 and labels[answer - 1] != IGNORED:
            answer -= 1
        return EncodedExample(ids, labels, ids[:answer], reference, True)

    def _whole_chat(self, row: Mapping[str, Any]) -> str:
        return self._written(row["messages"], len(row["messages"]), row.get("tools"), prompt=False)

    def _written(
        self, messages: Sequence[Mapping[str, Any]], end: int, tools: Sequence[Any] | None, *, prompt: bool
    ) -> str:
        """The first `end` messages as the model's template writes them; with `prompt`, and an answer's beginning."""
        if not end:
            return ""
        text = self._rendered.get((id(messages), end, prompt))
        return self._render_all([(messages[:end], prompt, tools)])[0] if text is None else text

    def _render(self, rows: Sequence[Mapping[str, Any]], *, whole_only: bool = False) -> None:
        """Render at once all that is asked of these rows; they, and so the identity of each chat, stay meanwhile."""
        wanted: dict[tuple[int, int, bool], Chat] = {}
        for row in rows:
            messages, tools = row["messages"], row.get("tools")
            ends = {(len(messages), False)}
            for i, message in enumerate(messages):
                if message["role"] == "assistant" and not whole_only:
                    ends |= {(i, True), (i + 1, False)}
            wanted |= {(id(messages), end, prompt): (messages[:end], prompt, tools) for end, prompt in ends if end}
        self._rendered = dict(zip(wanted, self._render_all(list(wanted.values())), strict=True))

    def _render_all(self, chats: Sequence[Chat]) -> list[str]:
        """Chats by the model's template.

        Raises:
            BadRequest: the template refuses the turns of one.
        """
        try:
            return self.chats.render_all(chats)
        except TemplateRefused as error:
            roles = ", ".join(dict.fromkeys(str(message["role"]) for chat in chats for message in chat[0]))
            raise BadRequest(
                f"the model's chat template refuses a chat of the rows, whose turns are of {roles}",
                cause=str(error),
                hints=["leave such turns out, or write the rows as prompt and completion"],
            ) from error

    def _tokens(self, text: str) -> list[int]:
        """Of a text in which the template wrote the special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _ids(self, text: str, *, special: bool = False, end: bool = True) -> list[int]:
        ids = list(self.tokenizer(text, add_special_tokens=special)["input_ids"])
        if not end and ids and ids[-1] in (self.tokenizer.eos_token_id, self.tokenizer.sep_token_id):
            ids.pop()
        return ids

    def _first(self, text: str, count: int, *, special: bool = False) -> list[int]:
        """The tokens of a text, or its first ones where it has far more than `count`: more than `count` of them."""
        size = GIANT_A_TOKEN * (count + MARGIN)
        while size < len(text):
            ids = self._ids(text[:size], special=special)
            if len(ids) >= count + MARGIN:
                return ids
            size *= 4
        return self._ids(text, special=special)

    def _last(self, text: str, count: int, *, special: bool = True) -> list[int]:
        """The tokens of a prompt, or its last ones where it has far more than `count`: more than `count` of them."""
        size = GIANT_A_TOKEN * (count + MARGIN)
        while size < len(text):
            ids = self._ids(text[-size:], special=special, end=not special)
            if len(ids) >= count + MARGIN:
                return ids
            size *= 4
        return self._ids(text, special=special, end=not special)

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


def _texts(value: Any, *, chat: bool = False) -> Iterator[str]:
    """Every text within a value, trimmed; of a chat without the names of roles."""
    if isinstance(value, str):
        yield value.strip()
    elif is_mapping(value):
        for key, inner in value.items():
            if not (chat and key in NOT_COUNTED):
                yield from _texts(inner, chat=chat)
    elif is_list(value):
        for inner in value:
            yield from _texts(inner, chat=chat)


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
