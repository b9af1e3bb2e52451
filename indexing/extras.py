"""Packages that only some need: imported when first used, and one message when they are missing."""

import importlib
from importlib.util import find_spec
from typing import Any

from indexing.errors import MissingExtraError


def import_extra(module: str, extra: str) -> Any:  # noqa: ANN401 - a module
    """Import a package that comes with an extra of this project.

    Raises:
        MissingExtraError: When it, or what it needs, is not installed.

    >>> import_extra("no_such_module", "audio")
    Traceback (most recent call last):
        ...
    indexing.errors.MissingExtraError: no_such_module cannot be imported: pip install "commonspace[audio]"
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: the package is there, but not its shared library
        raise _missing(module, extra) from error


def require_extra(module: str, extra: str) -> None:
    """Check that a package is there, before work whose last step needs it.

    Raises:
        MissingExtraError: When it is not.
    """
    if find_spec(module) is None:
        raise _missing(module, extra)


def _missing(module: str, extra: str) -> MissingExtraError:
    return MissingExtraError(f'{module} cannot be imported: pip install "commonspace[{extra}]"')
