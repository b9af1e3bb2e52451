"""A process that writes events is killed at random moments; ``scripts.benchmarks.live.event_kills`` is longer."""

import pytest

from scripts.benchmarks.live.event_kills import kill_often


@pytest.mark.slow
def test_no_acknowledged_event_is_lost_and_none_counts_twice(database: str) -> None:
    kills = 20 if database.startswith("sqlite") else 5
    result = kill_often(database, kills, seed=1)
    assert {name: result[name] for name in ("kills", "lost", "doubled", "torn")} == {
        "kills": kills,
        "lost": 0,
        "doubled": 0,
        "torn": 0,
    }
    assert result["sent_again"] > 0
    assert result["events"] >= result["acknowledged_events"] > kills
