"""What damaged bytes make a reader raise, as one error of this project."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from indexing.errors import CommonspaceError, DamagedFileError

# What reading bytes raises that are cut short, changed or of something else: no tensors, missing names, other types,
# sizes that no memory holds.
_RAISED = (
    SafetensorError,
    pa.ArrowException,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,  # also what is not implemented, and recursion without end
    OSError,
    SystemError,
    MemoryError,
)


@contextmanager
def read_as(what: str, way_out: str) -> Iterator[None]:
    """Turn whatever reading damaged bytes raises into a `DamagedFileError` that names what was read.

    Errors that this project raises on purpose pass as they are, but for those that are about values handed in.

    >>> with read_as("the adapter", "fit again"):
    ...     {}["w1"]
    Traceback (most recent call last):
        ...
    indexing.errors.DamagedFileError: the adapter cannot be read (KeyError: 'w1'); fit again
    """
    try:
        yield
    except CommonspaceError as error:
        if not isinstance(error, ValueError):
            raise
        raise DamagedFileError(f"{what} cannot be read ({error}); {way_out}") from error
    except _RAISED as error:
        raise DamagedFileError(f"{what} cannot be read ({type(error).__name__}: {error}); {way_out}") from error


def finite_tensors(data: bytes, *, endless: str | None = None) -> dict[str, NDArray[Any]]:
    """Read safetensors all numbers of which are finite.

    Args:
        data: The bytes.
        endless: How the names of those end that may hold infinity, though never NaN.

    Raises:
        ValueError: When a number is not; `SafetensorError` when the bytes are no tensors. See `read_as`.
    """
    tensors = load(data)
    for name, tensor in tensors.items():
        if not np.issubdtype(tensor.dtype, np.floating):
            continue
        may_be_infinite = endless is not None and name.endswith(endless)
        if not (~np.isnan(tensor) if may_be_infinite else np.isfinite(tensor)).all():
            raise ValueError(f"{name!r} holds numbers that are not finite")
    return tensors
