"""Vectors that users bring themselves: checked one by one, searched as they are, and never asked of a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from indexing.arrays import Vectors, unit
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import Columns, NamedColumns
from indexing.encoders import Encoder, load_encoder
from indexing.encoders.base import check_golden, golden_vectors
from indexing.errors import CatalogueError, EncoderError, EncoderMismatchError, InputError
from indexing.filesystem.checked_files import content_hash
from indexing.media.files import Modality
from indexing.store.store import EmbeddingStore
from retrieval import FitConfig, cli
from retrieval.fitting.fit import fit
from retrieval.interactions.interactions import Interactions
from retrieval.retriever.retriever import Retriever
from retrieval.training.ranker_config import HeadConfig
from tests.pairs import clip_like, hit_rates
from tests.toy import toy_table

# A folder with `text_emb.npy` and `image_emb.npy` of 500 real pairs, which are not shipped.


def catalogue(folder: Path, columns: Columns | NamedColumns | None = None, **arrays: Any) -> Catalogue:  # noqa: ANN401
    path = folder / "items.parquet"
    pq.write_table(pa.table(arrays), path)
    return Catalogue.from_parquet(path, columns=columns)


def lists(vectors: Vectors, kind: pa.DataType | None = None) -> pa.Array:
    kind = kind or pa.list_(pa.float32())
    return pa.array(list(vectors.astype(kind.value_type.to_pandas_dtype())), kind)


def pairs(count: int = 40, dim: int = 24, seed: int = 0) -> tuple[Vectors, Vectors]:
    """Texts and pictures of the same things, each a little off, and the pictures with a mean of their own."""
    rng = np.random.default_rng(seed)
    things = rng.normal(size=(count, dim))
    texts = things + 0.3 * rng.normal(size=(count, dim))
    pictures = things + 0.3 * rng.normal(size=(count, dim)) + 0.5
    return unit(texts), unit(pictures)


def first_hits(retriever: Retriever, queries: Vectors, k: int) -> list[list[str]]:
    return [[hit.item_id for hit in hits] for hits in retriever.search_vectors(queries, k)]


def recalls(found: Sequence[Sequence[str]], wanted: Sequence[str], depths: Sequence[int]) -> list[float]:
    return [float(np.mean([w in hits[:k] for w, hits in zip(wanted, found, strict=True)])) for k in depths]


@pytest.mark.parametrize(
    ("spec", "dim", "name"),
    [
        ("vectors:", 0, "vectors:"),
        ("vectors", 0, "vectors:"),
        ("vectors:512", 512, "vectors:512"),
        ("vectors:8:my clip", 8, "vectors:8:my clip"),
    ],
)
def test_names(spec: str, dim: int, name: str) -> None:
    encoder = load_encoder(spec)
    assert isinstance(encoder, Encoder)
    assert (encoder.info.dim, encoder.info.name, encoder.info.precomputed) == (dim, name, True)
    assert golden_vectors(encoder).shape == (0, dim)


def test_the_fingerprint_is_of_dimension_and_label() -> None:
    import hashlib

    assert load_encoder("vectors:512").info.fingerprint == hashlib.sha256(b"vectors:512").hexdigest()
    assert load_encoder("vectors:512:a").info.fingerprint == hashlib.sha256(b"vectors:512:a").hexdigest()
    check_golden(load_encoder("vectors:512"), np.empty((0, 512), np.float32))
    with pytest.raises(EncoderMismatchError, match=r"golden vectors of shape \(0, 512\), the bundle has \(0, 8\)"):
        check_golden(load_encoder("vectors:512"), np.empty((0, 8), np.float32))


@pytest.mark.parametrize("rest", ["0", "-3", "many", "5.0", "²", ":name"])
def test_wrong_names(rest: str) -> None:
    with pytest.raises(EncoderError, match="names no dimension; write vectors:, vectors:512 or vectors:512:NAME"):
        load_encoder(f"vectors:{rest}")


def test_it_embeds_nothing() -> None:
    encoder = load_encoder("vectors:4")
    with pytest.raises(EncoderError, match=r"has no model and cannot embed 1 texts; .*Retriever\.search_vectors"):
        encoder.encode_texts(["a red mug"])
    with pytest.raises(EncoderError, match="cannot embed 1 pictures"):
        encoder.encode_images([Image.new("RGB", (2, 2))])


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float16()),
        pa.list_(pa.float64()),
        pa.large_list(pa.float32()),
        pa.list_(pa.float32(), 24),
        pa.list_(pa.float16(), 24),
    ],
    ids=str,
)
def test_text_finds_its_picture_as_exact_search_does(tmp_path: Path, kind: pa.DataType) -> None:
    texts, pictures = pairs()
    ids = [f"thing-{row}" for row in range(len(pictures))]
    items = catalogue(tmp_path, item_id=ids, image_vector=lists(7 * pictures.astype(np.float32), kind))
    build_bundle(items, load_encoder("vectors:"), tmp_path / "b")
    retriever = Retriever.load(tmp_path / "b")
    assert retriever.bundle.manifest.encoder.name == "vectors:24"
    assert retriever.bundle.manifest.encoder.modalities == (Modality.IMAGE,)
    exact = np.argsort(-(texts @ pictures.T), axis=1, kind="stable")[:, :3]
    found = first_hits(retriever, 3 * texts, 3)
    assert np.mean([hits[0] == ids[best[0]] for hits, best in zip(found, exact, strict=True)]) > 0.95
    assert recalls(found, ids, [1])[0] > 0.8
    stored = retriever.bundle.modality_vectors.vectors[Modality.IMAGE]
    np.testing.assert_allclose(stored, pictures, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(stored.astype(np.float64), axis=1), 1, atol=1e-3)


def test_vectors_of_a_two_tower_model_give_the_known_recall(tmp_path: Path) -> None:
    texts, pictures = clip_like()
    ids = [str(row) for row in range(len(pictures))]
    items = catalogue(tmp_path, item_id=ids, image_vector=lists(pictures, pa.list_(pa.float16())))
    build_bundle(items, load_encoder("vectors:512:openclip-b32"), tmp_path / "b")
    retriever = Retriever.load(tmp_path / "b", load_encoder("vectors:512:openclip-b32"))
    found = first_hits(retriever, texts.astype(np.float32), 5)
    # Kept in half precision: a text whose two nearest pictures are as near may find the other one first.
    assert recalls(found, ids, [1, 5]) == pytest.approx(hit_rates(texts, pictures, (1, 5)), abs=0.006)


def test_text_and_picture_vectors_are_fused_and_gaps_stay_gaps(tmp_path: Path) -> None:
    texts, pictures = pairs(4)
    image = pa.array([*pictures[:3], None], pa.list_(pa.float32()))
    text = pa.array([None, *texts[1:]], pa.list_(pa.float32()))
    ids = ["picture-only", "both", "both-too", "text-only"]
    bundle = build_bundle(
        catalogue(tmp_path, item_id=ids, text_vector=text, image_vector=image), load_encoder("vectors:"), tmp_path / "b"
    )
    assert list(bundle.items) == ids
    assert bundle.manifest.counts["embeddings"] == {"text": 3, "image": 3}
    assert bundle.manifest.counts["encoding"]["encoded"] == 6
    expected = unit(np.stack([pictures[0], texts[1] + pictures[1], texts[2] + pictures[2], texts[3]]))
    scores, rows = bundle.index.search(expected, 1)
    assert rows[:, 0].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(scores, 1, atol=1e-3)


def test_what_cannot_be_used_costs_only_its_own_modality(tmp_path: Path) -> None:
    good = [3.0, 4.0, 0.0]
    bad: dict[str, Any] = {
        "nan": [1.0, float("nan"), 0.0],
        "inf": [1.0, 0.0, float("-inf")],
        "huge": [1e300, 0.0, 0.0],
        "gap": [None, 1.0, 0.0],
        "zero": [0.0, 0.0, 0.0],
        "short": [1.0, 2.0],
        "long": [1.0, 2.0, 3.0, 4.0],
        "empty": [],
    }
    ids = ["fine", *bad, "tiny", "large"]
    images = [good, *bad.values(), [3e-30, 4e-30, 0.0], [3e30, 4e30, 0.0]]
    items = catalogue(
        tmp_path,
        item_id=ids,
        text_vector=pa.array([good] * len(ids), pa.list_(pa.float64())),
        image_vector=pa.array(images, pa.list_(pa.float64())),
    )
    bundle = build_bundle(items, load_encoder("vectors:"), tmp_path / "b")
    assert list(bundle.items) == ids
    assert bundle.manifest.counts["embeddings"] == {"text": 11, "image": 3}
    assert bundle.manifest.counts["quarantined"] == 8
    store = EmbeddingStore(bundle.folder / "store", 3)
    assert {item: store.reason(item, Modality.IMAGE) for item in bad} == {
        "nan": "vector with a value that is not finite: row 1: nan at position 1, expected 3 finite numbers",
        "inf": "vector with a value that is not finite: row 2: -inf at position 2, expected 3 finite numbers",
        "huge": "vector with a value that is not finite: row 3: 1e+300 at position 0, expected 3 finite numbers",
        "gap": "vector with a value that is not finite: row 4: nan at position 0, expected 3 finite numbers",
        "zero": "vector of zeros: row 5: it has no direction, expected 3 numbers not all zero",
        "short": "vector of the wrong length: row 6: 2 numbers, expected 3",
        "long": "vector of the wrong length: row 7: 4 numbers, expected 3",
        "empty": "vector of the wrong length: row 8: 0 numbers, expected 3",
    }
    vectors = bundle.modality_vectors.vectors[Modality.IMAGE][[0, 9, 10]]
    np.testing.assert_allclose(vectors, [[0.6, 0.8, 0]] * 3, atol=1e-3)


def test_a_row_with_only_a_vector_is_kept_and_one_with_nothing_is_not(tmp_path: Path) -> None:
    items = catalogue(
        tmp_path,
        item_id=["a", "", "vector", "nothing"],
        title=["a mug", "no id", None, " "],
        text_vector=pa.array([None, [1.0, 0.0], [0.0, 2.0], None], pa.list_(pa.float32())),
    )
    assert items.columns.vectors == ("text_vector",)
    assert items.attributes["item_id"].to_pylist() == ["a", "vector"]
    assert items.attributes.column_names == ["item_id", "title"]
    assert items.rejects.to_pylist()[1] == {
        "source_row": 3,
        "item_id": "nothing",
        "reason": "neither text nor file nor vector",
    }
    batches = list(items.vectors(1))
    assert [batch.item_ids for batch in batches] == [["a"], ["vector"]]
    assert [batch.exists[Modality.TEXT].tolist() for batch in batches] == [[False], [True]]
    assert batches[1].vectors[Modality.TEXT].dtype == np.float32
    np.testing.assert_array_equal(batches[1].vectors[Modality.TEXT], [[0, 2]])
    bundle = build_bundle(items, load_encoder("vectors:2"), tmp_path / "b")
    assert list(bundle.items) == ["vector"]
    assert bundle.manifest.counts["without_embedding"] == 1
    with pytest.raises(InputError, match="size is 0, expected a whole number of at least 1"):
        items.vectors(0)


def test_two_spaces_are_not_taken_for_one(tmp_path: Path) -> None:
    arrays = {
        "item_id": ["a", "b"],
        "text_vector": pa.array([[1.0, 2.0], [2.0, 1.0]]),
        "image_vector": pa.array([[1.0, 2.0, 3.0], None]),
    }
    with pytest.raises(CatalogueError, match="several lengths, text_vector of 2 and image_vector of 3: they are diff"):
        build_bundle(catalogue(tmp_path, **arrays), load_encoder("vectors:3"), tmp_path / "b")
    assert not (tmp_path / "b").exists()
    chosen = NamedColumns(vectors=("image_vector",))
    bundle = build_bundle(catalogue(tmp_path, chosen, **arrays), load_encoder("vectors:3"), tmp_path / "b")
    assert list(bundle.items) == ["a"]
    with pytest.raises(CatalogueError, match="of another length than 5: image_vector of 3; load 'vectors:' instead"):
        build_bundle(catalogue(tmp_path, chosen, **arrays), load_encoder("vectors:5"), tmp_path / "b")


def test_columns_that_cannot_be(tmp_path: Path) -> None:
    pq.write_table(toy_table(), tmp_path / "toy.parquet")
    with pytest.raises(
        CatalogueError, match=r"brings no vectors; give them as lists of numbers in columns named \['te"
    ):
        build_bundle(Catalogue.from_parquet(tmp_path / "toy.parquet"), load_encoder("vectors:"), tmp_path / "b")
    arrays = {"item_id": ["a"], "clip": pa.array([[1.0]]), "text_vector": ["no"], "title": ["x"]}
    with pytest.raises(CatalogueError, match=r"which modality the vectors in \['clip'\] embed cannot be told; rename"):
        catalogue(tmp_path, NamedColumns(vectors=("clip",)), **arrays)
    with pytest.raises(CatalogueError, match=r"holds no lists of numbers in text_vector \(string\)"):
        catalogue(tmp_path, NamedColumns(vectors=("text_vector",)), **arrays)
    assert catalogue(tmp_path, **arrays).columns.vectors == ()


def test_building_again_keeps_what_is_the_same(tmp_path: Path) -> None:
    texts, _ = pairs(6)
    texts[5] = 0
    ids = list("abcdef")
    build_bundle(catalogue(tmp_path, item_id=ids, text_vector=lists(texts)), load_encoder("vectors:"), tmp_path / "b")
    texts[0] += 1
    again = catalogue(tmp_path, item_id=ids, text_vector=lists(texts))
    bundle = build_bundle(again, load_encoder("vectors:"), tmp_path / "b")
    encoding = bundle.manifest.counts["encoding"]
    assert (encoding["encoded"], encoding["resumed"], encoding["quarantined"]) == (1, 5, 0)
    first = next(EmbeddingStore(bundle.folder / "store", 24).records(["a"]))
    assert first.content_hash == content_hash(texts[0].tobytes())
    np.testing.assert_allclose(bundle.modality_vectors.vectors[Modality.TEXT][0], unit(texts[:1])[0], atol=1e-3)


def test_another_label_is_another_space(tmp_path: Path) -> None:
    texts, _ = pairs(6)
    items = catalogue(tmp_path, item_id=list("abcdef"), text_vector=lists(texts))
    build_bundle(items, load_encoder("vectors:24:ours"), tmp_path / "b")
    with pytest.raises(EncoderMismatchError, match="was built by encoder 'vectors:24:ours'"):
        Retriever.load(tmp_path / "b", load_encoder("vectors:24"))
    with pytest.raises(EncoderError, match=r"has no model.*Retriever\.search_vectors"):
        Retriever.load(tmp_path / "b").search_texts(["a red mug"])
    assert first_hits(Retriever.load(tmp_path / "b"), texts, 1) == [[i] for i in "abcdef"]


def test_learning_needs_no_model(tmp_path: Path) -> None:
    texts, pictures = pairs(20)
    ids = [f"thing-{row}" for row in range(20)]
    items = catalogue(tmp_path, item_id=ids, text_vector=lists(texts), image_vector=lists(pictures))
    build_bundle(items, load_encoder("vectors:"), tmp_path / "b")
    rows = [(f"u{user}", ids[(user + step) % 20], 60 * step) for user in range(32) for step in range(10)]
    users, seen, times = zip(*rows, strict=True)
    log = Interactions.from_arrow(pa.table({"user": users, "item": seen, "time": times}))
    assert set(fit(tmp_path / "b", log).ndcg) == {"frozen", "behaviour", "reranker"}
    report = fit(tmp_path / "b", log, FitConfig(behaviour=None))
    assert set(report.ndcg) == {"frozen", "adapter", "reranker"}
    retriever = Retriever.load(tmp_path / "b")
    assert retriever.bundle.manifest.encoder.name == "vectors:24"
    curves = retriever.bundle.manifest.learned["training"]
    assert len(curves["adapter"]["train"]) == 20  # too few users to hold something out
    assert set(curves["adapter"]["search_recall@10"]) == {"text", "image", "blurred"}
    for found in curves["adapter"]["search_recall@10"].values():
        assert found["adapter"] >= found["frozen"] - 0.01
    assert len(curves["reranker"]["train"]) == HeadConfig().epochs_for(32)
    recommended = retriever.rerank(retriever.recommend([ids[:5]], k=10), k=3)
    assert not set(ids[:5]) & {hit.item_id for hit in recommended[0]}
    assert retriever.similar_items(ids[:1], k=2)[0][0].item_id != ids[0]


def test_vectors_from_json_lines(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(
        '{"id": "a", "text_vector": [1, 0]}\nbroken\n'
        '{"id": "b", "text_vector": [0.5, 0.5]}\n{"id": "c", "text_vector": [0, 0]}\n'
    )
    bundle = build_bundle(Catalogue.open(tmp_path / "items.jsonl"), load_encoder("vectors:"), tmp_path / "b")
    assert list(bundle.items) == ["a", "b"]
    batch = next(Catalogue.open(tmp_path / "items.jsonl").vectors(9))
    assert batch.problems[Modality.TEXT][2].startswith("vector of zeros: row 3:")


def test_the_command_line_builds_from_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, _ = pairs(6)
    catalogue(tmp_path, item_id=list("abcdef"), text_vector=lists(texts), image_vector=pa.array([[1.0]] * 6))
    arguments = ["build", str(tmp_path / "items.parquet"), "--out", str(tmp_path / "b"), "--encoder", "vectors:24"]
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 1
    assert "they are different spaces" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        cli.main([*arguments, "--vector-column", "text_vector"])
    assert stopped.value.code == 0
    assert Bundle.open(tmp_path / "b").manifest.encoder.name == "vectors:24"
