"""Requests that name a generation, or leave out what was learned, are answered from that version and from no other."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import delete
from indexing.bundle.generation import generations
from indexing.bundle.maintenance.rollback import rollback
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import GenerationError
from retrieval import Retriever
from retrieval.retriever.learned_parts import compact
from retrieval.serving import Limits
from retrieval.serving.engine.request import CURRENT, RequestContext
from retrieval.serving.engine.served_bundle import Served, ServedBundle
from retrieval.serving.engine.versions import Version
from tests.retrieval.batch.shop import shop_log
from tests.retrieval.serving.conftest import Started
from tests.retrieval.serving.test_hot_swap import follow, put_twin, swapped_under_load
from tests.toy import ToyEncoder

USERS: dict[str, Any] = {"histories": [["red-mug", "red-shoe"], ["blue-book"]], "k": 8}
GONE = "gen-20200101t000000z-0123abcd"


def ask(client: TestClient, path: str, status: int = 200, **body: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def lists(answer: dict[str, Any]) -> list[list[tuple[str, Any]]]:
    results = answer["results"]
    return [[(hit["item_id"], pytest.approx(hit["score"], rel=1e-5)) for hit in one["hits"]] for one in results]


def lists_of(retriever: Retriever, **more: Any) -> list[list[tuple[str, float]]]:  # noqa: ANN401
    found = retriever.recommend(USERS["histories"], 8, **more)
    return [[(hit.item_id, hit.score) for hit in hits] for hits in found]


@pytest.fixture(scope="module")
def by_version(shop: Path) -> dict[tuple[str | None, bool], Retriever]:
    """What answers by each version, opened in Python."""
    first, second = generations(shop)
    asked: list[tuple[str | None, bool]] = [(None, True), (None, False), (first, True), (first, False), (second, True)]
    return {
        (generation, learned): Retriever.open(shop, ToyEncoder(), generation=generation, learned=learned)
        for generation, learned in asked
    }


@pytest.mark.filterwarnings("ignore::indexing.errors.CommonspaceWarning")
def test_each_version_answers_as_in_python(
    client: TestClient, shop: Path, by_version: dict[tuple[str | None, bool], Retriever]
) -> None:
    first, second = generations(shop)
    answers = {}
    for (generation, learned), retriever in by_version.items():
        named: dict[str, Any] = {} if generation is None else {"generation": generation}
        asked = named | ({} if learned else {"learned": False})
        answer = ask(client, "/recommend", **USERS, **asked)
        answers[generation, learned] = lists(answer)
        assert lists_of(retriever) == lists(answer)
        assert answer["generation"] == (generation or second)
        assert answer.get("learned", True) is learned
        similar = ask(client, "/similar", item_ids=["red-mug"], k=5, **asked)
        assert lists(similar) == [[(hit.item_id, hit.score) for hit in retriever.similar_items(["red-mug"], 5)[0]]]
        searched = ask(client, "/search", texts=["red mug"], k=5, **asked)
        assert lists(searched) == [[(hit.item_id, hit.score) for hit in retriever.search_texts(["red mug"], 5)[0]]]
        assert similar["generation"] == searched["generation"] == answer["generation"]
    assert answers[None, True] == answers[second, True] != answers[None, False]
    assert answers[None, False] == answers[first, True] == answers[first, False]


def test_other_routes_take_a_version_too(client: TestClient, shop: Path) -> None:
    first, second = generations(shop)
    reranked = ask(client, "/rerank", histories=[["red-mug"]], candidates=[["red-shoe", "blue-mug"]], generation=first)
    assert {hit["stage"] for hit in reranked["results"][0]["hits"]} == {"exact"}
    assert reranked["generation"] == first
    basket: dict[str, Any] = {"baskets": [["red-mug"]], "k": 3}
    assert ask(client, "/complements", **basket)["generation"] == second
    error = ask(client, "/complements", 422, **basket, generation=first)["error"]
    assert "has learned nothing of what users take together" in error["message"]
    popular = ask(client, "/trending", order="popular", k=3)
    assert popular["results"][0]["hits"][0]["source"] == "popular"
    assert ask(client, "/trending", 422, order="popular", learned=False)["error"]["type"] == "InputError"
    assert ask(client, "/next-items", item_ids=["red-mug"], generation=second)["generation"] == second
    uploaded = client.post("/search/upload", files=[("image", b"x")], data={"request": f'{{"generation": "{GONE}"}}'})
    assert uploaded.status_code == 410
    assert len(ask(client, "/map/places", texts=["red mug"], generation=first)["places"]) == 1


def test_a_generation_that_is_not_kept_is_refused_with_those_that_are(client: TestClient, shop: Path) -> None:
    for name in (GONE, "../bundle", "log", "current", "latest", "x" * 100):
        error = ask(client, "/search", 410, texts=["red"], generation=name)["error"]
        assert error["type"] == "GenerationError"
        assert error["message"] == f"the bundle keeps no generation {name[:60]!r}"
        assert error["hint"] == "it keeps " + ", ".join(map(repr, generations(shop)))
    for unusable in ("", "x" * 101, 3):
        assert "generation" in ask(client, "/search", 422, texts=["red"], generation=unusable)["error"]["message"]
    assert "learned" in ask(client, "/search", 422, texts=["red"], learned="no")["error"]["message"]


def test_the_list_of_generations(started: Started, own_shop: Path) -> None:
    client = started(own_shop, poll_seconds=3600.0)
    first, second = generations(own_shop)
    listed = client.get("/generations").json()["generations"]
    assert [(one["generation"], one["served"], one["open"], one["items"]) for one in listed] == [
        (second, True, True, 20), (first, False, False, 20),
    ]  # fmt: skip
    assert [one["learned"] for one in listed] == [["behaviour", "reranker"], []]
    assert listed[0]["until"] == max(shop_log()["timestamp"].to_pylist())
    assert listed[1]["created"] < listed[0]["created"] or listed[0]["created"][:10] == listed[1]["created"][:10]
    ask(client, "/search", texts=["red"], generation=first)
    assert [one["open"] for one in client.get("/generations").json()["generations"]] == [True, True]
    (own_shop / first / "manifest.json").write_text("damaged")
    damaged = next(one for one in client.get("/generations").json()["generations"] if one["generation"] == first)
    assert "manifest" in damaged["problem"]


def test_another_version_takes_the_changes_of_the_bundle(started: Started, own_shop: Path) -> None:
    client = started(own_shop, poll_seconds=3600.0)
    first, second = generations(own_shop)
    versions: list[dict[str, Any]] = [{"generation": first}, {"learned": False}]
    for version in versions:
        ask(client, "/search", texts=["red mug"], **version)
    put_twin(own_shop, "twin")
    delete(own_shop, ["red-mug"])
    assert follow(client)
    for version in [*versions, {"generation": second}]:
        answer = ask(client, "/search", texts=["red mug"], k=20, **version)
        found = {hit["item_id"] for hit in answer["results"][0]["hits"]}
        assert ("twin" in found, "red-mug" in found, answer["change"]) == (True, False, 2)
    # What was served before the swap can still be asked for, and what is served costs nothing.
    rollback(own_shop, first)
    assert follow(client)
    served = client.app.state.service.served  # type: ignore[attr-defined]
    user: dict[str, Any] = {"histories": [["red-shoe"]]}
    assert ask(client, "/recommend", **user)["generation"] == first
    after_fit = ask(client, "/recommend", **user, generation=second)
    assert (after_fit["generation"], after_fit["change"]) == (second, 2)
    assert [one.generation for one in served.others.all() if one.learned] == [second]


class Bundles:
    """A bundle of several generations, and how often one was opened."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.opened = root, list[str | None]()
        real = Bundle.open

        def counted(root: Path, **more: Any) -> Bundle:  # noqa: ANN401
            self.opened.append(more.get("generation"))
            return real(root, **more)

        monkeypatch.setattr("retrieval.serving.engine.served_bundle.Bundle.open", counted)


@pytest.fixture
def several(own_shop: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bundles]:
    """Five generations, of which a service would keep three: two are held open here."""
    held = [Bundle.open(own_shop, generation=name) for name in generations(own_shop)]
    for item in ("red-mug", "red-shoe", "red-lamp"):
        delete(own_shop, [item])
        compact(own_shop)
    yield Bundles(own_shop, monkeypatch)
    held.clear()


def test_few_versions_are_open_at_once_and_the_rest_is_freed(several: Bundles) -> None:
    names = generations(several.root)
    assert len(names) == 5
    served = ServedBundle(several.root, ToyEncoder())
    fingerprints = {id(served.current.retriever.state.known_encoder)}

    async def go() -> list[weakref.ref[Retriever]]:
        seen = []
        for name in (names[0], names[1], names[0], names[2], names[1]):
            found = await served.opened(Version(name))
            assert found.generation == name
            fingerprints.add(id(found.retriever.state.known_encoder))
            seen.append(weakref.ref(found.retriever))
        return seen

    seen = asyncio.run(go())
    # The one asked for the longest time ago is closed: 1 by 2, then 0 by 1.
    assert several.opened == [None, names[0], names[1], names[2], names[1]]
    assert [one.generation for one in served.others.all()] == [names[2], names[1]]
    gc.collect()
    assert [one() is None for one in seen] == [True, True, True, False, False]
    assert len(fingerprints) == 1
    served.close()


def test_a_version_that_many_ask_for_is_opened_once_and_those_who_cannot_wait_are_told(several: Bundles) -> None:
    name = generations(several.root)[0]
    served, entered, free = ServedBundle(several.root, ToyEncoder()), threading.Event(), threading.Event()
    real = served.others._open_version

    def slow(version: Version, current: Served) -> Served:
        entered.set()
        assert free.wait(60)
        return real(version, current)

    served.others._open_version = slow

    async def asked(seconds: float) -> Served:
        CURRENT.set(RequestContext.begin(seconds))
        return await served.opened(Version(name))

    async def go() -> list[Served | BaseException]:
        late = asyncio.create_task(asked(0.0))
        patient = [asyncio.create_task(asked(60.0)) for _ in range(5)]
        refused = (await asyncio.gather(late, return_exceptions=True))[0]
        assert await asyncio.to_thread(entered.wait, 60)
        free.set()
        return [refused, *await asyncio.gather(*patient)]

    refused, *found = asyncio.run(go())
    assert getattr(refused, "reason", "") == "opening"
    assert {id(one.retriever) for one in found if isinstance(one, Served)} == {id(served.others.all()[0].retriever)}
    assert several.opened == [None, name]
    served.close()


def test_a_client_is_told_that_a_version_is_being_opened(
    started: Started, own_shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = started(own_shop, poll_seconds=3600.0, limits=Limits(deadline=0.2))
    first, free = generations(own_shop)[0], threading.Event()
    others = client.app.state.service.served.others  # type: ignore[attr-defined]
    real = others._open_version
    monkeypatch.setattr(others, "_open_version", lambda *asked: free.wait(60) and real(*asked))
    answer = client.post("/search", json={"texts": ["red"], "generation": first})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "still being opened" in answer.json()["error"]["message"]
    free.set()
    for _ in range(1000):
        if client.post("/search", json={"texts": ["red"], "generation": first}).status_code == 200:
            return
    raise AssertionError("it was never opened")


def test_a_service_may_open_none(started: Started, shop: Path) -> None:
    client = started(shop, limits=Limits(open_versions=0))
    first, second = generations(shop)
    assert ask(client, "/search", texts=["red"], generation=second)["generation"] == second
    error = ask(client, "/search", 422, texts=["red"], generation=first)["error"]
    assert "opens no other versions" in error["message"]


def test_a_version_that_cannot_take_a_change_is_closed_and_says_why(started: Started, own_shop: Path) -> None:
    client, other = started(own_shop, poll_seconds=3600.0), ToyEncoder("other", "salt")
    first = generations(own_shop)[0]
    ask(client, "/search", texts=["red mug"], generation=first)
    served = client.app.state.service.served  # type: ignore[attr-defined]
    build_bundle(Catalogue.from_parquet(own_shop.parent / "items.parquet"), other, own_shop, drop_learned=True)
    served._encoders["kept"] = kept = served._shared(other)
    assert follow(client)
    assert kept is served.current.retriever.state.known_encoder
    assert ask(client, "/search", texts=["red mug"], generation=first)["generation"] == first
    put_twin(own_shop, "twin", other)
    assert follow(client)
    assert "twin" in {hit["item_id"] for hit in ask(client, "/search", texts=["red mug"])["results"][0]["hits"]}
    error = ask(client, "/search", 410, texts=["red mug"], generation=first)["error"]
    assert "cannot take the changes since" in error["message"]
    assert client.get("/ready").json()["status"] == "ready"  # what is served has them


def test_answers_of_versions_are_not_mixed_under_swaps(started: Started, own_shop: Path) -> None:
    client = started(own_shop, poll_seconds=3600.0)
    first, second = generations(own_shop)
    seen = swapped_under_load(client, own_shop, 10, [None, first])
    assert {generation for generation, _ in seen} == {first, second}


def test_pinned_versions_stay_open_and_say_why_one_cannot_be_served(own_shop: Path) -> None:
    served = ServedBundle(own_shop, ToyEncoder(), open_versions=0)
    first, second = generations(own_shop)
    unlearned, before, gone = Version(learned=False), Version(first), Version(GONE)
    served.pin({unlearned, before, gone, Version(second)})
    view = served.view
    assert view.get(Version(second)) == view.current
    assert (view.get(before), view.get(unlearned)) == (view.pinned[before], view.pinned[unlearned])
    with pytest.raises(GenerationError, match=f"keeps no generation '{GONE}'"):
        view.get(gone)
    frozen = view.pinned[unlearned]
    assert isinstance(frozen, Served)
    assert frozen.retriever.behaviour is None
    assert served.open_generations() == {first, second}
    put_twin(own_shop, "twin")
    assert served.follow()
    for version in (unlearned, before):
        found = served.view.get(version)
        assert found is not None
        assert "twin" in found.retriever.items
    # Without what was learned is always that of the generation that is served.
    rollback(own_shop, first)
    assert served.follow()
    now = served.view.get(unlearned)
    assert now is not None
    assert (now.generation, now.retriever) == (first, served.current.retriever)
    later = served.view.get(Version(second))
    assert later is not None
    assert later.retriever.behaviour is not None
    served.close()
