"""The shipped sample is what its README says."""

import io

import pyarrow.parquet as pq
from PIL import Image

from indexing.sample import interactions_path, items_path
from scripts.openclipart import held_out

MOST_BYTES = 12_000_000


def test_drawings() -> None:
    items = pq.read_table(items_path()).to_pylist()
    assert len(items) == 1464
    assert len({item["item_id"] for item in items}) == len(items)
    assert len({item["image"] for item in items}) == len(items)
    for item in items:
        with Image.open(io.BytesIO(item["image"])) as picture:
            picture.load()
            assert max(picture.size) <= 160
    assert items_path().stat().st_size + interactions_path().stat().st_size <= MOST_BYTES


def test_at_least_half_of_the_titles_are_held_out() -> None:
    items = pq.read_table(items_path(), columns=["title", "split"]).to_pylist()
    assert [item["split"] for item in items] == [held_out(item["title"]) for item in items]
    assert sum(item["split"] != "train" for item in items) * 2 >= len(items)


def test_users_are_simulated_and_say_so() -> None:
    table = pq.read_table(interactions_path())
    assert b"SIMULATED" in table.schema.metadata[b"note"]
    log = table.to_pylist()
    assert all(line["user_id"].startswith("simulated-") for line in log)
    known = set(pq.read_table(items_path(), columns=["item_id"])["item_id"].to_pylist())
    assert {line["item_id"] for line in log} <= known
    times = [line["timestamp"] for line in log]
    assert times == sorted(times)
    assert len({(line["user_id"], line["item_id"]) for line in log}) == len(log)
    assert len({line["user_id"] for line in log}) == 500
