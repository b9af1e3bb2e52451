"""Queries that are given to a build: the index is tuned on them, and keeps its promise to others like them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from indexing.arrays import Vectors, unit
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import add
from indexing.encoders import load_encoder
from indexing.errors import DamagedFileError, InputError
from indexing.index import FlatIndex, IndexConfig
from indexing.index.tuning.recall import recall
from indexing.index.tuning.sample_queries import MIN_QUERIES, SAMPLE_QUERIES
from retrieval import Retriever, compact
from retrieval.cli import app
from retrieval.retriever.index_status import UnmeasuredQueriesWarning
from tests.toy import DIM as TOY_DIM
from tests.toy import ToyEncoder, picture

ITEMS, DIM = 4000, 32
LISTS = IndexConfig(kind="ivf", min_recall=0.9, sample=400)


def pictures(count: int, seed: int) -> Vectors:
    """Vectors in clusters: the lists of near ones hold their neighbours."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(200, DIM))
    return unit((centres[rng.integers(0, 200, count)] + 0.25 * rng.normal(size=(count, DIM))).astype(np.float32))


def texts(count: int, seed: int) -> Vectors:
    """Vectors that lie apart from all clusters: their neighbours are in many lists."""
    rng = np.random.default_rng(seed)
    return unit((np.full(DIM, 0.4) + rng.normal(size=(count, DIM))).astype(np.float32))


def table(vectors: Vectors, first: int = 0) -> pa.Table:
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM)
    return pa.table({"item_id": [f"i{first + n}" for n in range(len(vectors))], "image_vector": column})


def built(folder: Path, queries: Any = None, config: IndexConfig = LISTS) -> Bundle:  # noqa: ANN401 - also wrong ones
    return build_bundle(table(pictures(ITEMS, 0)), "vectors:", folder, index=config, queries=queries)


def recall_of_texts(folder: Path, seed: int = 7) -> float:
    """What share of the exact best other texts find, asked as texts where the bundle knows such."""
    retriever = Retriever.load(folder)
    asked = texts(500, seed)
    kind = "text" if "text" in retriever.bundle.manifest.index["recall"] else None
    return recall(retriever.index, FlatIndex(np.asarray(retriever.vectors)), asked, 10, kind=kind)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "bundle"
    built(folder, {"text": 3 * texts(600, 1)})
    return folder


def test_other_texts_find_what_is_promised_where_some_were_given(tuned: Path, tmp_path: Path) -> None:
    assert "text" not in built(tmp_path / "plain").manifest.index["recall"]
    assert recall_of_texts(tmp_path / "plain") < 0.7
    index = Bundle.open(tuned).manifest.index
    assert index["recall_bound"]["text"] >= 0.9
    assert index["efforts"]["text"]["lists"] > 2 * index["efforts"]["item"]["lists"]
    assert recall_of_texts(tuned) >= 0.9
    found = Retriever.load(tuned).search_vectors(texts(3, 2), 5, modality="text")
    assert found.rows.shape == (3, 5)


def test_drawn_queries_are_kept_and_used_again(tuned: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(tuned)
    kept = bundle.generation.sample_queries["text"]
    given = texts(600, 1)
    drawn = np.sort(np.random.default_rng(0).permutation(600)[:400])
    np.testing.assert_allclose(kept, given[drawn], atol=1e-6)
    add(tuned, table(pictures(40, 3), ITEMS), load_encoder("vectors:"))
    folded = compact(tuned)
    np.testing.assert_array_equal(folded.generation.sample_queries["text"], kept)
    assert folded.manifest.index["recall_bound"]["text"] >= 0.9
    again = build_bundle(table(pictures(ITEMS, 0)), "vectors:", tuned, index=LISTS)
    np.testing.assert_array_equal(again.generation.sample_queries["text"], kept)
    assert again.manifest.index["recall_bound"]["text"] >= 0.9
    none = build_bundle(table(pictures(ITEMS, 0)), "vectors:", tuned, index=LISTS, queries={})
    assert not none.generation.sample_queries
    assert "text" not in none.manifest.index["recall"]


def test_shards_are_tuned_on_them_too(tmp_path: Path) -> None:
    sharded = IndexConfig(kind="sharded", min_recall=0.9, sample=400, max_memory="64M")
    assert built(tmp_path / "bundle", {"text": texts(400, 1)}, sharded).manifest.index["recall_bound"]["text"] >= 0.9
    assert recall_of_texts(tmp_path / "bundle") >= 0.9


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ([1.0], r"queries are \[1.0\] of type list; give them by kind"),
        ({"texts": texts(100, 0)}, r"the kind of queries is 'texts'"),
        ({"text": texts(MIN_QUERIES - 1, 0)}, r"queries of kind 'text' are 99; give 100 or more, better 500"),
        ({"text": texts(100, 0)[:, :-1]}, r"queries of kind 'text' have shape \(100, 31\), expected \(N, 32\)"),
        ({"text": np.zeros((100, DIM), np.float32)}, r"queries of kind 'text' are all zero at rows"),
        (
            {"image": ["red mug"] * 100},
            r"queries of kind 'image' are a list; give \(n, 32\) vectors, or a list of texts",
        ),
        ({"text": [1] * 100}, r"queries of kind 'text' are a list; give"),
    ],
)
def test_what_are_no_queries_is_refused_before_anything_is_built(
    queries: Any,  # noqa: ANN401 - of all kinds
    message: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match=message):
        built(tmp_path / "bundle", queries)
    assert not (tmp_path / "bundle").exists()


def test_a_damaged_sample_is_named(tuned: Path, tmp_path: Path) -> None:
    bundle = built(tmp_path / "bundle", {"text": texts(100, 1)})
    path = bundle.folder / SAMPLE_QUERIES
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DamagedFileError, match=r"sample_queries\.safetensors"):
        Retriever.load(tmp_path / "bundle")


def catalogue_of_pictures(folder: Path) -> Path:
    folder.mkdir()
    for number in range(60):
        (folder / f"{number}.png").write_bytes(picture("red", 8 + number))
    return folder


def test_texts_that_were_not_measured_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from indexing import Catalogue

    source = Catalogue.open(catalogue_of_pictures(tmp_path / "pictures"))
    build_bundle(source, ToyEncoder(), tmp_path / "plain", index=IndexConfig(kind="ivf"))
    with pytest.warns(UnmeasuredQueriesWarning, match="recall of texts is not known: none was asked"):
        Retriever.load(tmp_path / "plain", encoder=ToyEncoder()).search_texts(["red mug"])
    words = [f"{colour} mug {number}" for number in range(40) for colour in ("red", "green", "blue")]
    build_bundle(source, ToyEncoder(), tmp_path / "tuned", index=IndexConfig(kind="ivf"), queries={"text": words})
    tuned = Retriever.load(tmp_path / "tuned", encoder=ToyEncoder())
    tuned.search_texts(["red mug"])  # warns of nothing
    assert tuned.bundle.generation.sample_queries["text"].shape == (120, TOY_DIM)
    np.testing.assert_allclose(
        tuned.bundle.generation.sample_queries["text"], ToyEncoder().encode_texts(words), atol=1e-6
    )


def test_the_command_line_takes_a_file_of_texts_or_vectors(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table(pictures(200, 0)), tmp_path / "items.parquet")
    np.save(tmp_path / "queries.npy", texts(100, 1))
    (tmp_path / "queries.txt").write_text("red mug\n\n" * 100, encoding="utf-8")
    command = ["build", str(tmp_path / "items.parquet"), "--encoder", "vectors:", "--index", "ivf", "--out"]
    result = CliRunner().invoke(app, [*command, str(tmp_path / "plain")])
    assert "not promised" in result.output
    sampled = ["--sample-queries", str(tmp_path / "queries.npy")]
    result = CliRunner().invoke(app, [*command, str(tmp_path / "tuned"), *sampled])
    assert result.exit_code == 0, result.output
    assert "not promised" not in result.output
    assert Bundle.open(tmp_path / "tuned").generation.sample_queries["text"].shape == (100, DIM)
    result = CliRunner().invoke(
        app, [*command, str(tmp_path / "no"), "--sample-queries", str(tmp_path / "queries.txt")]
    )
    assert "cannot embed 100 texts" in str(result.exception)
    result = CliRunner().invoke(app, [*command, str(tmp_path / "no"), "--sample-queries", str(tmp_path / "none.txt")])
    assert "there is no such file" in str(result.exception)
    (tmp_path / "log.csv").write_text("query,clicks\n" * 100, encoding="utf-8")  # whose lines are no texts
    result = CliRunner().invoke(app, [*command, str(tmp_path / "no"), "--sample-queries", str(tmp_path / "log.csv")])
    assert "ends in '.csv'; queries are read from .txt" in str(result.exception)
