"""The tools: each asks as one route of the service does, for one query."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from retrieval.serving.engine.admission import Kind
from retrieval.serving.engine.served_bundle import Served
from retrieval.serving.engine.service import Service
from retrieval.serving.http.routes.recommend import recommended_to
from retrieval.serving.http.routes.rerank import reranked
from retrieval.serving.http.routes.search import has_files, searched, similar_to
from retrieval.serving.mcp.catalogue import catalogue_of
from retrieval.serving.mcp.readable import catalogue_as_text, found_as_text
from retrieval.serving.mcp.schemas import (
    Catalogue,
    CatalogueArguments,
    ExplainArguments,
    Found,
    RecommendArguments,
    SearchArguments,
    SimilarArguments,
)
from retrieval.serving.schemas.answers import Named
from retrieval.serving.schemas.base import Strict
from retrieval.serving.schemas.queries import (
    ComposedQuery,
    RecommendRequest,
    RerankRequest,
    SearchRequest,
    SimilarRequest,
)

Work = Callable[[Service, Served, Any], dict[str, Any]]


@dataclass(frozen=True)
class Tool:
    """One tool.

    Attributes:
        name: What clients call it by.
        title: A name for people.
        description: What it is for, to assistants.
        arguments: What it takes.
        answer: What it gives.
        work: Answers arguments of that kind.
        kind: Which queue it waits in.
        as_text: Writes an answer as text.
    """

    name: str
    title: str
    description: str
    arguments: type[Strict]
    answer: type[Named]
    work: Work
    kind: Callable[[Any], Kind]
    as_text: Callable[[Mapping[str, Any]], str] = found_as_text


def _catalogue(service: Service, served: Served, _: CatalogueArguments) -> dict[str, Any]:
    return catalogue_of(service, served)


def _search(service: Service, served: Served, given: SearchArguments) -> dict[str, Any]:
    return _hits(searched(service, served, _search_request(given)))


def _search_request(given: SearchArguments) -> SearchRequest:
    fields = given.model_dump(include={"mode", "k", "where", "attributes", "explain"})
    if given.parts is not None:
        return SearchRequest(queries=[ComposedQuery(parts=given.parts)], **fields)
    return SearchRequest(texts=[given.text or ""], **fields)


def _kind_of_search(given: SearchArguments) -> Kind:
    return "upload" if has_files(_search_request(given)) else "search"


def _similar(_: Service, served: Served, given: SimilarArguments) -> dict[str, Any]:
    return _hits(similar_to(served, SimilarRequest(item_ids=[given.item_id], **_without(given, "item_id"))))


def _recommend(service: Service, served: Served, given: RecommendArguments) -> dict[str, Any]:
    user: dict[str, Any] = {"histories": [given.history]} if given.user_id is None else {"user_ids": [given.user_id]}
    request = RecommendRequest(**user, **_without(given, "history", "user_id"))
    return _hits(recommended_to(service, served, request))


def _explain(service: Service, served: Served, given: ExplainArguments) -> dict[str, Any]:
    asked: dict[str, Any] = {"histories": [given.history]} if given.text is None else {"texts": [given.text]}
    request = RerankRequest(
        candidates=[given.item_ids], k=len(given.item_ids), attributes=given.attributes, explain=True, **asked
    )
    return _hits(reranked(service, served, request))


def _without(given: Strict, *names: str) -> dict[str, Any]:
    return given.model_dump(exclude=set(names))


def _hits(answer: dict[str, Any]) -> dict[str, Any]:
    """Give the hits of the only query of an answer, with what stands beside them."""
    (result,) = answer["results"]
    return {name: value for name, value in answer.items() if name != "results"} | {"hits": result["hits"]}


def _searching(_: Strict) -> Kind:
    return "search"


def _recommending(_: Strict) -> Kind:
    return "recommend"


TOOLS = (
    Tool(
        "catalogue",
        "What the catalogue is",
        "Say what the catalogue holds: how many items, which attributes they have with values and examples of "
        "conditions, and which modes of search there are. Ask this before using `where`.",
        CatalogueArguments,
        Catalogue,
        _catalogue,
        _searching,
        catalogue_as_text,
    ),
    Tool(
        "search",
        "Search items",
        "Find the items of the catalogue that fit a description in words, or a weighted sum of texts, items and "
        "pictures. The best come first; scores compare items of one answer only. There are always items, also where "
        "none fits well: judge by titles and attributes.",
        SearchArguments,
        Found,
        _search,
        _kind_of_search,
    ),
    Tool(
        "similar",
        "Similar items",
        "Find the items that are most like a given item, by what they are or by what users take together.",
        SimilarArguments,
        Found,
        _similar,
        _searching,
    ),
    Tool(
        "recommend",
        "Recommend items",
        "Recommend items to somebody, from the items that they took (`history`, an empty list for a new user), or by "
        "`user_id` where the service has a log of users. `source` says what each item is due to.",
        RecommendArguments,
        Found,
        _recommend,
        _recommending,
    ),
    Tool(
        "explain",
        "Explain items",
        "Say how well given items fit a text, or somebody with a history, and why: what each part of the query or each "
        "item of the history adds to the score. Items are given the best first.",
        ExplainArguments,
        Found,
        _explain,
        _searching,
    ),
)
