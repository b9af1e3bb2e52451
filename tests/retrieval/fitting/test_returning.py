"""Users who come back are asked for with weights of their own, and where nobody comes back `fit` goes on."""

from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pytest

from indexing.bundle.build import build_bundle
from indexing.encoders import load_encoder
from retrieval import Interactions, Retriever, fit
from retrieval.fitting.report import FitReport
from retrieval.fitting.selection.serving_weights import apply_serving
from retrieval.interactions.histories import History
from retrieval.models.behaviour import Behaviour, QueryWeights
from retrieval.models.user_model import ALL_ALIKE
from retrieval.training.cutoffs import rolling_cutoffs
from tests.groups import CLOCK, COUNT, SMALL, catalogue, items, walks

USERS, STEPS = 720, 6
VISIT = {"half_life": 3.0, "share": 2.0, "popular": 0.0, "content": 0.1}
Fitted: TypeAlias = tuple[FitReport, Interactions, Path]
BACK = QueryWeights(ALL_ALIKE, 0.5, 1.5, 0.0)


def fitted(folder: Path, returning: int) -> Fitted:
    """Fit a log of which 612 users come first and 108 after a month, 15 % of it; some of the first come with these."""
    table = walks(users=USERS, steps=STEPS).table
    users = np.array([int(name[1:]) for name in table["user_id"].to_pylist()])
    steps = table["timestamp"].to_numpy() // 1000
    late = (users >= USERS - 108) | ((users < returning) & (steps >= STEPS - 2))
    times = CLOCK + 2_592_000 * late + 10 * users + steps
    place = table.schema.get_field_index("timestamp")
    log = Interactions.from_arrow(table.set_column(place, "timestamp", pa.array(times)))
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    return fit(folder / "bundle", log, replace(SMALL, split="both", prepare=None)), log, folder / "bundle"


@pytest.fixture(scope="module")
def some_come_back(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fitted(tmp_path_factory.mktemp("back"), 200)


def test_where_nobody_comes_back_fit_continues(tmp_path: Path) -> None:
    report, _, bundle = fitted(tmp_path, 0)
    assert report.published == ("behaviour",)
    assert not any(name.startswith("returning_") for name in report.serving)
    block = Retriever.load(bundle).behaviour
    assert block is not None
    assert block.returning is None


def test_those_who_come_back_ask_with_weights_of_their_own(
    some_come_back: Fitted,
) -> None:
    _, log, bundle = some_come_back
    retriever = Retriever.load(bundle)
    assert retriever.behaviour is not None
    block = Behaviour.from_bytes(replace(retriever.behaviour, returning=BACK).to_bytes())
    assert block.returning == pytest.approx(BACK)
    space = replace(retriever.state.space, behaviour=block)
    plain = replace(space, behaviour=replace(block.with_weights(BACK), returning=None))
    histories, weights = [np.array([0, 3, 30])], [np.ones(3, np.float32)]
    np.testing.assert_allclose(
        space.for_returning.user_queries(histories, weights), plain.user_queries(histories, weights)
    )
    assert not np.allclose(space.user_queries(histories, weights), plain.user_queries(histories, weights))
    retriever.state.rows.space = space
    now = CLOCK + 3_000_000
    one, other = (retriever.recommend(log, 5, user_ids=["w000"], times=times) for times in (None, now))
    past = [other.histories[0]], [other.weights[0]]
    np.testing.assert_allclose(other.queries, plain.user_queries(*past), rtol=1e-5, atol=1e-6)
    assert not np.allclose(one.queries, other.queries)
    explanation = retriever.explain(other)[0][0]
    assert explanation.stages["retrieve"] == pytest.approx(float(other.scores[0, 0]), rel=1e-4, abs=1e-4)


def test_weights_of_those_who_come_back_are_served_with_the_others(
    some_come_back: Fitted,
) -> None:
    _, _, bundle = some_come_back
    block = Retriever.load(bundle).behaviour
    assert block is not None
    weights = VISIT | {f"returning_{name}": value for name, value in BACK._asdict().items()}
    found = apply_serving(block, weights)
    assert found.returning == BACK
    assert (found.popular, found.content, found.towers[1].share) == (0.0, 0.1, 2.0)
    assert found.towers[0].half_lives.tolist() == [3.0]
    back = found.with_weights(BACK)
    assert (back.popular, back.content, back.towers[1].share) == (1.5, 0.0, 0.5)


def test_one_interaction_years_later_moves_no_window() -> None:
    days = CLOCK + 86_400 * np.arange(100)
    users = [History(f"u{n}", np.array([0, 1]), days[[n % 60, n]], np.ones(2, np.float32)) for n in range(100)] * 3
    late = History("late", np.array([0]), days[-1:] + 5 * 365 * 86_400, np.ones(1, np.float32))
    windows = rolling_cutoffs(users)
    with_late = rolling_cutoffs([*users, late])
    assert [int(cutoff.times[0]) for cutoff in with_late] == [int(cutoff.times[0]) for cutoff in windows]
    assert [int(cutoff.times[0]) + 1 for cutoff in windows] == [
        days[-1] + 1 - 14 * 86_400 * left for left in (4, 3, 2, 1)
    ]
    assert all(not len(cutoff.targets[-1]) for cutoff in with_late)


def test_a_log_of_one_second_has_no_windows() -> None:
    users = [History(f"u{n}", np.array([0, 1]), np.full(2, CLOCK), np.ones(2, np.float32)) for n in range(300)]
    assert rolling_cutoffs(users) == []
