"""What two stages are compared with: lists read from a file, a sum worked out by hand, and the best by each measure."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexing.item_ids import ItemIds
from indexing.types import Rows
from retrieval.baselines import Ranked
from retrieval.evaluation import Evaluation
from retrieval.evaluation.questions import Questions
from scripts.benchmarks.peers_of_films import Summed, against, by_settings, listed


class Fixed:
    """Gives everybody the same scores, but for what is excluded."""

    def __init__(self, scores: list[float]) -> None:
        self.scores = np.array(scores, np.float32)

    def recommend(self, histories: Sequence[Rows], k: int, *, exclude: Sequence[Rows] | None = None) -> Ranked:
        given = np.tile(self.scores, (len(histories), 1))
        for line, out in enumerate(histories if exclude is None else exclude):
            given[line, out] = -np.inf
        order = np.argsort(-given, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(given, order, axis=1)
        return Ranked(np.where(np.isneginf(best), -1, order), best)


def test_z_scores_are_summed_over_what_is_not_excluded() -> None:
    # Without item 0 the first says (1, 2, 3), the second (30, 0, 0): z-scores (-1.22, 0, 1.22) and (1.41, -.71, -.71).
    summed = Summed((Fixed([9, 1, 2, 3]), Fixed([0, 30, 0, 0])), 4)
    rows, scores = summed.recommend([np.array([0])], 4)
    assert rows.tolist() == [[3, 1, 2, -1]]
    expected = [np.sqrt(1.5) - np.sqrt(0.5), np.sqrt(2) - np.sqrt(1.5), -np.sqrt(0.5)]
    np.testing.assert_allclose(scores[0, :3], expected, rtol=1e-6)


def test_lists_are_read_by_user_and_window(tmp_path: Path) -> None:
    columns = {
        "user_id": ["b", "b", "b", "c"],
        "item_id": ["x2", "x0", "x1", "x1"],
        "rank": [2, 1, 1, 1],
        "window": [1, 1, 2, 1],
        "settings": ["few"] * 4,
    }
    file = tmp_path / "rolling-0.parquet"
    pq.write_table(pa.table(columns), file)
    nothing: tuple[Rows, Rows] = (np.array([], np.int64), np.array([0]))
    asked = Questions(
        items=ItemIds(["x0", "x1", "x2"]),
        query_ids=("a@1", "b@1"),
        user_ids=("a", "b"),
        histories=nothing,
        weights=(np.empty(0, np.float32), np.ones(1, np.float32)),
        relevant=(frozenset({"x1"}), frozenset({"x2"})),
    )
    rows, scores = listed(file, 1, asked, otherwise=Fixed([1.0, 3.0, 2.0] + [0.0] * 30))
    assert rows[:, :3].tolist() == [[1, 2, 0], [0, 2, -1]]
    assert (np.diff(scores[1, :2]) < 0).all()
    assert (rows[1, 2:] == -1).all()
    assert by_settings([file]) == {"few": [file]}


def test_each_measure_has_its_best_peer() -> None:
    def of(recall: list[float], ndcg: list[float]) -> Evaluation:
        each = {"recall@20": np.array(recall), "ndcg@20": np.array(ndcg)}
        return Evaluation(("q1", "q2"), each, {"coverage@20": 1.0}, 0)

    peers = {"one": of([0.5, 0.5], [0.1, 0.2]), "other": of([0.2, 0.3], [0.3, 0.2])}
    told = against(peers, of([0.6, 0.8], [0.2, 0.2]))
    assert (told["best peer by recall@20"], told["best peer by ndcg@20"]) == ("one", "other")
    assert told["recall@20 above the best peer"][0] == 0.2
    assert told["ndcg@20 above the best peer"][0] == -0.05
