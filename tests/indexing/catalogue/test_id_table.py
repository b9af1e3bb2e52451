"""Ids are found by their hashes as they are by a dictionary, also where hashes are equal."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue import item_ids
from indexing.catalogue.item_ids import ItemIds, sampled_rows
from indexing.errors import InputError, UnknownItemError
from indexing.filesystem import id_table
from indexing.filesystem.id_table import IdsInMemory, MappedIds, hash_table
from indexing.filesystem.mapped import map_array, map_table, write_array, write_table
from indexing.runtime.arguments import check_choice

IDS = [f"item-{row}" for row in range(300)] + ["Größe", "日本", "x" * 500]


@pytest.fixture(params=["hashes", "few hashes", "one hash"])
def mapped(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MappedIds:
    monkeypatch.setattr(id_table, "PIECE", 64)
    whole = id_table.hash_of
    if request.param == "few hashes":
        monkeypatch.setattr(id_table, "hash_of", lambda item_id: whole(item_id) % 7)
    if request.param == "one hash":
        monkeypatch.setattr(id_table, "hash_of", lambda _: 2**64 - 1)
    chunks = pa.chunked_array([pa.array(IDS[:100]), pa.array(IDS[100:])])
    write_table(tmp_path / "ids.arrow", pa.table({"item_id": chunks}))
    table = hash_table(chunks)
    write_array(tmp_path / "ids.npy", iter(table), table.shape, np.uint64)
    ids = map_table(tmp_path / "ids.arrow").column("item_id")
    return MappedIds(ids, map_array(tmp_path / "ids.npy", (2, len(IDS)), np.uint64))


def test_every_id_is_found_in_its_row_and_no_other(mapped: MappedIds) -> None:
    in_memory = IdsInMemory(tuple(IDS))
    asked = [*reversed(IDS), "item-300", "", "ITEM-1", "größe"]
    for table in (mapped, in_memory):
        assert table.rows(asked).tolist() == [*range(len(IDS) - 1, -1, -1), -1, -1, -1, -1]
        assert [table.row(item_id) for item_id in asked] == [*range(len(IDS) - 1, -1, -1), None, None, None, None]
        assert table.rows([]).tolist() == []
        assert [table[row] for row in range(len(IDS))] == IDS
        assert list(table.slice(3, 200)) == IDS[3:200]


def test_items_of_mapped_ids_are_those_in_memory_also_when_they_change(mapped: MappedIds) -> None:
    changes = [(["item-7", "Größe"], ["new", "item-7"]), (["new"], ["item-9"])]
    pairs = [(ItemIds.of_table(mapped), ItemIds(IDS))]
    pairs.append((pairs[0][0].changed(*changes), pairs[0][1].changed(*changes)))
    pairs.append((pairs[1][0].changed((["日本"], ["last"])), pairs[1][1].changed((["日本"], ["last"]))))
    for found, expected in pairs:
        assert list(found) == list(expected)
        assert found == expected
        assert hash(found) == hash(expected)
        np.testing.assert_array_equal(found.is_live, expected.is_live)
        for ids in ({"item-7", "new", "Größe", "item-9", "last", "日本", "item-1"}, IDS):
            assert found.known(ids) == expected.known(ids)
            np.testing.assert_array_equal(found.find(list(ids)), expected.find(list(ids)))
        for rows in (slice(None), slice(290, None), slice(-4, -1), slice(0, 300, 50), slice(9, 2)):
            assert found[rows] == expected[rows]
        assert (found[-1], found[np.int64(2)]) == (expected[-1], expected[2])
        with pytest.raises(IndexError, match=f"row 999 of {len(expected)}"):
            found[999]
        with pytest.raises(UnknownItemError, match=r"1 of 2 item ids .*'item-1x'.*did you mean 'item-1"):
            found.rows(["item-1", "item-1x"])
    assert pairs[0][0] != pairs[1][0]
    assert pairs[0][0] != ItemIds([*IDS[:-1], "another"])


def test_rows_of_a_damaged_table_lead_nowhere(mapped: MappedIds) -> None:
    chunks = pa.chunked_array([pa.array(IDS)])
    table = hash_table(chunks)
    table[1] += 10**12
    found = MappedIds(chunks, table)
    assert found.row("item-3") is None
    assert found.rows(["item-3"]).tolist() == [-1]


def test_a_sample_changes_by_the_item_that_comes_or_goes_alone(mapped: MappedIds) -> None:
    """In files as in memory, in a bundle that was changed as in one that was built so."""
    changes = [([f"item-{row}"], [f"new-{row}"] if row % 3 else [f"item-{row}"]) for row in range(60)]
    for ids in (ItemIds.of_table(mapped), ItemIds(IDS)):
        before: set[str] = set()
        for step in range(len(changes) + 1):
            changed = ids.changed(*changes[:step])
            rows = sampled_rows(changed, 40, changed.is_live)
            drawn = {changed[row] for row in rows}
            assert len(drawn) == len(rows) == 40
            assert (np.diff(rows) > 0).all()
            assert not step or len(before - drawn) <= 2  # one goes, and another comes
            live = [changed[row] for row in np.flatnonzero(changed.is_live)]
            if len({*map(id_table.hash_of, IDS[:9])}) > 7:  # of equal hashes the first row comes first
                smallest = sorted(live, key=id_table.hash_of)[:40]
                again = ItemIds(live)
                assert drawn == {*smallest} == {again[row] for row in sampled_rows(again, 40, again.is_live)}
            before = drawn
        few = np.zeros(len(ids), np.bool_)
        few[[5, 2]] = True
        assert (sampled_rows(ids, 2, few).tolist(), sampled_rows(ids, 0, few).tolist()) == ([2, 5], [])


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("item-12x", "item-12"),
        ("itm-123", "item-123"),
        ("iten-123", "item-123"),
        ("ietm-123", "item-123"),
        ("ITEM-123", "item-123"),
        ("Grösse", None),
        ("Gröse", None),
        ("Größ", "Größe"),
        ("x" * 499, None),  # too long to be changed at each place
        ("another", None),
        ("item-13", None),  # it is gone
    ],
)
@pytest.mark.parametrize("most", [10, 5_000])
def test_an_id_that_may_be_meant(
    mapped: MappedIds, monkeypatch: pytest.MonkeyPatch, most: int, given: str, meant: str | None
) -> None:
    """Of many items it is looked up, of few all are compared, so that more may be found."""
    monkeypatch.setattr(item_ids, "_MAX_COMPARED", most)
    items = ItemIds.of_table(mapped).changed((["item-13", *(f"item-13{digit}" for digit in range(10))], []))
    said = items.suggestion(given)
    if most == 10 and given != "item-13":
        assert said == ("" if meant is None else f"; did you mean {meant!r}?")
    assert "item-13'" not in said
    if most == 5_000 and meant is not None:
        assert said.startswith("; did you mean ")


def test_a_choice_that_may_be_meant() -> None:
    with pytest.raises(
        InputError, match=r"^mode is 'Hybird', did you mean 'hybrid'\?; give one of 'vector', 'hybrid'$"
    ):
        check_choice("Hybird", "mode", ("vector", "hybrid"))
    with pytest.raises(InputError, match=r"^mode is 'zzz'; give one of 'vector', 'hybrid'$"):
        check_choice("zzz", "mode", ("vector", "hybrid"))
