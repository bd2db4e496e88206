"""gpuhunt's lists of prices, read in a process of its own, which alone can be ended.

gpuhunt reads in threads and sets no limit of time, and Python waits for its threads before it leaves: in our own
process neither a silent server nor Ctrl-C would end the command.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, Final

from advisor import processes
from advisor.domain.plain_values import is_object, is_sequence
from advisor.domain.stored import Value

SILENCE_SECONDS: Final = 10.0
"""How long a server may say nothing before its list counts as one that cannot be read."""
ALL_SECONDS: Final = 300.0
"""How long all lists may take; they have some MiB together."""
FOLDER: Final = "GPUHUNT_CATALOG_DIR"


class ListedOffer(Value):
    """One row of a provider's list: USD an hour for an instance and its devices in one region."""

    instance_name: str
    location: str
    price: float
    gpu_count: int = 0
    gpu_name: str | None = None
    gpu_memory: float | None = None
    spot: bool = False


class ProvidersList(Value):
    """A provider's rows, or why there are none."""

    rows: tuple[ListedOffer, ...] = ()
    failed: str = ""


def read_lists(providers: Sequence[str]) -> dict[str, ProvidersList]:
    """What each provider publishes, by gpuhunt's name of it; empty where none could be read in time."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as answers:
        child = processes.spawn(
            "advisor.catalog.prices.list_reader", *providers, stdout=answers, stderr=subprocess.DEVNULL
        )
        try:
            processes.wait_until(child, ALL_SECONDS)
        finally:
            processes.end_group(child)
        answers.seek(0)
        told = answers.read()
    document: object = json.loads(told) if told.strip() else {}
    lists = document if is_object(document) else {}
    return {str(name): ProvidersList.model_validate(found) for name, found in lists.items()}


def query(providers: Sequence[str]) -> dict[str, ProvidersList]:
    """`read_lists` in this process."""
    import gpuhunt

    catalog: Any = gpuhunt.Catalog(auto_reload=False)
    if not os.environ.get(FOLDER):
        try:
            catalog.load()
        except (OSError, ValueError, gpuhunt.GPUHuntError) as error:
            failed = f"{type(error).__name__}: {str(error.__cause__ or error)[:200]}"
            return {provider: ProvidersList(failed=failed) for provider in providers}
    return {provider: _rows(catalog, provider) for provider in providers}


def _rows(catalog: Any, provider: str) -> ProvidersList:
    try:
        items: object = catalog.query(provider=provider)
    except (OSError, ValueError, KeyError) as error:
        return ProvidersList(failed=f"{type(error).__name__}: {str(error)[:200]}")
    rows = [
        ListedOffer.model_validate({name: getattr(item, name) for name in ListedOffer.model_fields})
        for item in (items if is_sequence(items) else ())
        if getattr(item, "gpu_count", 0) and getattr(item, "price", 0)
    ]
    return ProvidersList(rows=tuple(rows))


def main() -> None:
    """Print the lists of the providers named as one JSON object; libraries that print must not reach stdout."""
    processes.leave_with_parent()
    answers, sys.stdout = sys.stdout, sys.stderr
    socket.setdefaulttimeout(SILENCE_SECONDS)
    found = query(sys.argv[1:])
    answers.write(json.dumps({name: one.model_dump() for name, one in found.items()}))
    answers.flush()


if __name__ == "__main__":
    main()
