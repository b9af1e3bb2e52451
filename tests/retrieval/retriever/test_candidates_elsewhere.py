"""Candidates of another state of a bundle, or of another bundle, are taken by their item ids, never by row number."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from indexing import Catalogue, delete, load_encoder, upsert
from indexing.bundle.build import build_bundle
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError, UnknownItemError
from retrieval import Retriever, compact, fit
from retrieval.batch import BatchConfig, LoggedHistories, LogUsers, answers
from retrieval.candidates import Candidates
from retrieval.evaluation import losses
from retrieval.models.features.attribute_values import Attribute
from retrieval.models.features.item_texts import ItemTexts
from retrieval.postprocess.blend import Blend
from retrieval.postprocess.diversify import MMR, MSD, Calibrated, Cap, MaxSimilarity, Method, Relevant, diversified
from retrieval.postprocess.rules import Bury, Exclude, Ruled, Rules
from retrieval.ranking.cross_encoder import CrossEncoderReranker
from retrieval.ranking.reranker import exact_scores
from retrieval.retriever.after_retrieval import nearest_parts
from tests.agree import assert_hits_agree
from tests.groups import CONTENT, COUNT, DIM, SMALL, STAGE, catalogue, items, log, walks

ASKED = 50
GONE = "i000"  # in no list of these tests
# The nearest to item 50 by hand, as the content says.
NEAR = [f"i{row:03}" for row in np.argsort(-(CONTENT[:COUNT] @ CONTENT[ASKED]), kind="stable")[1:9]]
COSINES = {item_id: float(CONTENT[int(item_id[1:])] @ CONTENT[ASKED]) for item_id in NEAR}


def shelf(item_id: str) -> str:
    return f"shelf {int(item_id[1:]) // 24}"


def table(order: Sequence[int]) -> pa.Table:
    """The items in any order, with a number and a text each."""
    table = items(range(COUNT)).append_column("margin", pa.array(range(COUNT), pa.int64()))
    return table.take(pa.array(order))


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder = tmp_path_factory.mktemp("before")
    build_bundle(catalogue(folder, table(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    return Retriever.load(folder / "bundle")


@pytest.fixture(scope="module", params=["compacted", "deleted", "another order", "loaded again"])
def other(request: pytest.FixtureRequest, before: Retriever, tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    """Where the same items have other rows, or the same rows under another object."""
    assert GONE not in NEAR
    root = tmp_path_factory.mktemp("other") / "bundle"
    if request.param == "another order":
        folder = catalogue(root.parent, table(range(COUNT - 1, -1, -1)))
        build_bundle(folder, load_encoder("vectors:"), root)
        return Retriever.load(root)
    shutil.copytree(before.bundle.root, root)
    start = Retriever.load(root)
    if request.param == "loaded again":
        return start
    delete(root, [GONE])
    if request.param == "compacted":
        compact(root)
    return start.latest()


@pytest.fixture(scope="module")
def found(before: Retriever) -> Candidates:
    return before.similar_items([f"i{ASKED:03}"], len(NEAR))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder = tmp_path_factory.mktemp("learned")
    build_bundle(catalogue(folder, table(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    assert "reranker" in fit(folder / "bundle", walks(), replace(SMALL, reranker=STAGE)).published
    return Retriever.load(folder / "bundle")


def ids(found: Candidates) -> list[str]:
    return [hit.item_id for hit in found[0]]


def by_shelf(most: int) -> list[str]:
    kept = [one for place, one in enumerate(NEAR) if [*map(shelf, NEAR[:place])].count(shelf(one)) < most]
    return kept + [one for one in NEAR if one not in kept]


def in_turn() -> list[str]:
    """The order of margin, the number of the item, highest first."""
    return sorted(NEAR, reverse=True)


FIRST = shelf(NEAR[0])
RULES = [Exclude(f"shelf = '{FIRST}'")]
# What each verb makes of the list, by hand.
VERBS: dict[str, tuple[Callable[[Retriever, Candidates], Candidates], list[str]]] = {
    "rerank": (lambda one, given: one.rerank(given), NEAR),
    "rerank 3": (lambda one, given: one.rerank(given, 3), NEAR[:3]),
    "blend": (lambda one, given: one.blend(given, {"margin": 1e6}), in_turn()),
    "caps": (lambda one, given: one.diversify(given, method="caps", caps={"shelf": 1}), by_shelf(1)),
    "rules": (lambda one, given: one.apply_rules(given, RULES), [one for one in NEAR if shelf(one) != FIRST]),
}


@pytest.mark.parametrize("verb", VERBS)
def test_later_stages_take_candidates_of_another_state_by_id(other: Retriever, found: Candidates, verb: str) -> None:
    act, wanted = VERBS[verb]
    assert ids(found) == NEAR
    made = act(other, found)
    assert ids(made) == wanted
    assert made.items is other.items
    if verb.startswith("rerank"):
        scores = dict((hit.item_id, hit.score) for hit in made[0])
        assert scores == pytest.approx({one: COSINES[one] for one in wanted}, abs=1e-3)  # stored as half floats


@pytest.mark.parametrize("method", ["mmr", "msd", "calibrated"])
def test_variety_is_the_same_wherever_the_items_stand(
    before: Retriever, other: Retriever, found: Candidates, method: Method
) -> None:
    """As what this state finds itself: the mean content of its items is another one."""
    own = other.similar_items([f"i{ASKED:03}"], len(NEAR))
    user_histories = [
        replace(given, histories=(given.items.rows(["i100", "i101", "i110", "i007"]),)) for given in (own, found)
    ]
    attribute = "shelf" if method == "calibrated" else None
    wanted, made = (
        other.diversify(given, 5, method=method, strength=0.9, attribute=attribute) for given in user_histories
    )
    assert ids(wanted) != NEAR[:5]
    assert ids(made) == ids(wanted)


def test_what_others_are_shown_is_counted_by_id(before: Retriever, other: Retriever, found: Candidates) -> None:
    """Also of an item that is gone since: it counts for nothing."""
    shown = before.search_vectors(CONTENT[[int(NEAR[0][1:]), 0]], 1)
    assert [hits[0].item_id for hits in shown] == [NEAR[0], GONE]
    made = other.diversify(found, method="caps", shown=shown, exposure_weight=100.0)
    assert ids(made) == [*NEAR[1:], NEAR[0]]


def test_searches_are_judged_and_parts_found_by_id(before: Retriever, other: Retriever) -> None:
    asked = before.search_vectors(CONTENT[[ASKED, 7]], 4)
    assert other.verdicts(asked).probability == pytest.approx(
        other.verdicts(other.search_vectors(CONTENT[[ASKED, 7]], 4)).probability, abs=1e-6
    )
    for parts in (other.nearest_parts(asked), nearest_parts(asked, other.bundle)):
        part_scores = [[part.score if part else None for part in line] for line in parts]
        assert part_scores[0] == pytest.approx([hit.score for hit in asked[0]], abs=1e-3)  # stored as half floats


def test_reasons_are_of_the_items_that_were_recommended(before: Retriever, other: Retriever) -> None:
    found = before.recommend([["i050", "i051"]], 4)
    for one, hit in zip(other.explain(found)[0], found[0], strict=True):
        assert one.item_id == hit.item_id
        assert one.score == pytest.approx(hit.score, abs=1e-6)
        assert {item_id for item_id, _ in one.history} == {"i050", "i051"}


def test_an_evaluation_of_losses_hides_the_history_by_id(before: Retriever, other: Retriever) -> None:
    asked = before.recommend([["i050", "i051"]], 4)
    wanted = [[ids(asked)[0]]]
    first, second = (losses(one, asked, wanted, kind="history", measures=["mrr@5"])[0] for one in (before, other))
    assert (first.exact, second.exact) == (1, 1)


def moved(retriever: Retriever, folder: Path, gone: str = GONE) -> Retriever:
    """The same bundle without one item, whose rows have moved."""
    shutil.copytree(retriever.bundle.root, folder / "bundle")
    delete(folder / "bundle", [gone])
    compact(folder / "bundle")
    return Retriever.load(folder / "bundle")


def test_what_a_head_ordered_is_ordered_the_same_after_rows_have_moved(learned: Retriever, tmp_path: Path) -> None:
    past = [["i024", "i025", "i026", "i027"], ["i070", "i071"]]
    found, pool = learned.recommend(past, 6), learned.pool(past, 15)
    assert found.among is not None
    used = np.concatenate([found.among.rows.ravel(), pool.rows.ravel(), *found.histories])
    unused = int(np.setdiff1d(np.arange(COUNT), used)[0])
    assert used.max() > unused
    after = moved(learned, tmp_path, learned.items[unused])
    for line in range(2):
        for made in (after.rerank(found), after.rerank(found, 6)):
            assert [hit[0] for hit in made[line]] == [hit[0] for hit in found[line]]
            np.testing.assert_allclose(made.scores[line], found.scores[line], rtol=0.003, atol=0.01)  # of fewer items
        assert_hits_agree(after.rerank(pool)[line], learned.rerank(pool)[line], atol=0.05)
    with pytest.raises(InputError, match=r"or ordered in another state.*rerank them"):  # its scores were others
        after.explain(found)
    explanations, same = after.explain(after.rerank(found)), learned.explain(found)
    for one, expected in zip([*explanations[0], *explanations[1]], [*same[0], *same[1]], strict=True):
        assert one.item_id == expected.item_id
        assert dict(one.features) == pytest.approx(dict(expected.features), abs=0.05)
        assert one.features


def test_what_another_head_ordered_is_ordered_anew(learned: Retriever, before: Retriever, tmp_path: Path) -> None:
    """A bundle that learned nothing has no order of a head to keep; the widths of queries differ, which is said."""
    found = learned.recommend([["i024", "i025", "i026", "i027"]], 6)
    with pytest.raises(InputError, match=r"queries have dimension \d+, the bundle 8.*search again"):
        before.rerank(found)
    narrow = replace(
        found,
        queries=CONTENT[[ASKED]],
        among=None if found.among is None else replace(found.among, queries=CONTENT[[ASKED]]),
    )
    wanted = sorted(ids(found), key=lambda one: -float(CONTENT[int(one[1:])] @ CONTENT[ASKED]))
    made = before.rerank(narrow)
    assert (ids(made), made.stage, made.among) == (wanted, "exact", None)


def test_notes_of_rules_stay_with_their_items(before: Retriever, other: Retriever, found: Candidates) -> None:
    ruled = before.apply_rules(found, [Bury(f"shelf = '{FIRST}'", name="last")])
    made = ruled.pointing_into(other.items)
    assert isinstance(made, Ruled)
    assert made.rules_of(0) == ruled.rules_of(0) == [("last",) if shelf(one) == FIRST else () for one in ids(ruled)]
    assert made.rules_of(0)[-1] == ("last",)


TAKERS: dict[str, Callable[[Retriever, Candidates], object]] = {
    **{name: act for name, (act, _) in VERBS.items()},
    "mmr": lambda one, given: one.diversify(given, 2),
    "verdicts": lambda one, given: one.verdicts(given),
    "explain": lambda one, given: one.explain(given),
    "nearest_parts": lambda one, given: one.nearest_parts(given),
    "parts": lambda one, given: nearest_parts(given, one.bundle),
}


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("taker", TAKERS)
def test_an_item_that_is_gone_is_named(
    before: Retriever, found: Candidates, taker: str, folded: bool, tmp_path: Path
) -> None:
    shutil.copytree(before.bundle.root, tmp_path / "bundle")
    retriever = Retriever.load(tmp_path / "bundle")
    delete(tmp_path / "bundle", NEAR[2:4])
    if folded:
        compact(tmp_path / "bundle")
    message = (
        f"2 of 8 items of these candidates and their histories are not in this bundle, e.g. '{NEAR[2]}', '{NEAR[3]}'"
    )
    given = [found, retriever.similar_items([f"i{ASKED:03}"], 8)]  # of another bundle, and of the state before
    for one in given:
        with pytest.raises(
            UnknownItemError, match=rf"{message}: they were found in an earlier state.*or recommend again"
        ):
            TAKERS[taker](retriever.latest(), one)
        assert ids(one) == NEAR  # the old retriever answers as before


def test_an_item_of_a_history_that_is_gone_is_named(before: Retriever, tmp_path: Path) -> None:
    after = moved(before, tmp_path)
    found = before.recommend([[GONE, "i001"]], 3)
    with pytest.raises(UnknownItemError, match=rf"1 of 5 items .* e\.g\. '{GONE}'"):
        after.diversify(found, 2)


def test_an_item_that_was_put_in_again_is_the_new_one(before: Retriever, found: Candidates, tmp_path: Path) -> None:
    """Its row is another one, and its score that of what it is now."""
    shutil.copytree(before.bundle.root, tmp_path / "bundle")
    retriever = Retriever.load(tmp_path / "bundle")
    row = int(NEAR[0][1:])
    changed = table([row]).set_column(2, "text_vector", pa.array([(-CONTENT[ASKED]).tolist()], pa.list_(pa.float32())))
    upsert(tmp_path / "bundle", catalogue(tmp_path, changed), load_encoder("vectors:"))
    made = retriever.latest().rerank(found)
    assert ids(made) == [*NEAR[1:], NEAR[0]]
    assert made.scores[0, -1] == pytest.approx(-1, abs=1e-3)  # stored as half floats


def test_own_candidates_are_not_touched(before: Retriever, found: Candidates) -> None:
    assert found.pointing_into(before.items) is found
    assert before.rerank(found).items is before.items


def test_padding_stays_padding() -> None:
    rows = np.array([[2, -1], [0, 1]])
    given = Candidates(
        np.ones((2, 1), np.float32),
        rows,
        np.array([[1, -np.inf], [2, 1]], np.float32),
        ItemIds([*"abc"]),
        "retrieve",
        histories=(np.array([1]), np.empty(0, np.int64)),
    )
    made = given.pointing_into(ItemIds([*"xcba"]))
    assert made.rows.tolist() == [[1, -1], [3, 2]]
    assert [past.tolist() for past in made.histories] == [[2], []]
    assert given.rows.tolist() == [[2, -1], [0, 1]]
    assert given.take([]).pointing_into(ItemIds(["x"])).rows.shape == (0, 2)


ITEMS_OF: dict[str, Callable[[Candidates], object]] = {
    "vectors": lambda given: exact_scores(given, CONTENT[:3]),
    "attributes": lambda given: Rules(tuple(RULES)).apply(given, table(range(3))),
    "values of 'margin'": lambda given: Blend(table(range(3)), {"margin": 1.0}).rerank(given),
    "an attribute": lambda given: diversified(given, Relevant(), caps=[Cap(Attribute.of(["a", "b", "c"]), 1)]),
    "vectors ": lambda given: diversified(given, MMR(CONTENT[:3])),
    "vectors  ": lambda given: diversified(given, MSD(CONTENT[:3])),
    "vectors   ": lambda given: diversified(given, MSD(CONTENT[:3])),
    "vectors    ": lambda given: diversified(given, Relevant(), caps=[MaxSimilarity(CONTENT[:3], 0.5)]),
    "an attribute ": lambda given: diversified(given, Calibrated(Attribute.of(["a", "b", "c"]))),
}


@pytest.mark.parametrize("what", ITEMS_OF)
def test_what_is_of_other_items_is_refused(found: Candidates, what: str) -> None:
    with pytest.raises(ShapeError, match=f"{what.strip()} of 3 items, but candidates of {COUNT}; give those of the"):
        ITEMS_OF[what](found)


@pytest.mark.parametrize("width", [DIM - 1, DIM + 3])
def test_queries_of_another_width_are_refused_with_the_way_out(
    before: Retriever, found: Candidates, width: int
) -> None:
    wide = replace(found, queries=np.ones((1, width), np.float32))
    for act in (before.rerank, lambda given: exact_scores(given, before.vectors)):
        with pytest.raises(InputError, match=rf"queries have dimension {width}, the bundle 8, .*search again"):
            act(wide)
    past = replace(wide, histories=(np.array([1]),))
    with pytest.raises(InputError, match=f"queries have dimension {width}, the bundle 8"):
        before.explain(past)
    if width < DIM:
        with pytest.raises(InputError, match=f"dimension {width}, the content of the bundle 8; give candidates"):
            before.verdicts(replace(wide, histories=()))


def test_a_cross_encoder_reads_the_texts_of_the_items(tmp_path: Path) -> None:
    found = []
    for name, order in (("first", [0, 1, 2]), ("second", [2, 1, 0])):
        path = tmp_path / f"{name}.csv"
        texts = ["a,short\n", "b,rather long\n", "c,the longest of all\n"]
        path.write_text("item_id,title\n" + "".join(texts[one] for one in order))
        build_bundle(Catalogue.from_csv(path), load_encoder("pocket"), tmp_path / name)
        found.append(Retriever.load(tmp_path / name))

    class Longest:
        def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray[Any, np.dtype[np.float32]]:
            return np.array([len(text) for _, text in pairs], np.float32)

    given = found[0].search_texts(["long"], 3)
    ranked = CrossEncoderReranker(Longest(), ItemTexts(found[1].bundle), {"0": "long"}).rerank(given)
    assert ids(ranked) == ["c", "b", "a"]


def test_a_job_refuses_users_that_were_read_for_another_state(before: Retriever, tmp_path: Path) -> None:
    after = moved(before, tmp_path)
    source = LogUsers(LoggedHistories.of(log(users=3), before.items), {})
    with pytest.raises(InputError, match=r"the users were read for another state of the bundle.*make the source anew"):
        next(answers(after, source, BatchConfig(k=2)))
    (made,) = answers(Retriever.load(before.bundle.root), source, BatchConfig(k=2))  # the same items, opened again
    assert len(made.found[0]) == 3
