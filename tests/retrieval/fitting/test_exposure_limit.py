"""An item that would be shown out of proportion is held back, or parts are softened: what helps is published."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.catalogue.item_ids import ItemIds
from indexing.encoders import load_encoder
from indexing.store.collect import ModalityVectors, fuse
from retrieval import Interactions, Retriever, fit
from retrieval.candidates import Candidates
from retrieval.fitting.exposure_limit import LimitedExposure, allowed_exposure, limit_exposure
from retrieval.fitting.fitted_model import FittedModel
from retrieval.fitting.part_training.trainer import Trainer
from retrieval.fitting.published_model import PublishedModel
from retrieval.fitting.selection.score_penalties import score_penalties, shares_of
from retrieval.fitting.selection.softening import Serve, softenings
from retrieval.fitting.selection.validation import Gain
from retrieval.fitting.steps import EVERYTHING
from retrieval.interactions.histories import History, histories
from retrieval.models.adapter import Adapter
from retrieval.models.item_space import ItemSpace
from retrieval.models.user_model import UserModel
from retrieval.ranking.second_stage import SecondStage
from retrieval.training.ranker_config import StageConfig
from tests.groups import CLOCK, COUNT, DIM, SMALL, STAGE, catalogue, items, walks

PUSHED = 119
STRICT = replace(SMALL, exposure_floor=0.2)
FREE = replace(SMALL, exposure_floor=1.0)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A bundle that has learned nothing."""
    build_bundle(catalogue(tmp_path, items(range(COUNT))), load_encoder("vectors:"), tmp_path / "bundle")
    return tmp_path / "bundle"


def log_of(rows: list[list[int]]) -> Interactions:
    """The histories of users, an item a day."""
    lines = [
        (f"u{user:03}", f"i{row:03}", CLOCK + 86_400 * day + user)
        for user, line in enumerate(rows)
        for day, row in enumerate(line)
    ]
    return Interactions.from_arrow(
        pa.table(dict(zip(("user", "item", "time"), map(list, zip(*lines, strict=True)), strict=True)))
    )


def classics_first() -> Interactions:
    """All 240 users of a genre take its ten classics, then three of twelve others: nine are left, and any tenth."""
    rng, rows = np.random.default_rng(3), list[list[int]]()
    for user in range(240):
        classics, others = rng.permutation(10).tolist(), 10 + rng.choice(12, 3, replace=False)
        rows.append([60 * (user % 2) + row for row in [*classics, *others.tolist()]])
    return log_of(rows)


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the last training put an item beside what all users like, as a successful attack does; give its id."""
    retrain_space = Trainer.retrain_space

    def retrained(
        self: Trainer,
        accepted: FittedModel,
        user_histories: Sequence[History],
        part_of_log: str,
        *,
        from_scratch: bool = False,
    ) -> FittedModel:
        parts = retrain_space(self, accepted, user_histories, part_of_log, from_scratch=from_scratch)
        if part_of_log != EVERYTHING or parts.block is None:
            return parts
        block, vectors = parts.block, parts.block.behaviour.items.copy()
        queries = block.behaviour.queries(
            [past.rows for past in user_histories], [past.weights for past in user_histories]
        )
        vectors[PUSHED] = 10 * np.linalg.lstsq(queries, np.ones(len(queries)), rcond=0.1)[0]
        behaviour = replace(block.behaviour, items=vectors)
        space = replace(parts.space, behaviour=behaviour, indexed=behaviour.joined(parts.space.content))
        return parts._replace(block=block._replace(behaviour=behaviour), space=space)

    monkeypatch.setattr(Trainer, "retrain_space", retrained)
    return f"i{PUSHED:03}"


def adapter_of(frozen: ModalityVectors) -> Adapter:
    """An adapter that moves vectors."""
    rng = np.random.default_rng(0)
    adapter = Adapter.identity(DIM, 6, rng, tuple(frozen.modalities))
    return replace(adapter, w2=0.5 * rng.normal(size=(6, DIM)).astype(np.float32))


def served_shares(bundle: Path, log: Interactions) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the share of the served lists of ten that each item is in, and what its audience warrants."""
    retriever = Retriever.open(bundle)
    shares = shares_of(retriever.recommend(log, 10))
    return shares, allowed_exposure(histories(log, retriever.items), COUNT, STRICT.exposure_floor)


@pytest.mark.parametrize("reranker", [None, STAGE])
def test_a_log_in_which_one_item_would_end_all_lists_is_published(shop: Path, reranker: StageConfig | None) -> None:
    log = classics_first()
    free = fit(shop, log, FREE)
    shares, allowed = served_shares(shop, log)
    assert free.held_back == ()
    assert float(shares.max()) == 0.5 > allowed[int(shares.argmax())]  # the tenth of a genre is the same for all
    report = fit(shop, log, replace(STRICT, reranker=reranker))
    assert (report.refused, report.published) == ("", ("behaviour",))
    shares, allowed = served_shares(shop, log)
    assert (shares <= allowed).all()
    assert len(report.held_back) > 1
    assert report.exposure is not None
    assert shares[Retriever.open(shop).items.rows([report.exposure.item_id])[0]] == report.exposure.share <= 0.25
    assert report.gain is not None
    assert report.gain.low > 0.2  # over frozen vectors, 0.092
    assert (report.gain.after, report.gain.before) == pytest.approx((0.36, 0.092), abs=0.03)
    if reranker is not None:
        assert "What users do last is unlike what they did before" in report.notes["reranker"]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[FittedModel]:
    """The parts whose lists are computed for the limit, one after another."""
    parts = list[FittedModel]()

    def limited(final: FittedModel, serve: Serve, *more: Any) -> LimitedExposure:  # noqa: ANN401 - of the function
        def recorded(one: FittedModel) -> Candidates:
            parts.append(one)
            return serve(one)

        return limit_exposure(final, recorded, *more)

    monkeypatch.setattr(sys.modules["retrieval.fitting.fit"], "limit_exposure", limited)
    return parts


def test_an_item_that_an_attack_puts_into_all_lists_is_held_to_its_bound(
    shop: Path, poisoned: str, served: list[FittedModel]
) -> None:
    log = walks(steps=8)
    free = fit(shop, log, FREE)
    before, allowed = served_shares(shop, log)
    assert free.held_back == ()
    assert (before[PUSHED] > 0.9, allowed[PUSHED]) == (True, pytest.approx(0.25, abs=0.02))
    served.clear()
    report = fit(shop, log, STRICT)
    assert len({*map(id, served)}) == len(served) > 1  # lists are computed once for the same parts
    after, allowed = served_shares(shop, log)
    assert poisoned in report.held_back
    assert (report.refused, report.published) == ("", ("behaviour",))
    assert (after <= allowed).all()


@pytest.mark.parametrize("noise", [1.0, 1e-3, 3e-4])
@pytest.mark.parametrize("genres", [1, 2])
def test_penalties_are_found_where_users_have_nearly_the_same_scores(noise: float, genres: int) -> None:
    rng, users, count = np.random.default_rng(0), 240, 120
    means = rng.normal(size=(genres, count))
    scores = means[np.arange(users) % genres] + noise * rng.normal(size=(users, count))
    rows = np.argsort(-scores, axis=1)
    lists = Candidates(
        np.zeros((users, 2), np.float32),
        rows,
        np.take_along_axis(scores, rows, axis=1).astype(np.float32),
        ItemIds([f"i{row}" for row in range(count)]),
        "retrieve",
    )
    allowed = np.full(count, 0.25)
    penalties = score_penalties(lists, allowed)
    assert penalties is not None
    spreads = lists.scores.astype(np.float64).std(axis=1, keepdims=True)
    lowered = lists.reordered((lists.scores - penalties[rows] * spreads), "retrieve")
    # The standard deviation is taken in float32 there, which matters to few of those who differ in the fifth digit.
    assert shares_of(lowered).max() <= 0.25 + (0 if noise > 1e-4 else 0.02)
    assert score_penalties(lists, np.ones(count)) is None


def test_a_share_that_nothing_could_lower_refuses_nothing(shop: Path) -> None:
    rng = np.random.default_rng(0)
    log = log_of([[*rng.permutation(110).tolist(), 110 + user % 10] for user in range(60)])
    report = fit(shop, log, replace(STRICT, prepare=None))
    # Nine items are left to each user, whatever learned: each of ten is in nine of ten lists.
    assert report.exposure is not None
    assert (report.exposure.share, report.exposure.allowed) == (0.9, 0.9)
    assert "warrants" not in report.refused


@pytest.mark.parametrize(
    ("reasons", "softened", "published"),
    [
        (["no better", "no better", ""], "the reranker is left out", ("behaviour",)),
        (["no better"] * 3 + [""], "the reranker is left out, and content has a weight of 1", ("behaviour",)),
    ],
)
def test_parts_are_softened_and_judged_again(
    shop: Path, monkeypatch: pytest.MonkeyPatch, reasons: list[str], softened: str, published: tuple[str, ...]
) -> None:
    remaining_reasons = iter(reasons)
    monkeypatch.setattr("retrieval.fitting.fit.allowed_exposure", lambda *_: np.full(COUNT, 0.14))
    monkeypatch.setattr(
        "retrieval.fitting.part_training.served_gain.why_not_published", lambda _: next(remaining_reasons)
    )
    report = fit(shop, walks(), replace(SMALL, reranker=STAGE))
    assert (report.refused, report.published) == ("", published)
    assert report.notes["exposure"].startswith(softened)
    assert ("content" in softened) == (report.serving["content"] == 1.0)
    assert list(remaining_reasons) == []
    retriever = Retriever.open(shop)
    block = retriever.state.learned.block(retriever.bundle)
    assert block is not None
    assert block.content == report.serving["content"]


def test_parts_that_do_not_help_any_more_are_not_published(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.fitting.fit.allowed_exposure", lambda *_: np.full(COUNT, 0.14))
    monkeypatch.setattr("retrieval.fitting.part_training.served_gain.why_not_published", lambda _: "no better")
    report = fit(shop, walks(), SMALL)
    assert report.refused == "with items held back that would be shown out of proportion: no better"
    assert Bundle.open(shop).manifest.features == ()


def test_without_a_reranker_an_item_loses_standard_deviations_of_scores(shop: Path) -> None:
    fit(shop, classics_first(), FREE)
    bundle = Bundle.open(shop)
    parts, user_histories = PublishedModel.of(bundle).fitted, histories(classics_first(), bundle.items)
    queries = parts.space.user_queries([past.rows for past in user_histories])
    scores = queries @ parts.space.indexed.T
    order = np.argsort(-scores, axis=1)
    lists = Candidates(queries, order, np.take_along_axis(scores, order, axis=1), bundle.items, "retrieve")
    penalties = np.zeros(COUNT)
    penalties[7] = 2.0
    lowered = parts.holding_back(penalties, lists)
    change = scores - queries @ lowered.space.indexed.T
    assert np.delete(change, 7, axis=1).any() == 0
    effects = parts.penalty_effects(lists)
    assert effects is not None
    np.testing.assert_allclose(change[:, 7], 2 * effects, rtol=1e-3, atol=1e-5)  # float32 vectors
    assert np.median(change[:, 7] / scores.std(axis=1)) == pytest.approx(2, rel=0.15)
    assert (change[:, 7] > 0).all()


def test_an_adapter_can_be_weakened(shop: Path) -> None:
    frozen = Bundle.open(shop).modality_vectors
    adapter, content = adapter_of(frozen), fuse(frozen)
    parts = FittedModel(adapter, None, None, ItemSpace.of(adapter.apply(frozen), UserModel()))
    softer = softenings(parts, frozen)
    assert [softening.name for softening in softer] == [
        f"the adapter has {strength} of its strength" for strength in ("50%", "25%", "10%")
    ]
    spaces = [parts.space.indexed, *(softening.of(parts).space.indexed for softening in softer)]
    distances = [float(np.linalg.norm(vectors - content)) for vectors in spaces]
    assert distances == sorted(distances, reverse=True)
    assert 0 < distances[-1] < 0.2 * distances[0]
    none = np.zeros((1, 1), np.int64)
    lists = Candidates(np.zeros((1, DIM), np.float32), none, none.astype(np.float32), ItemIds(["a"]), "retrieve")
    assert parts.penalty_effects(lists) is None  # no score can be lowered


def test_a_refresh_holds_back_beside_what_was_held_back(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = walks(steps=14).table
    days = pa.array(CLOCK + table["timestamp"].to_numpy())
    log = table.set_column(table.schema.get_field_index("timestamp"), "timestamp", days)
    early = log.filter(pa.array(days.to_numpy() < CLOCK + 10_000))
    better = Gain(200, 0.5, 0.6, 0.1, 0.05, 0.15)
    monkeypatch.setattr("retrieval.fitting.selection.validation.Validation.gain", lambda *_: better)
    found = []
    for bound, part, refresh in ((0.14, early, False), (0.11, log, True)):
        monkeypatch.setattr("retrieval.fitting.fit.allowed_exposure", lambda *_, bound=bound: np.full(COUNT, bound))
        config = None if refresh else replace(SMALL, reranker=STAGE, split="user")
        report = fit(shop, Interactions.from_arrow(part), config, refresh=refresh)
        assert (report.refused, report.published) == ("", ("behaviour", "reranker"))
        stage = Retriever.open(shop).reranker
        assert isinstance(stage, SecondStage)
        assert stage.penalties is not None
        assert set(report.held_back) == {f"i{row:03}" for row in np.flatnonzero(stage.penalties)}
        assert report.exposure is not None
        assert report.exposure.share <= bound
        found.append(stage.penalties)
    assert found[0].any()
    assert (found[1] >= found[0]).all()
    assert (found[1] > found[0]).any()
