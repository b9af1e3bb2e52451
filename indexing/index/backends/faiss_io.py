"""FAISS indexes in files: written through `fsops`, read with suspicion, opened without being loaded."""

from pathlib import Path
from threading import Lock
from typing import Any

import faiss
import numpy as np

from indexing.errors import DamagedFileError
from indexing.filesystem import fsops

# FAISS trusts the sizes written in a file: no vector inside may claim more bytes than this many times the file.
DESERIALIZE_SLACK = 4
SMALLEST_LIMIT = 1 << 20

_limits = Lock()  # FAISS has one limit for the whole process


def write_faiss(index: Any, path: Path) -> str:  # noqa: ANN401 - FAISS ships no types
    """Write an index into one file as `faiss.read_index` takes it, without a copy of it in memory.

    Returns:
        The hexadecimal sha256 of the file.
    """
    return fsops.write_stream(path, lambda write: faiss.write_index(index, faiss.PyCallbackIOWriter(write)))


def faiss_bytes(index: Any) -> bytes:  # noqa: ANN401 - FAISS ships no types
    """Give an index in FAISS's own format."""
    data: bytes = faiss.serialize_index(index).tobytes()
    return data


def read_faiss(path: Path, *, mapped: bool = True) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Open a file in FAISS's own format, which claims no more memory than it may.

    The caller has checked the file's sha256: FAISS itself does not notice damage.

    Args:
        path: The file. While a mapped index lives, nothing may write into the file; to replace or remove it is fine.
        mapped: Leave vectors, codes and graphs in the file and let the operating system bring in what is searched;
            processes that open the same file share it. Else all of it is read into memory.

    Raises:
        DamagedFileError: When the file is missing, or FAISS refuses its bytes.
    """
    try:
        size = max(path.stat().st_size, SMALLEST_LIMIT)
        with _limits:
            faiss.set_deserialization_vector_byte_limit(DESERIALIZE_SLACK * size)
            faiss.set_deserialization_loop_limit(size)  # whatever is read in a loop takes a byte at least
            if mapped:
                return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
            return faiss.deserialize_index(np.fromfile(path, dtype=np.uint8))
    except (OSError, RuntimeError) as error:
        raise DamagedFileError(f"{path} is not a FAISS index: {error}; build the index again") from error
