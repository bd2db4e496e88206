"""Which files a data path means: one file, a folder of shards or of `datasets`, a data set in the Hub's cache."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from advisor import store
from advisor.dataset.files import bad
from advisor.dataset.readers import Row, file_rows, plain_suffix
from advisor.domain.plain_values import is_list, is_object

DATA_SUFFIXES: Final = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".arrow")
BESIDE_THE_DATA: Final = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
SPLIT_NAMES: Final = {"train": "train", "training": "train", "test": "test", "dev": "validation", "val": "validation"}
SPLIT_NAMES_ALSO: Final = {"valid": "validation", "validation": "validation", "eval": "validation"}
MOST_FILES: Final = 100_000

Placed = tuple[Path, int, Row]
"""A row with the file it is in and its number there."""


@dataclass(frozen=True, slots=True)
class DataFiles:
    """The files that hold the rows, in order, and what is to be said of the choice."""

    path: Path
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    def rows(self, notes: list[str]) -> Iterator[Placed]:
        """Every row; `notes` tells what was unusual about the files.

        Raises:
            BadFile: no rows at all, or as `file_rows`.
        """
        count = 0
        for file in self.files:
            said: list[str] = []
            for number, row in file_rows(file, said):
                count += 1
                yield file, number, row
            notes.extend(f"{file.name}: {note}" if len(self.files) > 1 else note for note in said)
        if not count:
            raise bad(self.path, "holds no rows")


def find_files(path: str | os.PathLike[str]) -> DataFiles:
    """The files of a data path; a name that is no path is looked for in the caches of `datasets` and the Hub.

    Raises:
        BadFile: nothing there, no data file in the folder, or several that cannot all be meant.
    """
    asked = store.expanded(path)
    try:
        if asked.is_dir():
            return _folder(asked)
        if asked.exists():
            return DataFiles(asked, (asked,))
    except (OSError, ValueError) as error:
        raise bad(asked, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return _cached(str(path), asked)


def _folder(folder: Path) -> DataFiles:
    splits = _listed(folder / "dataset_dict.json", "splits")
    if splits:
        inner = _split_of(folder, {name: [folder / name] for name in splits})
        found = _saved(inner[0][0])
        return DataFiles(folder, found, inner[1])
    if (folder / "state.json").is_file():
        return DataFiles(folder, _saved(folder), ())
    groups: dict[str, list[Path]] = {}
    for file in _below(folder):
        groups.setdefault(plain_suffix(file), []).append(file)
    if not groups:
        raise bad(folder, "is a folder without data files")
    if len(groups) > 1:
        listed = ", ".join(f"{len(files)} {suffix}" for suffix, files in sorted(groups.items()))
        raise bad(
            folder, f"holds files of several formats ({listed})", hints=["give one file, or a folder of one kind"]
        )
    (files,) = groups.values()
    configs = {file.parent for file in files}
    if len(configs) > 1:
        inside = ", ".join(str(config.relative_to(folder)) for config in sorted(configs))
        raise bad(folder, f"holds data in several folders: {inside}", hints=["give one of them"])
    by_split: dict[str, list[Path]] = {}
    for file in sorted(files, key=_natural):
        by_split.setdefault(_split_name(file) or "", []).append(file)
    chosen, notes = _split_of(folder, by_split)
    if len(chosen) > 1:
        notes = (f"{len(chosen)} files of the folder {folder.name} are read", *notes)
    return DataFiles(folder, tuple(chosen), notes)


def _split_of(folder: Path, by_split: dict[str, list[Path]]) -> tuple[list[Path], tuple[str, ...]]:
    """The only split, or `train` with the others named."""
    if len(by_split) == 1:
        return next(iter(by_split.values())), ()
    if "train" not in by_split or "" in by_split:
        names = [file.name for files in by_split.values() for file in files]
        some = f"{', '.join(sorted(names)[:6])}{' ...' if len(names) > 6 else ''}"
        raise bad(folder, f"holds several files that may not belong together: {some}", hints=["give one file of it"])
    others = ", ".join(name for name in by_split if name != "train")
    return by_split["train"], (f"the split train of {folder.name} is read; {others} not",)


def _split_name(file: Path) -> str | None:
    """`train` of `train-00000-of-00003.parquet`; None where the name says no split."""
    words = re.split(r"[^a-z]+", file.name.partition(".")[0].lower())
    named = SPLIT_NAMES | SPLIT_NAMES_ALSO
    return next((named[word] for word in words if word in named), None)


def _natural(file: Path) -> list[Any]:
    """Shard 2 before shard 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)]


def _below(folder: Path) -> Iterator[Path]:
    for count, (place, folders, names) in enumerate(os.walk(folder)):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        if count > MOST_FILES:
            raise bad(folder, f"holds more than {MOST_FILES} folders")
        for name in names:
            file = Path(place) / name
            if not name.startswith((".", "_")) and name not in BESIDE_THE_DATA and plain_suffix(file) in DATA_SUFFIXES:
                yield file


def _saved(folder: Path) -> tuple[Path, ...]:
    """The Arrow files that `datasets`' save_to_disk() wrote, in the order its state.json says."""
    listed = _listed(folder / "state.json", "_data_files")
    names = [str(entry.get("filename")) for entry in listed if is_object(entry)]
    if _listed(folder / "state.json", "_indices_files"):
        raise bad(folder, "is a data set saved with an index over its rows", hints=["write it with flatten_indices()"])
    files = tuple(folder / Path(name).name for name in names) or tuple(sorted(folder.glob("*.arrow"), key=_natural))
    if not files:
        raise bad(folder, "is a folder without data files")
    return files


def _listed(file: Path, key: str) -> Sequence[Any]:
    if not file.is_file():
        return ()
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise bad(file, f"cannot be read: {error}") from error
    value = document.get(key) if is_object(document) else None
    return value if is_list(value) else ()


def _cached(name: str, asked: Path) -> DataFiles:
    """A data set by its Hub name, from the caches on this machine; nothing is fetched."""
    if re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", name) and plain_suffix(asked) not in DATA_SUFFIXES:
        for folder in (*_hub_snapshots(name), *_arrow_cache(name)):
            found = _folder(folder)
            return DataFiles(asked, found.files, (f"{name}: read from the cache in {folder}", *found.notes))
        hints = [
            f"to fetch a Hub data set: hf download --repo-type dataset {name} --local-dir data, then --data data",
            "or give a file",
        ]
        raise bad(asked, "does not exist, and no data set of that name is in the caches here", hints=hints)
    raise bad(asked, "does not exist")


def _home() -> Path:
    return store.expanded(os.environ.get("HF_HOME") or "~/.cache/huggingface")


def _hub_snapshots(name: str) -> list[Path]:
    root = Path(os.environ.get("HF_HUB_CACHE") or _home() / "hub") / f"datasets--{name.replace('/', '--')}"
    main = root / "refs" / "main"
    if main.is_file():
        return [folder for folder in [root / "snapshots" / main.read_text().strip()] if folder.is_dir()]
    return sorted(root.glob("snapshots/*"))[-1:]


def _arrow_cache(name: str) -> list[Path]:
    """`<name>/<config>/<version>/<hash>` as load_dataset() leaves them; several configurations are not guessed at."""
    root = Path(os.environ.get("HF_DATASETS_CACHE") or _home() / "datasets") / name.replace("/", "___")
    folders = sorted({file.parent for file in root.glob("*/*/*/*.arrow")})
    if len(folders) > 1:
        listed = ", ".join(str(folder.relative_to(root)) for folder in folders[:6])
        raise bad(root, f"holds {name} in several versions: {listed}", hints=[f"give one: --data {folders[0]}"])
    return folders
