"""Where a study lives: any Optuna storage by its URL, opened so that a database may go away for a while."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from advisor import store
from advisor.errors import BadFile, BadRequest, MissingExtra, StoreUnavailable

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial

T = TypeVar("T")
log = logging.getLogger(__name__)

ENVIRONMENT: Final = "OPTUNA_STORAGE"
HEARTBEAT_SECONDS: Final = 10
GRACE_SECONDS: Final = 60
"""A trial without a beat for so long has lost its worker."""
PATIENCE_SECONDS: Final = 600.0
"""How long a worker waits for a storage that went away."""


def storage_url(asked: str | None, folder: Path) -> str:
    """What was asked for, else OPTUNA_STORAGE, else SQLite in the study's folder; a file by its whole path."""
    url = asked or os.environ.get(ENVIRONMENT)
    if not url:
        return _default(folder)
    for scheme in ("sqlite:///", "journal://", "journal:"):
        path = url.removeprefix(scheme)
        if path != url:
            # workers and later sessions may stand in other folders
            return url if not path or path.startswith((":", "/")) else scheme + os.path.abspath(path)
    return url


def url_to_store(url: str, folder: Path) -> str:
    """What a study's folder remembers of its storage: nothing of the one inside it, and never a password."""
    return "" if url == _default(folder) else redact(url)


def url_to_resume(known: str, asked: str | None, folder: Path) -> str:
    """The storage of a study that goes on: what is asked for, else the one it was begun in.

    Raises:
        BadRequest: its password was not kept, and nobody says it.
    """
    if asked or not known:
        return storage_url(asked, folder)
    if ":***@" in known:
        told = storage_url(None, folder)
        if redact(told) != known:
            raise BadRequest(
                f"the study lies in {known}, whose password is not kept",
                hints=["give it whole: --storage URL, or in OPTUNA_STORAGE"],
                storage=known,
            )
        return told
    return known


def _default(folder: Path) -> str:
    return f"sqlite:///{folder.resolve() / 'study.db'}"


def quiet() -> None:
    """Leave out Optuna's notices of what is experimental: heartbeats and retries have been since 2.9."""
    from optuna.exceptions import ExperimentalWarning

    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed")


@contextlib.contextmanager
def silence_optuna() -> Generator[None]:
    """`quiet`, for a while."""
    with warnings.catch_warnings():
        quiet()
        yield


def storage_of(study: Study) -> Any:
    """The storage below a study: tells and beats that Study's own methods have no door for."""
    return study._storage  # pyright: ignore[reportPrivateUsage]


def id_of(trial: Trial | FrozenTrial) -> int:
    """The number a storage knows a trial by."""
    return trial._trial_id  # pyright: ignore[reportPrivateUsage]


def redact(url: str) -> str:
    """The URL without its password."""
    return re.sub(r"(://[^:/@]+):[^@]*@", r"\1:***@", url)


def open_storage(url: str, *, max_retries: int = 2) -> BaseStorage:
    """A storage by URL: `sqlite:///…`, `postgresql://…`, `mysql://…`; `journal:FILE`; `grpc://HOST:PORT`.

    Raises:
        BadRequest: the URL cannot be read.
        MissingExtra: its database driver is not installed.
        StoreUnavailable: it cannot be reached.
        BadFile: its tables are of another version of Optuna.
    """
    import optuna
    from optuna.storages import RetryHeartbeatStaleTrialCallback
    from sqlalchemy import make_url

    from advisor.tuner.storage.claiming_rdb import ClaimingStorage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    scheme, rest = _scheme(url)
    with _told(url), silence_optuna():
        if scheme == "journal":
            return _journal(Path(rest.removeprefix("//")))
        if scheme == "grpc":
            return _grpc(rest.removeprefix("//"))
        arguments: dict[str, Any] = {"pool_pre_ping": True}
        if scheme.startswith("sqlite") and "timeout" not in make_url(url).query:
            # waits for another worker's write instead of failing at once; `connect_args` would overrule the URL
            arguments["connect_args"] = {"timeout": 60}
        return ClaimingStorage(
            url,
            engine_kwargs=arguments,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=max_retries),
        )


def check_storage(asked: str | None) -> None:
    """Refuse a storage that no study can be begun in, before anything is worked out for it; nothing is created.

    Args:
        asked: as `storage_url`; nothing to check where the study's own folder is the storage.

    Raises:
        As `open_storage`.
    """
    if not (asked or os.environ.get(ENVIRONMENT)):
        return
    from sqlalchemy import create_engine, make_url

    url = storage_url(asked, Path())
    scheme, rest = _scheme(url)
    try:
        with _told(url):
            if scheme == "grpc":
                _grpc(rest.removeprefix("//"))
            elif scheme != "journal":
                engine = create_engine(url)
                try:
                    if scheme.startswith("sqlite"):
                        _check_sqlite(Path(str(make_url(url).database)))
                    else:
                        engine.connect().close()
                finally:
                    engine.dispose()
    except StoreUnavailable as error:
        raise nothing_begun(error) from error


def _check_sqlite(path: Path) -> None:
    if not path.parent.is_dir():
        raise OSError(errno.ENOENT, f"there is no folder {path.parent}")
    if path.exists():
        store.refuse_pipe(path)
        with open(path, "rb") as stream:
            head = stream.read(16)
        if head and head != b"SQLite format 3\0":
            raise BadFile(f"{path} is not an SQLite database", path=str(path))


def nothing_begun(error: StoreUnavailable) -> StoreUnavailable:
    """The error of a storage that is away when a study is to begin."""
    hints = ["nothing was begun; once it is back, the same command begins"]
    return StoreUnavailable(error.message, cause=error.cause, hints=hints, **error.fields)


def _scheme(url: str) -> tuple[str, str]:
    """A storage URL's scheme and what follows it.

    Raises:
        BadRequest: SQLite in memory.
    """
    scheme, _, rest = url.partition(":")
    if scheme.startswith("sqlite") and rest.lstrip("/").partition("?")[0] in ("", ":memory:"):
        raise BadRequest(
            f"{url} is a storage in one process's memory, which workers cannot share",
            hints=["sqlite:///FILE, or leave it out: SQLite in the study's folder"],
        )
    return scheme, rest


@contextlib.contextmanager
def _told(url: str) -> Generator[None]:
    """What goes wrong in opening a storage, as an error of ours."""
    from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError

    scheme = url.partition(":")[0]
    try:
        yield
    except (ArgumentError, NoSuchModuleError) as error:
        raise BadRequest(
            f"not a storage URL: {redact(url)!r}",
            hints=["sqlite:///FILE, postgresql+psycopg://USER@HOST/DATABASE, journal:FILE or grpc://HOST:PORT"],
        ) from error
    except ImportError as error:
        if scheme == "grpc":
            raise MissingExtra.of("grpcio", extra="grpc", why=f"the storage {redact(url)}") from error
        raise _no_driver(url, error) from error
    except Exception as error:
        if isinstance(error, RuntimeError) and "table schema" in str(error):
            raise BadFile(
                f"the storage {redact(url)} was set up by another version of Optuna",
                cause=str(error).splitlines()[0],
                storage=redact(url),
            ) from error
        if transient(error):
            raise unreachable(url, error) from error
        if isinstance(error, (DatabaseError, json.JSONDecodeError)):
            raise BadFile(
                f"what lies in the storage {redact(url)} is no study of Optuna's",
                cause=str(error).splitlines()[0],
                storage=redact(url),
            ) from error
        raise


_DATABASES: Final = {
    "mysql": ("MySQL", "pymysql", "pymysql"),
    "mariadb": ("MariaDB", "pymysql", "pymysql"),
    "postgresql": ("PostgreSQL", "psycopg", "'advisor[postgresql]'"),
    "mssql": ("SQL Server", "pyodbc", "pyodbc"),
    "oracle": ("Oracle", "oracledb", "oracledb"),
}
"""SQLAlchemy's word for a database -> its name, a driver of it, what pip calls that (docs.sqlalchemy.org/dialects)."""


def _no_driver(url: str, error: ImportError) -> BadRequest:
    """The error for a database whose driver is not installed; any other driver of it will do, named in the URL."""
    import importlib.util

    scheme = url.partition(":")[0]
    database, _, named = scheme.partition("+")
    if database not in _DATABASES:
        return BadRequest(
            f"the storage {redact(url)} needs a driver that is not installed",
            cause=str(error.__cause__ or error),
            hints=["install it, or leave --storage out: SQLite in the study's folder"],
            storage=redact(url),
        )
    title, driver, package = _DATABASES[database]
    with_driver = redact(url).replace(scheme, f"{database}+{driver}", 1)
    there = named != driver and importlib.util.find_spec(driver) is not None
    install = f"{driver} is installed, name it in the URL" if there else f"pip install {package}"
    return BadRequest(
        f"the storage {redact(url)} needs {'an' if title[0] in 'AEIO' else 'a'} {title} driver: {install}",
        cause=str(error.__cause__ or error).splitlines()[0],
        hints=[f"then: --storage {with_driver}", "or leave --storage out: SQLite in the study's folder"],
        storage=redact(url),
        driver=driver,
    )


def unreachable(url: str, error: BaseException) -> StoreUnavailable:
    """The error for a storage that does not answer."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return StoreUnavailable(
        f"the storage {redact(url)} cannot be reached",
        cause=lines[0] if lines else type(error).__name__,
        hints=["trials that have finished are kept; once it is back: advisor tune --resume"],
        storage=redact(url),
    )


def transient(error: BaseException) -> bool:
    """Whether waiting may help: connections, locks, full disks. A wrong query or argument is a bug."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, TimeoutError

    if isinstance(error, (StorageInternalError, OperationalError, InterfaceError, TimeoutError, OSError)):
        return True
    if isinstance(error, StoreUnavailable):
        # the database when it is opened; a folder that cannot be written is another matter
        return "storage" in error.fields
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return type(error).__module__.startswith("grpc") and hasattr(error, "code")


def retry_while_down(
    url: str,
    call: Callable[[], T],
    *,
    seconds: float = PATIENCE_SECONDS,
    alive: Callable[[], bool] = lambda: True,
    missed: Callable[[], None] = lambda: None,
) -> T:
    """The call's result, tried again with growing pauses while the storage is away; `missed` hears of each failure.

    The call may have done its work before the connection broke, so it must be one that can be repeated.

    Raises:
        StoreUnavailable: it stayed away for `seconds`, or `alive` says to give up.
    """
    began, pause = time.monotonic(), 0.2
    while True:
        try:
            return call()
        except Exception as error:
            if not transient(error):
                raise
            missed()
            if time.monotonic() - began > seconds or not alive():
                if isinstance(error, StoreUnavailable):
                    raise
                raise unreachable(url, error) from error
            log.warning("storage %s does not answer, trying again: %s", redact(url), type(error).__name__)
            time.sleep(pause)
            pause = min(pause * 2, 10.0)


def _journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(path)))


def _grpc(address: str) -> BaseStorage:
    from optuna.storages import GrpcStorageProxy

    host, _, port = address.partition(":")
    if not port.isdigit():
        raise BadRequest(f"not a gRPC address: {address!r}", hints=["grpc://HOST:PORT"])
    proxy = GrpcStorageProxy(host=host, port=int(port))
    proxy.wait_server_ready(timeout=10)
    return proxy
