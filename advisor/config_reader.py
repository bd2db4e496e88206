"""Configs that people wrote, YAML or JSON, read as plain values: no tags, no aliases, no key twice.

The usual loaders take the last of two equal keys in silence, and YAML's expand aliases that a few lines can nest into
gigabytes. Numbers such as `1e-4`, which YAML 1.1 reads as text, stay text here; who asks for a number converts them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from advisor import store
from advisor.domain.plain_values import is_object
from advisor.errors import BadFile

LARGEST_CONFIG_BYTES: Final = 2**20
"""Of a config a person wrote; the largest examples of axolotl and LLaMA-Factory have some 5 kB."""
LONGEST_LINE: Final = 2**24
"""Characters of one line of cases; /dev/zero has no end of it."""


def lines_of(stream: IO[str], path: str) -> Iterator[str]:
    """The lines of a text stream as they come, none longer than LONGEST_LINE in memory.

    Raises:
        BadFile: a line is longer.
    """
    while line := stream.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE and not line.endswith("\n"):
            reason = f"a line has more than {LONGEST_LINE >> 20} million characters"
            raise BadFile(f"{path} is no file of lines: {reason}", path=path, reason=reason)
        yield line


def read_config_file(path: Path) -> dict[str, Any]:
    """The mapping that a file holds: JSON where its name ends in `.json`, else YAML.

    Raises:
        BadFile: missing, unreadable, too large, neither format, a key twice, an alias or a tag, or no mapping.
    """
    try:
        text = store.content(path).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise BadFile(f"there is no file {path}", path=str(path), reason="missing") from error
    except OSError as error:
        raise _bad(path, "cannot be read", error.strerror or str(error)) from error
    except (UnicodeDecodeError, ValueError) as error:
        raise _bad(path, "is not text", str(error)[:200]) from error
    if len(text) > LARGEST_CONFIG_BYTES:
        raise _bad(path, "is larger than any config", f"{len(text):,} characters")
    return parse_json(text, path) if path.suffix == ".json" else parse_yaml(text, path)


def parse_json(text: str, path: Path) -> dict[str, Any]:
    """The object in a JSON text; `path` is for the error. Raises as `read_config_file`."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, value in pairs:
            if name in made:
                raise ValueError(f"the key {name!r} stands there twice")
            made[name] = value
        return made

    try:
        found: object = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise _bad(path, "is not JSON as we read it", str(error)[:300]) from error
    if not is_object(found):
        raise _bad(path, "is not a JSON object", f"found {type(found).__name__}")
    return found


def parse_yaml(text: str, path: Path) -> dict[str, Any]:
    """The mapping in a YAML text; `path` is for the error. Raises as `read_config_file`."""
    import yaml

    class Loader(yaml.SafeLoader):
        """SafeLoader that refuses what it would otherwise resolve in silence."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            events: Any = self
            if events.check_event(yaml.AliasEvent):
                line = events.peek_event().start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: an alias (*name); write the value out")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                name = str(key.value)
                if name in seen:
                    raise yaml.YAMLError(f"line {key.start_mark.line + 1}: the key {name!r} stands there twice")
                seen.add(name)
            return super().construct_mapping(node, deep)

    try:
        found: object = Loader(text).get_single_data()
    except yaml.YAMLError as error:
        raise _bad(path, "is not YAML as we read it", " ".join(str(error).split())[:300]) from error
    except (RecursionError, ValueError, TypeError) as error:
        raise _bad(path, "is not YAML as we read it", type(error).__name__) from error
    if not is_object(found):
        raise _bad(path, "is not a mapping of keys to values", f"found {type(found).__name__}")
    return {str(key): value for key, value in found.items()}


def _bad(path: Path, what: str, reason: str) -> BadFile:
    return BadFile(f"{path} {what}", cause=reason, path=str(path), reason=reason)
