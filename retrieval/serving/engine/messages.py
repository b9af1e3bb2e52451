"""What clients read of errors and warnings: in the words of the service, without places of its machine."""

import contextlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from indexing.errors import CommonspaceError, CommonspaceWarning
from retrieval.serving.engine.request import CURRENT


def in_words_of_service(error: Exception) -> str:
    """Give the message of an error, with what to do in the fields of a request."""
    return error.for_service if isinstance(error, CommonspaceError) else str(error)


def split_hint(text: str) -> tuple[str, str]:
    """Split what to do from what is wrong, as the messages of this project have them; brackets are not split.

    >>> split_hint("k is 0; give a whole number"), split_hint("no such item")
    (('k is 0', 'give a whole number'), ('no such item', ''))
    >>> split_hint("no classifier for image (15 queries; give 20); use text")
    ('no classifier for image (15 queries; give 20)', 'use text')
    >>> split_hint("no such column 'a (b; c'; give another")
    ("no such column 'a (b; c'", 'give another')
    """
    depth = 0
    for place in range(len(text) - 1, 0, -1):  # an end that is not balanced is no bracket
        depth += (text[place] in ")]}") - (text[place] in "([{")
        depth = max(depth, 0)
        if depth == 0 and text.startswith("; ", place):
            return text[:place], text[place + 2 :]
    return text, ""


def without_places(text: str, bundle: Path, log: str | None = None) -> str:
    """Leave out where the bundle and the log of live events are, which is nothing for clients.

    Args:
        text: A message, or JSON with messages.
        bundle: The folder of the bundle.
        log: What messages call the log of live events.

    >>> without_places("/srv/shop/jobs/20260102-add-1/items.jsonl is empty", Path("/srv/shop"))
    'the uploaded items.jsonl is empty'
    >>> without_places("no space for /srv/shop/jobs/20260102-add-1/job.json", Path("/srv/shop"))
    'no space for the record of the job'
    >>> without_places("/srv/shop has no index of words, /srv/shop-2 has", Path("/srv/shop"))
    'the bundle has no index of words, /srv/shop-2 has'
    """
    folder = re.escape(str(bundle.absolute()))
    text = re.sub(rf"{folder}/jobs/[\w-]+/job\.json(?!\w)", "the record of the job", text)
    text = re.sub(rf"{folder}/jobs/[\w-]+/(?=\w)", "the uploaded ", text)
    text = re.sub(rf"{folder}(?![\w-])", "the bundle", text)
    return text if log is None else text.replace(log, "the log of live events")


@contextlib.contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Let every warning of this project be a note of the request during which it is given.

    Who may not read what a user of the log of live events did gets what it says without that.

    It holds for the process, whose threads share what becomes of warnings, and so is entered once by a service.
    """
    before = warnings.showwarning

    def note(message: Warning | str, category: type[Warning], *where: Any) -> None:  # noqa: ANN401
        request = CURRENT.get()
        if request is None or not issubclass(category, CommonspaceWarning):
            before(message, category, *where)
        else:
            if isinstance(message, CommonspaceWarning) and request.users_refused is not None:
                message = message.impersonal
            request.note(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", CommonspaceWarning)
        warnings.showwarning = note  # type: ignore[assignment]
        yield
