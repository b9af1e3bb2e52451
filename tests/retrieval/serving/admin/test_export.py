"""The export of live events is the log: what was written is read back, and an import of it gives the same log."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.json as pjson
import pyarrow.parquet as pq
import pytest

from retrieval.serving.events import Event, EventLog, impressions, reading
from tests.retrieval.serving.admin.conftest import ADMIN, HEADERS, AdminClient
from tests.retrieval.serving.conftest import Started

COLUMNS = ["user_id", "item_id", "timestamp", "event", "weight", "session_id", "position", "request_id", "variant"]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'events.db'}"


@pytest.fixture
def logged(started: Started, shop: Path, url: str) -> AdminClient:
    return AdminClient(started(shop, admin_token=ADMIN, events=url), shop)


def filled(url: str, count: int = 300) -> None:
    with EventLog.open(url) as log:
        log.append(
            [
                Event("red-mug", "like", user_id=f"u{n % 7}", time=1_700_000_000 + n, session_id="s" if n % 2 else None)
                for n in range(count)
            ]
        )
        log.append(impressions(["red-mug", "blue-lamp"], "r-1", user_id="u1", time=1_700_000_500, variant="b"))
        log.merge("u0", "u1")


def exported(client: AdminClient, query: str) -> bytes:
    answer = client.client.get(f"/admin/events/export?{query}", headers=HEADERS)
    assert answer.status_code == 200, answer.text
    return bytes(answer.content)


def test_the_round_trip_equals_the_log(
    logged: AdminClient, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CHUNK", 64)  # several parts
    filled(url)
    table = pq.read_table(io.BytesIO(exported(logged, "format=parquet")))
    assert table.column_names == COLUMNS
    assert len(table) == 300
    assert set(table["user_id"].to_pylist()) == {"u1", "u2", "u3", "u4", "u5", "u6"}  # u0 is u1
    path = tmp_path / "export.parquet"
    pq.write_table(table, path)
    with EventLog.open(url) as log, EventLog.open(f"sqlite:///{tmp_path / 'again.db'}") as again:
        assert again.import_log(path).appended.accepted == 300
        assert again.interactions().table.equals(log.interactions().table)
        log.export(tmp_path / "file.parquet")
    assert pq.read_table(tmp_path / "file.parquet").equals(table)


def test_each_form_has_the_same_rows(logged: AdminClient, url: str) -> None:
    filled(url)
    expected = pq.read_table(io.BytesIO(exported(logged, "format=parquet")))
    csv = pcsv.read_csv(io.BytesIO(exported(logged, "format=csv")))
    lines = pjson.read_json(io.BytesIO(exported(logged, "format=jsonl")))
    for name in ("user_id", "item_id", "timestamp", "event"):
        assert csv[name].to_pylist() == lines[name].to_pylist() == expected[name].to_pylist()


def test_what_was_shown_is_exported_alone(logged: AdminClient, url: str) -> None:
    filled(url)
    table = pq.read_table(io.BytesIO(exported(logged, "impressions=true")))
    assert table["item_id"].to_pylist() == ["red-mug", "blue-lamp"]
    assert pa.compute.unique(table["variant"]).to_pylist() == ["b"]


def test_an_export_of_nothing_is_an_error(logged: AdminClient, admin: AdminClient) -> None:
    assert "has no events to export" in logged.get("events/export", 422)["error"]["message"]
    error = admin.get("events/export", 422)["error"]
    assert (error["message"], error["hint"]) == ("this service has no log of live events", "start it with --events URL")
    assert logged.client.get("/admin/events/export?format=xlsx", headers=HEADERS).status_code == 422
