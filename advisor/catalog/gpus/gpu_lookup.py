"""From what people and drivers call a GPU to its catalogue entry, saying how an ambiguous name was read."""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path
from typing import Final

from advisor import store
from advisor.catalog.gpus.mig import profiles_of, slice_of, split_name
from advisor.catalog.gpus.mig.slices import parents_with
from advisor.catalog.gpus.names import SIZE, VARIANTS, Words, near, without_size, words_of
from advisor.catalog.gpus.own_cards import own_entry
from advisor.catalog.gpus.unified_memory import UnifiedChip
from advisor.domain.hardware import Gpu
from advisor.domain.units import GIB, gib
from advisor.errors import BadRequest, UnknownName

FOLDER = Path(__file__).parent
OWN_FOLDER = "gpus"
"""The user's own GPU files lie in this folder of the user data folder; one of the same name replaces ours."""
SEVERAL: Final = re.compile(r"(\d{1,4}) ?[xX×*] ?(\D.*)")
"""`8xH100`, as people write several of a kind."""
DESCRIBE: Final = (
    "to describe a card that is not listed: --gpu-memory 24GB --gpu-like RTX-4090",
    "or with figures of its own: advisor gpus --template",
)


@functools.cache
def _entries(own: Path) -> tuple[Gpu | UnifiedChip, ...]:
    by_name: dict[str, Gpu | UnifiedChip] = {}
    for path in sorted(FOLDER.glob("*.json")):
        document = store.read_document(path)
        kind = str(document.get("schema", "")).partition("/")[0]
        entry = store.made_of(UnifiedChip if kind == UnifiedChip.KIND else Gpu, document, path)
        by_name[entry.name] = entry
    for path in store.listing(own) if own.is_dir() else ():
        entry = own_entry(store.read_document(path), path)
        by_name[entry.name] = entry
    return tuple(by_name.values())


def own_folder() -> Path:
    """Where the user's own GPU files lie; it may not exist yet."""
    return store.home("data") / OWN_FOLDER


def forget() -> None:
    """Reads the user's own files anew at the next question: one was added."""
    _entries.cache_clear()
    _exact_among.cache_clear()


def entries() -> tuple[Gpu | UnifiedChip, ...]:
    """Everything in the catalogue, chips without memory of their own included, and the user's own additions.

    Raises:
        BadFile: one of the user's own GPU files cannot be read.
    """
    return _entries(own_folder())


def listing(search: str = "") -> tuple[Gpu | UnifiedChip, ...]:
    """Entries all of whose search words occur in their name, aliases, vendor or generation; all without a search.

    A name that means a slice of a GPU, or a chip in a machine of some size, lists what it means.

    Raises:
        UnknownName: a search that nothing matches; the field `near` holds names that exist.
    """
    words = words_of(search)
    makers = {entry.vendor for entry in entries()} & set(re.findall(r"[a-z]+", search.lower()))
    found = tuple(
        entry
        for entry in entries()
        if (not makers or entry.vendor in makers) and all(word in _text(entry) for word in words)
    )
    if search.strip() and not (found and (words or makers)):
        try:
            return (find_gpu(search)[0],)
        except UnknownName:
            raise _unknown(search, words) from None
    return found


def gpus(search: str = "") -> tuple[Gpu, ...]:
    """Accelerators with memory of their own, all or those that match as in `listing`."""
    return tuple(entry for entry in listing(search) if isinstance(entry, Gpu))


def unified_chips() -> tuple[UnifiedChip, ...]:
    """The chips that share the machine's memory; `find_gpu("Apple-M4-Max-64GB")` makes a Gpu of one."""
    return tuple(entry for entry in entries() if isinstance(entry, UnifiedChip))


def find_gpu(name: str) -> tuple[Gpu, str]:
    """The GPU a name means, and a note for the reader where the name left a choice ("" where it did not).

    Case, blanks, dashes and vendor words do not matter, word order neither; what nvidia-smi, rocm-smi and
    `torch.cuda.get_device_name()` say is understood, slices of a GPU (`A100-SXM4-80GB MIG 1g.10gb`) included.
    A name that fits several (`A100`, `H100`, `V100`) goes to the entry that lists it among its aliases, and the
    note says so. A laptop's part, or another variant, is never taken for the card whose number it bears.

    Raises:
        UnknownName: no entry, or several and none of them the default; the field `near` holds names that exist.
        BadRequest: a chip with unified memory, without the size of that memory; a slice that the GPU has not.
    """
    sliced = split_name(name)
    if sliced is not None:
        return _slice(name, *sliced)
    words = words_of(name)
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
        entry = _only_extension(words) or _of_size(words)
    if not isinstance(entry, Gpu):
        raise _unknown(name, words)
    return entry, _note(name, words, entry)


def reported_gpu(name: str, memory_bytes: int | None) -> tuple[Gpu, str]:
    """The GPU that a driver reports with this name and memory: the memory tells cards of one name apart.

    Raises:
        UnknownName, BadRequest: as `find_gpu`; or no card of this name has that memory.
    """
    gpu, note = find_gpu(name)
    if memory_bytes is None or _holds(gpu, memory_bytes):
        return gpu, note if memory_bytes is None else ""
    rest = without_size(words_of(name))[0]
    for other in _candidates(rest):
        if _holds(other, memory_bytes):
            return other, ""
    raise BadRequest(
        f"this machine's {name} has {gib(memory_bytes)}, and the {gpu.name} of the catalogue {gib(gpu.memory_bytes)}",
        hints=[f"to describe it: --gpu-memory {memory_bytes / GIB:.2f}GiB --gpu-like {gpu.name}"],
        gpu=gpu.name,
        memory_bytes=memory_bytes,
    )


def _holds(gpu: Gpu, memory_bytes: int) -> bool:
    """PyTorch and the driver differ by up to 0.75 GiB, old and new drivers by 3 %, ECC by 6 %."""
    return abs(gpu.memory_bytes - memory_bytes) <= 0.08 * gpu.memory_bytes


def _slice(name: str, parent: str, profile: str) -> tuple[Gpu, str]:
    """A MIG slice: of the GPU named, or, where that one has no such slice, of one that is called so too."""
    words = words_of(parent)
    if not words:
        raise UnknownName(
            f"{name!r} does not say of which GPU {profile} is a slice",
            hints=[f"GPUs with it: {', '.join(parents_with(profile))}"] if parents_with(profile) else [*DESCRIBE],
            kind="gpu",
            name=name,
            near=[f"{each}-MIG-{profile}" for each in parents_with(profile)],
        )
    gpu, note = find_gpu(parent)
    able = [other for other in _candidates(words) if profile in profiles_of(other.name)]
    if note and able:
        # of those called so, only some have this slice; SXM is the usual form
        meant = gpu if profile in profiles_of(gpu.name) else min(able, key=lambda other: "SXM" not in other.name)
        names = [meant.name, *(other.name for other in able if other.name != meant.name)]
        said = f"{name!r} may be a slice of {', '.join(names)}; taken as one of {meant.name}" if names[1:] else ""
        return slice_of(meant, profile), said
    return slice_of(gpu, profile), note


def _spellings(entry: Gpu | UnifiedChip) -> tuple[Words, ...]:
    return _spelled(entry.name, entry.aliases)


@functools.cache
def _spelled(name: str, aliases: tuple[str, ...]) -> tuple[Words, ...]:
    """The words of the name and of each alias."""
    return tuple(words_of(spelling) for spelling in (name, *aliases))


def _text(entry: Gpu | UnifiedChip) -> str:
    """What a search looks into; words are matched as parts, so `4090` and `rtx4090` both hit."""
    spelled = [" ".join((*words, "".join(words))) for words in _spellings(entry)]
    return " ".join((*spelled, entry.vendor, entry.generation.lower()))


def _exact(words: Words) -> Gpu | UnifiedChip | None:
    """The entry with this name, else with this alias, else with these words in another order."""
    return _exact_among(own_folder(), words)


@functools.lru_cache(maxsize=4096)
def _exact_among(own: Path, words: Words) -> Gpu | UnifiedChip | None:
    """The same of the catalogue with the user's own entries; kept, since every price asks for its card again."""
    joined, sorted_words = "".join(words), sorted(words)
    if not words:
        return None
    for entry in _entries(own):
        if "".join(_spellings(entry)[0]) == joined:
            return entry
    for entry in _entries(own):
        if any("".join(spelling) == joined for spelling in _spellings(entry)):
            return entry
    for entry in _entries(own):
        if any(sorted(spelling) == sorted_words for spelling in _spellings(entry)):
            return entry
    return None


def _with_size(words: Words) -> tuple[UnifiedChip | None, int]:
    """A unified chip followed by its memory: `apple m4 max 64gb`."""
    size = SIZE.fullmatch(words[-1]) or re.fullmatch(r"(\d{1,5})g?b?", words[-1]) if words else None
    chip = _exact(words[:-1]) if size else None
    return (chip, int(size[1])) if size and isinstance(chip, UnifiedChip) else (None, 0)


def _extensions(words: Words) -> list[Gpu]:
    """GPUs one of whose spellings has all these words and more."""
    asked = set(words)
    every = (entry for entry in entries() if isinstance(entry, Gpu))
    return [gpu for gpu in every if any(asked < set(spelling) for spelling in _spellings(gpu))]


def _candidates(words: Words) -> list[Gpu]:
    """GPUs that these words may mean: those whose name only adds a size, a form or a series, not a variant."""
    asked = set(words)
    return [
        gpu
        for gpu in _extensions(words)
        if any(asked < set(spelling) and not (set(spelling) - asked) & VARIANTS for spelling in _spellings(gpu))
    ]


def _only_extension(words: Words) -> Gpu | None:
    """`4090` is RTX-4090 since nothing else has that word; `6000` is several cards and therefore nothing."""
    longer = _candidates(words) if any(re.search(r"\d", word) for word in words) else []
    if len(longer) == 1:
        return longer[0]
    # the card whose full name is this with its series before it: `4060 ti` is `RTX 4060 Ti`
    asked = set(words)
    defaults = [
        gpu for gpu in longer if any(asked <= set(s) and set(s) - asked <= {"rtx", "gtx"} for s in _spellings(gpu))
    ]
    return defaults[0] if len(defaults) == 1 else None


def _of_size(words: Words) -> Gpu | None:
    """`L40S 48GB` is the L40S: a size that agrees with the memory of what the other words mean."""
    rest, size = without_size(words)
    if size is None or not rest:
        return None
    first = _exact(rest) or _only_extension(rest)
    found = [first, *_candidates(rest)] if isinstance(first, Gpu) else list(_candidates(rest))
    # 24 GB are said of 22.5 GiB and of 24 GiB
    fitting = {gpu.name: gpu for gpu in found if 0.97e9 * size <= gpu.memory_bytes <= 1.01 * size * GIB}
    if isinstance(first, Gpu) and first.name in fitting:
        return first
    return next(iter(fitting.values())) if len(fitting) == 1 else None


def _note(name: str, words: Words, entry: Gpu) -> str:
    canonical = words_of(entry.name)
    if "".join(words) == "".join(canonical) or sorted(words) == sorted(canonical):
        return ""
    others = [gpu.name for gpu in _candidates(words) if gpu.name != entry.name]
    sizes = [word for word in canonical if SIZE.fullmatch(word)]
    if others:
        return f"{name!r} may be {', '.join([entry.name, *others])}; taken as {entry.name}, the default of that name"
    if any(size not in " ".join(words) for size in sizes):
        return f"{name!r} taken as {entry.name}; cards of other memory sizes are called so too"
    return ""


def _unknown(name: str, words: Words) -> UnknownName:
    """What to say of a name that means no GPU, or several."""
    longer = [gpu.name for gpu in _candidates(words)] if words else []
    close = longer or near(words, [(entry.name, _spellings(entry)) for entry in entries()])
    rest, size = without_size(words)
    bare = _exact(rest) or _only_extension(rest) if size is not None else None
    hints = [f"near names: {', '.join(close)}"] if close else []
    if isinstance(bare, Gpu):
        hints.append(f"a {bare.name} with other memory than sold: --gpu {bare.name} --gpu-memory {size}GB")
    if (several := SEVERAL.fullmatch(name.strip())) is not None:
        hints.insert(
            0, f"for a job on several: --gpu {shlex.quote(several[2])} --gpus {several[1]} (recommend: --max-gpus)"
        )
    message = f"unknown gpu: {name!r}"
    # of a machine's name alone a card may have the beginning: `A2` is none of the cards in an `a2-highgpu`
    among = len(longer) > 1 and any(set(words) <= set(words_of(one)) for one in longer)
    if among:
        message = f"{name!r} is not one GPU but {len(longer)}"
    return UnknownName(
        message,
        hints=[*hints, "to list all: advisor gpus", *(() if among else DESCRIBE)],
        kind="gpu",
        name=name,
        near=close,
    )
