"""A GPU file of the user's own: the template to fill in, how it is read back, and what is refused of it.

It is a catalogue file that also takes a number with its unit as text ("24564 MiB", "1008 GB/s", "165.2 TFLOP/s"),
fields left at null, and the explanations of the template under `about`.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Final

from advisor import store
from advisor.catalog.gpus.laws import BF16_FROM, BOUNDS, faults
from advisor.catalog.gpus.unified_memory import UnifiedChip
from advisor.domain.hardware import Gpu
from advisor.domain.units import GIB
from advisor.errors import BadFile

ABOUT: Final[dict[str, str]] = {
    "name": "required: what you will say after --gpu; letters, digits and dashes",
    "vendor": "required: nvidia, amd, intel, apple ...",
    "generation": "architecture: Ampere, RDNA3 ...",
    "aliases": "other names, such as the one nvidia-smi prints",
    "memory_bytes": "required: as the driver reports it: '24564 MiB', '24 GiB', or a number of bytes",
    "usable_bytes": "what PyTorch says as total capacity; null: memory less 0.4 GiB (0.75 GiB from 40 GiB on)",
    "bandwidth_bytes_s": "of its memory: '1008 GB/s'; without it no step time is given",
    "fp32_flop_s": "vector rate: '82.6 TFLOP/s'",
    "tf32_flop_s": "dense tensor rate; null where it has none",
    "bf16_flop_s": "dense, with fp32 accumulation, half of what is quoted with sparsity; fp16 where bf16 is missing",
    "fp8_flop_s": "dense; null where it has none",
    "int8_op_s": "dense: '660 TOP/s'",
    "bf16_supported": "true or false; null: from the compute capability",
    "compute_capability": "NVIDIA only: 8.9, as torch.cuda.get_device_capability() says",
    "interconnect": "PCIe4, NVLink4 ...",
    "interconnect_bytes_s": "both directions together: '64 GB/s'",
    "tdp_w": "power limit in watt",
    "measured_bf16_flop_s": "best large matmul you measured: '140 TFLOP/s'",
    "sources": 'where the figures were read: [{"address": "https://...", "where": "data sheet, page 2"}]',
    "notes": "anything else",
}
"""Field -> what to fill in, in the order of the template."""

REQUIRED: Final = ("name", "vendor", "memory_bytes")
LESS_BELOW_40_GIB, LESS_ABOVE = int(0.4 * GIB), int(0.75 * GIB)
"""How far PyTorch's total capacity lies below the driver's figure, on cards of less and of more than 40 GiB.

Source: nvidia-smi's totals against the capacity in public out-of-memory messages, T4 to H200.
"""
_UNIT: Final = re.compile(
    # a small b of a rate is a bit: it is refused, not read as eight times too much
    r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*([kmgtp]i?)?(?-i:(?!bps|b/s))(b|byte|bytes|flops?|ops?)?(?:/s|ps)?\s*",
    re.I,
)
_DECIMAL: Final = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15}
_BINARY: Final = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40, "pi": 2**50}


def template() -> dict[str, Any]:
    """The file to fill in: every field at null, with what it means under `about`."""
    empty: dict[str, Any] = dict.fromkeys(ABOUT, None)
    empty |= {"name": "MY-GPU", "vendor": "nvidia", "aliases": [], "sources": [], "notes": ""}
    return {"schema": Gpu.schema_tag(), "about": dict(ABOUT), **empty}


def own_entry(document: dict[str, Any], path: str | Path) -> Gpu | UnifiedChip:
    """The card in a user's own file.

    Raises:
        BadFile: a field is missing, unknown, of the wrong kind, or a figure no accelerator has; names the field.
    """
    kind = str(document.get("schema", "")).partition("/")[0]
    if kind == UnifiedChip.KIND:
        return store.made_of(UnifiedChip, document, path)
    fields: dict[str, Any] = {key: value for key, value in document.items() if key != "about" and value is not None}
    for field in REQUIRED:
        if not fields.get(field):
            raise _bad(path, field, f"{field} is missing: {ABOUT[field].removeprefix('required: ')}")
    name = fields["name"]
    if not isinstance(name, str) or not re.search(r"[A-Za-z0-9]", name):
        raise _bad(path, "name", f"{name!r} is no name: {ABOUT['name'].removeprefix('required: ')}")
    for field in BOUNDS.keys() | {"measured_bf16_flop_s"}:
        if field in fields:
            fields[field] = _number(fields[field], field, path)
    fields.setdefault("generation", "unknown")
    if "usable_bytes" not in fields:
        memory = fields["memory_bytes"]
        fields["usable_bytes"] = max(1, int(memory - (LESS_BELOW_40_GIB if memory < 40 * GIB else LESS_ABOVE)))
        fields.setdefault("usable_why", "the memory given, less what PyTorch does not report on cards of that size")
    fields.setdefault("usable_why", "as its owner wrote")
    if str(fields["vendor"]).lower() == "nvidia" and "compute_capability" in fields:
        fields.setdefault("bf16_supported", fields["compute_capability"] >= BF16_FROM)
    fields["vendor"] = str(fields["vendor"]).lower()
    fields.setdefault("confidence", "low")
    gpu = store.made_of(Gpu, fields, path)
    for field, reason in faults(gpu):
        raise _bad(path, field, f"{field}: {reason}")
    return gpu


def _number(value: Any, field: str, path: str | Path) -> int | float:
    """A figure in base units, from a number or from text with a unit."""
    if isinstance(value, str):
        found = _UNIT.fullmatch(value)
        if found is None:
            raise _bad(path, field, f"{field}: {value!r} is no number with a unit; {ABOUT[field]}")
        prefix = (found[2] or "").lower()
        value = float(found[1]) * (_BINARY.get(prefix) or _DECIMAL[prefix])
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise _bad(path, field, f"{field}: {value!r} is not a positive number; {ABOUT[field]}")
    return int(value) if field in ("memory_bytes", "usable_bytes") else float(value)


def add_card(path: str | Path, folder: Path) -> tuple[Gpu | UnifiedChip, Path]:
    """Check a user's file and keep it in their folder of own cards; the card, and where it lies now.

    Raises:
        BadFile: as `own_entry`. StoreUnavailable: the folder cannot be written.
    """
    entry = own_entry(store.read_document(path), path)
    stem = re.sub(r"[^a-z0-9.]+", "-", entry.name.lower()).strip("-.")
    return entry, store.write(entry, folder / f"{stem}.json")


def _bad(path: str | Path, field: str, reason: str) -> BadFile:
    return BadFile(
        f"{path} does not describe a GPU",
        cause=reason,
        hints=["what each field means: advisor gpus --template"],
        path=str(path),
        field=field,
        reason=reason,
    )
