"""Kinds of events in a log, and what each of them weighs."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.errors import InteractionsError
from retrieval.interactions.interactions import InteractionColumns, Interactions
from tests.logs import log, values

EVENTS = {"view": 1.0, "purchase": 5.0, "return": 0.0}


@pytest.mark.parametrize("name", ["event", "event_type", "action", "behavior"])
def test_events_are_weighed(name: str) -> None:
    table = log(**{name: ["view", " purchase ", "return", "view"]})
    found = Interactions.from_arrow(table, events=EVENTS)
    assert values(found, "item_id") == ["i0", "i1", "i3"]
    assert values(found, "weight") == [1.0, 5.0, 1.0]
    assert found.dropped == {"event of weight 0": 1}
    assert values(Interactions.from_arrow(table), "weight") == [1.0, 1.0, 1.0, 1.0]  # nobody asked


def test_an_event_multiplies_the_weight_of_its_row_before_the_least_is_asked_for() -> None:
    table = log(event=["view", "purchase", "purchase", "return"], weight=[3.0, 0.5, 1e38, float("nan")])
    found = Interactions.from_arrow(table, events=EVENTS, min_weight=2.6)
    assert values(found, "weight") == [3.0]
    # 5e38 is beyond float32; a row is counted for its first fault
    assert found.dropped == {"weight missing or not finite": 2}
    bare = log(event=["view", "purchase"])
    assert values(Interactions.from_arrow(bare, events=EVENTS, min_weight=2), "item_id") == ["i1"]


def test_events_of_every_file_are_weighed(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item,what\nu,i,view\nu,j,purchase\n")
    (tmp_path / "log.inter").write_text("user_id:token\titem_id:token\twhat:token\nu\ti\tview\nu\tj\tpurchase\n")
    pq.write_table(pa.table({"user": ["u"] * 2, "item": ["i", "j"], "what": ["view", "purchase"]}), tmp_path / "log.pq")
    for name in ("log.csv", "log.inter", "log.pq"):
        found = Interactions.open(tmp_path / name, columns=InteractionColumns(event="what"), events=EVENTS)
        assert values(found, "weight") == [1.0, 5.0], name


def test_events_without_a_weight_are_named_with_their_row() -> None:
    table = log(event=["view", "wish", None, "wish"])
    with pytest.raises(
        InteractionsError,
        match=r"3 of 4 rows have events that have no weight: 'wish', None; the first is row 1 \(from 0\), 'wish' in "
        r"column 'event'; weights are given for 'view', 'purchase', 'return': give these too one each, 0 to leave",
    ):
        Interactions.from_arrow(table, events=EVENTS)
    with pytest.raises(InteractionsError, match=r"no column 'event' or 'event_type' or 'action' .* of events"):
        Interactions.from_arrow(log(item_id=["i"]), events=EVENTS)
    with pytest.raises(InteractionsError, match=r"column 'event' of type list.* cannot hold events"):
        Interactions.from_arrow(log(event=[[1]]), events=EVENTS)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_events_cannot_weigh_less_than_nothing(weight: float) -> None:
    with pytest.raises(InteractionsError, match=r"events cannot weigh \('return', .*give 0 to leave them out"):
        Interactions.from_arrow(log(event=["view"]), events={"view": 1.0, "return": weight})
