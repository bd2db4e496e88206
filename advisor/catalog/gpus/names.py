"""How people, drivers and shops write a GPU's name: the words that count, and which names lie near a mistyped one."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Sequence
from typing import Final

Words = tuple[str, ...]

_VENDORS: Final = frozenset(
    ("nvidia", "geforce", "tesla", "amd", "radeon", "instinct", "intel", "habana", "google", "aws", "huawei")
)
_FILLERS: Final = frozenset(
    ("gpu", "gpus", "graphics", "card", "series", "generation", "with", "design", "oam", "mcm", "ac", "mba", "mig")
)
"""Words that say nothing of the chip: nvidia-smi's `Laptop GPU`, rocm-smi's `MI250X (MCM) OAM AC MBA`."""
VARIANTS: Final = frozenset(("laptop", "maxq", "ti", "super", "d", "sff", "v2", "max", "ultra", "embedded", "liquid"))
"""Words that name another chip or another power limit: a name without one is never completed by one."""

_SAME: Final = {"mobile": "laptop", "notebook": "laptop"}
_SUFFIXES: Final = {
    "ti": ("ti",),
    "super": ("super",),
    "tisuper": ("ti", "super"),
    "tis": ("ti", "super"),
    "s": ("super",),
    "d": ("d",),
    "m": ("laptop",),
}
_GEFORCE: Final = re.compile(r"(rtx|gtx)?(\d{4})(tisuper|tis|ti|super|s|d|m)?")
SIZE: Final = re.compile(r"(\d{1,4})gb")


@functools.lru_cache(maxsize=4096)
def words_of(name: str) -> Words:
    """Lower-case words that count: `NVIDIA A100-SXM4-80GB` -> a100, sxm4, 80gb; `4070TiS` -> 4070, ti, super."""
    text = re.sub(r"max[\s-]?q\b", "maxq", name.lower())
    text = re.sub(r"(\d)\s+(?=gi?b\b)", r"\1", text)
    text = re.sub(r"(\d)g(?:ib)?\b(?!\.)", r"\1gb", text)
    found: list[str] = []
    for word in map(str, re.findall(r"[a-z0-9]+", text)):
        if word in _VENDORS or word in _FILLERS:
            continue
        geforce = _GEFORCE.fullmatch(word)
        if geforce:
            series, number, suffix = geforce.groups()
            found.extend(part for part in (series, number, *_SUFFIXES.get(suffix or "", ())) if part)
        else:
            found.append(_SAME.get(word, word))
    return tuple(found)


def without_size(words: Words) -> tuple[Words, int | None]:
    """The words other than a memory size, and that size in GB where exactly one is named."""
    sizes = [word for word in words if SIZE.fullmatch(word)]
    rest = tuple(word for word in words if word not in sizes)
    return rest, int(sizes[0][:-2]) if len(sizes) == 1 else None


def near(words: Words, spellings: Iterable[tuple[str, Sequence[Words]]], at_most: int = 4) -> list[str]:
    """Names whose model number is like the one asked for, best first: `h10` finds H100, `2090` never B200.

    Args:
        spellings: each name with all the ways it is spelled.
    """
    scored: list[tuple[float, str]] = []
    for name, ways in spellings:
        best = max((_likeness(words, way) for way in ways), default=0.0)
        if best > 0:
            scored.append((-best, name))
    return [name for _, name in sorted(scored)[:at_most]]


def _likeness(asked: Words, spelled: Words) -> float:
    """0: another series altogether. Model numbers decide; the other words break ties."""
    numbers = [word for word in asked if re.search(r"\d", word) and not SIZE.fullmatch(word)]
    if not numbers:
        overall = _overall(asked, spelled)
        return 1 + overall if set(asked) & set(spelled) else (overall if overall >= 0.6 else 0.0)
    best = max((_alike(number, word) for number in numbers for word in spelled if not SIZE.fullmatch(word)), default=0)
    if best < 0.5:
        return 0.0
    other_variant = len((set(asked) ^ set(spelled)) & VARIANTS)
    return 2 * best + _overall(asked, spelled) - 0.1 * other_variant


def _overall(one: Words, other: Words) -> float:
    return difflib.SequenceMatcher(None, "".join(one), "".join(other)).ratio()


def _alike(asked: str, spelled: str) -> float:
    """How like two model numbers are: letters in front must agree, and bare numbers must be of one length."""
    one, other = _split(asked), _split(spelled)
    if one is None or other is None or one[0] != other[0]:
        return 0.0
    if one == other:
        return 1.0
    if not one[0] and len(one[1]) != len(other[1]):
        return 0.0
    if not one[0]:
        same = sum(a == b for a, b in zip(one[1], other[1], strict=True))
        return same / len(one[1])
    likeness = difflib.SequenceMatcher(None, one[1] + one[2], other[1] + other[2]).ratio()
    # m5 and m4: the next of a family
    return max(likeness, 0.5) if len(one[1]) == len(other[1]) else likeness


def _split(word: str) -> tuple[str, str, str] | None:
    """Letters, digits, what follows: `mi300x` -> mi, 300, x; None without a digit."""
    found = re.fullmatch(r"([a-z]*)(\d+)([a-z0-9]*)", word)
    return (found[1], found[2], found[3]) if found else None
