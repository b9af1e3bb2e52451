"""`fit` with impressions: what it keeps of them, and what it says where they teach nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.encoders import load_encoder
from indexing.errors import InputError
from retrieval import Impressions, fit
from retrieval.fitting.log_kind import TrainingData
from retrieval.fitting.report import check_fit_arguments, manifest_record
from retrieval.fitting.selection.validation import weighted_ndcg
from retrieval.interactions.histories import histories
from retrieval.interactions.user_profiles import Profiles
from retrieval.retriever.after_retrieval import shown_until
from tests.groups import COUNT, SMALL, STAGE, catalogue, items, log


def shown_and_taken(places: int = 6, seed: int = 3) -> Impressions:
    """Each item of the log at one of the first places, and others around it; earlier the same in another order."""
    rng, rows = np.random.default_rng(seed), []
    for user, item, time in zip(
        *(log().table[name].to_pylist() for name in ("user_id", "item_id", "timestamp")), strict=True
    ):
        others = rng.choice(COUNT, places, replace=False).tolist()
        place = int(rng.integers(places))
        listed = [item if number == place else f"i{row:03}" for number, row in enumerate(others)]
        rows += [(user, one, number, time) for number, one in enumerate(listed, start=1)]
        rows += [
            (user, one, number, time - 500) for number, one in enumerate(rng.permutation(listed).tolist(), start=1)
        ]
    names = ("user", "item", "position", "time")
    return Impressions.from_arrow(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("impressions")
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    return folder / "bundle"


CONFIG = replace(SMALL, behaviour=None, reranker=STAGE, effort="fast", split="user")


def test_the_report_and_the_manifest_keep_the_curve(bundle: Path) -> None:
    report = fit(bundle, log(), CONFIG, impressions=shown_and_taken())
    assert report.published == ("reranker",)
    assert report.position_curve is not None
    # What is taken does not depend on the place here.
    np.testing.assert_allclose(report.position_curve["propensities"], np.ones(6), atol=0.35)
    assert Bundle.open(bundle).manifest.learned["position_curve"] == report.position_curve
    plain = manifest_record(replace(report, position_curve=None), CONFIG, histories(log(), Bundle.open(bundle).items))
    assert "position_curve" not in plain


def test_impressions_that_teach_nothing_are_noted(bundle: Path) -> None:
    notes: dict[str, str] = {}
    data = TrainingData(log(), None, shown_and_taken())
    known = Bundle.open(bundle).items
    assert data.shown(log(), known, replace(CONFIG, reranker=None), notes) is None
    assert notes == {"impressions": "not used: they train the reranker, and there is none"}
    once = pa.table({"user": ["u000"], "item": ["i000"], "position": [1], "time": [5]})
    assert TrainingData(log(), None, Impressions.from_arrow(once)).shown(log(), known, CONFIG, notes) is None
    assert "not used: only 0 impressions were taken" in notes["impressions"]
    other = pa.table({"user": ["u000"], "item": ["other"], "position": [1], "time": [5]})
    assert TrainingData(log(), None, Impressions.from_arrow(other)).shown(log(), known, CONFIG, notes) is None
    assert notes["impressions"] == "not used: none of 1 impressions is of an item of the bundle"
    nobody = pa.table({"user": ["7"], "item": ["i000"], "position": [1], "time": [5]})
    assert TrainingData(log(), None, Impressions.from_arrow(nobody)).shown(log(), known, CONFIG, notes) is None
    note = "not used: none of the 1 users of the impressions, as '7', is in the log, which names users as 'u"
    assert notes["impressions"].startswith(note)


def test_a_refresh_takes_no_impressions(bundle: Path) -> None:
    with pytest.raises(InputError, match=r"a refresh trains no head, and impressions train only the head"):
        fit(bundle, log(), impressions=shown_and_taken(), refresh=True)
    with pytest.raises(InputError, match=r"impressions are a list; give Impressions, a DataFrame, an Arrow table or"):
        fit(bundle, log(), impressions=[("ann", "mug")])  # type: ignore[arg-type]


def test_impressions_and_profiles_are_given_as_tables_and_files(tmp_path: Path) -> None:
    shown, known = shown_and_taken(), pa.table({"user_id": ["ann"], "age": [31]})
    table = shown.table.select(["user_id", "item_id", "position", "timestamp"])
    pq.write_table(table, tmp_path / "shown.parquet")
    pq.write_table(known, tmp_path / "known.parquet")
    for impressions, profiles in (
        (table, known),
        (table.to_pandas(), known.to_pandas()),
        (tmp_path / "shown.parquet", tmp_path / "known.parquet"),
        (shown, Profiles.from_arrow(known)),
    ):
        read_profiles, read = check_fit_arguments(None, profiles, impressions, False)
        assert read_profiles is not None
        assert read_profiles.of(["ann"]).to_pylist() == [{"age": 31}]
        assert read is not None
        assert read.table.equals(shown.table)
        given = shown_until(impressions, 5)
        assert given is not None
        assert (given.impressions.table.equals(shown.table), given.at) == (True, 5)
    assert check_fit_arguments(None, None, None, True) == (None, None)
    with pytest.raises(InputError, match=r"profiles are a list; give Profiles, a DataFrame, an Arrow table"):
        check_fit_arguments(None, [{"age": 31}], None, False)


def test_weighted_ndcg_by_hand() -> None:
    found = weighted_ndcg(np.array([[5, 7, -1], [7, 5, 1], [1, 2, 3]]), [{7: 4.0, 9: 1.0}, {1: 2.0}, {}], 3)
    best = [4 + 1 / np.log2(3), 2]
    np.testing.assert_allclose(found, np.array([4 / np.log2(3), 2 / np.log2(4)]) / np.mean(best))
