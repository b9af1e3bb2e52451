"""The methods that both clients have, each made of the function that describes its call."""

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, get_args, overload

from retrieval.serving.client import admin, catalogue, queries, users
from retrieval.serving.client.calls import Call

if TYPE_CHECKING:
    from retrieval.serving.client.client import AsyncClient, Client

P = ParamSpec("P")
T = TypeVar("T")


class Verb(Generic[P, T]):
    """A method of both clients, made of the function that describes its call."""

    def __init__(self, describe: Callable[P, Call[T]]) -> None:
        self._describe = describe
        signature = inspect.signature(describe)
        (answer,) = get_args(signature.return_annotation)
        self._signature = signature.replace(return_annotation=answer)

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Call[T]]: ...
    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: "Client | AsyncClient | None", owner: type) -> Callable[P, Any]:
        describe = self._describe
        if client is None:
            return describe

        @functools.wraps(describe)
        def verb(*args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401 - an answer, or a coroutine that gives it
            return client._send(describe(*args, **kwargs))

        verb.__signature__ = self._signature  # type: ignore[attr-defined]
        return verb


class Verbs:
    """What a service can be asked, under the names of `Retriever`; all arguments are described in `options`."""

    search = Verb(queries.search)
    search_texts = Verb(queries.search_texts)
    search_images = Verb(queries.search_images)
    search_image_urls = Verb(queries.search_image_urls)
    search_audio = Verb(queries.search_audio)
    similar_items = Verb(queries.similar_items)
    recommend = Verb(queries.recommend)
    complements = Verb(queries.complements)
    next_items = Verb(queries.next_items)
    top_items = Verb(queries.top_items)
    rerank = Verb(queries.rerank)
    users_for = Verb(queries.users_for)
    write_events = Verb(users.write_events)
    merge_users = Verb(users.merge_users)
    forget_user = Verb(users.forget_user)
    events_of = Verb(users.events_of)
    item = Verb(catalogue.item)
    items_page = Verb(catalogue.items_page)
    items_of = Verb(catalogue.items_of)
    info = Verb(catalogue.info)
    live = Verb(catalogue.live)
    ready = Verb(catalogue.ready)
    metrics = Verb(catalogue.metrics)
    status = Verb(catalogue.status)
    kept_generations = Verb(catalogue.kept_generations)
    facets = Verb(catalogue.facets)
    tastes = Verb(catalogue.tastes)
    space_map = Verb(catalogue.space_map)
    map_places = Verb(catalogue.map_places)
    media = Verb(catalogue.media)
    medium = Verb(catalogue.medium)
    put_items = Verb(admin.put_items)
    upload_items = Verb(admin.upload_items)
    delete_items = Verb(admin.delete_items)
    delete_item = Verb(admin.delete_item)
    fit = Verb(admin.fit)
    fit_upload = Verb(admin.fit_upload)
    compact = Verb(admin.compact)
    publish = Verb(admin.publish)
    rollback = Verb(admin.rollback)
    generations = Verb(admin.generations)
    jobs = Verb(admin.jobs)
    job = Verb(admin.job)
    cancel_job = Verb(admin.cancel_job)
    export_events = Verb(admin.export_events)
