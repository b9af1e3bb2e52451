"""Ratings below half of the largest are dislikes: they never raise what is like them, nor are they a reason."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexing.arrays import Vectors
from indexing.bundle.build import build_bundle
from indexing.encoders import load_encoder
from indexing.errors import InputError, TrainingError
from retrieval.batch import BatchConfig, LoggedHistories, LogUsers
from retrieval.batch.answering import answers
from retrieval.batch.in_memory import candidates_from_table, relevant_items, users_of
from retrieval.fitting.fit_config import FitConfig
from retrieval.fitting.part_training.trainer import Trainer
from retrieval.fitting.selection.behaviour_selection import fit_item_features
from retrieval.interactions.histories import History
from retrieval.interactions.interactions import Interactions
from retrieval.models.item_space import ItemSpace
from retrieval.models.user_model import UserModel
from retrieval.retriever.retriever import Retriever
from tests.cli_run import runner
from tests.groups import catalogue

NAMES = ["red-1", "red-2", "red-3", "green-1", "green-2", "blue-1", "blue-2", "blue-3"]
VECTORS = np.repeat(np.eye(3, dtype=np.float32), [3, 2, 3], axis=0) + np.linspace(0, 0.1, 24, dtype=np.float32).reshape(
    8, 3
)
LIKED_THEN_NOT = (("red-1", 5), ("red-2", 4), ("red-3", 5), ("blue-1", 1))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder = tmp_path_factory.mktemp("colours")
    table = pa.table({"item_id": NAMES, "text_vector": pa.array(VECTORS.tolist(), pa.list_(pa.float32()))})
    build_bundle(catalogue(folder, table), load_encoder("vectors:"), folder / "bundle")
    return Retriever.load(folder / "bundle")


def log(*lines: tuple[str, str, int]) -> Interactions:
    users, items, ratings = map(list, zip(*lines, strict=True))
    return Interactions.from_arrow(pa.table({"user": users, "item": items, "rating": ratings}))


def asked(shop: Retriever, read: Interactions) -> dict[str, list[tuple[str, float]]]:
    users = users_of(read, shop.items)
    names = list(users.histories)
    found = shop.recommend(
        list(users.histories.values()),
        3,
        user_ids=names,
        weights=users.weights_of(names),
        min_relevance=users.min_relevance,
    )
    lists = {
        name: [(hit.item_id, hit.score) for hit in hits] for name, hits in zip(found.query_ids, found, strict=True)
    }
    histories = LoggedHistories.of(read, shop.items)
    (job,) = answers(shop, LogUsers(histories, {}), BatchConfig(k=3, rerank=False))
    listed = job.to_arrow().to_pylist()
    for name, hits in lists.items():  # a job answers as Python does
        assert [hit["item_id"] for hit in listed if hit["query_id"] == name] == [item_id for item_id, _ in hits]
    return lists


OTHER = ("v", "green-1", 5)


def test_one_star_changes_nothing_but_what_is_seen(shop: Retriever) -> None:
    liked = asked(shop, log(("u", "blue-1", 5), OTHER))["u"]
    both = asked(shop, log(("u", "red-1", 1), ("u", "blue-1", 5), ("u", "red-2", 2), OTHER))["u"]
    assert [name for name, _ in liked[:2]] == ["blue-3", "blue-2"] or {name for name, _ in liked[:2]} == {
        "blue-2",
        "blue-3",
    }
    assert {name for name, _ in both}.isdisjoint({"red-1", "red-2"})
    scores = dict(liked)
    assert all(score == pytest.approx(scores[name], abs=1e-6) for name, score in both if name in scores)


@pytest.mark.parametrize("lines", [[("u", "red-1", 1)], [("u", "red-1", 1), ("u", "blue-1", 2)]])
def test_who_liked_nothing_has_no_taste(shop: Retriever, lines: list[tuple[str, str, int]]) -> None:
    filled = asked(shop, log(*lines, OTHER))["u"]  # by what was added last, as nothing else is known
    assert [score for _, score in filled] == pytest.approx([-2 / 3, -5 / 6, -1], abs=1e-6)
    assert {name for name, _ in filled}.isdisjoint({item for _, item, _ in lines})
    assert len(asked(shop, log(*lines, OTHER))["v"]) == 3


def test_the_last_of_two_ratings_decides(shop: Retriever) -> None:
    now_liked = asked(shop, log(("u", "red-1", 1), ("u", "red-1", 5), OTHER))["u"]
    now_disliked = asked(shop, log(("u", "red-1", 5), ("u", "red-1", 1), ("u", "blue-1", 5), OTHER))["u"]
    assert {name for name, _ in now_liked[:2]} == {"red-2", "red-3"}
    assert {name for name, _ in now_disliked[:2]} == {"blue-2", "blue-3"}


def test_events_are_never_dislikes(shop: Retriever) -> None:
    read = Interactions.from_arrow(
        pa.table({"user": ["u", "v"], "item": ["red-1", "blue-1"], "event": ["view", "buy"]}),
        events={"view": 1, "buy": 5},
    )
    assert {name for name, _ in asked(shop, read)["u"][:2]} == {"red-2", "red-3"}


def test_a_dislike_is_no_reason(shop: Retriever) -> None:
    found = shop.recommend([["red-1", "blue-1", "green-1"]], 4, weights=[[1, 5, 4]])
    for why in shop.explain(found, weights=[[1, 5, 4]])[0]:
        assert {item_id for item_id, _ in why.history} == {"blue-1", "green-1"}


def test_weights_of_one_history_are_compared_with_its_largest_and_min_relevance_can_be_given(shop: Retriever) -> None:
    lists = shop.recommend([["red-1", "blue-1"]] * 2, 2, weights=[[1, 5], [2, 2]])
    assert {hit.item_id for hit in lists[0]} == {"blue-2", "blue-3"}
    alike = shop.recommend([["red-1", "blue-1"]], 2)  # [2, 2] says no more than that both were taken
    assert [hit.item_id for hit in lists[1]] == [hit.item_id for hit in alike[0]]
    counted = shop.recommend([["red-1", "blue-1"]], 2, weights=[[1, 1.5]], min_relevance=1.2)
    assert {hit.item_id for hit in counted[0]} == {"blue-2", "blue-3"}


@pytest.mark.parametrize("weight", [np.inf, -np.inf, np.nan])
def test_weights_that_are_not_finite_are_refused(shop: Retriever, weight: float) -> None:
    with pytest.raises(InputError, match="finite"):
        shop.recommend([["red-1"]], 2, weights=[[weight]])


def test_a_space_asks_with_what_was_liked_alone() -> None:
    space = ItemSpace.of(VECTORS, UserModel(min_relevance=2.5))
    with_dislike = space.user_queries([np.array([0, 5])], [np.array([2.0, 5.0], np.float32)])
    np.testing.assert_allclose(with_dislike, space.user_queries([np.array([5])]), atol=1e-6)  # sums of one and of two
    assert not space.user_queries([np.array([0])], [np.array([1.0], np.float32)]).any()


def test_histories_are_learned_from_without_dislikes() -> None:
    past = History("u", np.arange(3), np.arange(3), np.array([1, 5, 2.5], np.float32))
    assert past.counted_by(UserModel(min_relevance=2.5)).rows.tolist() == [1, 2]
    assert past.counted_by(UserModel()).weights.tolist() == [1, 5, 2.5]


@pytest.mark.parametrize("min_relevance", [0.0, 2.5])
def test_an_adapter_is_trained_with_the_weights_that_serving_uses(
    shop: Retriever, monkeypatch: pytest.MonkeyPatch, min_relevance: float
) -> None:
    trained_on: list[list[list[float]]] = []

    def note(*given: list[Vectors]) -> None:
        trained_on.extend([one.tolist() for one in part] for part in (given[1], given[-1]))  # rows and weights
        raise TrainingError("seen")

    monkeypatch.setattr("retrieval.training.adapter.adapter.train_adapter", note)
    config = FitConfig(user_model=UserModel(min_relevance=min_relevance))
    trainer = Trainer(shop.bundle, config, fit_item_features(shop.bundle), min_relevance)
    user_histories = [
        History("u", np.arange(4), np.arange(4), np.array([1, 5, 2.5, 4], np.float32)),
        History("v", np.arange(2, 4), np.arange(2), np.array([3, 0], np.float32)),
    ]
    with pytest.raises(TrainingError, match="seen"):
        trainer.train_adapter(user_histories, "everything")
    kept = [1, 5, 2.5, 4] if not min_relevance else [5, 2.5, 4]
    assert trained_on == [[list(range(4 - len(kept), 4)), [2]], [kept, [3]]]


def test_candidates_need_no_score_and_come_once(shop: Retriever, tmp_path: Path) -> None:
    users = LoggedHistories.of(log(("u", "red-1", 5)), shop.items)
    table = pa.table({"query_id": ["u"] * 3, "item_id": ["green-1", "red-2", "blue-1"]})
    found = candidates_from_table(table, shop, users)
    scores = shop.indexed[shop.items.rows(["red-2", "green-1", "blue-1"])] @ found.queries[0]
    assert [hit.item_id for hit in found[0]] == [["red-2", "green-1", "blue-1"][place] for place in np.argsort(-scores)]
    np.testing.assert_allclose(found.scores[0], np.sort(scores)[::-1], rtol=1e-4)  # other order of float32 sums
    with pytest.raises(InputError, match="1 queries cannot be used: query 'u': the same candidate twice"):
        candidates_from_table(
            pa.table({"query_id": ["u"] * 3, "item_id": ["red-2", "x", "red-2"][:1] * 3}), shop, users
        )


def test_what_was_disliked_later_is_not_to_be_found(shop: Retriever) -> None:
    past = log(("ann", "red-1", 5), ("bob", "red-2", 4), ("cid", "blue-1", 2))
    later = log(
        ("ann", "red-2", 5), ("ann", "green-1", 1), ("ann", "red-1", 5), ("bob", "blue-1", 2), ("cid", "blue-2", 3)
    )
    known = users_of(past, shop.items)
    assert known.min_relevance == 2.5
    assert relevant_items(later, known.histories, known.min_relevance) == {"ann": ["red-2"], "cid": ["blue-2"]}
    assert relevant_items(later, known.histories)["ann"] == ["red-2", "green-1"]  # of events none is a dislike


def test_evaluate_says_how_many_dislikes_it_leaves_out(
    shop: Retriever, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["user,item,rating,timestamp"]
    for user in range(6):
        lines += [f"u{user},{name},{rating},{9 * user + step}" for step, (name, rating) in enumerate(LIKED_THEN_NOT)]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    code, out, _ = runner(capsys)("evaluate", shop.bundle.root, tmp_path / "log.csv", "--hold-out", 0.5)
    assert code == 0
    assert "6 of the interactions to be found weigh less than 2.5" in " ".join(out.split())
