"""What goes with a basket, and what comes next, against scores of all items."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexing.bundle.edits.edit import add
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import InputError, UnknownItemError
from retrieval import Retriever
from retrieval.filters import field
from retrieval.retriever import loaded_bundle
from retrieval.retriever.related.items import LIKENESS_PENALTY
from tests.cli_run import runner
from tests.toy import ToyEncoder, toy_table

BASKETS = [["red-mug"], ["blue-lamp", "green-lamp", "blue-lamp"]]


def test_complements_are_the_best_by_behaviour_less_likeness(retriever: Retriever) -> None:
    found = retriever.complements(BASKETS, 4)
    names = list(retriever.items)
    content = retriever.vectors @ retriever.vectors.T
    content = (content - content.mean(axis=1, keepdims=True)) / content.std(axis=1, keepdims=True)
    block = retriever.behaviour
    assert block is not None
    shares = np.repeat([tower.share for tower in block.towers], [len(tower.start) for tower in block.towers])
    for query, basket in enumerate(BASKETS):
        rows = retriever.items.rows(dict.fromkeys(basket))
        together = block.items[:, :-1] @ (block.tower_queries([rows])[0] * shares)
        together = (together - together.mean()) / together.std()
        scores = together - LIKENESS_PENALTY * content[rows].max(axis=0)
        scores[rows] = -np.inf
        # float32 sums in another order
        np.testing.assert_allclose(found.scores[query], -np.sort(-scores)[:4], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(scores[found.rows[query]], found.scores[query], rtol=1e-3, atol=1e-3)
        assert not set(basket) & {names[row] for row in found.rows[query]}


def test_an_added_item_changes_no_score_unless_it_is_drawn(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded_bundle, "_SCORED", 8)
    shutil.copytree(bundle, tmp_path / "bundle")
    retriever, drawn = Retriever.open(tmp_path / "bundle", ToyEncoder()), list[bool]()
    for number in range(6):
        before, sample = answers_of(retriever), sampled(retriever)
        twin = toy_table().slice(number, 1).set_column(0, "item_id", pa.array([f"twin-{number}"]))
        add(tmp_path / "bundle", Catalogue.from_arrow(twin), ToyEncoder())
        retriever = retriever.latest()
        after = sampled(retriever)
        drawn.append(f"twin-{number}" in after)
        assert after - sample == ({f"twin-{number}"} if drawn[-1] else set())
        if not drawn[-1]:
            for one, other in zip(before, answers_of(retriever), strict=True):
                assert {item: other[item] for item in one} == pytest.approx(one, abs=1e-5)  # products of other shapes
    assert not all(drawn)


def sampled(retriever: Retriever) -> set[str]:
    return {retriever.items[row] for row in retriever.state.sampled_rows}


def answers_of(retriever: Retriever) -> list[dict[str, float]]:
    both = retriever.similar_items(["red-mug"], k=50, by="both")
    return [{hit.item_id: hit.score for hit in one[0]} for one in (retriever.complements([["red-mug"]], 50), both)]


def test_complements_keep_filters_and_deletions(changed: Retriever) -> None:
    found = changed.complements([["red-mug"]], 50, where=field("price") >= 10)
    listed = {hit.item_id for hit in found[0]}
    assert len(listed) == 15
    assert not any(item.endswith("-mug") or item in ("red-shoe", "twin") for item in listed)


def test_wrong_baskets(retriever: Retriever, unlearned: Retriever) -> None:
    with pytest.raises(InputError, match=r"baskets\[1\] is empty; give the item_ids"):
        retriever.complements([["red-mug"], []])
    with pytest.raises(UnknownItemError, match="'jug'"):
        retriever.complements([["jug"]])
    with pytest.raises(InputError, match="learned nothing of what users take together"):
        unlearned.complements([["red-mug"]])


def test_what_comes_next_is_what_came_next_in_the_log(retriever: Retriever) -> None:
    """Users of the shop go through the shapes of a colour in one order: mug, shoe, lamp, book, chair."""
    found = retriever.next_items(["red-mug", "blue-shoe", "green-lamp"], 3)
    assert [hits[0].item_id for hits in found] == ["red-shoe", "blue-lamp", "green-book"]
    assert (np.diff(found.scores, axis=1) <= 0).all()
    assert found.query_ids == ("red-mug", "blue-shoe", "green-lamp")
    assert found[0][0].source == "behaviour"


def test_what_comes_next_without_what_is_gone(changed: Retriever) -> None:
    assert changed.next_items(["red-mug"], 1)[0][0].item_id == "red-lamp"  # the red shoe was deleted
    assert changed.next_items(["twin"], 3)[0] == []  # nobody took anything after it
    only = changed.next_items(["red-mug"], 1, where=field("price") >= 30)
    assert only[0][0].item_id == "red-book"


def test_a_bundle_without_a_second_stage_knows_nothing_of_what_comes_next(unlearned: Retriever) -> None:
    with pytest.raises(InputError, match="learned nothing of the order in which items are taken; learn a second stage"):
        unlearned.next_items(["red-mug"])


def test_the_commands(bundle: Path, retriever: Retriever, capsys: pytest.CaptureFixture[str]) -> None:
    call = runner(capsys)
    code, printed, _ = call("complements", bundle, "red-mug", "blue-lamp,green-lamp", "-k", 2, "--json")
    expected = [hit.item_id for hits in retriever.complements(BASKETS, 2) for hit in hits]
    assert code == 0
    answers = [json.loads(line) for line in printed.splitlines()]
    assert [row["item_id"] for row in answers] == expected
    assert answers[2]["query_id"] == "blue-lamp,green-lamp"
    code, printed, _ = call("next-items", bundle, "red-mug", "-k", 1)
    assert code == 0
    assert "red-shoe" in printed
    code, _, error = call("complements", bundle, " , ")
    assert (code, "holds no item; write it like mug-1,cup-2" in error) == (2, True)
