"""Every error advisor raises on purpose. What is not below is a bug and keeps its traceback.

    AdvisorError                    exit code  1   never raised itself
    ├── BadRequest                             2   the question cannot be answered as put
    │   ├── UnknownName                            a model, GPU, method, task ... nobody has heard of
    │   ├── IllegalRecipe                          a method on a model, base or trainer it cannot run on
    │   ├── UnsupportedModel                       a model whose definition is missing or unreadable
    │   ├── NoEvidence                             a question no published or measured result bears on
    │   └── MissingExtra                           an optional dependency is not installed
    ├── DoesNotFit                             3   nothing asked for fits the memory, budget or deadline
    └── BadFile                                4   a file is missing, corrupt, or of another schema
        └── StoreUnavailable                       the store cannot be written or locked

Every error carries its facts as keyword fields, prints them as `str(error)` in three parts (what
happened, the largest cause, what to type next), gives them to programs as `error.facts()`, and
survives `pickle`, because profiler and tuner workers raise it in another process.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any, Final

OF_FILES: Final = frozenset(
    getattr(errno, name)
    for name in "EACCES EPERM ELOOP ENAMETOOLONG ENOSPC EDQUOT EFBIG EROFS EISDIR ENOTDIR EIO ESTALE ENXIO".split()  # noqa: SIM905
    if hasattr(errno, name)
)
"""What the system says of files and folders; the user's matter and no bug of ours."""
DISK_FULL: Final = "the disk is full"
QUOTA_FULL: Final = "the disk quota is used up"
"""The reason of a write that found no room, and of a training that ended so."""


class AdvisorError(Exception):
    """Base of all; `message` says what happened, `cause` the largest cause, `hints` what to type next."""

    exit_code = 1

    def __init__(self, message: str, *, cause: str = "", hints: Sequence[str] = (), **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.hints = tuple(hints)
        self.fields = fields

    def __str__(self) -> str:
        lines = [self.message]
        if self.cause:
            lines.append(f"  {self.cause}")
        lines.extend(f"  {hint}" for hint in self.hints)
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.cause, self.hints, self.fields))

    def facts(self) -> dict[str, Any]:
        """The same facts for `--json`: error, message, cause, hints, exit_code and the fields."""
        return {
            "error": type(self).__name__,
            "message": self.message,
            "cause": self.cause,
            "hints": list(self.hints),
            "exit_code": self.exit_code,
            **self.fields,
        }


def _rebuild(
    kind: type[AdvisorError], message: str, cause: str, hints: tuple[str, ...], fields: dict[str, Any]
) -> AdvisorError:
    error = kind.__new__(kind)
    AdvisorError.__init__(error, message, cause=cause, hints=hints, **fields)
    return error


class BadRequest(AdvisorError):
    """The request itself is wrong: a size of 0, conflicting options, an unusable combination."""

    exit_code = 2


class UnknownName(BadRequest):
    """A name nobody has heard of; says the near ones and the command that lists all.

    Build it with `UnknownName.of("gpu", "h10", known, list_with="advisor gpus")`.
    """

    @classmethod
    def of(cls, kind: str, name: str, known: Sequence[str], *, list_with: str) -> UnknownName:
        import difflib

        lowered = {k.lower(): k for k in known}
        near = [lowered[k] for k in difflib.get_close_matches(name.lower(), list(lowered), n=4, cutoff=0.5)]
        if not near:
            near = [k for k in known if name.lower() in k.lower()][:4]
        hints = [f"near names: {', '.join(near)}"] if near else []
        return cls(
            f"unknown {kind}: {name!r}",
            hints=[*hints, f"to list all: {list_with}"],
            kind=kind,
            name=name,
            near=near,
        )


class IllegalRecipe(BadRequest):
    """A method that cannot run on this model, base or trainer; `hints` name the nearest legal choice."""


class UnsupportedModel(BadRequest):
    """A model whose definition is missing, unreadable or of a kind we cannot build."""


class NoEvidence(BadRequest):
    """Nobody has published or measured what was asked; raised only where an answer would be invention."""


class MissingExtra(BadRequest):
    """An optional dependency is needed: `MissingExtra.of("bitsandbytes", extra="quant", why="nf4 bases")`."""

    @classmethod
    def of(cls, package: str, *, extra: str, why: str) -> MissingExtra:
        return cls(
            f"{package} is not installed, and {why} needs it",
            hints=[f"to install: pip install 'advisor[{extra}]'"],
            package=package,
            extra=extra,
        )


class DoesNotFit(AdvisorError):
    """Nothing asked for fits; the fields hold the smallest need, what there is, and what would fit."""

    exit_code = 3


class BadFile(AdvisorError):
    """A file that is missing, truncated, hand-edited or newer than this version understands."""

    exit_code = 4


class StoreUnavailable(BadFile):
    """The store's folder cannot be written or its lock is held: full disk, read-only, another process."""
