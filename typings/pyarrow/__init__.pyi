"""What this project uses of pyarrow, which has no types, for the type checker."""

from io import RawIOBase
from types import TracebackType
from typing import Any

from pyarrow import ipc as ipc
from pyarrow import parquet as parquet

class ArrowException(Exception): ...

class NativeFile(RawIOBase):
    def __enter__(self) -> NativeFile: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

class CompressedInputStream(NativeFile):
    def __init__(self, stream: str, compression: str) -> None: ...

class RecordBatch:
    @property
    def num_rows(self) -> int: ...
    def slice(self, offset: int = 0, length: int | None = None) -> RecordBatch: ...
    def to_pylist(self) -> list[dict[str, Any]]: ...

def memory_map(path: str, mode: str = "r") -> NativeFile: ...
