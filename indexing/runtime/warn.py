"""Warnings that name the line of whoever called this project, not one inside of it."""

import contextlib
import functools
import os
import sys
import warnings
from pathlib import Path
from types import FrameType

_ROOT = Path(__file__).parents[2]
_SKIPPED = (  # files that begin so: the packages, what wraps their functions, and imports
    f"{_ROOT / 'indexing'}{os.sep}",
    f"{_ROOT / 'retrieval'}{os.sep}",
    contextlib.__file__,
    functools.__file__,
    "<frozen importlib",
)


def warn(message: str | Warning, category: type[Warning]) -> None:
    """Warn at the first line up the stack that is not of this project, however deep in it the warning is given.

    Python 3.12 has ``skip_file_prefixes`` for that.

    Args:
        message: What to say, or a warning of the category.
        category: Of the warning.
    """
    frame: FrameType | None = sys._getframe(1)
    last = frame
    while frame is not None and frame.f_code.co_filename.startswith(_SKIPPED):
        last, frame = frame, frame.f_back
    caller = frame or last
    if caller is None:
        return
    warnings.warn_explicit(
        message,
        category,
        caller.f_code.co_filename,
        caller.f_lineno,
        module=caller.f_globals.get("__name__"),
        registry=caller.f_globals.setdefault("__warningregistry__", {}),
    )
