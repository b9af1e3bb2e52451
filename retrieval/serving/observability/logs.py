"""Lines of the log on standard error, as JSON or as text: where and what, never whose or which query."""

import logging
import sys
import traceback
import warnings
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, TextIO, get_args

from indexing.errors import CommonspaceWarning
from indexing.runtime.arguments import check_choice
from retrieval.serving.engine.request import RequestContext

Format = Literal["json", "text"]
Level = Literal["debug", "info", "warning", "error"]
FIELDS = ("request_id", "method", "route", "status", "seconds", "generation", "places")
"""What a line may have beside its message."""

PROBES = frozenset({"/live", "/ready", "/metrics"})
"""Routes that programs ask all the time: their lines are for debugging, unless something is wrong."""

QUOTING = frozenset({"mcp", "python_multipart"})
"""Packages whose messages quote requests."""

_MOST_PLACES = 8
_PARENT = "commonspace"
_REQUESTS, _WARNINGS = logging.getLogger(f"{_PARENT}.requests"), logging.getLogger(f"{_PARENT}.warnings")


@dataclass(frozen=True)
class LogConfig:
    """How a server writes its log.

    Attributes:
        format: JSON, one object a line, or text.
        level: The least that is written of the service's own lines; of libraries, warnings are.

    Raises:
        InputError: For other values.
    """

    format: Format = "text"
    level: Level = "info"

    def __post_init__(self) -> None:
        check_choice(self.format, "format", get_args(Format))
        check_choice(self.level, "level", get_args(Level))

    @classmethod
    def for_stderr(cls, format: Format | None = None, level: Level = "info") -> "LogConfig":
        """Give text for a terminal, and JSON where a program reads standard error, if nothing else is said."""
        return cls(format or ("text" if sys.stderr.isatty() else "json"), level)

    def apply(self) -> None:
        """Let all loggers of this process, and its warnings, write to standard error."""
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(self.formatter())
        root = logging.getLogger()
        root.handlers = [handler]
        root.setLevel(logging.WARNING)
        logging.getLogger(_PARENT).setLevel(self.level.upper())
        warnings.showwarning = log_warning

    def formatter(self) -> logging.Formatter:
        """Give what makes a line of a record."""
        import structlog

        is_json = self.format == "json"
        line: Any = structlog.processors.JSONRenderer() if is_json else structlog.dev.ConsoleRenderer(colors=False)
        return structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, line],
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.stdlib.ExtraAdder(allow=FIELDS),
                without_texts,
            ],
        )


def log_answered(request: RequestContext, route: str, status: int) -> None:
    """Write the line of a request; an `Observer`."""
    level = logging.DEBUG if route in PROBES and status < 400 else logging.INFO
    if _REQUESTS.isEnabledFor(level):
        extra = {
            "request_id": request.request_id,
            "method": request.method,
            "route": route,
            "status": status,
            "seconds": round(request.stages.close(), 6),
            "generation": request.generation,
        }
        _REQUESTS.log(level, "request", extra=extra)


def log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - as `warnings.showwarning`
    line: str | None = None,  # noqa: ARG001
) -> None:
    """Write a warning, with the message where it is of this project; those during requests are notes of their answers.

    Messages of other packages may quote what they were given.
    """
    is_own = issubclass(category, CommonspaceWarning)
    text = f"{category.__name__}: {message}" if is_own else category.__name__
    _WARNINGS.warning(text, extra={"places": [f"{filename}:{lineno}"]})


def without_texts(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Write the kind and the places of an error in place of its message, and of a message of others its first line.

    Messages of errors may name a query or a user, and asyncio writes the errors of tasks below its first line. Of
    packages that quote requests the place of a message alone is written.
    """
    package = event["logger"].partition(".")[0]
    if package in QUOTING:
        record: logging.LogRecord = event["_record"]
        event["event"], event["places"] = "a message", [f"{record.pathname}:{record.lineno} in {record.funcName}"]
    elif package != _PARENT:
        event["event"] = event["event"].partition("\n")[0]
    if error := event.pop("exc_info", None):
        kind, _, trace = error
        event["error"], event["places"] = kind.__name__, places_of(trace)
    event.pop("stack_info", None)
    return event


def places_of(trace: TracebackType | None) -> Sequence[str]:
    """Give the places of an error in the code, the innermost first."""
    places = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(trace)]
    return places[-_MOST_PLACES:][::-1]
