"""What measures and what exports a bundle of different spaces: refused or left out across them, unchanged within."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.diagnostics.health import examine
from indexing.encoders import load_encoder
from indexing.errors import SeparateSpacesError
from indexing.exchange import export_faiss, write_clip_retrieval, write_mmrec
from retrieval import FitConfig
from retrieval.evaluation import cross_modal, evaluate_pairs, sides_of
from retrieval.evaluation.encoder_benchmark.ranking import rank_encoders
from retrieval.fitting.fit import fit
from retrieval.interactions.interactions import Interactions
from retrieval.retriever.retriever import Retriever
from tests.indexing.alignment.things import Things, centred, side_by_side


@pytest.fixture(scope="module")
def things() -> Things:
    return Things()


@pytest.fixture(scope="module")
def bundle(things: Things, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("spaces")
    return build_bundle(things.catalogue(folder), load_encoder("vectors:separate:10"), folder / "b")


def test_pairs_across_spaces_are_refused_and_left_out(bundle: Bundle, things: Things) -> None:
    sides = sides_of(Retriever(bundle))
    assert {name: side.space for name, side in sides.items()} == {"text": "text", "image": "image", "item": ""}
    with pytest.raises(SeparateSpacesError, match=r"in the space of text and targets in that of image, .* embed both"):
        evaluate_pairs(sides["text"], sides["image"])
    measured = cross_modal(sides)
    assert set(measured) == {"text→item", "image→item"}
    text = centred(things.texts, things.has_text)
    scores = text[things.has_text] @ side_by_side(things)[:, :24].T
    own = scores[np.arange(len(scores)), np.flatnonzero(things.has_text)]
    ranks = (scores >= own[:, None] - 1e-3).sum(axis=1)
    assert np.abs(measured["text→item"].per_query["rank"] - ranks).max() <= 1
    assert evaluate_pairs(sides["text"], sides["text"]).means["hit_rate@1"] == 1


def test_the_doctor_measures_no_gap_between_them(bundle: Bundle) -> None:
    findings = {finding.name: finding for finding in examine(bundle)}
    gap = findings["gap text-image"]
    assert (gap.good, dict(gap.values)) == (True, {})
    assert gap.verdict.startswith("not measured: they are different spaces")
    assert findings["damage"].good


def test_encoders_are_not_ranked_by_them(things: Things, tmp_path: Path) -> None:
    title = [f"thing number {row}" for row in range(60)]
    catalogue = things.catalogue(tmp_path, title=title)
    ranking = rank_encoders(catalogue, ["vectors:", "vectors:separate:5"], tmp_path / "e", load=load_encoder)
    assert not ranking.results
    assert all("brings vectors of different spaces: no text can look for" in why for why in ranking.failed.values())
    assert len(ranking.failed) == 2


def log(things: Things) -> Interactions:
    rows = [(f"u{user}", things.ids[(user + 2 * step) % 60], 60 * step) for user in range(32) for step in range(10)]
    users, items, times = zip(*rows, strict=True)
    return Interactions.from_arrow(pa.table({"user": users, "item": items, "time": times}))


def test_exports(bundle: Bundle, things: Things, tmp_path: Path) -> None:
    with pytest.raises(SeparateSpacesError, match="export it as mmrec or faiss"):
        write_clip_retrieval(bundle, tmp_path / "clip")
    export_faiss(bundle, tmp_path / "faiss")
    write_mmrec(bundle, log(things).table, tmp_path / "mmrec", name="things")
    features = np.load(tmp_path / "mmrec" / "image_feat.npy", allow_pickle=False)
    assert features.shape == (50, 10)  # items without interactions are left out
    image = centred(things.images, things.has_image)[:50]
    np.testing.assert_allclose(features @ features.T, image @ image.T, atol=2e-3)


def test_learning_continues_as_ever(things: Things, tmp_path: Path) -> None:
    root = tmp_path / "b"
    before = build_bundle(things.catalogue(tmp_path), load_encoder("vectors:separate:10"), root)
    report = fit(root, log(things), FitConfig(behaviour=None))
    assert report.ndcg["frozen"] < max(report.ndcg.values())
    assert set(report.search) == {"text", "image", "blurred"}
    retriever = Retriever.load(root)
    assert retriever.bundle.manifest.encoder == before.manifest.encoder
    assert retriever.similar_items(things.ids[:1], k=2)[0][0].item_id != things.ids[0]
    texts = np.flatnonzero(things.has_text)
    hits = retriever.search_vectors(things.texts[texts], 1, modality="text")
    assert hits.rows[:, 0].tolist() == texts.tolist()
    np.testing.assert_allclose(hits.scores[:, 0], 1, atol=1e-3)
