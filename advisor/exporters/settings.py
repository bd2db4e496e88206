"""The keys of somebody's config: read with the tool's own defaults, each remembered once it was used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any, NoReturn

from advisor.catalog.trainer_formats import TrainerFormat
from advisor.domain.plain_values import is_list, is_mapping
from advisor.errors import IllegalRecipe


class Settings:
    """A config's keys, those of sections dotted as the format's are, and which of them were used.

    A value that is absent, or null, is what the tool takes then.
    """

    def __init__(self, document: Mapping[str, Any], format: TrainerFormat) -> None:
        self.format = format
        sections = {key.partition(".")[0] for key in format.keys if "." in key}
        self._given = dict(_flat(document, sections))
        self._used: set[str] = set()

    def get(self, key: str, otherwise: Any = None) -> Any:
        """The value of a key, else the tool's own, else `otherwise`."""
        self._used.add(key)
        value = self._given.get(key)
        return self.format.defaults.get(key, otherwise) if value is None else value

    def has(self, key: str) -> bool:
        """Whether the config gives the key a value; asking does not use it."""
        return self._given.get(key) is not None

    def number(self, key: str, otherwise: float | None = None) -> float | None:
        """A number; `1e-4`, which YAML reads as text, is one.

        Raises:
            IllegalRecipe: it is none.
        """
        value = self.get(key, otherwise)
        if value is None:
            return None
        try:
            made = float(value) if not isinstance(value, bool) else float("nan")
        except (TypeError, ValueError, OverflowError):
            made = float("nan")
        if not isfinite(made):
            self.refuse(key, f"{value!r} is not a number")
        return made

    def whole(self, key: str, otherwise: int | None = None) -> int | None:
        """A whole number. Raises as `number`."""
        made = self.number(key, otherwise)
        if made is not None and made != int(made):
            self.refuse(key, f"{made:g} is not a whole number")
        return None if made is None else int(made)

    def flag(self, key: str, otherwise: bool = False) -> bool:
        """True or false.

        Raises:
            IllegalRecipe: it is neither.
        """
        value = self.get(key, otherwise)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if not isinstance(value, bool):
            self.refuse(key, f"{value!r} is neither true nor false")
        return value

    def text(self, key: str, otherwise: str | None = None) -> str | None:
        """A text.

        Raises:
            IllegalRecipe: it is something else.
        """
        value = self.get(key, otherwise)
        if value is not None and not isinstance(value, str):
            self.refuse(key, f"{value!r} is not a text")
        return value

    def names(self, key: str, otherwise: Any = None) -> str | list[str] | None:
        """One name, or a list of them; a list of one is that one.

        Raises:
            IllegalRecipe: it holds something else.
        """
        value = self.get(key, otherwise)
        if isinstance(value, str) and "," in value:
            value = [part.strip() for part in value.split(",") if part.strip()]
        if value is None or isinstance(value, str):
            return value
        if not is_list(value) or not value or not all(isinstance(one, str) for one in value):
            self.refuse(key, f"{value!r} is no list of names")
        return value[0] if len(value) == 1 else value

    def whole_document(self) -> dict[str, Any]:
        """Every key with its value; all count as used."""
        self._used.update(self._given)
        return dict(self._given)

    def refuse(self, key: str, why: str) -> NoReturn:
        """Refuse the config because of one key."""
        raise IllegalRecipe(f"{self.format.said} config, {key}: {why}", key=key)

    def refuse_if_set(self, reasons: Mapping[str, str]) -> None:
        """Refuse keys that ask for what is not modelled; one that is false, 0 or empty asks for nothing."""
        for key, why in reasons.items():
            if self._given.get(key):
                self.refuse(key, f"{self._given[key]!r}: {why}"[:300])
            self._used.add(key) if key in self._given else None

    def refuse_both(self, one: str, other: str) -> None:
        """Refuse two switches of which at most one can be on."""
        if self._given.get(one) and self._given.get(other):
            self.refuse(one, f"it contradicts {other}: at most one of them can be set")

    def unused(self) -> tuple[str, ...]:
        """Keys with a value that were not asked for, and that the tool knows."""
        return tuple(key for key in self._given if key not in self._used and key in self._known())

    def earlier(self) -> tuple[str, ...]:
        """Keys of older versions that were not asked for."""
        return tuple(key for key in self._given if key not in self._used and key in self._old())

    def unknown(self) -> tuple[str, ...]:
        """Keys that this version of the tool does not know, and no older one that we know of."""
        known = self._known() | self._old()
        return tuple(key for key in self._given if key not in self._used and key not in known)

    def _known(self) -> set[str]:
        return set(self.format.keys)

    def _old(self) -> set[str]:
        return set(self.format.earlier) - set(self.format.keys)


def _flat(document: Mapping[str, Any], sections: set[str]) -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if key in sections and is_mapping(value):
            for inner, one in value.items():
                yield f"{key}.{inner}", one
        else:
            yield str(key), value
