"""An export's files on the disk: none of somebody else's is overwritten unasked, and each is whole or not there."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path

from advisor import store
from advisor.errors import BadFile, BadRequest
from advisor.exporters.export_job import Export


def placed_at(found: Export, path: str | Path) -> Export:
    """The export as it is written to `path`: a single file has that name, and the commands ask for it by it."""
    place = store.expanded(path)
    if not _is_one_file(found, path, place):
        return found
    name, said = found.files[0].name, shlex.quote(str(place))
    texts = {field: getattr(found, field).replace(name, said) for field in ("command", "launch")}
    # in the file the name stands in the comment that says how to run it, which is one line
    text = found.files[0].text.replace(found.command, " ".join(texts["command"].split()))
    file = found.files[0].model_copy(update={"name": place.name, "text": text})
    return found.model_copy(update={"files": (file,), **texts})


def write_export(found: Export, path: str | Path, *, force: bool = False) -> tuple[Path, ...]:
    """Write an export; returns the paths.

    A single file goes to `path` itself, unless that is a folder or ends in a slash; several go into the folder `path`,
    under the names by which they find each other.

    Raises:
        BadRequest: a file is there already, and `force` was not given.
        BadFile: the folder cannot be made or written.
    """
    place = store.expanded(path)
    targets = {place if _is_one_file(found, path, place) else place / file.name: file for file in found.files}
    there = [target for target in targets if target.exists()]
    if there and not force:
        raise BadRequest(f"{there[0]} is there already", hints=["to overwrite it: --force"], path=str(there[0]))
    for target, file in targets.items():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            store.durable(target, functools.partial(store.write_bytes, content=file.text.encode()))
        except OSError as error:
            raise BadFile(
                f"{target} cannot be written", cause=error.strerror or str(error), path=str(target)
            ) from error
    return tuple(targets)


def _is_one_file(found: Export, path: str | Path, place: Path) -> bool:
    return len(found.files) == 1 and not place.is_dir() and not str(path).endswith(("/", "\\"))
