"""Samples of a catalogue: which items, the same ones each time, in order; and hashes that tell content apart."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.sampling import contents, draw, pairs
from indexing.errors import InputError
from tests.toy import picture, toy_file, toy_table


def ids(catalogue: Catalogue) -> list[str]:
    return [item.item_id for batch in catalogue.batches(7) for item in batch]


def test_items_with_both_come_first_and_order_stays(tmp_path: Path) -> None:
    whole = Catalogue.from_parquet(toy_file(tmp_path))
    everything = ids(whole)
    with_both = [item_id for item_id in everything if not item_id.startswith("white")]
    assert pairs(whole) == with_both
    drawn = draw(whole, 6, seed=1)
    assert len(drawn) == 6
    assert ids(drawn) == [item_id for item_id in with_both if item_id in set(ids(drawn))]
    assert drawn.attributes.to_pylist() == [
        line for line in whole.attributes.to_pylist() if line["item_id"] in set(ids(drawn))
    ]
    assert ids(draw(whole, 6, seed=1)) == ids(drawn)
    assert len({tuple(ids(draw(whole, 6, seed=seed))) for seed in range(8)}) > 4
    most = ids(draw(whole, 17))
    assert set(with_both) < set(most)
    assert len(most) == 17
    assert draw(whole, 20) is whole
    with pytest.raises(InputError, match="0 items cannot be drawn"):
        draw(whole, 0)


def test_duplicates_and_odd_ids_are_judged_as_before(tmp_path: Path) -> None:
    table = pa.table({"id": [1.0, 2.0, 1.0, 3.0, None, 4.0], "title": ["one", "two", "again", "three", "none", None]})
    pq.write_table(table, tmp_path / "items.parquet")
    whole = Catalogue.from_parquet(tmp_path / "items.parquet")
    assert ids(whole) == ["1", "2", "3"]
    for seed in range(6):
        drawn = draw(whole, 2, seed=seed)
        texts = {item.item_id: item.text for batch in drawn.batches(3) for item in batch}
        assert len(texts) == 2
        assert texts.items() <= {"1": "one", "2": "two", "3": "three"}.items()


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[0].update(title="other"),
        lambda rows: rows[0].update(image=picture("blue", 30)),
        lambda rows: rows[0].update(image=None),
        lambda rows: rows[0].update(item_id="other"),
        lambda rows: rows.pop(),
        lambda rows: rows.reverse(),
    ],
)
def test_the_digest_tells_content_apart(change: Callable[[list[dict[str, object]]], object], tmp_path: Path) -> None:
    rows = toy_table().to_pylist()
    digests = []
    for name in ("before", "again", "after"):
        if name == "after":
            change(rows)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
        digests.append(contents(Catalogue.from_parquet(tmp_path / f"{name}.parquet")).digest)
    assert digests[0] == digests[1] != digests[2]


def test_equal_contents_have_equal_hashes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture("red"))
    (tmp_path / "b.png").write_bytes(picture("red"))
    (tmp_path / "items.csv").write_text(
        "item_id,title,image\n1,mug,a.png\n2,mug,b.png\n3,,a.png\n4,cup,missing.png\n5,cup,\n"
    )
    held = contents(Catalogue.from_csv(tmp_path / "items.csv"))
    assert list(held.item_ids) == ["1", "2", "3", "4", "5"]
    assert held.texts[0] == held.texts[1] != held.texts[3] == held.texts[4]
    assert held.texts[2] == ""
    assert held.pictures[0] == held.pictures[1] == held.pictures[2] != ""
    assert held.pictures[3:] == ("", "")


def test_precomputed_vectors_count_too(tmp_path: Path) -> None:
    digests = []
    for value in (1.0, 1.0, 2.0):
        pq.write_table(
            pa.table({"item_id": ["a"], "title": ["x"], "text_vector": [[value, 0.0]]}), tmp_path / "v.parquet"
        )
        digests.append(contents(Catalogue.from_parquet(tmp_path / "v.parquet")).digest)
    assert digests[0] == digests[1] != digests[2]
