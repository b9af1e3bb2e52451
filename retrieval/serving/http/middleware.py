"""What surrounds every request: its id, its time, who may ask, the size and time of its body, and unexpected errors."""

import asyncio
import logging
import time
from http import HTTPMethod
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retrieval.serving.engine.admission import ClientGoneError, Kind, OverloadedError
from retrieval.serving.engine.request import CURRENT, RequestContext, current_request
from retrieval.serving.http import security
from retrieval.serving.observability.logs import places_of
from retrieval.serving.schemas.errors import error_response

if TYPE_CHECKING:
    from retrieval.serving.engine.service import Service

LOG = logging.getLogger("commonspace.serving")
CLIENT_GONE = 499  # in metrics and logs alone: nobody is there to read it
METHODS = frozenset(HTTPMethod)
NO_ROUTE = "other"  # of requests that are refused before their route is known, and of paths that lead nowhere
UPLOADS = "/search/upload"
ADMIN_UPLOADS = frozenset({"/admin/items/upload", "/admin/fit/upload"})
KINDS: dict[str, Kind] = {"/search": "search", "/similar": "search", "/recommend": "recommend"}
"""Routes that are asked most, by the kind of work of nearly all of their requests: `/search` may have pictures."""

REQUEST_ID, TRACEPARENT = "x-request-id", "traceparent"


class RefusedBodyError(HTTPException):
    """A body that is too large or comes too slowly; what reads it lets errors of HTTP pass."""

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(status, message, {"connection": "close"})
        self.hint = hint

    def response(self) -> Response:
        """Give it as an answer, after which the connection ends."""
        return error_response(self.status_code, "BodyError", self.detail, self.hint, self.headers)


def overloaded(reason: OverloadedError) -> Response:
    """Give the answer of a request that is refused."""
    return error_response(
        reason.status, "OverloadedError", str(reason), reason.hint, {"retry-after": str(reason.retry_after)}
    )


class Surroundings:
    """Surrounds every request of the application; see the module."""

    def __init__(self, app: ASGIApp, service: "Service") -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request = RequestContext.begin(self.service.config.limits.deadline, headers.get(REQUEST_ID))
        request.method = scope["method"] if scope["method"] in METHODS else "other"
        request.traceparent = headers.get(TRACEPARENT)
        token = CURRENT.set(request)
        body = Body(receive, scope, headers, self.service)
        request.is_gone = body.is_gone
        answer = Answer(send, request.request_id)
        try:
            await self._answered(scope, body, answer)
        finally:
            CURRENT.reset(token)
            request.stages.close()
            route = getattr(scope.get("route"), "path_format", answer.route)
            for observe in self.service.observers:
                observe(request, route, answer.status)

    async def _answered(self, scope: Scope, body: "Body", answer: "Answer") -> None:
        config, headers = self.service.config, body.headers
        foreign = security.foreign_host(config, headers.get("host", ""), scope["path"])
        current_request().users_refused = security.users_refusal(config, headers.get("authorization"))
        refused = foreign or security.refusal(config, scope["path"], headers.get("authorization"), scope["method"])
        port = (scope.get("server") or (None, None))[1]
        try:
            if security.is_elsewhere(config, scope["path"], port):
                response = error_response(404, "NotFoundError", "there is nothing at this path")
                await response(scope, body.receive, answer.send)
            elif refused is not None:
                self.service.metrics.rejected("access" if foreign is None else "host")
                challenge = {"www-authenticate": "Bearer"} if refused.status == 401 else None
                response = error_response(refused.status, "AccessError", refused.message, refused.hint, challenge)
                await response(scope, body.receive, answer.send)
            else:
                body.check_length()
                if scope["path"] in KINDS:
                    self.service.admission.refuse_early(KINDS[scope["path"]])
                await self.app(scope, body.receive, answer.send)
        except OverloadedError as reason:
            answer.route = scope["path"]
            await overloaded(reason)(scope, body.receive, answer.send)
        except ClientGoneError:
            answer.status = CLIENT_GONE
        except RefusedBodyError as reason:
            if not answer.started:
                await reason.response()(scope, body.receive, answer.send)
        except Exception as error:
            log_unexpected(error)
            if answer.started:  # the server ends the connection, as the answer is not complete
                return
            response = error_response(500, "InternalError", "the service failed", "the log has the place")
            await response(scope, body.receive, answer.send)


def log_unexpected(error: Exception) -> None:
    """Log where an error happened, without its message, which may name a query or a user."""
    extra = {"request_id": current_request().request_id}
    LOG.error("unexpected %s at %s", type(error).__name__, " < ".join(places_of(error.__traceback__)), extra=extra)


class Body:
    """The body of a request: bounded in bytes and in time, also where it comes in chunks of unknown number."""

    def __init__(self, receive: Receive, scope: Scope, headers: Headers, service: "Service") -> None:
        limits = service.config.limits
        self.headers, self._receive, self._metrics = headers, receive, service.metrics
        is_upload = scope["path"] in ADMIN_UPLOADS
        self._most = limits.upload_bytes if scope["path"] == UPLOADS else limits.body_bytes
        self._most = limits.admin_bytes if is_upload else self._most
        self._until = time.perf_counter() + (limits.admin_seconds if is_upload else limits.body_seconds)
        self._size, self._complete, self._gone = 0, False, False

    def check_length(self) -> None:
        """Refuse a body that says itself that it is too large, before any of it is read."""
        length = self.headers.get("content-length", "")
        if length.isdigit() and int(length) > self._most:
            raise self._too_large()

    async def receive(self) -> Message:
        """Receive the next part."""
        if self._complete:
            return await self._receive()
        try:
            left = max(self._until - time.perf_counter(), 0.0)
            message = await asyncio.wait_for(self._receive(), left)
        except TimeoutError as error:
            raise self._refused(408, "the body did not arrive in time", "send it without a pause") from error
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self._size > self._most:
                raise self._too_large()
        else:
            self._gone = True
        return message

    async def is_gone(self) -> bool:
        """Say whether the client has gone away; asked when the whole body is there."""
        if self._complete and not self._gone:
            waiting = asyncio.ensure_future(self._receive())
            done, _ = await asyncio.wait([waiting], timeout=0)
            if done:
                self._gone = waiting.result()["type"] == "http.disconnect"
            else:
                waiting.cancel()
        return self._gone

    def _too_large(self) -> RefusedBodyError:
        return self._refused(413, f"the body has more than {self._most} bytes", "send less at once")

    def _refused(self, status: int, message: str, hint: str) -> RefusedBodyError:
        self._metrics.rejected("body")
        return RefusedBodyError(status, message, hint)


class Answer:
    """The answer of a request, which gets the id of the request and headers that every answer has."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._request_id = send, request_id
        self.status, self.started, self.route = 500, False, NO_ROUTE

    async def send(self, message: Message) -> None:
        """Send a part of it."""
        if message["type"] == "http.response.start":
            self.status, self.started = message["status"], True
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self._request_id
            headers["x-content-type-options"] = "nosniff"
            headers.setdefault("cache-control", "no-store")
        await self._send(message)
