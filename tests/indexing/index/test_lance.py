"""A table of LanceDB: filters, rows that come and go, recall after that, and what is no such table."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from indexing.arrays import Vectors, unit
from indexing.errors import DamagedFileError, FilterError, InputError, MissingExtraError
from indexing.filesystem import fsops
from indexing.index import FlatIndex, IndexConfig, Queries, build_index, load_index
from indexing.index.backends import build_lance as building
from indexing.index.backends import lance
from indexing.index.backends.build_lance import build_lance
from indexing.index.backends.lance import LanceIndex
from indexing.index.backends.lance_table import Contents, copy_table, table_files
from indexing.index.config import SearchParams, SearchParamsByKind
from indexing.index.tuning.families import LANCE, LANCE_LISTS, shortlist
from tests.agree import assert_lists_agree
from tests.indexing.index.test_ivf import clustered

COUNT, DIM = 3000, 18
CONFIG = IndexConfig(kind="lancedb", sample=60)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return clustered(COUNT, 0, DIM)


@pytest.fixture(scope="module")
def queries() -> Vectors:
    lengths = np.random.default_rng(5).uniform(0.01, 300, (60, 1)).astype(np.float32)
    return clustered(60, 1, DIM) * lengths


@pytest.fixture(scope="module")
def built(vectors: Vectors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lance") / "index.bin"
    build_lance(vectors, path)
    return path


def found_share(index: LanceIndex, vectors: Vectors, queries: Vectors, allow: np.ndarray | None = None) -> float:
    exact = FlatIndex(vectors).search(queries, 10, allow)[0][:, -1:]
    rows = index.search(queries, 10, allow)[1]
    own = np.take_along_axis(queries @ vectors.T, rows, axis=1)
    return float((own >= exact - 1e-5 * np.abs(exact)).mean())


def test_codes_find_what_they_should_and_more_candidates_find_more(
    built: Path, vectors: Vectors, queries: Vectors
) -> None:
    index = LanceIndex.load(built)
    assert (index.kind, len(index), index.dim, index.lists) == ("lancedb-ivf", COUNT, DIM, 1)
    shares = [
        found_share(index.with_efforts(SearchParamsByKind(default=SearchParams(1, few))), vectors, queries)
        for few in (10, 50, 400)
    ]
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.97
    np.testing.assert_array_equal(index.vectors, vectors)


def test_scores_are_inner_products_whatever_the_length_of_a_query(
    built: Path, vectors: Vectors, queries: Vectors
) -> None:
    index = LanceIndex.load(built).with_efforts(SearchParamsByKind(default=SearchParams(1, 200)))
    scores, rows = index.search(queries, 10)
    own = np.take_along_axis(queries.astype(np.float64) @ vectors.T.astype(np.float64), rows, axis=1)
    np.testing.assert_allclose(
        scores / np.linalg.norm(queries, axis=1, keepdims=True),
        own / np.linalg.norm(queries, axis=1, keepdims=True),
        atol=1e-6,
    )
    huge, tiny = index.search(1e30 * unit(queries), 10), index.search(1e-30 * unit(queries), 10)
    np.testing.assert_array_equal(huge[1], tiny[1])


@pytest.mark.parametrize("share", [0.9, 0.4, 0.05])
def test_masks_are_obeyed_by_searches_of_codes(
    built: Path, vectors: Vectors, queries: Vectors, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lance, "FILTER_OVERHEAD_ROWS", -(10**9))  # or else so few rows were all scored
    index = LanceIndex.load(built).with_efforts(SearchParamsByKind(default=SearchParams(1, 100)))
    allow = np.random.default_rng(3).random(COUNT) < share
    rows = index.search(queries, 10, allow)[1]
    assert allow[rows].all()
    assert all(len(set(line)) == 10 for line in rows.tolist())
    assert found_share(index, vectors, queries, allow) > 0.95


def test_masks_that_go_with_the_vectors_leave_no_list_short(
    built: Path, vectors: Vectors, queries: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = LanceIndex.load(built).with_efforts(SearchParamsByKind(default=SearchParams(1, 50)))
    query = queries[:1]
    allow = np.ones(COUNT, np.bool_)
    allow[np.argsort(-(query @ vectors.T)[0])[: COUNT // 2]] = False  # the nearest half
    monkeypatch.setattr(lance, "FILTER_OVERHEAD_ROWS", -(10**9))
    answers = index.search(query, 10, allow)
    assert_lists_agree(answers, FlatIndex(vectors).search(query, 10, allow), rtol=1e-5)


def test_conditions_in_sql_give_what_masks_give(built: Path, queries: Vectors) -> None:
    index = LanceIndex.load(built)
    for condition, allow in (("row_key % 3 = 0", np.arange(COUNT) % 3 == 0), ("row_key < 7", np.arange(COUNT) < 7)):
        answers = index.search_where(queries, 10, condition)
        assert_lists_agree(answers, index.search(queries, 10, allow), rtol=1e-5, atol=1e-4)
    assert (index.search_where(queries, 3, "row_key < 0")[1] == -1).all()
    with pytest.raises(FilterError, match=r"'colour = 1' is no condition over \[\]"):
        index.search_where(queries, 3, "colour = 1")


def changed(vectors: Vectors, count: int) -> Vectors:
    """Without so many rows, and with as many others after the last."""
    return np.concatenate([np.delete(vectors, np.arange(0, 3 * count, 3), axis=0), clustered(count, 9, DIM)])


def test_rows_that_stay_are_kept_and_those_that_come_are_found(
    built: Path, vectors: Vectors, tmp_path: Path, queries: Vectors
) -> None:
    path, before = tmp_path / "index.bin", {file: fsops.sha256(file) for file in table_files(built)}
    copy_table(built, path, fsops.link_or_copy)
    fsops.copy(built, path)
    now = changed(vectors, 100)
    index = build_lance(now, path)
    assert (len(index), index.contents.trained) == (COUNT, COUNT)
    assert index.contents.version > LanceIndex.load(built).contents.version
    shared = {file.stat().st_ino for file in table_files(built)} & {file.stat().st_ino for file in table_files(path)}
    assert len(shared) >= 3  # its vectors, lists and codes
    np.testing.assert_array_equal(index.vectors, now)
    own = index.with_efforts(SearchParamsByKind(default=SearchParams(1, 100))).search(now[-100:], 1)[1]
    np.testing.assert_array_equal(own[:, 0], np.arange(COUNT - 100, COUNT))
    assert {file: fsops.sha256(file) for file in table_files(built)} == before  # nothing wrote into what is linked
    np.testing.assert_array_equal(LanceIndex.load(built).vectors, vectors)  # the version before, as it was
    loaded = LanceIndex.load(path)
    assert_lists_agree(loaded.search(queries, 10), FlatIndex(now).search(queries, 10), rtol=1e-5)


def test_where_much_changed_lists_and_codes_are_made_anew(built: Path, vectors: Vectors, tmp_path: Path) -> None:
    path = tmp_path / "index.bin"
    copy_table(built, path, fsops.link_or_copy)
    fsops.copy(built, path)
    now = changed(vectors, 500)[50:]
    index = build_lance(now, path)
    assert (len(index), index.contents.trained) == (COUNT - 50, COUNT - 50)
    np.testing.assert_array_equal(index.vectors, now)
    assert not {file.stat().st_ino for file in table_files(built)} & {file.stat().st_ino for file in table_files(path)}


def test_rows_that_came_elsewhere_are_found_before_they_are_in_the_lists(
    built: Path, vectors: Vectors, tmp_path: Path
) -> None:
    import lancedb

    path = tmp_path / "index.bin"
    LanceIndex.load(built).save(path)
    table = lancedb.connect(str(tmp_path)).open_table("index.bin")
    added = clustered(40, 8, DIM)
    table.add(building._batches(added, None, np.zeros(40, np.int64), COUNT))
    assert table.index_stats("vector_idx").num_unindexed_rows == 40
    contents = Contents(COUNT + 40, DIM, int(table.version), 1, COUNT)
    index = LanceIndex(table, contents).with_efforts(SearchParamsByKind(default=SearchParams(1, 50)))
    np.testing.assert_array_equal(index.search(added, 1)[1][:, 0], np.arange(COUNT, COUNT + 40))
    assert not building._is_whole(table, contents)
    with pytest.raises(DamagedFileError, match="holds 3040 rows, expected 3000"):
        LanceIndex(table, LanceIndex.load(path).contents)


def test_the_promise_is_measured_again_after_rows_came(vectors: Vectors, tmp_path: Path) -> None:
    asked = {"text": Queries(clustered(60, 4, DIM)), "item": Queries(vectors[:60], np.arange(60))}
    path = tmp_path / "index.bin"
    for now in (vectors, changed(vectors, 120)):
        index, report = build_index(now, CONFIG, asked, path)
        assert (report.kind, report.family, report.target_met) == ("lancedb-ivf", "lancedb rq2 + fp32", True)
        assert index.kind == report.kind
        loaded = load_index(path, report.kind, report.efforts)
        checking = asked["text"].vectors[1::2]  # those that did not choose
        exact = FlatIndex(now).search(checking, 10)[0][:, -1:]
        rows = loaded.search(checking, 10, kind="text")[1]
        own = np.take_along_axis(checking @ now.T, rows, axis=1)
        assert (own >= exact - 1e-5).mean() == pytest.approx(report.recall["text"], abs=1e-3)
    assert LanceIndex.load(path).contents.trained == COUNT  # the lists of the first are extended


def test_a_goal_that_codes_miss_is_met_by_an_exact_search(vectors: Vectors, tmp_path: Path) -> None:
    config = IndexConfig(kind="lancedb", sample=60, min_recall=1.0)
    few = vectors[:2100]
    _, report = build_index(few, config, {"text": clustered(60, 4, DIM)}, tmp_path / "index.bin")
    assert report.recall == {"text": 1.0}
    assert report.target_met


def test_the_short_list_says_what_is_built() -> None:
    assert shortlist(CONFIG, 1999, DIM) == [LANCE]
    assert shortlist(CONFIG, 2000, DIM) == [LANCE_LISTS]
    assert LANCE_LISTS.estimated_bytes(10**6, 512, 16) == 10**6 * 152
    with pytest.raises(InputError, match="kind 'lancedb' is built in files"):
        build_index(clustered(50, 0, DIM), CONFIG, {})


def test_an_index_that_is_moved_while_it_is_open_answers_on(built: Path, tmp_path: Path, queries: Vectors) -> None:
    (tmp_path / "staged").mkdir()
    LanceIndex.load(built).save(tmp_path / "staged" / "index.bin")
    index = load_index(tmp_path / "staged" / "index.bin", "lancedb-ivf", moved=tmp_path / "named" / "index.bin")
    before = index.search(queries, 5)
    (tmp_path / "staged").rename(tmp_path / "named")
    for own, other in zip(index.search(queries, 5), before, strict=True):
        np.testing.assert_array_equal(own, other)
    for file in (tmp_path / "named" / "index.bin.lance" / "data").iterdir():
        file.unlink()
    with pytest.raises(DamagedFileError, match="cannot be read"):
        load_index(tmp_path / "named" / "index.bin", "lancedb-ivf").search(queries, 5)


def test_what_is_no_table_is_refused(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "index.bin"
    with pytest.raises(DamagedFileError, match=r"index\.bin cannot be read"):
        LanceIndex.load(path)
    for broken in (b"{}", b"[1]", b'{"effort": {}, "rows": 1, "dim": 0, "version": 1, "lists": 0, "trained": 1}'):
        path.write_bytes(broken)
        with pytest.raises(DamagedFileError, match=r"index\.bin cannot be read"):
            LanceIndex.load(path)
    path.write_bytes(built.read_bytes())  # without a table beside it
    with pytest.raises(DamagedFileError, match="was not found"):
        LanceIndex.load(path)
    copy_table(built, path, fsops.copy)
    path.write_text(json.dumps(json.loads(built.read_text()) | {"version": 99}))
    with pytest.raises(DamagedFileError, match="99 no longer exists"):
        LanceIndex.load(path)


def test_lancedb_is_imported_by_nobody_else_and_named_when_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vectors: Vectors
) -> None:
    code = (
        "import sys, numpy as np\n"
        "from indexing.index import IndexConfig, build_index\n"
        "vectors = np.random.default_rng(0).normal(size=(300, 8)).astype('float32')\n"
        "build_index(vectors, IndexConfig(sample=20), {'text': vectors[:5]})\n"
        "import retrieval, indexing.exchange, retrieval.cli.commands.build\n"
        "sys.exit('lancedb' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(MissingExtraError, match=r'lancedb cannot be imported: pip install "\.\[lancedb\]"'):
        build_lance(vectors, tmp_path / "index.bin")
