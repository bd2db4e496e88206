"""An export's files on the disk: none of somebody else's is overwritten unasked, and each is whole or not there."""

from __future__ import annotations

import functools
from pathlib import Path

from advisor import store
from advisor.errors import BadFile, BadRequest
from advisor.exporters.export_job import Export


def write_export(found: Export, path: str | Path, *, force: bool = False) -> tuple[Path, ...]:
    """Write an export; returns the paths.

    A single file goes to `path` itself, unless that is a folder or ends in a slash; several go into the folder `path`,
    under the names by which they find each other.

    Raises:
        BadRequest: a file is there already, and `force` was not given.
        BadFile: the folder cannot be made or written.
    """
    place = store.expanded(path)
    single = len(found.files) == 1 and not place.is_dir() and not str(path).endswith(("/", "\\"))
    targets = {place if single else place / file.name: file for file in found.files}
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
