"""What can go wrong when a service is asked.

    ServiceError                every error of a service; also a fault of it (500), or a part that it lacks (501)
    ├── InvalidRequestError     a field, an item or a file cannot be used (400, 405, 408, 413, 422); also an InputError
    ├── AccessError             no token, a wrong one, or one that does not allow this (401, 403, 421)
    ├── NotFoundError           no such item, job, path, or generation of a rollback (404)
    ├── ConflictError           another job is running, or the bundle is in another state (409)
    ├── ExpiredCursorError      the bundle was replaced while its items were listed (410)
    ├── GoneGenerationError     a generation that is not kept, or cannot take the changes since (410)
    ├── OverloadedError         too much to do (429, 503 with Retry-After)
    ├── UnreachableError        no answer: no connection, or none in time
    └── AnswerError             an answer that is none of this service

All are `CommonspaceError`.
"""

from collections.abc import Mapping

from pydantic import ValidationError

from indexing.errors import CommonspaceError, InputError
from retrieval.serving.schemas.answers import ErrorBody

_NUM_CHARACTERS = 200  # of an answer that is not understood, in a message


class ServiceError(CommonspaceError):
    """A request that was not answered.

    Attributes:
        type: The name of the error at the service, as ``"UnknownItemError"``.
        message: What is wrong, and with which value.
        hint: What to do about it; perhaps empty.
        request_id: The name of the request in the log of the service; None where it gave none.
        status: Of HTTP; None without an answer.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        type: str = "",
        request_id: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, python=hint, cli=hint)
        self.type, self.message, self.hint = type or self.__class__.__name__, message, hint
        self.request_id, self.status = request_id, status


class InvalidRequestError(ServiceError, InputError):
    """A request with a field, an item or a file that cannot be used."""


class AccessError(ServiceError):
    """A request without a token, or with one that is wrong or does not allow this."""


class NotFoundError(ServiceError):
    """An item, a job, a generation of a rollback or a path that is not there."""


class ConflictError(ServiceError):
    """A change of the bundle beside which another runs, or that its state does not allow."""


class ExpiredCursorError(ServiceError):
    """Pages of items that cannot be continued, as another generation of the bundle is served."""


class GoneGenerationError(ServiceError):
    """A generation that the bundle does not keep, or that cannot take the changes since."""


class OverloadedError(ServiceError):
    """A request that was refused because there is too much to do.

    Attributes:
        retry_after: Seconds after which to ask again.
    """

    retry_after: float = 0.0


class UnreachableError(ServiceError):
    """A request without an answer.

    Attributes:
        sent: Whether it may have reached the service.
    """

    sent: bool = True


class AnswerError(ServiceError):
    """An answer that is none of this service."""


_CLASSES: dict[int, type[ServiceError]] = {
    **dict.fromkeys((400, 405, 408, 413, 422), InvalidRequestError),
    **dict.fromkeys((401, 403, 421), AccessError),
    404: NotFoundError,
    409: ConflictError,
    410: ExpiredCursorError,
}


def error_of(status: int, headers: Mapping[str, str], content: bytes) -> ServiceError:
    """Make an error of an answer that is one.

    Args:
        status: Of HTTP.
        headers: By their names in lower case, or in any case.
        content: The body.
    """
    request_id = headers.get("x-request-id")
    try:
        error = ErrorBody.model_validate_json(content, extra="ignore").error
    except ValidationError:
        text = content.decode("utf-8", "replace")[:_NUM_CHARACTERS]
        message = f"status {status} with the body {text!r}, which is none of this service"
        hint = f"ask {headers['location']}" if "location" in headers else "check the URL, and what stands between"
        return AnswerError(message, hint, request_id=request_id, status=status)
    kind, pause = _CLASSES.get(status, ServiceError), retry_after(headers)
    if error.type == "GenerationError":
        kind = GoneGenerationError
    kind = OverloadedError if status in (429, 503) and pause is not None else kind
    made = kind(error.message, error.hint, type=error.type, request_id=error.request_id, status=status)
    if isinstance(made, OverloadedError):
        made.retry_after = pause or 0.0
    return made


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read the seconds of Retry-After; None where there are none.

    >>> retry_after({"retry-after": "2"}), retry_after({})
    (2.0, None)
    """
    value = headers.get("retry-after", "")
    return float(value) if value.isdecimal() else None
