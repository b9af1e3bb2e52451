"""Bundles of modalities from different spaces: search within one, and all else as ever; compared with brute force."""

from pathlib import Path

import numpy as np
import pytest

from indexing.arrays import Mask
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import add, delete, upsert
from indexing.bundle.generation import BRIDGE, INDEX
from indexing.bundle.maintenance.verify import verify
from indexing.encoders import load_encoder
from indexing.encoders.alignment.separate_spaces import Spaces
from indexing.errors import (
    CatalogueError,
    EncoderError,
    EncoderMismatchError,
    InputError,
    SeparateSpacesError,
    ShapeError,
)
from indexing.index import FlatIndex
from indexing.media.files import Modality
from indexing.store.collect import ModalityVectors
from retrieval import cli
from retrieval.retriever.learned_parts import compact, repair
from retrieval.retriever.loaded_bundle import encoder_of
from retrieval.retriever.queries import Query
from retrieval.retriever.retriever import Retriever
from retrieval.retriever.separate_spaces import search_own_part
from tests.agree import assert_best, assert_lists_agree
from tests.indexing.alignment.things import IMAGE, TEXT, Matrix, Things, centred, side_by_side

SPEC = "vectors:separate:10"


def built(folder: Path, things: Things, rows: range | None = None) -> Retriever:
    build_bundle(things.catalogue(folder, rows), load_encoder(SPEC), folder / "b")
    return Retriever.load(folder / "b")


def found(retriever: Retriever, vectors: Matrix, k: int, modality: str, where: str = "") -> list[list[str]]:
    candidates = retriever.search_vectors(
        vectors.astype(np.float32), k, modality=modality, where=[where] if where else ()
    )
    return [[hit.item_id for hit in candidates[line]] for line in range(len(vectors))]


def brute_force(queries: Matrix, items: Matrix, allowed: Mask, k: int) -> list[list[str]]:
    scores = np.where(allowed, queries @ items.T, -np.inf)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return [[f"thing-{row}" for row in line if allowed[row]] for line in best.tolist()]


@pytest.mark.parametrize("modality", ["text", "image"])
def test_a_query_finds_items_by_their_own_part_whatever_else_they_have(tmp_path: Path, modality: str) -> None:
    things, others = Things(), Things(12, seed=5)
    retriever = built(tmp_path, things)
    mine, has = (things.texts, things.has_text) if modality == "text" else (things.images, things.has_image)
    asked = mine[:12] + 0.3 * (others.texts if modality == "text" else others.images)
    queries, items = centred(mine, has, asked), centred(mine, has)
    # What a random vector has beside the six hidden numbers is cut off: the exact answer is over what is kept.
    kept = np.linalg.svd(items, full_matrices=False)[2][:7]
    projected = queries @ kept.T @ kept
    projected /= np.linalg.norm(projected, axis=1, keepdims=True)
    assert found(retriever, asked, 5, modality) == brute_force(projected, items, has, 5)
    few = has & (np.arange(60) < 20)
    assert found(retriever, asked, 60, modality, "number < 20") == brute_force(projected, items, few, 60)
    answer = retriever.search_vectors(7 * mine[:1], 60, modality=modality)
    assert answer.scores[0, 0] == pytest.approx(1, abs=1e-3)
    assert (answer.rows[0] >= 0).sum() == has.sum()
    np.testing.assert_allclose(answer.scores[0, : has.sum()], np.sort(items[has] @ items[0])[::-1], atol=3e-3)


def test_items_with_one_modality_do_not_stand_before_those_with_two() -> None:
    exists = {Modality.TEXT: np.array([True, True, False]), Modality.IMAGE: np.array([True, False, True])}
    texts, images = np.array([[0.8, 0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 0, 0]]), np.array([[0, 0, 1, 0]] * 3)
    vectors = {Modality.TEXT: texts.astype(np.float16), Modality.IMAGE: images.astype(np.float16)}
    index = FlatIndex(np.array([[0.566, 0.424, 0.707, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0]], np.float32))
    query = np.array([[1, 0, 0, 0]], np.float32)
    assert index.search(query, 3)[1].tolist() == [[1, 0, 2]]
    scores, rows = search_own_part(index, ModalityVectors(vectors, exists), query, 9, modality=Modality.TEXT)
    assert rows.tolist() == [[0, 1, -1]]
    np.testing.assert_allclose(scores, [[0.8, 0.6, -np.inf]], atol=1e-3)
    behaviour = np.array([[0.1, 0.2], [0.9, 0.9], [0.3, 0.1]], np.float32)
    wider = FlatIndex(np.concatenate([np.asarray(index.vectors), behaviour], axis=1))
    padded = np.concatenate([query, np.zeros((1, 2), np.float32)], axis=1)
    beside = search_own_part(wider, ModalityVectors(vectors, exists), padded, 9, modality=Modality.TEXT)
    assert_lists_agree(beside, (scores, rows))
    nobody = np.zeros(3, np.bool_)
    _, rows = search_own_part(index, ModalityVectors(vectors, exists), query, 2, modality=Modality.TEXT, allow=nobody)
    assert rows.tolist() == [[-1, -1]]


def test_what_compares_modalities_is_refused(tmp_path: Path) -> None:
    things = Things()
    retriever = built(tmp_path, things)
    with pytest.raises(
        SeparateSpacesError, match=r"\(text, image\) are different spaces.*modality=, one of text, image"
    ):
        retriever.search_vectors(things.texts[:1])
    with pytest.raises(SeparateSpacesError, match="different spaces"):
        retriever.search_vectors(retriever.vectors[:1])
    both = Query.item(retriever.items[1]) + Query.vector(retriever.vectors[2])
    with pytest.raises(
        SeparateSpacesError, match=r"query 1, .* adds parts of different modalities, which are separate"
    ):
        retriever.search([Query.item(retriever.items[1]), both])
    with pytest.raises(SeparateSpacesError, match=r"query 0, .* compose texts with texts or pictures with pictures"):
        retriever.search([Query.text("a") - 0.5 * Query.image(b"")])
    alone = retriever.search(
        [Query.item(retriever.items[1]) + 0.0 * Query.text("a")], 3
    )  # what counts for nothing is of no modality
    np.testing.assert_allclose(alone.scores[0], np.sort(retriever.vectors @ retriever.vectors[1])[:-4:-1], atol=1e-5)
    with pytest.raises(InputError, match="k is 0, expected a whole number of at least 1"):
        retriever.search_vectors(things.texts[:1], 0, modality="text")
    with pytest.raises(InputError, match="the bundle has no modality 'audio', only text, image; name one of these"):
        retriever.search_vectors(things.texts[:1], modality="audio")
    with pytest.raises(ShapeError, match=r"image vectors have shape \(1, 24\), expected \(N, 70\)"):
        retriever.search_vectors(things.texts[:1], modality="image")
    with pytest.raises(EncoderError, match=r"search_vectors\(vectors, modality='text'\)"):
        retriever.search_texts(["a red mug"])
    with pytest.raises(EncoderMismatchError, match=f"was built by encoder '{SPEC}'"):
        Retriever.load(tmp_path / "b", load_encoder(SPEC))


def test_a_modality_may_be_named_in_one_space_too(tmp_path: Path) -> None:
    things = Things()
    things.images = things.images[:, :TEXT]
    build_bundle(things.catalogue(tmp_path), load_encoder("vectors:"), tmp_path / "b")
    retriever = Retriever.load(tmp_path / "b")
    plain, named = (retriever.search_vectors(things.texts[:4], 5, modality=m) for m in (None, "text"))
    assert_lists_agree((plain.scores, plain.rows), (named.scores, named.rows))
    with pytest.raises(InputError, match="has no modality 'audio'"):
        retriever.search_vectors(things.texts[:4], modality="audio")


def test_what_is_added_is_mapped_by_the_maps_of_the_build(tmp_path: Path) -> None:
    things = Things()
    before = built(tmp_path, things, range(50))
    maps = before.bundle.read(BRIDGE)
    report = add(tmp_path / "b", things.catalogue(tmp_path, range(50, 60)), load_encoder(SPEC))
    assert (report.added, report.failed, report.partly) == (10, {}, {})
    for retriever in (Retriever.load(tmp_path / "b"), Retriever(compact(tmp_path / "b"))):
        assert retriever.bundle.read(BRIDGE) == maps
        frozen = retriever.bundle.modality_vectors
        for modality, vectors, has in (
            (Modality.TEXT, things.texts, things.has_text),
            (Modality.IMAGE, things.images, things.has_image),
        ):
            expected = Spaces.from_bytes(maps).apply(modality, vectors) * has[:, None]
            # With other rows beside it a product rounds differently: a bit, where float16 has few.
            np.testing.assert_allclose(frozen.vectors[modality], expected.astype(np.float16), rtol=1e-3, atol=1e-7)
            firsts = found(retriever, vectors[has].astype(np.float64), 1, str(modality))
            assert [line[0] for line in firsts] == [f"thing-{row}" for row in np.flatnonzero(has)]
    np.testing.assert_allclose(before.vectors, retriever.vectors[:50], atol=1e-6)  # fused with ten more, or without


def test_changes_by_any_encoder_but_another(tmp_path: Path) -> None:
    things = Things()
    retriever = built(tmp_path, things, range(50))
    upsert(retriever.bundle, things.catalogue(tmp_path, range(49, 51)), encoder_of(retriever.bundle))
    add(tmp_path / "b", things.catalogue(tmp_path, range(51, 53), image_vector=None), load_encoder(SPEC))
    delete(tmp_path / "b", ["thing-0"])
    bundle = Bundle.open(tmp_path / "b")
    assert int(bundle.is_live.sum()) == 52
    with pytest.raises(EncoderMismatchError, match="was built by encoder 'vectors:separate:10'"):
        add(bundle, things.catalogue(tmp_path, range(53, 55)), load_encoder("vectors:"))
    with pytest.raises(EncoderMismatchError, match="not by 'vectors:separate:10:theirs'"):
        add(bundle, things.catalogue(tmp_path, range(53, 55)), load_encoder(f"{SPEC}:theirs"))
    with pytest.raises(CatalogueError, match=r"of several lengths, text_vector of 24 and image_vector of 70"):
        add(bundle, things.catalogue(tmp_path, range(53, 55)), load_encoder("vectors:20"))
    longer = [[1.0] * 25] * 2
    with pytest.raises(CatalogueError, match=r"brings text_vector of 25 numbers, expected 24: the maps .* build the"):
        add(bundle, things.catalogue(tmp_path, range(53, 55), text_vector=longer), load_encoder(SPEC))
    with pytest.raises(CatalogueError, match="brings audio_vector of 25 numbers, expected none"):
        add(bundle, things.catalogue(tmp_path, range(53, 55), audio_vector=longer), load_encoder(SPEC))
    assert Bundle.open(tmp_path / "b").state == bundle.state


def test_building_again(tmp_path: Path) -> None:
    things = Things()
    first = built(tmp_path, things).bundle.manifest
    again = built(tmp_path, things).bundle.manifest
    assert again.encoder == first.encoder
    assert again.counts["encoding"]["resumed"] == things.has_text.sum() + things.has_image.sum()
    fewer = built(tmp_path, things, range(40)).bundle
    assert fewer.manifest.encoder.fingerprint != first.encoder.fingerprint
    assert fewer.manifest.counts["encoding"]["resumed"] == 0
    kept = build_bundle(things.catalogue(tmp_path), encoder_of(fewer), tmp_path / "b")
    assert kept.read(BRIDGE) == fewer.read(BRIDGE)
    assert len(kept.items) == 60


def test_a_lost_index_is_mended_and_lost_maps_are_noticed(tmp_path: Path) -> None:
    things = Things()
    retriever = built(tmp_path, things)
    wanted = retriever.similar_items(things.ids, 5)
    (retriever.bundle.folder / INDEX).write_bytes(b"")
    assert not [problem for problem in repair(tmp_path / "b").left if problem.serving]
    mended = Retriever.load(tmp_path / "b")
    np.testing.assert_array_equal(mended.similar_items(things.ids, 5).rows, wanted.rows)
    assert found(mended, things.texts[:1].astype(np.float64), 1, "text") == [["thing-0"]]
    (mended.bundle.folder / BRIDGE).write_bytes(b"")
    assert [problem.path for problem in verify(tmp_path / "b") if problem.serving] == [
        f"{mended.bundle.folder.name}/{BRIDGE}"
    ]


def test_similar_items_and_recommendations_are_those_of_the_concatenation(tmp_path: Path) -> None:
    things = Things()
    retriever = built(tmp_path, things)
    items = side_by_side(things)
    scores = items @ items.T
    np.fill_diagonal(scores, -np.inf)
    # What is stored is in half precision.
    assert_best(retriever.similar_items(things.ids, 5).rows, scores, atol=1e-3)
    parts = retriever.nearest_parts(retriever.search_vectors(things.texts[:3], 60, modality="text"))
    assert {part.modality for line in parts for part in line if part} == {Modality.TEXT}
    recommended = retriever.rerank(retriever.recommend([things.ids[:3]], 10), 5)
    assert not {hit.item_id for hit in recommended[0]} & set(things.ids[:3])


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Things().catalogue(tmp_path)
    out = str(tmp_path / "b")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["build", str(tmp_path / "items.parquet"), "--out", out, "--encoder", "vectors:"])
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert "vectors:separate:256, 94 dimensions" in shown
    assert "image 70 to 70 (100%), text 24 to 24 (100%); not comparable with each other" in shown
    with pytest.raises(SystemExit) as stopped:
        cli.main(["search", out, "a red mug"])
    assert stopped.value.code == 1
    assert "cannot embed 1 texts; only items can be searched with, by `commonspace similar`" in capsys.readouterr().err
    assert IMAGE + TEXT == 94


def test_weights_are_kept_with_the_encoder_and_go_through_changes(tmp_path: Path) -> None:
    things = Things()
    retriever = built(tmp_path, things, range(50))
    weights = Spaces.from_bytes(retriever.bundle.read(BRIDGE)).weights
    assert len(set(weights)) == 2
    assert retriever.bundle.manifest.encoder.weights == weights
    add(tmp_path / "b", things.catalogue(tmp_path, range(50, 60)), load_encoder(SPEC))
    changed = Retriever.load(tmp_path / "b")
    compacted = Retriever(compact(tmp_path / "b"))
    scores, rows = compacted.index.search(changed.vectors, 1)
    np.testing.assert_allclose(scores, 1, atol=1e-5)
    assert rows[:, 0].tolist() == list(range(60))
    np.testing.assert_allclose(compacted.vectors, changed.vectors, atol=1e-6)
    whole = things.has_text[50:] & things.has_image[50:]
    lengths = [np.linalg.norm(part, axis=1) for part in np.split(changed.vectors[50:][whole], 2, axis=1)]
    np.testing.assert_allclose(lengths[0] / lengths[1], weights[0] / weights[1], rtol=1e-3)
