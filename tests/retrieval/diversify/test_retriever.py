"""The verbs on a small bundle: colours and shapes, with attributes."""

from collections.abc import Sequence

import numpy as np
import pytest

from indexing.arrays import unit
from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import FilterError, InputError
from retrieval.candidates import Candidates
from retrieval.models.features.attribute_values import Attribute
from retrieval.postprocess.diversify import (
    MMR,
    MSD,
    Calibrated,
    ExposurePenalty,
    MaxSimilarity,
    Method,
    Relevant,
    diversified,
    exposures,
)
from retrieval.postprocess.rules import Boost, Exclude, Pin, Rule, Ruled, Rules
from retrieval.retriever.retriever import Retriever
from tests.toy import ToyEncoder, toy_file


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder = tmp_path_factory.mktemp("toy")
    build_bundle(Catalogue.from_parquet(toy_file(folder)), ToyEncoder(), folder / "bundle")
    return Retriever.load(folder / "bundle", ToyEncoder())


@pytest.fixture(scope="module")
def found(retriever: Retriever) -> Candidates:
    return retriever.recommend([["red-mug", "red-shoe"], ["blue-lamp"]], k=12)


def colours(candidates: Candidates, line: int = 0) -> list[str]:
    return [hit.item_id.split("-")[0] for hit in candidates[line]]


def test_methods_are_those_of_their_names(retriever: Retriever, found: Candidates) -> None:
    centred = unit(retriever.vectors - retriever.centre)
    tags = Attribute.named(retriever.bundle.attributes, "tags")
    for method, objective in (("mmr", MMR), ("msd", MSD)):
        name: Method = method  # type: ignore[assignment]
        ranked = retriever.diversify(found, 5, method=name, strength=0.4, sharpness=2)
        assert (ranked.rows == diversified(found, objective(centred, 0.4, 2.0), 5).top(5).rows).all()
        ranked = retriever.diversify(found, 5, method=name, attribute="tags")
        assert (ranked.rows == diversified(found, objective(tags, 0.3), 5).top(5).rows).all()
    ranked = retriever.diversify(found, method="calibrated", attribute="tags", strength=0.8)
    assert (ranked.rows == diversified(found, Calibrated(tags, 0.8, users=retriever.users)).rows).all()
    assert ranked.stage == "diversify"
    assert ranked.rows.shape == found.rows.shape


def test_more_strength_is_more_variety(retriever: Retriever, found: Candidates) -> None:
    assert (retriever.diversify(found, strength=0.0).rows == found.rows).all()
    some = [len(set(colours(retriever.diversify(found, 4, strength=strength)))) for strength in (0.0, 0.9)]
    assert some[0] < some[1]


def test_pages_and_what_others_are_shown(retriever: Retriever, found: Candidates) -> None:
    picked, paged = (retriever.diversify(found, 4, strength=0.9, page=page) for page in (None, 4))
    assert (picked.rows != paged.rows).any()
    assert (np.sort(picked.rows) == np.sort(paged.rows)).all()
    places = [[found.rows[line].tolist().index(row) for row in paged.rows[line].tolist()] for line in range(2)]
    assert places == [sorted(line) for line in places]
    others = retriever.recommend([["red-mug"]] * 3, k=5)
    wanted = ExposurePenalty(MMR(unit(retriever.vectors - retriever.centre), 0.3), exposures(others, 5), 0.4)
    spread = retriever.diversify(found, 4, shown=others, exposure_weight=0.4)
    assert (spread.rows == diversified(found, wanted, 4).top(4).rows).all()
    assert (spread.rows != retriever.diversify(found, 4).rows).any()
    apart = retriever.diversify(found, 5, method="caps", max_similarity=0.6)
    assert (
        apart.rows == diversified(found, Relevant(), 5, caps=[MaxSimilarity(retriever.vectors, 0.6)]).top(5).rows
    ).all()
    assert (apart.rows != found.top(5).rows).any()


def test_caps(retriever: Retriever) -> None:
    everything = retriever.recommend([["red-mug"], ["blue-lamp"]], k=19)
    capped = retriever.diversify(everything, 6, method="caps", caps={"tags": 2})
    for line in range(2):
        words = [word for hit in capped[line] for word in hit.item_id.split("-")]
        assert max(words.count(word) for word in words) <= 2
    assert capped[0][0].item_id == everything[0][0].item_id
    nothing: dict[str, int] | None
    for nothing in (None, {}):
        with pytest.raises(InputError, match="'caps' has nothing to do without caps; give caps="):
            retriever.diversify(everything, 6, method="caps", caps=nothing)


def test_rules_come_last_and_are_shown(retriever: Retriever, found: Candidates) -> None:
    rules = Rules([Boost("tags contains chair", 2.0, name="chairs"), Pin(["white-book"])])
    ruled = retriever.apply_rules(retriever.diversify(found), rules, k=4)
    assert isinstance(ruled, Ruled)
    assert ruled[0][0].item_id == "white-book"
    assert ruled.rows.shape == (2, 4)
    assert ruled.rules_of(0)[0] == ("pin white-book at 1",)
    assert ruled.rules_of(0)[1] == ("chairs",)
    assert (retriever.apply_rules(found, Rules()).rows == found.rows).all()


def test_rules_may_be_given_as_a_list(retriever: Retriever, found: Candidates) -> None:
    chairs, away = Boost("tags contains chair", 2.0), Exclude("tags contains red")
    given: list[Sequence[Rule]] = [[chairs], (chairs, away), [Pin(["white-book"]), away], []]
    for rules in given:
        ruled, wanted = retriever.apply_rules(found, rules, k=4), retriever.apply_rules(found, Rules(rules), k=4)
        assert [list(hits) for hits in ruled] == [list(hits) for hits in wanted]
        assert ruled.rules_of(0) == wanted.rules_of(0)
    (first, *_), ruled = found[0], retriever.apply_rules(found, [chairs])
    best = next(hit for hit in found[0] if hit.item_id.endswith("-chair"))
    span = first.score - found[0][-1].score
    assert (ruled[0][0].item_id, ruled.rules_of(0)[0]) == (best.item_id, (str(chairs),))
    assert ruled[0][0].score == pytest.approx(best.score + 2 * span, rel=1e-5)


def test_an_item_without_content_resembles_nothing() -> None:
    vectors = np.array([[3, 1], [3, 1], [0, 0], [1, 3]], np.float32)
    centre = np.array([1, 1], np.float32)
    plain = MMR(vectors, centre=centre)
    inside = MMR(np.array([[2, 0], [2, 0], [0, 0], [0, 2]], np.float32))
    scores = np.array([[4, 3, 2, 1]], np.float32)
    lists = Candidates(np.zeros((1, 2), np.float32), np.arange(4)[None], scores, ItemIds([*"abcd"]), "x")
    assert (diversified(lists, plain).rows == diversified(lists, inside).rows).all()


def test_what_cannot_be_asked_is_refused(retriever: Retriever, found: Candidates) -> None:
    with pytest.raises(InputError, match=r"there is no method 'xquad'; there are \['mmr', 'msd', 'calibrated'"):
        retriever.diversify(found, method="xquad")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="name it: attribute='genres'"):
        retriever.diversify(found, method="calibrated")
    with pytest.raises(FilterError, match=r"there is no attribute 'tag'; did you mean one of \['tags'\]"):
        retriever.diversify(found, attribute="tag")
    with pytest.raises(FilterError, match="there is no attribute 'brand'"):
        retriever.diversify(found, caps={"brand": 2})
    with pytest.raises(InputError, match="a cap of 0 allows nothing"):
        retriever.diversify(found, caps={"tags": 0})
