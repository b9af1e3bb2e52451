"""Files that are mapped into memory: the operating system brings in what is read, and processes share it.

While a mapped array or table lives, nothing may write into its file; to replace or remove the file is fine. The caller
has compared the size of the file with what was recorded: one that is too short would end the process.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy
from numpy.typing import NDArray
from safetensors import safe_open

from indexing.filesystem import fsops
from indexing.filesystem.checked_files import REPAIR_HINT, read_as

ROWS_PER_BATCH = 1 << 20  # of an Arrow table in one piece
_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "U8": np.uint8}


def write_array(path: Path, blocks: Iterator[NDArray[Any]], shape: tuple[int, ...], dtype: type[np.generic]) -> str:
    """Write an array as ``.npy`` from consecutive blocks of its rows, and return the sha256 of the file."""
    header = {"descr": npy.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}

    def produce(write: Callable[[bytes | memoryview], None]) -> None:
        npy.write_array_header_1_0(_Writer(write), header)
        for block in blocks:
            write(np.ascontiguousarray(block, dtype).tobytes())

    return fsops.write_stream(path, produce)


class _Writer:
    """What numpy takes for a file to write to."""

    def __init__(self, write: Callable[[bytes | memoryview], None]) -> None:
        self.write = write


def map_array(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """Map what `write_array` wrote.

    Raises:
        DamagedFileError: When it holds an array of another shape or type.
    """
    with read_as(str(path), REPAIR_HINT):
        mapped = np.load(path, mmap_mode="r", allow_pickle=False) if 0 not in shape else np.empty(shape, dtype)
        if mapped.shape != shape or mapped.dtype != dtype or not mapped.flags.c_contiguous:
            raise ValueError(f"it holds {mapped.shape} {mapped.dtype}, expected {shape} {np.dtype(dtype)}")
        return np.asarray(mapped)


def map_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Map the tensors of a safetensors file by name.

    Raises:
        DamagedFileError: When it is no such file, or a tensor is of a type unknown here.
    """
    with read_as(str(path), REPAIR_HINT):
        with safe_open(path, framework="numpy") as file:  # checks the header against the size of the file
            names = list(file.keys())
        with path.open("rb") as data:
            length = int.from_bytes(data.read(8), "little")
            header = json.loads(data.read(length))
        content = np.asarray(np.memmap(path, np.uint8, "r", 8 + length)) if path.stat().st_size > 8 + length else b""
        tensors = {}
        for name in names:
            (start, end), dtype = header[name]["data_offsets"], _DTYPES[header[name]["dtype"]]
            tensors[name] = np.frombuffer(content[start:end], dtype).reshape(header[name]["shape"])
        return tensors


def write_table(path: Path, table: pa.Table) -> str:
    """Write a table as an Arrow file that can be mapped, and return the sha256 of the file."""

    def produce(write: Callable[[bytes | memoryview], None]) -> None:
        sink = pa.PythonFile(_Sink(write), mode="w")
        with pa.ipc.new_file(sink, table.schema) as file:
            file.write_table(table.combine_chunks(), max_chunksize=ROWS_PER_BATCH)

    return fsops.write_stream(path, produce)


class _Sink:
    """What Arrow takes for a file to write to."""

    closed = False

    def __init__(self, write: Callable[[bytes | memoryview], None]) -> None:
        self._write, self._size = write, 0

    def write(self, data: bytes) -> int:
        """Write one piece."""
        self._write(data)
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        """Say how much was written."""
        return self._size

    def flush(self) -> None:
        """Do nothing: the file is flushed when it is whole."""


def map_table(path: Path) -> pa.Table:
    """Map what `write_table` wrote; offsets and texts are checked, which Arrow believes otherwise.

    Raises:
        DamagedFileError: When it is no such table.
    """
    with read_as(str(path), REPAIR_HINT):
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        table.validate(full=True)
        return table
