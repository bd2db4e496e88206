"""Chats rendered by a tokenizer's own template, within a limit of time, memory and output.

A template is a program out of a model's folder. jinja2's sandbox keeps it from our objects, but not from looping
for ever or taking all memory. It is rendered in a forked child that may use so much and no more: the fork costs
some 40 ms once a tokenizer, and asking it for 64 chats at once about 0.3 ms a chat.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import struct
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Final

from advisor.errors import UnsupportedModel

RENDER_SECONDS: Final = 10.0
"""For one chat; templates in use take about a millisecond."""
MEAN_SECONDS: Final = 0.2
"""For each of many chats, on top of RENDER_SECONDS for all of them."""
MEMORY_BYTES: Final = 512 * 2**20
"""Beyond what the process has when it starts."""
OUTPUT_FACTOR: Final = 50
OUTPUT_CHARACTERS: Final = 2**20
"""A rendered chat has at most OUTPUT_FACTOR times its characters and this many more: room for long system prompts."""


Messages = Sequence[Mapping[str, Any]]
Chat = tuple[Messages, bool] | tuple[Messages, bool, Sequence[Any] | None]
"""Messages, whether an answer is to begin after them, and the tools that may be called."""


class TemplateRefused(ValueError):
    """The template raised an error of its own, as templates do for roles they do not take."""


class ChatRenderer:
    """Renders chats with a tokenizer's template; one child for all of them, ended with this object.

    On systems without fork (Windows) the template is rendered in this process, without these limits.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._child: _Child | None = None
        self._seconds = 0.0
        self._chats = 0

    def render(self, messages: Messages, *, prompt: bool = False) -> str:
        """The chat as text; with `prompt`, and the beginning of an answer.

        Raises:
            TemplateRefused: the template says that it does not take these messages.
            UnsupportedModel: it loops, grows beyond the limits, or is no template.
        """
        return self.render_all([(messages, prompt)])[0]

    def render_all(self, chats: Sequence[Chat]) -> list[str]:
        """Many at once, each with its `prompt` and perhaps its tools.

        The child is asked once, which costs more than a rendering.

        Raises:
            As `render`, of the first chat that cannot be rendered.
        """
        questions = [
            {"messages": list(messages), "prompt": prompt, "tools": list(tools[0]) if tools and tools[0] else None}
            for messages, prompt, *tools in chats
        ]
        texts: list[str] = []
        for said in self._answers(questions):
            if "text" not in said:
                raise self._refusal(said)
            texts.append(str(said["text"]))
        return texts

    def _answers(self, questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not hasattr(os, "fork"):
            return _answer_all(self._tokenizer, questions)
        if self._child is None:
            self._child = _Child(self._tokenizer)
            weakref.finalize(self, self._child.end)
        self._chats += len(questions)
        began = time.monotonic()
        # what earlier chats did not use is no licence for one that does not end
        whole = RENDER_SECONDS + MEAN_SECONDS * self._chats - self._seconds
        found = self._child.ask(questions, max(0.1, min(whole, RENDER_SECONDS + MEAN_SECONDS * len(questions))))
        self._seconds += time.monotonic() - began
        return found

    def _refusal(self, said: Mapping[str, Any]) -> Exception:
        if said.get("kind") == "refused":
            return TemplateRefused(said["reason"])
        if self._child is not None:
            self._child.end()
            self._child = None
        return UnsupportedModel(
            f"the chat template of {getattr(self._tokenizer, 'name_or_path', 'the model')} cannot be used",
            cause=str(said.get("reason")),
            hints=["use rows with prompt and completion, or correct the model's chat_template"],
        )


class _Child:
    """The forked process, and pipes of length-prefixed JSON to and from it."""

    def __init__(self, tokenizer: Any) -> None:
        # what the child will need is loaded here: after a fork nothing should be imported
        for name in ("jinja2.ext", "jinja2.sandbox", "transformers.utils.chat_template_utils"):
            importlib.import_module(name)
        sys.stdout.flush()
        sys.stderr.flush()
        down_read, down_write = os.pipe()
        up_read, up_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(down_write)
            os.close(up_read)
            _serve(tokenizer, down_read, up_write)
        os.close(down_read)
        os.close(up_write)
        self.down = os.fdopen(down_write, "wb", buffering=0)
        self.up = up_read
        self.ended = False

    def ask(self, questions: Sequence[Mapping[str, Any]], seconds: float) -> list[dict[str, Any]]:
        """The child's answers, up to the first that is none; or why there are none."""
        until = time.monotonic() + seconds
        try:
            _send(self.down, questions)
            head = self._read(4, until)
            if head is not None and len(head) == 4:
                body = self._read(struct.unpack("<I", head)[0], until)
                if body is not None:
                    return json.loads(body)
        except (OSError, ValueError):
            head = b""
        if head is None or time.monotonic() >= until:
            return [{"reason": f"it did not end within {RENDER_SECONDS:g} s a chat"}]
        return [{"reason": f"it took more than {MEMORY_BYTES >> 20} MiB of memory, or ended the process it ran in"}]

    def _read(self, size: int, until: float) -> bytes | None:
        """So many bytes; fewer where the child is gone, None where time ran out."""
        found = bytearray()
        while len(found) < size:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.up], [], [], left)[0]:
                return None
            part = os.read(self.up, min(1 << 20, size - len(found)))
            if not part:
                break
            found += part
        return bytes(found)

    def end(self) -> None:
        """Kill it, if it still runs."""
        if self.ended:
            return
        self.ended = True
        with contextlib.suppress(OSError):
            self.down.close()
        with contextlib.suppress(OSError):
            os.close(self.up)
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.waitpid(self.pid, 0)


def _send(stream: BinaryIO, value: Sequence[Mapping[str, Any]]) -> None:
    body = json.dumps(value).encode()
    whole = memoryview(struct.pack("<I", len(body)) + body)
    while whole:
        whole = whole[stream.write(whole) :]


def _serve(tokenizer: Any, down: int, up: int) -> None:
    """The child's whole life; it leaves by `_exit`, since everything else is the parent's."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        _limit_memory()
        questions, answers = os.fdopen(down, "rb"), os.fdopen(up, "wb", buffering=0)
        while head := questions.read(4):
            asked = json.loads(questions.read(struct.unpack("<I", head)[0]))
            # the parent ends us in time; this is for a parent that is gone
            signal.setitimer(signal.ITIMER_REAL, 3 * RENDER_SECONDS + MEAN_SECONDS * len(asked))
            said = _answer_all(tokenizer, asked)
            signal.setitimer(signal.ITIMER_REAL, 0)
            _send(answers, said)
    finally:
        os._exit(0)


def _answer_all(tokenizer: Any, questions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for question in questions:
        found.append(_answer(tokenizer, question))
        if "text" not in found[-1]:
            break
    return found


def _answer(tokenizer: Any, question: Mapping[str, Any]) -> dict[str, Any]:
    from jinja2 import TemplateError, TemplateSyntaxError
    from jinja2.exceptions import SecurityError, UndefinedError

    messages = question["messages"]
    try:
        tools: dict[str, Any] = {"tools": question["tools"]} if question.get("tools") else {}
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=question["prompt"], **tools
        )
    except (TemplateSyntaxError, SecurityError) as error:
        return {"kind": "broken", "reason": f"{type(error).__name__}: {str(error)[:300]}"}
    except UndefinedError as error:
        return {"kind": "refused", "reason": f"{type(error).__name__}: {str(error)[:300]}"}
    except TemplateError as error:
        return {"kind": "refused", "reason": str(error)[:300]}
    except MemoryError:
        return {"kind": "broken", "reason": f"it took more than {MEMORY_BYTES >> 20} MiB of memory"}
    except Exception as error:
        return {"kind": "broken", "reason": f"{type(error).__name__}: {str(error)[:300]}"}
    size = sum(len(str(value)) for message in messages for value in message.values()) + len(str(question.get("tools")))
    most = OUTPUT_FACTOR * size + OUTPUT_CHARACTERS
    if len(text) > most:
        return {"kind": "broken", "reason": f"it made {len(text):,} characters of {size:,}"}
    return {"text": text}


def _limit_memory() -> None:
    """Of the address space: what is there by now and MEMORY_BYTES, where the system can be told."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as stream:
            now = int(stream.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError):
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
