"""Every operation of the service has a method, and each answers as `Retriever` does, without and with waiting."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pytest
from PIL import Image
from starlette.testclient import TestClient

from retrieval import Interactions, Query, Retriever
from retrieval.filters import field
from retrieval.serving import ServiceConfig
from retrieval.serving.client import (
    AsyncClient,
    Client,
    GoneGenerationError,
    InvalidRequestError,
    NotFoundError,
    options,
)
from retrieval.serving.client.verbs import Verb, Verbs
from retrieval.serving.schemas import admin as admin_schemas
from retrieval.serving.schemas import queries as schemas
from tests.retrieval.serving.client.conftest import Ask, Asking, Question
from tests.retrieval.serving.conftest import WRITE, Started
from tests.retrieval.serving.listening import listening
from tests.toy import COLOURS, picture

NOW = int(time.time())
EVENTS = [
    {"user_id": "ann", "item_id": "red-mug", "type": "like", "time": NOW - 90, "event_id": "e-1"},
    {"user_id": "ann", "item_id": "red-shoe", "type": "like", "time": NOW - 80, "event_id": "e-2"},
    {"user_id": "bob/b", "item_id": "blue-lamp", "type": "like", "time": NOW - 70, "event_id": "e-3"},
]
HISTORIES = [["red-mug", "red-shoe"], ["blue-lamp"]]
LISTS = [["blue-mug", "red-mug", "red-shoe"], ["green-lamp", "blue-lamp"]]
RED = Image.new("RGB", (8, 8), COLOURS["red"])
COMPOSED: list[Any] = [2 * Query.text("red mug") - Query.item("red-shoe"), "blue", Query.image(RED)]


def log() -> Interactions:
    names = {"user_id": "user_id", "item_id": "item_id", "type": "event", "time": "timestamp"}
    table = pa.table({new: [event[old] for event in EVENTS] for old, new in names.items()})
    return Interactions.from_arrow(table, events="usual")


# what a client is asked, and what `Retriever` is asked for the same
HITS: dict[str, tuple[Question, Callable[[Retriever], Any]]] = {
    "search": (
        lambda client: client.search(COMPOSED, 4, where=[field("price") < 40, ("price", ">", 3)]),
        lambda retriever: retriever.search(COMPOSED, 4, where="price < 40 and price > 3"),
    ),
    "search for texts alone": (
        lambda client: client.search(["2:red mug - item:red-shoe"], 3),
        lambda retriever: retriever.search(["2:red mug - item:red-shoe"], 3),
    ),
    "search_texts": (
        lambda client: client.search_texts(["red mug", "lamp"], 3, duplicates="collapse", min_similarity=0.9),
        lambda retriever: retriever.search_texts(["red mug", "lamp"], 3, duplicates="collapse", min_similarity=0.9),
    ),
    "search_images": (
        lambda client: client.search_images([RED, picture("blue")], 3, where=field("price").is_in({7, 5, 4})),
        lambda retriever: retriever.search_images([RED, picture("blue")], 3, where="price in (7, 5, 4)"),
    ),
    "similar_items": (
        lambda client: client.similar_items(["red-mug", "blue-shoe"], 3, "both"),
        lambda retriever: retriever.similar_items(["red-mug", "blue-shoe"], 3, "both"),
    ),
    "recommend": (
        lambda client: client.recommend(HISTORIES, 4, weights=[[1, 3], [2]], where="price > 5", stages="retrieval"),
        lambda retriever: retriever.recommend(
            HISTORIES, 4, weights=[[1, 3], [2]], where="price > 5", stages="retrieval"
        ),
    ),
    "recommend without what was learned": (
        lambda client: client.recommend(HISTORIES, 4, learned=False),
        lambda retriever: Retriever(retriever.bundle.without_learned()).recommend(HISTORIES, 4),
    ),
    "recommend to users of the log": (
        lambda client: client.recommend(user_ids=["ann", "bob/b"], k=4),
        lambda retriever: retriever.recommend(log(), 4, user_ids=["ann", "bob/b"]),
    ),
    "complements": (
        lambda client: client.complements([["red-mug"], ["blue-lamp", "blue-shoe"]], 3),
        lambda retriever: retriever.complements([["red-mug"], ["blue-lamp", "blue-shoe"]], 3),
    ),
    "next_items": (
        lambda client: client.next_items(["red-mug", "blue-shoe"], 3),
        lambda retriever: retriever.next_items(["red-mug", "blue-shoe"], 3).named(["red-mug", "blue-shoe"]),
    ),
    "top_items": (
        lambda client: client.top_items("popular", 2, by="price", where="price < 20"),
        lambda retriever: retriever.top_items("popular", 2, by="price", where="price < 20"),
    ),
    "rerank": (
        lambda client: client.rerank(LISTS, texts=["red mug", "lamp"]),
        lambda retriever: retriever.rerank(retriever.search_texts(["red mug", "lamp"], 20)),
    ),
    "users_for": (
        lambda client: client.users_for(["blue-shoe", "red-lamp"], ["ann", "bob/b"], 2),
        lambda retriever: retriever.users_for(["blue-shoe", "red-lamp"], log(), 2),
    ),
}
# what a client is asked, and the path that gives the same as JSON
JSON: dict[str, tuple[Question, str]] = {
    "info": (lambda client: client.info(), "/info"),
    "live": (lambda client: client.live(), "/live"),
    "ready": (lambda client: client.ready(), "/ready"),
    "facets": (lambda client: client.facets(), "/facets"),
    "space_map": (lambda client: client.space_map("price"), "/map?colour=price"),
    "events_of": (lambda client: client.events_of("bob/b", 1), "/users/bob%2Fb/events?limit=1"),
    "items_page": (
        lambda client: client.items_page("", 3, where=[("price", "<", 20)], attributes=["price"]),
        "/items?limit=3&where=price < 20&attributes=price",
    ),
    "items_of": (
        lambda client: client.items_of(["red-shoe", "gone", "red-mug"], attributes=["price"], vectors=True),
        "/items?ids=red-shoe&ids=gone&ids=red-mug&attributes=price&vectors=true",
    ),
}
OTHERS: dict[str, Question] = {
    "search_image_urls": lambda client: client.search_image_urls(["https://images.example.org/mug.jpg"], 3),
    "search_audio": lambda client: client.search_audio([b"no sound"]),
    "metrics": lambda client: client.metrics(),
    "status": lambda client: client.status(),
    "kept_generations": lambda client: client.kept_generations(),
    "tastes": lambda client: client.tastes(["red-mug"], 3, weights=[2.0]),
    "map_places": lambda client: client.map_places(["red mug"], modality=True),
    "media": lambda client: client.media(["red-mug", "white-mug"]),
    "medium": lambda client: client.medium("red-mug", size=160),
    "item": lambda client: client.item("red-mug", vectors=True),
    "write_events": lambda client: client.write_events(EVENTS),
    "merge_users": lambda client: client.merge_users("session:s-1", "ann"),
    "forget_user": lambda client: client.forget_user("bob/b"),
}


CHANGES: dict[str, Question] = {  # each is asked in test_admin_verbs
    "put_items": lambda client: client.put_items([{"item_id": "twin"}]),
    "upload_items": lambda client: client.upload_items(b"items"),
    "delete_items": lambda client: client.delete_items(["twin"]),
    "delete_item": lambda client: client.delete_item("twin"),
    "fit": lambda client: client.fit(refresh=True),
    "fit_upload": lambda client: client.fit_upload(b"log", effort="fast"),
    "compact": lambda client: client.compact(),
    "publish": lambda client: client.publish(),
    "rollback": lambda client: client.rollback(),
    "generations": lambda client: client.generations(),
    "jobs": lambda client: client.jobs(),
    "job": lambda client: client.job("job-1"),
    "cancel_job": lambda client: client.cancel_job("job-1"),
    "export_events": lambda client: client.export_events(),
}


@pytest.fixture
def service(started: Started, shop: Path, tmp_path: Path) -> TestClient:
    """A service with a log of live events, and the pictures of its items."""
    found = started(
        shop, events=f"sqlite:///{tmp_path / 'events.db'}", write_token=WRITE, catalogue=shop.parent / "items.parquet"
    )
    found.post("/events", json={"events": EVENTS}, headers={"authorization": f"Bearer {WRITE}"}).raise_for_status()
    return found


@pytest.fixture
def ask(asking: Asking, service: TestClient) -> Ask:
    return asking(service, WRITE)


class Described:
    """In place of a client: gives the calls themselves."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the function that describes a call
        return getattr(Client, name)


def test_every_operation_has_a_method(service: TestClient) -> None:
    questions = [one for one, _ in [*HITS.values(), *JSON.values()]] + [*OTHERS.values(), *CHANGES.values()]
    asked = {(call.method, call.route) for call in (question(Described()) for question in questions)}
    paths = service.get("/openapi.json").json()["paths"]
    assert asked == {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert {name for name, value in vars(Verbs).items() if isinstance(value, Verb)} == {
        name for name in [*HITS, *JSON, *OTHERS, *CHANGES] if " " not in name
    }


@pytest.mark.parametrize(
    ("model", "given", "own"),
    [
        (schemas.SearchRequest, options.SearchOptions, {"texts", "queries", "images", "image_urls", "sounds", "k"}),
        (schemas.UploadOptions, options.UploadOptions, {"k"}),
        (schemas.SimilarRequest, options.Retrieved, {"item_ids", "k", "by"}),
        (schemas.RecommendRequest, options.RecommendOptions, {"histories", "user_ids", "session", "k"}),
        (schemas.RerankRequest, options.RerankOptions, {"candidates", "texts", "histories", "k"}),
        (schemas.ComplementsRequest, options.Answering, {"baskets", "k"}),
        (schemas.TrendingRequest, options.Answering, {"order", "k", "by", "date", "user_id", "history"}),
        (admin_schemas.FitRequest, options.FitOptions, {"resume", "replace"}),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_every_field_of_a_request_is_an_argument(model: Any, given: Any, own: set[str]) -> None:  # noqa: ANN401
    assert set(model.model_fields) == own | set(given.__annotations__) - set(options.PerCall.__annotations__)


@pytest.mark.filterwarnings("ignore:events weigh otherwise")  # than in the log of the shop, which has no types
@pytest.mark.parametrize("name", HITS)
def test_hits_are_those_of_python(ask: Ask, retriever: Retriever, name: str) -> None:
    question, expected = HITS[name]
    found, wanted = ask(question).to_arrow().to_pydict(), expected(retriever).to_arrow().to_pydict()
    if name == "rerank":  # of the candidates alone
        chosen = [(query, item) for query, items in zip("01", LISTS, strict=True) for item in items]
        rows = [row for row, key in enumerate(zip(wanted["query_id"], wanted["item_id"], strict=True)) if key in chosen]
        wanted = {column: [values[row] for row in rows] for column, values in wanted.items()}
        wanted["rank"], wanted["stage"] = [1, 2, 3, 1, 2], found["stage"]
    assert found.pop("score") == pytest.approx(wanted.pop("score"), abs=1e-5)
    assert found == wanted
    assert len(found["rank"]) >= 2


@pytest.mark.parametrize("name", JSON)
def test_answers_are_those_of_the_service(ask: Ask, service: TestClient, name: str) -> None:
    question, path = JSON[name]
    expected = service.get(path, headers={"authorization": f"Bearer {WRITE}"}).json()
    found = ask(question).model_dump(exclude_unset=True)
    assert {**found, "request_id": 0} == {**expected, "request_id": 0}


def test_items_are_all_items_page_by_page(ask: Ask, retriever: Retriever) -> None:
    async def listed(client: AsyncClient) -> list[Any]:
        return [item async for item in client.items("price < 40", page_size=3)]

    def question(client: Client | AsyncClient) -> Any:  # noqa: ANN401
        return list(client.items("price < 40", page_size=3)) if isinstance(client, Client) else listed(client)

    found = ask(question)
    prices = dict(zip(list(retriever.items), retriever.bundle.attributes["price"].to_pylist(), strict=True))
    expected = {name: price for name, price in prices.items() if price < 40}
    assert {item.item_id: item.attributes["price"] for item in found} == expected
    assert [item.item_id for item in found] == list(expected)


def test_one_item(ask: Ask, retriever: Retriever) -> None:
    item = ask(OTHERS["item"])
    assert (item.title, item.attributes["tags"]) == ("red mug", ["red", "mug"])
    assert item.vector == pytest.approx(retriever.vectors[retriever.items.row("red-mug")].tolist())
    with pytest.raises(NotFoundError, match=r"no item '\.\.' is in this bundle") as caught:
        ask(lambda client: client.item("..", request_id="my-request-1"))
    error = caught.value
    assert (error.status, error.type, error.request_id) == (404, "UnknownItemError", "my-request-1")


def test_options_reach_the_service(ask: Ask, retriever: Retriever) -> None:
    names = {"request_id": "my-request-2", "timeout": 60.0}
    asked: dict[str, Any] = {"attributes": ["price"], "vectors": True, "explain": True, "rerank": True, "verdict": True}
    asked |= {"diversify": {"strength": 0.5}, "rules": [{"rule": "boost", "where": "price > 20", "by": 0.5}]}
    answer = ask(lambda client: client.search(["red mug"], 3, **asked, **names))
    assert answer.request_id == "my-request-2"
    (result,) = answer.results
    assert len(result.hits) == 3
    for hit in result.hits:
        row = retriever.items.row(hit.item_id)
        assert hit.attributes == {"price": retriever.bundle.attributes["price"][row].as_py()}
        assert hit.vector == pytest.approx(retriever.vectors[row].tolist())
        assert set(hit.scores) == {"retrieve", "exact", "diversify", "rules"}
        assert hit.why["parts"][0]["weight"] == 1
    assert 0 <= result.verdict.probability <= 1


def test_what_users_do_is_written_merged_and_forgotten(ask: Ask) -> None:
    more = [{"session_id": "s-1", "item_id": "green-book", "type": "view"}]
    shown = [{"session_id": "s-1", "request_id": "answer-1", "item_ids": ["green-book", "green-mug"]}]
    done = ask(lambda client: client.write_events(more, shown))
    assert (done.accepted, done.duplicates, done.unknown_items) == (3, 0, [])
    assert ask(OTHERS["write_events"]).duplicates == 3
    assert ask(OTHERS["merge_users"]).events == 3
    events = ask(lambda client: client.events_of("ann")).events
    assert [event.item_id for event in events] == ["green-book", "green-mug", "green-book", "red-shoe", "red-mug"]
    assert len(events[0].event_id) == 32  # made by the client
    assert ask(OTHERS["forget_user"]).events == 1
    assert ask(lambda client: client.events_of("bob/b")).events == []


def test_what_the_page_and_prometheus_are_shown(ask: Ask) -> None:
    assert "# TYPE commonspace_" in ask(OTHERS["metrics"])
    assert ask(OTHERS["media"]).media == {"red-mug": ["image"]}
    assert ask(OTHERS["medium"]).startswith(b"\xff\xd8")  # a JPEG
    assert ask(OTHERS["tastes"]).near[0].value == "red"
    assert len(ask(OTHERS["map_places"]).places) == 1
    assert "/search" in ask(OTHERS["status"]).routes


def test_what_cannot_be_used_is_an_input_error(ask: Ask) -> None:
    with pytest.raises(InvalidRequestError, match=r"takes no sounds|audio"):
        ask(OTHERS["search_audio"])
    with pytest.raises(InvalidRequestError, match="fetches no pictures of URLs"):
        ask(OTHERS["search_image_urls"])
    with pytest.raises(ValueError, match="no attribute 'prize'") as caught:
        ask(lambda client: client.search(["red"], where="prize < 3"))
    error: Any = caught.value
    assert (error.type, error.status) == ("FilterError", 422)
    assert str(error) == f"{error.message}; {error.hint}"
    with pytest.raises(InvalidRequestError, match="wher: there is no such field, did you mean `where`"):
        ask(lambda client: client.search(["red"], wher="price < 3"))


def test_a_connection_is_kept_and_used_again(shop: Path, retriever: Retriever) -> None:
    expected = retriever.search(["red mug"], 2).to_arrow().to_pydict()
    with listening(ServiceConfig(shop)) as (address, server):

        async def asked() -> list[Any]:
            async with AsyncClient(address) as client:
                found = [await client.search(["red mug"], 2) for _ in range(3)]
            assert len(server.server_state.connections) <= 2
            return found

        with Client(address) as client:
            found = [client.search(["red mug"], 2) for _ in range(3)]
            assert len(server.server_state.connections) == 1
            found += anyio.run(asked)
    for answer in found:
        table = answer.to_arrow().to_pydict()
        assert table.pop("score") == pytest.approx(expected["score"], abs=1e-5)
        assert table == {name: values for name, values in expected.items() if name != "score"}


def test_answers_are_tables_of_pandas(ask: Ask, retriever: Retriever) -> None:
    frame = ask(lambda client: client.search(["red", "blue"], 2)).to_pandas()
    assert list(frame.columns) == ["query_id", "item_id", "rank", "score", "stage", "source"]
    assert frame.dtypes.equals(retriever.search(["red"], 2).to_pandas().dtypes)
    assert frame["rank"].tolist() == [1, 2, 1, 2]


def test_other_verbs_may_name_the_generations_that_are_listed(ask: Ask) -> None:
    second, first = ask(OTHERS["kept_generations"]).generations
    assert (second.served, second.learned, first.served, first.learned) == (True, ["behaviour", "reranker"], False, [])
    answer = ask(lambda client: client.similar_items(["red-mug"], 3, generation=first.generation))
    assert (answer.generation, answer.learned) == (first.generation, None)
    gone = "gen-20200101t000000z-0123abcd"
    with pytest.raises(GoneGenerationError, match=f"keeps no generation '{gone}'; it keeps '{first.generation}'"):
        ask(lambda client: client.search(["red"], generation=gone))
