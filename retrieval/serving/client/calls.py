"""A call: one request to the service, described without sending it, and how its answer is read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeAlias, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from indexing.errors import InputError
from indexing.runtime.arguments import check_kind, check_number, shown
from retrieval.serving.client.errors import AnswerError, error_of
from retrieval.serving.client.options import PerCall
from retrieval.serving.engine.request import REQUEST_ID

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)
Access: TypeAlias = Literal["read", "write", "admin"]
Files: TypeAlias = Sequence[tuple[str, tuple[str, bytes]]]


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request.

    Attributes:
        method, route: The operation, as OpenAPI names it: ``"GET"``, ``"/items/{item_id}"``.
        read: Makes what the caller gets of the body of an answer.
        options: The name of the request, and the seconds that it may take.
        names: What stands in the braces of the route.
        params: What stands after its question mark.
        body: Fields of the JSON body; None without one.
        files: Files of a form, instead of a body.
        access: Which token is sent.
        repeatable: Whether a second time changes neither what the service knows nor what it answers.
        answers: Statuses whose body `read` reads.
    """

    method: str
    route: str
    read: Callable[[bytes], T]
    options: PerCall = field(default_factory=PerCall)
    names: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    files: Files | None = None
    access: Access = "read"
    repeatable: bool = True
    answers: tuple[int, ...] = (200,)

    def __post_init__(self) -> None:
        name = self.options.get("request_id")
        if name is not None and not REQUEST_ID.fullmatch(check_kind(name, str, "request_id", "give a text")):
            raise InputError(f"request_id is {shown(name)}; give 8 to 64 letters, digits, dots, underlines and hyphens")
        timeout = self.options.get("timeout")
        if timeout is not None and check_number(timeout, "timeout", "give seconds above 0") <= 0:
            raise InputError(f"timeout is {shown(timeout)}; give seconds above 0")

    @property
    def path(self) -> str:
        """The path with the names in it, each as one part, whatever characters it has.

        Raises:
            InputError: When a name is empty.
        """
        path = self.route
        for name, value in self.names.items():
            if not check_kind(value, str, name, "give a text"):
                raise InputError(f"{name} is empty; give one")
            # a part of dots alone would lead to another path
            written = quote(value, safe="") if value.strip(".") else value.replace(".", "%2E")
            path = path.replace("{" + name + "}", written)
        return path

    def answer(self, status: int, headers: Mapping[str, str], content: bytes) -> T:
        """Read an answer.

        Raises:
            ServiceError: When it is an error, or cannot be read.
        """
        if status not in self.answers:
            raise error_of(status, headers, content)
        try:
            return self.read(content)
        except ValidationError as error:
            if status >= 400:
                raise error_of(status, headers, content) from error
            place = ".".join(map(str, error.errors()[0]["loc"])) or "the body"
            raise AnswerError(
                f"the answer to {self.method} {self.route} cannot be read: {place}: {error.errors()[0]['msg']}",
                "check that the URL is one of a Commonspace service, and which version it and this client have",
                request_id=headers.get("x-request-id"),
                status=status,
            ) from error


def reading(model: type[Model]) -> Callable[[bytes], Model]:
    """Read bodies as a model; fields that a newer service adds are kept."""
    return lambda content: model.model_validate_json(content, extra="allow")


def posting(route: str, model: type[Model], fields: Mapping[str, Any], options: Mapping[str, Any]) -> Call[Model]:
    """Describe a request with a JSON body.

    Args:
        route: Of the operation.
        model: Of the answer.
        fields: Of the body.
        options: Further fields of it, and those of `PerCall`.
    """
    per_call = per_call_of(options)
    more = {name: value for name, value in options.items() if name not in per_call}
    return Call("POST", route, reading(model), per_call, body={**fields, **more})


def per_call_of(options: Mapping[str, Any]) -> PerCall:
    """Give what is said of the call itself."""
    given: Any = {name: options[name] for name in PerCall.__annotations__ if name in options}
    return given  # type: ignore[no-any-return]
