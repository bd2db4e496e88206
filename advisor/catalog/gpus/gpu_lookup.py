"""From what people and drivers call a GPU to its catalogue entry, saying how an ambiguous name was read."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from advisor import store
from advisor.catalog.gpus.unified_memory import UnifiedChip
from advisor.domain.hardware import Gpu
from advisor.errors import BadRequest, UnknownName

FOLDER = Path(__file__).parent
OWN_FOLDER = "gpus"
"""The user's own GPU files lie in this folder of the user data folder; one of the same name replaces ours."""

_VENDOR_WORDS = frozenset({"nvidia", "geforce", "tesla", "amd", "instinct", "intel", "habana", "google"})


@functools.cache
def _entries(own: Path) -> tuple[Gpu | UnifiedChip, ...]:
    by_name: dict[str, Gpu | UnifiedChip] = {}
    for place in (FOLDER, own):
        for path in store.listing(place) if place.is_dir() else ():
            document = store.read_document(path)
            kind = str(document.get("schema", "")).partition("/")[0]
            entry = store.made_of(UnifiedChip if kind == UnifiedChip.KIND else Gpu, document, path)
            by_name[entry.name] = entry
    return tuple(by_name.values())


def entries() -> tuple[Gpu | UnifiedChip, ...]:
    """Everything in the catalogue, chips without memory of their own included, and the user's own additions.

    Raises:
        BadFile: one of the user's own GPU files cannot be read.
    """
    return _entries(store.home("data") / OWN_FOLDER)


def listing(search: str = "") -> tuple[Gpu | UnifiedChip, ...]:
    """Entries all of whose search words occur in their name, aliases, vendor or generation; all without a search.

    Raises:
        UnknownName: a search that nothing matches; the field `near` holds names that exist.
    """
    words = _words(search)
    found = tuple(entry for entry in entries() if all(word in _text(entry) for word in words))
    if search.strip() and not (found and words):
        raise _unknown(search, words)
    return found


def gpus(search: str = "") -> tuple[Gpu, ...]:
    """Accelerators with memory of their own, all or those that match as in `listing`."""
    return tuple(entry for entry in listing(search) if isinstance(entry, Gpu))


def unified_chips() -> tuple[UnifiedChip, ...]:
    """The chips that share the machine's memory; `find_gpu("Apple-M4-Max-64GB")` makes a Gpu of one."""
    return tuple(entry for entry in entries() if isinstance(entry, UnifiedChip))


def find_gpu(name: str) -> tuple[Gpu, str]:
    """The GPU a name means, and a note for the reader where the name left a choice ("" where it did not).

    Case, blanks, dashes and vendor words do not matter, word order neither; what `torch.cuda.get_device_name()`
    says is understood. A name that fits several (`A100`, `H100`, `V100`) goes to the entry that lists it among
    its aliases, and the note says so.

    Raises:
        UnknownName: no entry, or several and none of them the default; the field `near` holds names that exist.
        BadRequest: a chip with unified memory, without the size of that memory.
    """
    words = _words(name)
    entry = _exact(words)
    if isinstance(entry, UnifiedChip) or entry is None:
        chip, size = _with_size(words)
        if chip is not None:
            return chip.with_memory(size), ""
    if isinstance(entry, UnifiedChip):
        raise BadRequest(
            f"{entry.name} shares the machine's memory, and that differs by machine",
            hints=[f"to say how much yours has: {entry.name}-32GB"],
            gpu=entry.name,
        )
    if entry is None:
        entry = _only_extension(words)
    if not isinstance(entry, Gpu):
        raise _unknown(name, words)
    return entry, _note(name, words, entry)


def _words(name: str) -> tuple[str, ...]:
    """Lower-case words without vendor names: `NVIDIA A100-SXM4-80GB` -> a100, sxm4, 80gb."""
    spaced = re.sub(r"(\d)\s+(?=g[bB]?\b)", r"\1", name.lower())
    return tuple(word for word in re.findall(r"[a-z0-9]+", spaced) if word not in _VENDOR_WORDS)


def _spellings(entry: Gpu | UnifiedChip) -> tuple[tuple[str, ...], ...]:
    return _spelled(entry.name, entry.aliases)


@functools.cache
def _spelled(name: str, aliases: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The words of the name and of each alias."""
    return tuple(_words(spelling) for spelling in (name, *aliases))


def _text(entry: Gpu | UnifiedChip) -> str:
    """What a search looks into; words are matched as parts, so `4090` and `rtx4090` both hit."""
    spelled = [" ".join((*words, "".join(words))) for words in _spellings(entry)]
    return " ".join((*spelled, entry.vendor, entry.generation.lower()))


def _exact(words: tuple[str, ...]) -> Gpu | UnifiedChip | None:
    """The entry with this name, else with this alias, else with these words in another order."""
    joined, sorted_words = "".join(words), sorted(words)
    if not words:
        return None
    for entry in entries():
        if "".join(_spellings(entry)[0]) == joined:
            return entry
    for entry in entries():
        if any("".join(spelling) == joined for spelling in _spellings(entry)):
            return entry
    for entry in entries():
        if any(sorted(spelling) == sorted_words for spelling in _spellings(entry)):
            return entry
    return None


def _with_size(words: tuple[str, ...]) -> tuple[UnifiedChip | None, int]:
    """A unified chip followed by its memory: `apple m4 max 64gb`."""
    size = re.fullmatch(r"(\d{1,5})gb?", words[-1]) if words else None
    chip = _exact(words[:-1]) if size else None
    return (chip, int(size[1])) if size and isinstance(chip, UnifiedChip) else (None, 0)


def _extensions(words: tuple[str, ...]) -> list[Gpu]:
    """GPUs one of whose spellings has all these words and more."""
    asked = set(words)
    return [gpu for gpu in gpus() if any(asked < set(spelling) for spelling in _spellings(gpu))]


def _only_extension(words: tuple[str, ...]) -> Gpu | None:
    """`4090` is RTX-4090 since nothing else has that word; `6000` is two cards and therefore nothing."""
    longer = _extensions(words) if any(re.search(r"\d", word) for word in words) else []
    return longer[0] if len(longer) == 1 else None


def _note(name: str, words: tuple[str, ...], entry: Gpu) -> str:
    canonical = _words(entry.name)
    if "".join(words) == "".join(canonical) or sorted(words) == sorted(canonical):
        return ""
    others = [gpu.name for gpu in _extensions(words) if gpu.name != entry.name]
    sizes = [word for word in canonical if re.fullmatch(r"\d+gb", word)]
    if others:
        return f"{name!r} may be {', '.join([entry.name, *others])}; taken as {entry.name}, the default of that name"
    if any(size not in " ".join(words) for size in sizes):
        return f"{name!r} taken as {entry.name}; cards of other memory sizes are called so too"
    return ""


def _unknown(name: str, words: tuple[str, ...]) -> UnknownName:
    known = [entry.name for entry in entries()]
    longer = [gpu.name for gpu in _extensions(words)] if words else []
    error = UnknownName.of("gpu", name, known, list_with="advisor gpus")
    if not longer:
        return error
    return UnknownName(
        f"{name!r} is not one GPU but {len(longer)}" if len(longer) > 1 else error.message,
        hints=[f"near names: {', '.join(longer)}", "to list all: advisor gpus"],
        kind="gpu",
        name=name,
        near=longer,
    )
