"""Scenarios are read with checks, shared out by a stable hash, and set what a request leaves out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from indexing.bundle.build import build_bundle
from indexing.bundle.generation import generations
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import InputError
from retrieval import Retriever, carry_over
from retrieval.serving import Limits
from retrieval.serving.engine.served_bundle import Served, View
from retrieval.serving.events import EventLog
from retrieval.serving.http.routes.recommend import of_each_user
from retrieval.serving.scenarios import Scenarios
from retrieval.serving.scenarios.assignment import assign
from retrieval.serving.schemas.queries import RecommendRequest
from tests.retrieval.serving.conftest import WRITE, Started
from tests.toy import ToyEncoder, toy_table

CONTENT: dict[str, Any] = {
    "default": "plain",
    "scenarios": {
        "plain": {},
        "cheap": {"blend": {"price": -1.0}, "k": 4},
        "red": {"where": ["tags contains red"], "stages": "retrieval"},
    },
    "shares": {"plain": 0.5, "cheap": 0.3, "red": 0.2},
    "seed": "autumn",
}
TOKEN = {"authorization": f"Bearer {WRITE}"}


def with_value(*path: Any) -> dict[str, Any]:  # noqa: ANN401 - keys, and a value
    """The content with another value at a path of keys."""
    content = json.loads(json.dumps(CONTENT))
    place = content
    *keys, last, value = path
    for key in keys:
        place = place[key]
    place[last] = value
    return dict(content)


def test_users_are_shared_out_as_the_shares_say_and_keep_their_scenario() -> None:
    scenarios = Scenarios.of(CONTENT)
    users = [f"user-{number}" for number in range(20_000)]
    given = [scenarios.of_user(user) for user in users]
    for name, share in CONTENT["shares"].items():
        # within five standard deviations of a binomial
        assert abs(given.count(name) / len(users) - share) < 5 * np.sqrt(share * (1 - share) / len(users))
    assert given == [Scenarios.of(CONTENT).of_user(user) for user in users]
    other = [Scenarios.of(with_value("seed", "winter")).of_user(user) for user in users]
    same = np.mean([one == another for one, another in zip(given, other, strict=True)])
    assert abs(same - (0.25 + 0.09 + 0.04)) < 0.02  # independent of the first seed
    # More of one variant takes users from the next one alone.
    wider = Scenarios.of(with_value("shares", {"plain": 0.6, "cheap": 0.2, "red": 0.2}))
    moved = {(one, wider.of_user(user)) for one, user in zip(given, users, strict=True)}
    assert moved == {("plain", "plain"), ("cheap", "plain"), ("cheap", "cheap"), ("red", "red")}
    assert scenarios.of_user(None) == "plain"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], 'there are no scenarios; give {"scenarios":'),
        ({"scenarios": {}}, "there are no scenarios"),
        (with_value("scenario", {}), "the unknown key 'scenario'; the keys are"),
        (with_value("default", "x"), "the default 'x' of type str is no scenario; give one of 'plain'"),
        (with_value("shares", {"plain": 0.5}), "the shares add up to 0.5; give shares that add up to 1"),
        (with_value("shares", {"x": 1}), "shares name 'x', which is no scenario"),
        (with_value("shares", {"plain": -1, "red": 2}), "the share of 'plain' is -1; give a number from 0 to 1"),
        (with_value("shares", [1]), "shares are"),
        (with_value("seed", 3), "the seed is 3"),
        (with_value("scenarios", "cheap", {"kk": 3}), "scenario 'cheap': kk: there is no such field"),
        (with_value("scenarios", "cheap", {"k": "3"}), "scenario 'cheap': k: Input should be a valid integer"),
        (with_value("scenarios", "cheap", {"diversify": {"strength": 2}}), "diversify.strength: Input should be less"),
        (with_value("scenarios", "cheap", {"rules": [{"rule": "nothing"}]}), "scenario 'cheap': .*nothing"),
        (with_value("scenarios", "a\nb", {}), "give a text of 1 to 64 characters"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_scenario_and_the_key(
    tmp_path: Path, content: object, message: str
) -> None:
    path = tmp_path / "scenarios.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        Scenarios.open(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_session_has_the_scenario_of_its_person(log: EventLog, retriever: Retriever) -> None:
    scenarios, served = Scenarios.of(CONTENT), Served.of(retriever)

    def variant(**asked: Any) -> str | None:  # noqa: ANN401 - fields of a request
        body = RecommendRequest.model_validate(asked)
        return assign(scenarios, log, body, lambda _: served)[0].variant

    names = [f"u{number}" for number in range(20)]
    for name in names:
        log.merge(f"session:s-{name}", name)
    of_users = [variant(user_ids=[name]) for name in names]
    assert set(of_users) == {"plain", "cheap", "red"}
    assert [variant(session=f"s-{name}") for name in names] == of_users


def test_files_that_are_no_json_or_have_a_key_twice_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scenarios.json"
    for text in ("{", '{"scenarios": {"a": {}, "a": {}}}'):
        path.write_text(text)
        with pytest.raises(InputError, match="cannot be read"):
            Scenarios.open(path)
    with pytest.raises(InputError, match="cannot be read"):
        Scenarios.open(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    "settings",
    [
        {"blend": {"colour": 1.0}}, {"where": ["colour = red"]}, {"group_by": "colour"},
        {"diversify": {"attribute": "colour"}}, {"diversify": {"caps": {"colour": 2}}},
        {"rules": [{"rule": "boost", "where": "colour = 1", "by": 0.3}]}, {"attributes": ["colour"]},
        {"where": ["price < 0"], "rules": [{"rule": "exclude", "where": "colour = 1"}]},
    ],
)  # fmt: skip
def test_attributes_that_the_bundle_lacks_are_found_at_the_start(
    retriever: Retriever, settings: dict[str, Any]
) -> None:
    view = View(Served.of(retriever), {})
    with pytest.raises(InputError, match=r"scenario 'bad': .*'?colour'?"):
        Scenarios.of({"scenarios": {"plain": {}, "bad": settings}}).check(view)
    Scenarios.of(CONTENT).check(view)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"diversify": {"method": "calibrated"}}, "calibrated to an attribute"),
        ({"min_similarity": 0.9}, "min_similarity is 0.9, but duplicates are shown; collapse them"),
    ],
)  # fmt: skip
def test_what_a_request_would_be_refused_for_is_found_at_the_start(
    retriever: Retriever, settings: dict[str, Any], message: str
) -> None:
    view = View(Served.of(retriever), {})
    with pytest.raises(InputError, match=f"scenario 'bad': .*{message}"):
        Scenarios.of({"scenarios": {"plain": {}, "bad": settings}}).check(view)
    rules = [{"rule": "frequency_cap", "times": 2, "days": 1}]
    Scenarios.of({"scenarios": {"capped": {"rules": rules, "attributes": "all"}}}).check(view)


def test_rules_of_users_are_left_out_of_a_scenario_for_histories(started: Started, shop: Path, tmp_path: Path) -> None:
    rules = [{"rule": "frequency_cap", "times": 1, "days": 1}, {"rule": "pin", "item_ids": ["blue-mug"]}]
    path = tmp_path / "scenarios.json"
    path.write_text(json.dumps({"scenarios": {"capped": {"rules": rules}}}))
    client = started(shop, events=f"sqlite:///{tmp_path / 'events.db'}", scenarios=path)
    answer = ask(client, histories=[["red-shoe"]])
    assert items(answer)[0] == "blue-mug"
    assert "'capped': rules that count what was shown" in answer["notes"][0]
    assert not any("left out" in note for note in ask(client, user_ids=["ann"]).get("notes", []))
    ask(client, 422, histories=[["red-shoe"]], rules=rules)


@pytest.fixture
def client(started: Started, shop: Path, tmp_path: Path) -> TestClient:
    path = tmp_path / "scenarios.json"
    path.write_text(json.dumps(CONTENT))
    return started(shop, events=f"sqlite:///{tmp_path / 'events.db'}", write_token=WRITE, scenarios=path)


def ask(client: TestClient, status: int = 200, **body: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    answer = client.post("/recommend", json=body)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def items(answer: dict[str, Any], query: int = 0) -> list[str]:
    return [hit["item_id"] for hit in answer["results"][query]["hits"]]


def user_of(name: str) -> str:
    scenarios = Scenarios.of(CONTENT)
    return next(user for user in (f"u{n}" for n in range(100)) if scenarios.of_user(user) == name)


def test_a_scenario_is_picked_by_name_or_by_the_user_and_the_answer_names_it(client: TestClient) -> None:
    named = ask(client, user_ids=["u1"], scenario="red")
    assert named["variant"] == "red"
    assert all(item.startswith("red-") for item in items(named))
    assert items(named) == items(
        ask(client, user_ids=["u1"], scenario="plain", where=["tags contains red"], stages="retrieval")
    )
    by_user = ask(client, user_ids=[user_of("red")])
    assert (by_user["variant"], items(by_user)) == ("red", items(named))
    cheap = ask(client, histories=[[]], scenario="cheap")
    assert items(cheap) == items(ask(client, histories=[[]], scenario="plain", blend={"price": -1.0}, k=4))
    assert len(items(cheap)) == 4
    assert len(items(ask(client, histories=[[]], scenario="cheap", k=6))) == 6  # a request says it itself
    assert ask(client, histories=[[]])["variant"] == "plain"
    assert ask(client, session="s1")["variant"] == Scenarios.of(CONTENT).of_user("session:s1")
    error = ask(client, 422, histories=[[]], scenario="nothing")["error"]
    assert (
        "there is no scenario 'nothing'; give one of 'plain', 'cheap', 'red'" in f"{error['message']}; {error['hint']}"
    )


def test_users_of_one_request_are_answered_each_by_their_own_scenario(client: TestClient) -> None:
    users = [user_of(name) for name in ("red", "plain", "cheap")] * 2
    for user in users[:3]:
        body = {"user_id": user, "item_id": "red-mug", "type": "like"}
        assert client.post("/events", json=body, headers=TOKEN).status_code == 200
    together = ask(client, user_ids=users)
    assert "variant" not in together
    for place, user in enumerate(users):
        alone = ask(client, user_ids=[user])
        assert together["results"][place]["variant"] == alone["variant"]
        assert together["results"][place]["query_id"] == user
        assert items(together, place) == items(alone)


@pytest.mark.parametrize("scenario", [{}, {"scenario": "plain"}])
@pytest.mark.parametrize("values", [1, 3])
@pytest.mark.parametrize(("field", "name"), [
    (lambda count: {"times": [1_800_000_000] * count}, "times"),
    (lambda count: {"profiles": [{}] * count}, "profiles"),
    (lambda count: {"context": [{"device": "tv"}] * count}, "context"),
    (lambda count: {"context": {"hour": 3, "device": ["tv"] * count}}, "context.device"),
])  # fmt: skip
def test_lists_that_do_not_fit_the_users_are_refused(
    client: TestClient, field: Callable[[int], dict[str, Any]], name: str, values: int, scenario: dict[str, Any]
) -> None:
    users = [user_of("red"), user_of("cheap")]
    error = ask(client, 422, user_ids=users, **field(values), **scenario)["error"]
    assert (error["type"], error["message"]) == ("ShapeError", f"{name} has {values} values for 2 users")


def test_each_user_of_a_request_keeps_what_holds_for_it(client: TestClient) -> None:
    users = [user_of(name) for name in ("red", "cheap", "plain")]
    body = RecommendRequest(user_ids=users, times=[1, 2, 3], context={"hour": 3, "device": ["x", "y", "z"]})
    rows = [{"hour": 3, "device": device} for device in "xyz"]
    assert of_each_user(body).context == rows
    assert of_each_user(body.model_copy(update={"context": rows})).context == rows
    service = client.app.state.service  # type: ignore[attr-defined]
    assigned = assign(service.scenarios, service.events, of_each_user(body), lambda _: service.served.current)
    assert [(one.variant, list(one.places)) for one in assigned] == [("red", [0]), ("cheap", [1]), ("plain", [2])]
    for place, one in enumerate(assigned):
        assert (one.body.user_ids, one.body.times, one.body.context) == ([users[place]], [place + 1], [rows[place]])


def test_a_merged_user_has_the_scenario_of_the_person(client: TestClient) -> None:
    person, anonymous = user_of("red"), user_of("cheap")
    assert ask(client, user_ids=[anonymous])["variant"] == "cheap"
    merge = {"anonymous": anonymous, "known": person}
    assert client.post("/users/merge", json=merge, headers=TOKEN).status_code == 200
    assert ask(client, user_ids=[anonymous])["variant"] == "red"


def test_a_service_without_scenarios_refuses_names_and_names_no_variant(started: Started, shop: Path) -> None:
    client = started(shop)
    assert "variant" not in ask(client, histories=[[]])
    assert "has no scenarios" in ask(client, 422, histories=[[]], scenario="plain")["error"]["message"]


VERSIONS: dict[str, Any] = {"plain": {}, "frozen": {"learned": False}}
NOBODY_KNOWN = (
    "1 of 1 users have an empty history, and this bundle has not learned what is popular: they are answered with what "
    "was added last; learn from a log with `fit`"
)
LIST: dict[str, Any] = {"histories": [["red-mug", "red-shoe"]], "k": 6}


def of_versions(started: Started, bundle: Path, content: dict[str, Any], **more: Any) -> TestClient:  # noqa: ANN401
    path = bundle.parent / "scenarios.json"
    path.write_text(json.dumps(content))
    return started(bundle, scenarios=path, poll_seconds=3600.0, **more)


def test_a_scenario_names_a_generation_and_whether_what_was_learned_counts(started: Started, own_shop: Path) -> None:
    first, second = generations(own_shop)
    scenarios = {**VERSIONS, "before": {"generation": first}}
    shares = {"plain": 0.4, "frozen": 0.3, "before": 0.3}
    url = f"sqlite:///{own_shop.parent / 'events.db'}"
    content = {"scenarios": scenarios, "shares": shares}
    client = of_versions(started, own_shop, content, events=url, limits=Limits(open_versions=0))
    before, frozen, plain = (ask(client, **LIST, scenario=name) for name in ("before", "frozen", "plain"))
    assert (before["generation"], "learned" in before) == (first, False)
    assert (frozen["generation"], frozen["learned"]) == (second, False)
    assert items(before) == items(frozen) == items(ask(client, **LIST, learned=False, scenario="plain")) != items(plain)
    assert ask(client, **LIST, scenario="before", generation=second)["generation"] == second  # a request says it itself
    # Each list is of one version, which it names where it is not that of the answer.
    assigned = Scenarios.of(content)
    users = [next(user for user in map(str, range(100)) if assigned.of_user(user) == name) for name in scenarios]
    together = ask(client, user_ids=users)
    assert (together["generation"], together["change"]) == (second, 0)
    named = [{name: one.get(name) for name in ("variant", "generation", "learned")} for one in together["results"]]
    assert named == [
        {"variant": "plain", "generation": None, "learned": None},
        {"variant": "frozen", "generation": second, "learned": False},
        {"variant": "before", "generation": first, "learned": None},
    ]
    assert [note.partition(",")[0::2] for note in together["notes"]] == [
        (f"1 of 3 users have the variant '{name}'", f" and of these: {NOBODY_KNOWN}") for name in ("frozen", "before")
    ]
    for place, user in enumerate(users):
        assert items(together, place) == items(ask(client, user_ids=[user]))


def test_a_generation_that_is_not_kept_is_found_at_the_start(started: Started, own_shop: Path) -> None:
    content = {"scenarios": {"plain": {}, "old": {"generation": "gen-20200101t000000z-0123abcd"}}}
    with pytest.raises(InputError, match=r"scenario 'old': .* keeps no generation 'gen-20200101t0.*; it"):
        of_versions(started, own_shop, content)
    with pytest.raises(InputError, match=r"scenario 'old': .* keeps no generation 'before'; it keeps"):
        of_versions(started, own_shop, {"scenarios": {"old": {"generation": "before"}}})


def test_scenarios_are_checked_again_when_the_bundle_changes(
    started: Started, own_shop: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who was given a scenario that cannot answer has the default one and is told; by name it is refused."""
    scenarios = {
        "plain": {},
        "cheap": {"blend": {"price": -1.0}},
        "frozen": {"learned": False, "where": ["price < 40"]},
    }
    content = {"scenarios": scenarios, "shares": {"plain": 0.2, "cheap": 0.4, "frozen": 0.4}}
    client = of_versions(started, own_shop, content)
    assert client.get("/ready").json()["status"] == "ready"
    assert ask(client, **LIST, scenario="cheap")["variant"] == "cheap"
    path = own_shop.parent / "without.parquet"
    pq.write_table(toy_table().drop_columns(["price"]), path)
    build_bundle(Catalogue.from_parquet(path), ToyEncoder(), own_shop, carry=carry_over)
    assert client.app.state.service.served.follow()  # type: ignore[attr-defined]
    ready = client.get("/ready").json()
    assert ready["status"] == "degraded"
    # Who has no token learns nothing of the attributes.
    says = "cannot answer; /status says why"
    assert ready["problems"] == [f"scenario 'cheap' {says}", f"scenario 'frozen' {says}"]
    problems = client.get("/status").json()["problems"]
    assert [problem[:18] for problem in problems] == ["scenario 'cheap': ", "scenario 'frozen':"]
    assert all("price" in problem for problem in problems)
    assert all(problem in caplog.text for problem in problems)
    for name in ("cheap", "frozen"):
        error = ask(client, 422, **LIST, scenario=name)["error"]
        assert error["message"].startswith(f"scenario '{name}': ")
    assert items(ask(client, **LIST, scenario="plain")) == items(ask(client, **LIST))
    assigned = Scenarios.of(content)
    users = [next(user for user in map(str, range(100)) if assigned.of_user(user) == name) for name in scenarios]
    service = client.app.state.service  # type: ignore[attr-defined]
    body = RecommendRequest(user_ids=users)
    given = assign(service.scenarios, None, body, lambda version: service.served.view.get(version))
    assert [(one.variant, one.body.user_ids) for one in given] == [("plain", users)]
    session = next(name for name in map(str, range(100)) if assigned.of_user(f"session:{name}") == "cheap")
    with EventLog.open(f"sqlite:///{own_shop.parent / 'events.db'}") as log:
        service.events = log
        answer = ask(client, session=session)
    assert answer["variant"] == "plain"
    assert any(note.endswith("The default 'plain' answers in place of 'cheap'") for note in answer["notes"])


def test_a_default_that_cannot_answer_is_refused(started: Started, own_shop: Path) -> None:
    client = of_versions(started, own_shop, {"scenarios": {"cheap": {"blend": {"price": -1.0}}}})
    path = own_shop.parent / "without.parquet"
    pq.write_table(toy_table().drop_columns(["price"]), path)
    build_bundle(Catalogue.from_parquet(path), ToyEncoder(), own_shop, carry=carry_over)
    assert client.app.state.service.served.follow()  # type: ignore[attr-defined]
    assert ask(client, 422, **LIST)["error"]["message"].startswith("scenario 'cheap': ")
