"""The one door to files: find, upgrade, validate, write atomically.

Folders, all moved together by the environment variable `ADVISOR_HOME` (then `$ADVISOR_HOME/data`, `/cache`,
`/config`), else the platform's own:

    shipped   `advisor/_data/<folder>` in a wheel, `<checkout>/<folder>` beside the package in a checkout
    data      the user's own profiles, calibrations and findings
    cache     what can be rebuilt: a corrupt file counts as absent, an unwritable folder as no cache
    config    what the user writes by hand: `prices.json`

Files are JSON, or JSON in gzip where the name ends in `.gz`. A write goes to a temporary file in the same folder,
is flushed to the disk and then renamed, under a lock, so a reader sees the old file or the new one and a process
killed half way leaves the old one whole.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gzip
import json
import logging
import os
import secrets
import stat
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from filelock import FileLock, Timeout
from pydantic import ValidationError

from advisor.domain.plain_values import is_object
from advisor.domain.request.validation import first_problem
from advisor.domain.stored import Stored
from advisor.errors import DISK_FULL, QUOTA_FULL, BadFile, StoreUnavailable


def durable(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, push it to the disk, and rename it to `path`.

    Where anything fails, `path` is as it was and the temporary file is gone. In the user's own folders the file is
    the user's alone from its first byte on; elsewhere a file that is replaced keeps its mode.

    Raises:
        OSError: the disk is full, the folder cannot be written ...
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    mode = _mode_to_give(path)
    try:
        if mode is not None:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        write(temporary)
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            if mode is not None:
                os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _mode_to_give(path: Path) -> int | None:
    """The mode of a file that is written; None: the one that the system gives a new file."""
    if os.name != "posix":
        return None
    if _is_private(path):
        return 0o600
    with contextlib.suppress(OSError):
        return stat.S_IMODE(path.stat().st_mode)
    return None


def _is_private(path: Path) -> bool:
    """Whether it lies in the user's own folders."""
    return any(path.is_relative_to(home(part)) for part in ("data", "cache", "config"))


def write_bytes(path: Path, content: bytes) -> None:
    """`Path.write_bytes` as `durable` calls it."""
    path.write_bytes(content)


S = TypeVar("S", bound=Stored)
log = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parent
LOCK_SECONDS = 30.0
LARGEST_BYTES = 192 * 2**20
"""Of a file, unpacked: a small one may unpack to gigabytes. The largest that advisor writes has some MiB."""
PIECE = 2**20
SUFFIXES = (".json", ".json.gz")


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with `~` as the user's home.

    Raises:
        BadFile: the home of a user that is not here.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise BadFile(
            f"{str(path)[:100]} names the home of a user that is not here", path=str(path), reason="no such user"
        ) from error


def home(part: Literal["data", "cache", "config"]) -> Path:
    """The user's folder of one part; it may not exist yet. Read from the environment at each call."""
    root = os.environ.get("ADVISOR_HOME")
    if root:
        return expanded(root) / part
    return _platforms_home(part, tuple(os.environ.get(name) for name in _NAMES_A_HOME))


_NAMES_A_HOME: Final = ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "LOCALAPPDATA", "APPDATA")


@functools.cache
def _platforms_home(part: Literal["data", "cache", "config"], environment: tuple[str | None, ...]) -> Path:
    """The platform's folder; `environment` is what it hangs on. Millions of prices ask for it."""
    del environment
    import platformdirs

    folder = {
        "data": platformdirs.user_data_dir,
        "cache": platformdirs.user_cache_dir,
        "config": platformdirs.user_config_dir,
    }[part]
    return Path(folder("advisor", appauthor=False))


def cache_dir() -> Path:
    """Where rebuildable files go: `home("cache")`."""
    return home("cache")


def shipped(folder: str) -> Path | None:
    """The folder that came with advisor: inside the package, else beside it in a checkout; None if neither is there."""
    inside = PACKAGE / "_data" / folder
    if inside.is_dir():
        return inside
    beside = PACKAGE.parent / folder
    return beside if (PACKAGE.parent / "pyproject.toml").is_file() and beside.is_dir() else None


def folders(folder: str) -> list[Path]:
    """Every place that may hold files of `folder`: shipped first, then the user's own."""
    places = [shipped(folder), home("data") / folder]
    return [place for place in places if place is not None and place.is_dir()]


def read_document(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON object in a file, without looking into it; gzip where the name ends in `.gz`.

    Raises:
        BadFile: missing, unreadable, truncated, not JSON, or JSON that is not an object.
    """
    path = Path(path)
    try:
        document: object = json.loads(content(path))
    except FileNotFoundError as error:
        raise BadFile(f"there is no file {path}", path=str(path), reason="missing") from error
    except json.JSONDecodeError as error:
        reason = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise _bad(path, "is not JSON, or was cut off", reason) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _bad(path, "is not a whole gzip file", str(error)) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise _bad(path, "is not JSON text", str(error)[:200]) from error
    except ValueError as error:
        # a number of thousands of digits; a null byte in the path
        raise _bad(path, "cannot be read as JSON", str(error)[:200]) from error
    except MemoryError as error:
        raise _bad(path, "does not fit memory", "") from error
    except OSError as error:
        raise _bad(path, "cannot be read", error.strerror or str(error)) from error
    if not is_object(document):
        raise _bad(path, "is not a JSON object", f"found {type(document).__name__}")
    return {str(key): value for key, value in document.items()}


def content(path: Path) -> bytes:
    """A file's bytes, unpacked where its name ends in `.gz`; never more than LARGEST_BYTES in memory.

    Raises:
        BadFile: it is larger, or a pipe.
        OSError: the system does not let us read it.
    """
    refuse_pipe(path)
    found = bytearray()
    with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as stream:
        # piece by piece: gzip's own reading of so much at once takes four times the memory
        while piece := stream.read(PIECE):
            found += piece
            if len(found) > LARGEST_BYTES:
                reason = f"more than {LARGEST_BYTES >> 20} MiB{' unpacked' if path.suffix == '.gz' else ''}"
                raise _bad(path, "is larger than any file of advisor's", reason)
    return bytes(found)


def refuse_pipe(path: Path) -> None:
    """Refuse a pipe, which a reader waits for; one that a shell opened (`<(...)`, /dev/stdin) somebody writes to."""
    if path.is_fifo() and path.parts[1:2] not in (("dev",), ("proc",)):
        raise _bad(path, "is a pipe, not a file", "reading it would wait for whoever writes to it")


def read(kind: type[S], path: str | os.PathLike[str]) -> S:
    """The value in a file, upgraded from any past schema.

    Raises:
        BadFile: as `read_document`, and when the schema is another or newer, or a field is wrong (fields `path`,
            `field`, `reason`).
    """
    return made_of(kind, read_document(path), path)


def made_of(kind: type[S], document: dict[str, Any], path: str | os.PathLike[str]) -> S:
    """The value in a document that was read from `path`.

    Raises:
        BadFile: the schema is another or newer, or a field is wrong.
    """
    try:
        return kind.from_document(document)
    except ValidationError as error:
        field, said, _ = first_problem(error)
        more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise _bad(Path(path), f"is not a {kind.KIND} as expected", f"{field}: {said}{more}", field) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _bad(Path(path), f"is not a {kind.KIND} this version reads", str(error), "schema") from error


def find(kind: type[S], folder: str, *, on_bad: Callable[[BadFile], None] | None = None) -> Iterator[tuple[Path, S]]:
    """Every file of a kind below `folder`, shipped ones first, each place sorted by path; other kinds are passed over.

    Raises:
        BadFile: a file cannot be read, unless `on_bad` takes it; then that file is left out.
    """
    for place in folders(folder):
        for path in listing(place):
            try:
                document = read_document(path)
                if str(document.get("schema", "")).partition("/")[0] == kind.KIND:
                    yield path, made_of(kind, document, path)
            except BadFile as error:
                if on_bad is None:
                    raise
                on_bad(error)


def listing(place: Path) -> list[Path]:
    """The JSON files below a folder, sorted; hidden and temporary ones left out."""
    return sorted(p for p in place.rglob("*") if p.name.endswith(SUFFIXES) and not p.name.startswith("."))


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str], timeout: float = LOCK_SECONDS) -> Generator[None]:
    """Hold a folder's lock, creating the folder; the same thread may nest it. For read-change-write.

    Raises:
        StoreUnavailable: the folder cannot be created or written, or another process keeps the lock.
    """
    folder = Path(folder)
    lock = _lock(os.path.abspath(folder))
    try:
        _make_folder(folder)
        lock.acquire(timeout=timeout)
    except Timeout as error:
        raise StoreUnavailable(
            f"another process has kept {folder} locked for {timeout:g} s",
            hints=[f"wait for it; if no advisor runs, delete {folder / '.lock'}"],
            path=str(folder),
            reason="locked",
        ) from error
    except (OSError, NotImplementedError) as error:
        raise unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def write(value: Stored, path: str | os.PathLike[str], *, timeout: float = LOCK_SECONDS) -> Path:
    """Write a value whole or not at all; returns the path.

    Raises:
        StoreUnavailable: read-only folder, full disk, or the lock is held; the old file is untouched.
    """
    return write_document(value.to_document(), path, timeout=timeout)


def write_document(document: Mapping[str, Any], path: str | os.PathLike[str], *, timeout: float = LOCK_SECONDS) -> Path:
    """`write` for a JSON-ready dict. NaN and infinity are refused with ValueError: they are not JSON."""
    path = Path(path)
    if path.suffix == ".gz":
        compact = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        payload = gzip.compress(compact.encode(), mtime=0)
    else:
        payload = (json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()
    with locked(path.parent, timeout):
        try:
            _remove_orphans(path)
            durable(path, lambda temporary: write_bytes(temporary, payload))
        except OSError as error:
            raise unwritable(path, error) from error
    return path


def read_cache(kind: type[S], path: str | os.PathLike[str]) -> S | None:
    """A cached value, or None where it is absent, corrupt or of another schema: then it is rebuilt."""
    try:
        if not _may_be_believed(Path(path)):
            log.info("cache entry ignored: %s is another user's, or others may write it", path)
            return None
        return read(kind, path)
    except BadFile as error:
        if error.fields.get("reason") != "missing":
            log.info("cache entry ignored: %s", error.message)
        return None


def _may_be_believed(path: Path) -> bool:
    """Whether a file of the cache folder can only have been written by us, or by the system's administrator.

    Caches are shared on some machines, and an answer out of one looks like our own.
    """
    if os.name != "posix" or not path.is_relative_to(home("cache")):
        return True
    try:
        found = path.stat()
    except OSError:
        return True  # there is none, or its reading will say why not
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022


def _make_folder(folder: Path) -> None:
    """A folder and those above it; below ADVISOR_HOME and the like they are the user's alone."""
    if folder.is_dir():
        return
    if _is_private(folder):
        for missing in reversed([folder, *folder.parents]):
            if not missing.is_dir():
                missing.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)


def write_cache(value: Stored, path: str | os.PathLike[str]) -> bool:
    """Cache a value if the folder allows it; False (and a log line) where it does not, since a cache is optional."""
    try:
        write(value, path, timeout=5.0)
    except StoreUnavailable as error:
        log.info("not cached: %s", error.message)
        return False
    return True


@functools.cache
def _lock(folder: str) -> FileLock:
    """One lock object a folder and process, so that nesting is counted rather than deadlocked."""
    return FileLock(os.path.join(folder, ".lock"))


def _remove_orphans(path: Path) -> None:
    """Temporary files that a killed process left of `path`: the caller holds the lock, so nobody writes one now."""
    prefix = f".{path.name}."
    for orphan in [p for p in path.parent.iterdir() if p.name.startswith(prefix) and p.suffix == ".tmp"]:
        orphan.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable where the system can open a folder (not on Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _bad(path: Path, what: str, reason: str, field: str = "") -> BadFile:
    return BadFile(
        f"{path} {what}",
        cause=reason,
        hints=["restore the file, or delete it if advisor wrote it and can write it again"],
        path=str(path),
        field=field,
        reason=reason,
    )


def full_disk(folder: Path, go_on: str) -> StoreUnavailable:
    """The error of a study whose trainings find no room; `go_on` is the command it goes on with."""
    hints = [f"free some space, then: {go_on}"]
    return StoreUnavailable(f"the disk of {folder} is full", hints=hints, path=str(folder), reason=DISK_FULL)


def unwritable(
    path: Path, error: Exception, *, hint: str = "to use another folder: set ADVISOR_HOME"
) -> StoreUnavailable:
    """The error of a file or folder that cannot be written; `hint` says what to type next."""
    code = getattr(error, "errno", None)
    reason = {
        errno.ENOSPC: DISK_FULL,
        errno.EDQUOT: QUOTA_FULL,
        errno.EFBIG: "it would be larger than a file may be here (ulimit -f)",
        errno.EROFS: "the file system is read-only",
        errno.EACCES: "permission denied",
        errno.EPERM: "permission denied",
    }.get(code or 0, getattr(error, "strerror", None) or str(error))
    return StoreUnavailable(f"cannot write {path}: {reason}", hints=[hint], path=str(path), reason=reason)
