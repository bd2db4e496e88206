"""The Hugging Face Hub and its local cache: read what is there, ask the network briefly, remember when it is absent.

Respected: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME (where the cache lies), HF_ENDPOINT, HF_HUB_OFFLINE,
TRANSFORMERS_OFFLINE, HF_TOKEN (read by huggingface_hub itself).
"""

# pyright: reportUnknownMemberType=false
# huggingface_hub's hf_hub_download names only some of its types

from __future__ import annotations

import functools
import os
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from advisor import store

T = TypeVar("T")

PROBE_SECONDS = 1.5
DOWNLOAD_SECONDS = 20.0
REMEMBER_SECONDS = 600.0
"""How long an unreachable Hub is taken to be so by the next process too."""

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9_][\w.-]{0,95})?")
_TRUE = frozenset({"1", "ON", "YES", "TRUE"})


def is_repo_id(name: str) -> bool:
    """Whether the Hub could have a repository of this name."""
    return _REPO_ID.fullmatch(name) is not None and "--" not in name and ".." not in name


def cache_folder() -> Path:
    """The Hub's cache on this machine, read from the environment at each call."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return store.expanded(os.environ[variable])
    base = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return store.expanded(base) / "hub"


def cached(repo: str, file: str = "config.json") -> Path | None:
    """A file of the cached main revision, None where it is not cached; never touches the network."""
    folder = cache_folder()
    if not (folder / f"models--{repo.replace('/', '--')}").is_dir():
        return None  # answered without importing huggingface_hub, which takes a fifth of a second
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, cache_dir=folder)
    return Path(found) if isinstance(found, str) and Path(found).is_file() else None


def download(repo: str, file: str = "config.json") -> tuple[Path | None, str]:
    """Fetch one small file into the Hub's cache: its path and "", or None and why not. Never raises for the network."""
    why = offline_reason()
    if why:
        return None, why
    folder = cache_folder()

    def fetch() -> tuple[Path | None, str]:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError

        try:
            return Path(huggingface_hub.hf_hub_download(repo, file, cache_dir=folder, etag_timeout=5)), ""
        except RepositoryNotFoundError as error:
            gated = "gated" in type(error).__name__.lower()
            return None, "the Hub has it gated: set HF_TOKEN" if gated else "the Hub has no such model"
        except (EntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
            return None, f"the Hub did not give it: {str(error).strip().splitlines()[0][:160] or type(error).__name__}"

    answer = _within(DOWNLOAD_SECONDS, fetch)
    return answer if answer is not None else (None, f"the Hub did not answer in {DOWNLOAD_SECONDS:g} s")


def offline_reason() -> str:
    """Why the network is not to be asked (the environment forbids it, the Hub is unreachable), "" where it may be."""
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(variable, "").upper() in _TRUE:
            return f"the Hub was not asked: {variable} is set"
    return _reach(os.environ.get("HF_ENDPOINT") or "https://huggingface.co", store.cache_dir() / "hub-unreachable")


@functools.cache
def _reach(endpoint: str, marker: Path) -> str:
    """Ask the endpoint once a process; `marker` remembers a failure for the processes of the next minutes."""
    try:
        age = time.time() - marker.stat().st_mtime
        if 0 <= age < REMEMBER_SECONDS and marker.read_text().strip() == endpoint:
            return f"the Hub was not asked: it could not be reached {age / 60:.0f} min ago"
    except (OSError, UnicodeDecodeError):
        pass  # no marker, or one that cannot be read: then ask

    def ask() -> bool:
        try:
            urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=PROBE_SECONDS).close()
        except urllib.error.HTTPError as answer:
            return answer.code not in (403, 407, 502, 503, 504)  # a proxy's refusal, not the Hub's answer
        except (OSError, ValueError):
            return False
        return True

    if _within(PROBE_SECONDS, ask):
        return ""
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(endpoint)
    except OSError:
        pass  # a read-only cache folder: the next process asks again
    return "the Hub could not be reached"


def _within(seconds: float, ask: Callable[[], T]) -> T | None:
    """The answer if it comes in time; what `ask` raises is raised here.

    Name resolution has no time limit of its own, hence a thread to walk away from.
    """
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((ask(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=run, daemon=True, name="advisor-hub").start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        return None
    if error is not None:
        raise error
    return answer
