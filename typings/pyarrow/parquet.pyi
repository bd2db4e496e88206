from collections.abc import Iterator
from pathlib import Path

from pyarrow import RecordBatch

class ParquetFile:
    def __init__(self, source: Path) -> None: ...
    def iter_batches(self, batch_size: int = 65536) -> Iterator[RecordBatch]: ...
