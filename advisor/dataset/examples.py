"""One row in the common form that is measured and trained on, whatever columns it came in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from advisor.dataset.columns import characters
from advisor.dataset.files import bad
from advisor.dataset.folders import Placed
from advisor.dataset.row_formats import RowKind
from advisor.domain.plain_values import is_list, is_mapping, is_object
from advisor.errors import BadFile

Label = str | int
Message = dict[str, Any]

SPEAKERS: Final = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "function": "tool",
    "developer": "system",
}
"""Names of speakers in ShareGPT's and others' rows, as chat templates call them."""
TURN_KEYS: Final = (
    "role",
    "from",
    "content",
    "value",
    "name",
    "tool_calls",
    "tool_call_id",
    "reasoning_content",
    "thinking",
)
"""What of a chat turn goes to the chat template."""
BESIDE: Final = "\n\n"
"""Between an instruction and what it is about; titles and bodies and two sentences are joined by one line break."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row in the common form. `text` is the input (the whole, without a target); chats keep their turns."""

    text: str
    target: str | None = None
    label: Label | None = None
    messages: tuple[Message, ...] = ()
    """Turns as a chat template takes them: role, content, and tool calls or reasoning where there are any."""
    tools: tuple[Any, ...] = ()
    """What the assistant may call, as a chat template takes it."""

    @property
    def empty(self) -> bool:
        """Nothing to learn from: no input, no target where there should be one, an assistant that never speaks."""
        if self.messages:
            said = [m for m in self.messages if m["role"] == "assistant"]
            return not any(m["content"].strip() or m.get("tool_calls") for m in said)
        return not self.text.strip() or (self.target is not None and not self.target.strip())

    @property
    def characters(self) -> int:
        """Characters of all its parts."""
        if self.messages:
            return sum(characters(m, chat=True) for m in self.messages) + characters(list(self.tools))
        return len(self.text) + len(self.target or "")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file's rows are read: as which kind, which columns for what."""

    format: str
    kind: RowKind
    roles: Mapping[str, tuple[str, ...]]
    unlabelled: Label | None = None
    """The label that means that a row has none; such rows are left out."""
    answers: tuple[str, ...] = ()
    """Roles of the answers of a row that is several sequences: a preferred and a rejected one."""

    @property
    def used(self) -> frozenset[str]:
        """Names of the columns that are read."""
        return frozenset(name for names in self.roles.values() for name in names)

    def examples(self, placed: Placed) -> tuple[Example | None, ...]:
        """A row's sequences in the common form: one, or one for each of its answers. Raises as `example`."""
        if not self.answers:
            return (self.example(placed),)
        row = _Row(placed, self.roles)
        return tuple(_answered(row, self, role) for role in self.answers)

    def example(self, placed: Placed) -> Example | None:
        """A row in the common form; None for a row without a label.

        Raises:
            BadFile: the row lacks what the others have, or holds another kind of value there.
        """
        row = _Row(placed, self.roles)
        if self.kind == "messages":
            return Example("", messages=_conversation(row), tools=_tools(row))
        if self.kind == "prompt-completion":
            if "completion" in self.roles:
                return Example(row.text("prompt", "context"), row.text("completion"))
            label = row.label()
            if self.unlabelled is not None and label == self.unlabelled:
                return None
            return Example(row.text("prompt", "context"), str(label))
        text = row.text("text")
        if self.kind == "text":
            return Example(text)
        label = row.label()
        return None if self.unlabelled is not None and label == self.unlabelled else Example(text, label=label)


class _Row:
    """One row with its place, read by role."""

    def __init__(self, placed: Placed, roles: Mapping[str, tuple[str, ...]]) -> None:
        self.path, self.number, self.row = placed
        self.roles = roles

    def fault(self, reason: str) -> BadFile:
        return bad(self.path, reason, self.number)

    def values(self, role: str) -> list[tuple[str, Any]]:
        """(column, value) of a role; a name like `translation.en` reaches into an object."""
        return [(name, _reached(self.row, name)) for name in self.roles.get(role, ())]

    def value(self, role: str) -> Any:
        return next((value for _, value in self.values(role)), None)

    def text(self, role: str, beside: str = "") -> str:
        """The texts of a role's columns joined, and of a second role's below them."""
        found = self._texts(role)
        if not found:
            names = " and ".join(map(repr, self.roles.get(role, (role,))))
            raise self.fault(f"has no {names}, and other rows have: one file holds one kind of rows")
        text = "\n".join(found)
        more = [part for part in self._texts(beside) if part]
        return BESIDE.join([text, *more]) if more else text

    def _texts(self, role: str) -> list[str]:
        """A column that is there but null is an empty text."""
        parts: list[str] = []
        for name, value in self.values(role):
            if value is None:
                parts.extend([""] if name in self.row else [])
            elif isinstance(value, str):
                parts.append(_writable(value, name, self))
            else:
                raise self.fault(f"has {type(value).__name__} in {name!r} where text is expected")
        return parts

    def label(self) -> Label:
        """A class name or number."""
        (name, value), *_ = self.values("label")
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool):
            value = int(value)
        if value is None or value != value or (isinstance(value, str) and not value.strip()):  # NaN differs from itself
            raise self.fault(f"has no label in {name!r}")
        if not isinstance(value, (str, int)):
            raise self.fault(f"has {type(value).__name__} in {name!r} where a class is expected")
        return _writable(value, name, self) if isinstance(value, str) else value


def _answered(row: _Row, layout: Layout, role: str) -> Example:
    """A pair's prompt with one of its answers; a conversation's turns with one of two last ones."""
    if layout.kind != "messages":
        answer = row.text(role)
        return Example(row.text("prompt"), answer) if "prompt" in layout.roles else Example(answer)
    before = [turn for asked in ("prompt", "messages") if asked in layout.roles for turn in _turns(row, asked)]
    answer = row.value(role)
    if is_mapping(answer):
        return Example("", messages=(*before, _message(answer, row)))
    if isinstance(answer, str) and not _is_json_list(answer):
        return Example("", messages=(*before, _turn("assistant", row.text(role))))
    return Example("", messages=(*before, *_turns(row, role)))


def _reached(row: Mapping[str, Any], name: str) -> Any:
    if name in row or "." not in name:
        return row.get(name)
    value: Any = row
    for part in name.split("."):
        value = value.get(part) if is_mapping(value) else None
    return value


def _conversation(row: _Row) -> tuple[Message, ...]:
    """The turns of a row: a chat's own, or those that a prompt with its system text and history makes."""
    system = row.text("system") if row.value("system") else ""
    if "messages" in row.roles:
        turns = _turns(row, "messages")
    else:
        prompt = row.value("prompt")
        if is_list(prompt) or _is_json_list(prompt):
            turns = [*_turns(row, "prompt"), *_turns(row, "completion")]
        else:
            asked, answered = row.text("prompt", "context"), row.text("completion")
            turns = [*_history(row), _turn("user", asked), _turn("assistant", answered)]
    if system and not any(turn["role"] == "system" for turn in turns):
        turns = [_turn("system", system), *turns]
    return tuple(turns)


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _history(row: _Row) -> Iterable[Message]:
    """Earlier turns, as Alpaca's rows hold them: [question, answer] pairs, or turns."""
    history = _listed(row.value("history"), "history", row)
    for pair in history:
        if is_mapping(pair):
            yield _message(pair, row)
            continue
        if not is_list(pair) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise row.fault("has a history that is not a list of [question, answer]")
        yield _turn("user", _writable(pair[0], "history", row))
        yield _turn("assistant", _writable(pair[1], "history", row))


def _turns(row: _Row, role: str) -> list[Message]:
    """[{role, content}], ShareGPT's [{from, value}] or XTuner's [{input, output}]."""
    turns: list[Message] = []
    for turn in _listed(row.value(role), role, row):
        if not is_mapping(turn):
            raise row.fault("has a message that is not an object")
        pair = next(
            (p for p in (("input", "output"), ("human", "assistant"), ("user", "assistant")) if set(p) <= set(turn)),
            None,
        )
        if pair and not turn.keys() & {"role", "from"}:
            if turn.get("system"):
                turns.append(_message({"role": "system", "content": turn["system"]}, row))
            turns.append(_message({"role": "user", "content": turn[pair[0]]}, row))
            turns.append(_message({"role": "assistant", "content": turn[pair[1]]}, row))
        else:
            turns.append(_message(turn, row))
    if not turns:
        raise row.fault("has no messages")
    return turns


def _message(turn: Mapping[str, Any], row: _Row) -> Message:
    """A turn as a chat template takes it; the text parts of a content of parts are joined."""
    role = turn.get("role", turn.get("from"))
    content = turn.get("content", turn.get("value"))
    calls = turn.get("tool_calls")
    if is_list(content):
        content = "".join(_part(part) for part in content)
    if content is None and calls:
        content = ""
    if not isinstance(role, str) or not isinstance(content, str):
        raise row.fault("has a message without role and content")
    said = _turn(SPEAKERS.get(role.lower(), role.lower()), _writable(content, "content", row))
    for key in ("name", "tool_call_id", "reasoning_content", "thinking"):
        if isinstance(turn.get(key), str) and turn[key]:
            said[key] = _writable(turn[key], key, row)
    return said | ({"tool_calls": [_call(_without_nulls(call)) for call in calls]} if is_list(calls) and calls else {})


def _part(part: Any) -> str:
    """The text of one part of a content."""
    if isinstance(part, str):
        return part
    text = part.get("text") if is_mapping(part) else None
    return text if isinstance(text, str) else ""


def _without_nulls(value: Any) -> Any:
    """A table gives every object all keys that any has, null where it had none; templates would print them."""
    if is_mapping(value):
        return {key: _without_nulls(v) for key, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if is_list(value) else value


def _call(call: Any) -> Any:
    """A tool call; arguments that are JSON in a text, as OpenAI writes them, become the object templates expect."""
    function = call.get("function") if is_mapping(call) else None
    if not is_mapping(function) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"])
    except (ValueError, RecursionError):
        return call
    return {**call, "function": {**function, "arguments": arguments}} if is_object(arguments) else call


def _tools(row: _Row) -> tuple[Any, ...]:
    tools = row.value("tools")
    return tuple(_without_nulls(tool) for tool in _listed(tools, "tools", row)) if tools else ()


def _listed(value: Any, name: str, row: _Row) -> Sequence[Any]:
    """A list, or JSON of one, as a table's cell holds it."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise row.fault(f"has text in {name!r} that is not a JSON list") from error
    if value is None or value == "":
        return ()
    if not is_list(value):
        raise row.fault(f"has {type(value).__name__} in {name!r} where a list is expected")
    return value


def _is_json_list(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip().startswith("[{")


def _writable(value: str, column: str, row: _Row) -> str:
    """JSON's escapes can spell half a character, which no file and no tokenizer takes."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise row.fault(f"has half a character (a lone surrogate) at {error.start} of {column!r}") from error
    return value


def turn_keys_left_out(row: Mapping[str, Any], layout: Layout) -> set[str]:
    """Keys of a row's chat turns that no chat template takes."""
    columns = layout.roles.get("messages", ())
    turns = [turn for name in columns if is_list(row.get(name)) for turn in row[name]]
    pairs = {"input", "output", "human", "assistant", "user", "system"}
    return {key for turn in turns if is_mapping(turn) for key in turn if key not in TURN_KEYS and key not in pairs}
