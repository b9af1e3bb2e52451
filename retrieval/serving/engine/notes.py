"""Warnings of the verbs as notes of the answer, rather than as lines of a log, which they would fill with queries."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from indexing.errors import CommonspaceWarning
from retrieval.serving.engine.request import CURRENT


@contextlib.contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Let every warning of this project be a note of the request during which it is given.

    It holds for the process, whose threads share what becomes of warnings, and so is entered once by a service.
    """
    before = warnings.showwarning

    def note(message: Warning | str, category: type[Warning], *where: Any) -> None:  # noqa: ANN401
        request = CURRENT.get()
        if request is None or not issubclass(category, CommonspaceWarning):
            before(message, category, *where)
        else:
            request.note(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", CommonspaceWarning)
        warnings.showwarning = note  # type: ignore[assignment]
        yield
