"""What damaged bytes make a reader raise, as one error of this project."""

from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

from indexing.errors import CommonspaceError, DamagedFileError

# What reading bytes raises that are cut short, changed or of something else: no tensors, missing names, other types.
_RAISED = (SafetensorError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)


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
