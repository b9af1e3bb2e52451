"""Files that are read with suspicion: checksums, hashes of contents, and one error for damaged bytes."""

import hashlib
import json
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from indexing.errors import CommonspaceError, DamagedFileError
from indexing.runtime.arguments import is_number


def content_hash(content: str | bytes) -> str:
    """Name a text or the bytes of a file by its content (128-bit BLAKE2b)."""
    data = content.encode() if isinstance(content, str) else content
    return hashlib.blake2b(data, digest_size=HASH_BYTES).hexdigest()


HASH_BYTES = 16


# What reading bytes raises that are cut short, changed or of something else: no tensors, missing names, other types,
# sizes that no memory holds.
_READING_ERRORS = (
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
def read_as(name: str, hint: str) -> Iterator[None]:
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
        raise DamagedFileError(f"{name} cannot be read ({error}); {hint}") from error
    except _READING_ERRORS as error:
        raise DamagedFileError(f"{name} cannot be read ({type(error).__name__}: {error}); {hint}") from error


def finite_tensors(data: bytes, *, infinite_suffix: str | None = None) -> dict[str, NDArray[Any]]:
    """Read safetensors all numbers of which are finite.

    Args:
        data: The bytes.
        infinite_suffix: How the names of those end that may hold infinity, though never NaN.

    Raises:
        ValueError: When a number is not; `SafetensorError` when the bytes are no tensors. See `read_as`.
    """
    tensors = load(data)
    check_finite(tensors, infinite_suffix=infinite_suffix)
    return tensors


def check_finite(tensors: Mapping[str, NDArray[Any]], *, infinite_suffix: str | None = None) -> None:
    """Check that all numbers of some tensors are finite; see `finite_tensors`.

    Raises:
        ValueError: When one is not.
    """
    for name, tensor in tensors.items():
        if not np.issubdtype(tensor.dtype, np.floating):
            continue
        may_be_infinite = infinite_suffix is not None and name.endswith(infinite_suffix)
        if not (~np.isnan(tensor) if may_be_infinite else np.isfinite(tensor)).all():
            raise ValueError(f"{name!r} holds numbers that are not finite")


CHECKSUM = "checksum"
MAX_SEALED_BYTES = 10_000_000
REPAIR_HINT = "try `commonspace repair`, which mends it or says what does"


def seal(content: Mapping[str, Any]) -> bytes:
    """Return plain JSON values as text that `unseal` reads back.

    >>> seal({"a": 1}) == seal({"a": 1})
    True
    """
    digest = hashlib.sha256(_text(content)).hexdigest()
    return _text({CHECKSUM: digest, **content})


def unseal(path: Path, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read what `seal` wrote, without its checksum.

    Args:
        path: The file.
        schema: The types that its values must have, see `misfit`.

    Raises:
        DamagedFileError: When it is missing, too large, not byte for byte what was written, or of other types.
    """
    return unseal_bytes(read_whole(path, MAX_SEALED_BYTES), str(path), REPAIR_HINT, schema)


def unseal_bytes(data: bytes, name: str, hint: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read what `seal` gave, without its checksum; ``name`` and ``hint`` are for the error, see `unseal`.

    Raises:
        DamagedFileError: When it is not byte for byte what was written, or of other types.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{name} is damaged: it is no JSON ({error}); {hint}") from error
    if not isinstance(content, dict) or not _is_sealed(data, content):
        raise DamagedFileError(f"{name} is damaged: its bytes are not those that were written; {hint}")
    del content[CHECKSUM]
    if schema is not None and (problem := misfit(content, schema)):
        raise DamagedFileError(f"{name} cannot be used: {problem}; {hint}")
    return content


def _is_sealed(data: bytes, content: dict[str, Any]) -> bool:
    """Whether bytes are what `seal` wrote of their own content."""
    checksum = content.get(CHECKSUM)
    line = f'  "{CHECKSUM}": "{checksum}",\n'.encode()  # without it the bytes are those of the checksum
    if data.count(line) == 1 and hashlib.sha256(data.replace(line, b"")).hexdigest() == checksum:
        return True
    return seal({key: value for key, value in content.items() if key != CHECKSUM}) == data


def read_whole(path: Path, max_bytes: int | None = None) -> bytes:
    """Return the bytes of a regular file; a pipe or a device in its place is not read, for it may never end.

    Raises:
        DamagedFileError: When it is missing, cannot be read, is no regular file or is too large.
    """
    try:
        stat_ = path.stat()
        if not stat.S_ISREG(stat_.st_mode):
            raise DamagedFileError(f"{path} is no regular file; {REPAIR_HINT}")
        if max_bytes is not None and stat_.st_size > max_bytes:
            raise DamagedFileError(f"{path} is over {max_bytes} bytes, which no version of it ever was; {REPAIR_HINT}")
        return path.read_bytes()
    except OSError as error:
        raise DamagedFileError(f"{path} cannot be read ({error.strerror or error}); {REPAIR_HINT}") from error


def misfit(value: Any, schema: Any, name: str = "it") -> str | None:  # noqa: ANN401 - any JSON value
    """Say which value is of another type than a schema asks for, or None when all fit.

    A schema is a type, a list of one schema for each element, a dict with a schema for each key, or a tuple of one
    schema for what may be null too. A key that ends with ``?`` may be missing, and the key ``*`` is for all others.
    Where a float is asked for, any finite number will do.

    >>> misfit({"last": 3}, {"last": int, "history?": [str]})
    >>> misfit({"last": "3"}, {"last": int})
    "last is '3', expected int"
    """
    if isinstance(schema, tuple):
        return None if value is None else misfit(value, schema[0], name)
    if isinstance(schema, dict):
        return _misfit_of_dict(value, schema, name)
    if isinstance(schema, list):
        if not isinstance(value, list):
            return f"{name} is {repr(value)[:60]}, expected a list"
        misfits = (misfit(element, schema[0], f"{name}[{position}]") for position, element in enumerate(value))
        return next((problem for problem in misfits if problem), None)
    if schema is float:
        return None if is_number(value) else f"{name} is {repr(value)[:60]}, expected a finite number"
    if isinstance(value, bool) != (schema is bool) or not isinstance(value, schema):
        return f"{name} is {repr(value)[:60]}, expected {schema.__name__}"
    return None


def _misfit_of_dict(value: Any, schema: dict[str, Any], name: str) -> str | None:  # noqa: ANN401 - any JSON value
    if not isinstance(value, dict):
        return f"{name} is {repr(value)[:60]}, expected names with values"
    if missing := [key for key in schema if key != "*" and not key.endswith("?") and key not in value]:
        return f"{name} lacks {missing[0]!r}"
    inner = {key.removesuffix("?"): element for key, element in schema.items()}
    any_key = inner.pop("*", None)
    for key, element in value.items():
        element_schema = inner.get(key, any_key)
        if element_schema is not None and (
            problem := misfit(element, element_schema, key if name == "it" else f"{name}.{key}")
        ):
            return problem
    return None


def _text(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
