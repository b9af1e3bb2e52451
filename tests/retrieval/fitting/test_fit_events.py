"""What types of events mean is learned with, kept in the bundle, and the same when it recommends and is evaluated."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.encoders import load_encoder
from indexing.errors import InteractionsError
from retrieval import Interactions, Retriever, cli, fit
from retrieval.interactions.event_types import USUAL_TYPES, EventTypes, EventTypesWarning, LearnedEvents
from retrieval.training.settings import write_settings
from tests.cli_run import Run, runner
from tests.groups import CLOCK, COUNT, SMALL, catalogue, items, log

EVENTS = EventTypes.open({"buy": 3, "hide": -2, "view": {"weight": 0.1, "half_life_days": 30}})
OTHER = {"view": 1, "buy": 1, "hide": 0}
VISITS = pa.table(
    {
        "user": ["ann"] * 4 + ["bob"],
        "item": ["i000", "i001", "i002", "i003", "i030"],
        "time": [10, 20, 30, 40, 40],
        "event": ["view", "buy", "hide", "buy", "buy"],
    }
)
WEIGHTS = [0.1, 3.0, -2.0, 3.0]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log of events, and a bundle that learned from its earlier part by the command line."""
    folder = tmp_path_factory.mktemp("events")
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    table = log(start=CLOCK, each=14).table.drop(["weight"])
    kinds = np.array(["buy", "view", "buy", "buy", "view"])[np.arange(len(table)) % 5]
    pq.write_table(table.append_column("event", pa.array(kinds)), folder / "log.parquet")
    pq.write_table(VISITS, folder / "visits.parquet")
    (folder / "events.json").write_text(json.dumps(EVENTS.to_json()))
    write_settings(SMALL, folder / "settings.json")
    command = ("fit", folder / "bundle", folder / "log.parquet", "--config", folder / "settings.json")
    with pytest.raises(SystemExit) as stopped:
        cli.main([*map(str, command), "--hold-out", ".2", "--event-types", str(folder / "events.json")])
    assert stopped.value.code == 0
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture(scope="module")
def retriever(shop: Path) -> Retriever:
    return Retriever.open(shop / "bundle")


def test_a_bundle_keeps_the_types_that_it_learned_with(shop: Path, retriever: Retriever) -> None:
    assert Bundle.open(shop / "bundle").manifest.learned["events"] == EVENTS.to_json()
    assert retriever.learned.event_types == EVENTS


@pytest.mark.parametrize("as_path", [False, True])
def test_a_log_without_types_of_its_own_weighs_as_the_one_that_was_learned_from(
    as_path: bool, shop: Path, retriever: Retriever
) -> None:
    given = shop / "visits.parquet" if as_path else VISITS
    with pytest.warns(EventTypesWarning, match=r"as in the log that the bundle .*: buy=3, .*view=0\.1 \(half"):
        found = retriever.recommend(given, 5, user_ids=["ann"])
    np.testing.assert_allclose(found.weights[0], WEIGHTS, rtol=1e-4)  # the view is half a minute old
    by_hand = retriever.recommend([["i000", "i001", "i002", "i003"]], 5, user_ids=["ann"], weights=[WEIGHTS])
    assert [hit.item_id for hit in found[0]] == [hit.item_id for hit in by_hand[0]]
    np.testing.assert_allclose(found.scores, by_hand.scores, rtol=1e-4)
    same = retriever.recommend(Interactions.from_arrow(VISITS, events=EVENTS), 5, user_ids=["ann"])  # does not warn
    np.testing.assert_array_equal(same.scores, found.scores)


def test_other_types_are_used_with_a_warning(retriever: Retriever) -> None:
    other = Interactions.from_arrow(VISITS, events=OTHER)
    with pytest.warns(
        EventTypesWarning, match=r"otherwise than .*: view=1 \(there 0\.1 \(half.*buy=1 \(there 3\), hide=0 \(there -"
    ):
        found = retriever.recommend(other, 5, user_ids=["ann"])
    assert found.weights[0].tolist() == [1, 1, 1]  # hide weighs 0 and is left out
    assert [retriever.items[row] for row in found.histories[0]] == ["i000", "i001", "i003"]


def test_a_column_of_events_that_was_not_read_is_named(retriever: Retriever, shop: Path) -> None:
    unread = Interactions.open(shop / "visits.parquet")
    assert unread.unread_events == "event"
    with pytest.warns(EventTypesWarning, match=r"column 'event' of the log was not read, .*default_events=retriever"):
        retriever.users_for(["i005"], unread)
    read = Interactions.open(shop / "visits.parquet", default_events=retriever.learned.event_types)
    assert (read.events, read.unread_events) == (EVENTS, "")
    assert Interactions.from_arrow(VISITS.drop(["event"]), default_events=EVENTS).events is None


def test_a_type_that_was_not_learned_with_says_whose_types_these_are(retriever: Retriever) -> None:
    strange = VISITS.set_column(3, "event", pa.array(["view", "buy", "hide", "gift", "buy"]))
    with pytest.raises(
        InteractionsError, match=r"'gift' in column 'event'.*types of events that the bundle learned wi"
    ):
        retriever.recommend(strange)


@pytest.mark.parametrize(
    ("record", "types"), [({}, None), ({"events": None}, LearnedEvents(None)), ({"events": {"a": 1}}, "a=1")]
)
def test_what_an_earlier_version_did_not_keep_is_not_compared(record: dict[str, Any], types: object) -> None:
    learned = LearnedEvents.of(record)
    assert (str(learned.types) if learned and learned.types else learned) == types


def test_a_bundle_that_learned_without_types_warns_of_a_log_with_some() -> None:
    with pytest.warns(EventTypesWarning, match=r"that log was read without types of events; fit the bundle anew"):
        LearnedEvents(None).compare(EVENTS, unread="", given=True)
    with pytest.warns(
        EventTypesWarning, match=r": view=0\.1, pageview=0\.1, click=0\.1, impression_click=0\.1 and \d+ more,"
    ):
        LearnedEvents(None).compare(USUAL_TYPES, unread="", given=True)


def test_recommend_and_evaluate_read_a_log_as_fit_did(shop: Path, run: Run) -> None:
    root, path = shop / "bundle", shop / "log.parquet"
    types = ("--event-types", shop / "events.json")
    for command in (("recommend", root, "--interactions", path, "--user", "u1700000003"), ("evaluate", root, path)):
        code, taken, err = run(*command, "--json")
        assert code == 0, err
        assert err.count("note: events weigh as in the log that the bundle learned from: buy=3") == 1
        _, given, err = run(*command, *types, "--json")
        assert taken == given
        assert "events weigh" not in err
        _, other, err = run(*command, "--event-weights", "view=-1,buy=1", "--json")
        assert err.count("note: events weigh otherwise than in the log that the bundle learned from: view=-1") == 1
        assert other != given


def test_a_job_reads_a_log_as_fit_did(shop: Path, run: Run, retriever: Retriever, tmp_path: Path) -> None:
    root, path = shop / "bundle", shop / "visits.parquet"
    code, _, err = run("recommend", root, "--interactions", path, "--out", tmp_path / "out.parquet", "-k", 5)
    assert code == 0, err
    assert "note: events weigh as in the log" in err
    listed = pq.read_table(tmp_path / "out.parquet").to_pylist()
    expected = retriever.recommend([["i000", "i001", "i002", "i003"]], 5, weights=[WEIGHTS])
    assert [hit["item_id"] for hit in listed if hit["query_id"] == "ann"] == [hit.item_id for hit in expected[0]]


def test_a_refresh_takes_the_types_of_the_bundle(shop: Path) -> None:
    with pytest.warns(EventTypesWarning, match="events weigh as in the log that the bundle learned from"):
        report = fit(shop / "bundle", pq.read_table(shop / "log.parquet"), refresh=True)
    assert report.refused or Bundle.open(shop / "bundle").manifest.learned["events"] == EVENTS.to_json()
