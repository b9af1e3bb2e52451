"""What was fitted is fitted once: a run that was stopped goes on where it was."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue.item_ids import ItemIds
from retrieval import Candidates, FitConfig, Interactions
from scripts.benchmarks.recommend import kept_lists
from scripts.benchmarks.recommend.film_bundle import Fitted, quick, seeded
from scripts.benchmarks.recommend.kept_lists import Served

LOG = Interactions.from_arrow(pa.table({"user": ["a"], "item": ["x0"]}))


def served(work: Path, monkeypatch: pytest.MonkeyPatch, fits: list[int]) -> Served:
    @contextmanager
    def fitted(
        bundle: Path, past: Interactions, config: FitConfig, seed: int, profiles: object
    ) -> Iterator[SimpleNamespace]:
        fits.append(seed)
        yield SimpleNamespace(report=SimpleNamespace(published=("behaviour",), users=seed))

    monkeypatch.setattr(kept_lists, "fitted", fitted)
    monkeypatch.setattr(kept_lists, "report_json", lambda report: {"published": list(report.published)})
    monkeypatch.setattr(Served, "bundle", lambda *_: work)
    return Served(work, work, [0, 1], FitConfig())


def answered(made: Fitted) -> dict[str, Candidates]:
    rows, scores = np.array([[made.report.users, 2, -1]]), np.array([[0.5, 0.25, -np.inf]], np.float32)
    items = ItemIds(["x0", "x1", "x2"])
    return {"two stages": Candidates(np.zeros((1, 0), np.float32), rows, scores, items, "served")}


def test_lists_of_each_seed_are_kept_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[int] = []
    for _ in range(2):
        found = served(tmp_path, monkeypatch, fits).lists("window", LOG, answered, scores=True)
        assert [one.rows.tolist() for one in found.ranked["two stages"]] == [[[0, 2, -1]], [[1, 2, -1]]]
        assert found.ranked["two stages"][0].scores.tolist() == [[0.5, 0.25, -np.inf]]
        assert found.reports == [{"seed": seed, "published": ["behaviour"]} for seed in (0, 1)]
    assert fits == [0, 1]
    (tmp_path / "window-seed1.json").unlink()
    served(tmp_path, monkeypatch, fits).lists("window", LOG, answered)
    assert fits == [0, 1, 1]


def test_it_is_reported_which_code_made_the_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = served(tmp_path, monkeypatch, [])
    made.lists("window", LOG, answered)
    path = tmp_path / "window-seed0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"commit": "abc", "clean_tree": False}))
    again = served(tmp_path, monkeypatch, [])
    again.lists("window", LOG, answered)
    assert "abc, changed" in again.state()["lists by commits"]
    assert len(again.state()["lists by commits"]) == 2


def test_a_seed_is_that_of_all_that_is_drawn() -> None:
    config = seeded(FitConfig(), 7)
    assert config.behaviour is not None
    assert config.behaviour.next_items is not None
    assert config.reranker is not None
    assert (config.behaviour.next_items.seed, config.reranker.neural.seed, config.reranker.trees.seed) == (7, 7, 7)
    assert config.adapter is None or config.adapter.seed == 7
    assert seeded(FitConfig(), 0) == FitConfig()
    assert seeded(quick(FitConfig()), 3) == quick(seeded(FitConfig(), 3))
