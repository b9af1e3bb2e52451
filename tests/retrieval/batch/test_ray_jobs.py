"""Jobs that actors of Ray answer leave the folder that jobs of this process leave, whatever is lost on the way."""

import shutil
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.edits.edit import delete
from indexing.errors import CommonspaceWarning, EngineError, InputError
from indexing.runtime.ray_engine import RayEngine
from retrieval import Retriever, compact
from retrieval.batch import BatchConfig, ListedUsers, NeighboursConfig, ParquetFiles, run_job, write_neighbours
from retrieval.batch.answering import answers_by_actors
from retrieval.batch.retriever_actors import OpenedBundle, RetrieverActor
from retrieval.candidates import Candidates
from retrieval.retriever.fallback.fill_short_lists import FallbackWarning
from tests.cli_run import runner
from tests.ray_cluster import NODE
from tests.retrieval.batch.shop import SCHEMA, assert_same, users, written

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

CONFIG = BatchConfig(k=3, depth=9, chunk=4)
USERS = 30  # eight parts
TWO = RayEngine(actors=2)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users, one of whom has no name, and one a history that is not in the bundle."""
    lines = users(USERS).to_pylist()
    lines[5]["user_id"], lines[9]["history"], lines[9]["weights"] = None, ["jug"], [1.0]
    return written(pa.Table.from_pylist(lines, SCHEMA), tmp_path_factory.mktemp("users") / "users.parquet", 5)


def files(out: Path) -> dict[str, bytes]:
    """Every file that answers are in, with its bytes."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.parquet"))}


def assert_alike(found: Path, expected: Path) -> None:
    """The same parts with the same lists; scores but for rounding, as BLAS may have other threads in an actor."""
    assert files(found).keys() == files(expected).keys()
    for name in files(expected):
        if name.startswith("_quarantine"):
            assert pq.read_table(found / name).equals(pq.read_table(expected / name))
        else:
            assert_same(pq.read_table(found / name), pq.read_table(expected / name))


@pytest.mark.slow
@pytest.mark.parametrize("given", [False, True], ids=["recommend", "rerank"])
def test_the_folder_is_that_of_this_process(
    given: bool, cluster: "Cluster", retriever: Retriever, path: Path, tmp_path: Path
) -> None:
    source = ListedUsers(ParquetFiles(path), retriever, given=given)
    local = run_job(retriever, source, tmp_path / "local", CONFIG)
    report = run_job(retriever, source, tmp_path / "ray", CONFIG, engine=TWO)
    assert_alike(tmp_path / "ray", tmp_path / "local")
    assert report.parts == 8
    plain = {"seconds": 0.0, "users_per_second": 0.0}
    assert {**report.to_json(), **plain} == {**local.to_json(), **plain}
    again = run_job(retriever, source, tmp_path / "ray", CONFIG)  # which is the same job, and finished
    assert again.resumed == report.parts


@pytest.mark.slow
def test_changes_pinned_generations_and_what_was_not_learned_are_seen(
    cluster: "Cluster", changed: Retriever, path: Path, tmp_path: Path
) -> None:
    plain = Retriever.open(changed.bundle.root, learned=False)
    pinned = Retriever.open(changed.bundle.root, generation=changed.bundle.state.generation)
    for number, retriever in enumerate((changed, plain, pinned)):
        source, folder = ListedUsers(ParquetFiles(path), retriever), tmp_path / str(number)
        said: list[set[str]] = []
        for name, engine in (("local", None), ("ray", RayEngine(actors=1))):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                run_job(retriever, source, folder / name, CONFIG, engine=engine)
            said.append({str(one.message) for one in caught if one.category is FallbackWarning})
        assert_alike(folder / "ray", folder / "local")
        assert said[0] == said[1]
        assert bool(said[0]) == (retriever is plain)
    assert files(tmp_path / "0" / "local") != files(tmp_path / "1" / "local")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["", ".parquet"], ids=["folder", "file"])
def test_neighbours_are_those_of_this_process(
    form: str, cluster: "Cluster", changed: Retriever, tmp_path: Path
) -> None:
    config = NeighboursConfig(k=3, by="both", chunk=4)
    local, found = tmp_path / f"local{form}", tmp_path / f"ray{form}"
    expected = write_neighbours(changed, local, config)
    report = write_neighbours(changed, found, config, engine=TWO)
    assert (report.users, report.answers, report.parts) == (expected.users, expected.answers, expected.parts)
    one, other = pq.read_table(found), pq.read_table(local)
    for name in ("item_id", "neighbour", "rank"):
        assert one[name].to_pylist() == other[name].to_pylist()


@pytest.mark.slow
def test_a_node_that_is_lost_on_the_way_changes_nothing(
    cluster: "Cluster", retriever: Retriever, path: Path, tmp_path: Path
) -> None:
    source, config = ListedUsers(ParquetFiles(path), retriever), replace(CONFIG, chunk=1)
    run_job(retriever, source, tmp_path / "local", config)
    node = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    lost: list[int] = []

    def progress(lines: int, _users: int, _quarantined: int) -> None:
        if not lost:
            cluster.remove_node(node, allow_graceful=False)
        lost.append(lines)

    run_job(retriever, source, tmp_path / "ray", config, progress=progress, engine=RayEngine(actors=4))
    assert_alike(tmp_path / "ray", tmp_path / "local")


@pytest.mark.slow
def test_actors_answer_from_the_state_of_the_driver_or_are_refused(
    cluster: "Cluster", retriever: Retriever, bundle: Path, path: Path, tmp_path: Path
) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    before = Retriever.open(tmp_path / "bundle")
    source = ListedUsers(ParquetFiles(path), before)
    run_job(before, source, tmp_path / "local", CONFIG)
    delete(tmp_path / "bundle", ["red-mug"])
    opened = Retriever.open(tmp_path / "bundle")
    run_job(before, source, tmp_path / "changed", CONFIG, engine=TWO)  # where actors see a change more
    assert_alike(tmp_path / "changed", tmp_path / "local")
    compact(tmp_path / "bundle")
    run_job(before, source, tmp_path / "compacted", CONFIG, engine=TWO)  # and here another generation
    assert_alike(tmp_path / "compacted", tmp_path / "local")
    shutil.rmtree(tmp_path / "bundle")
    shutil.copytree(bundle, tmp_path / "bundle")
    source = ListedUsers(ParquetFiles(path), opened)
    with pytest.raises(EngineError, match=r"sees gen-\S+ of .* with 0 changes, the driver gen-\S+ with 1: nodes have"):
        run_job(opened, source, tmp_path / "out", CONFIG, engine=TWO)
    shutil.rmtree(tmp_path / "bundle")
    with pytest.raises(EngineError, match=r"cannot open the bundle .*keep it on a file system that all nodes share"):
        run_job(opened, source, tmp_path / "out", CONFIG, engine=TWO)
    run_job(opened, source, tmp_path / "out", CONFIG)  # which nothing was written to


def test_warnings_of_actors_are_given_by_the_driver_too(retriever: Retriever, monkeypatch: pytest.MonkeyPatch) -> None:
    def warned(_retriever: Retriever, users: object) -> pa.Table:
        warnings.warn("half of them are odd", CommonspaceWarning, stacklevel=1)
        return pa.table({"users": [users]})

    actor = RetrieverActor(OpenedBundle.of(retriever.bundle))
    actor.ready()
    table, said = actor.answer(warned, (3,))
    assert table["users"].to_pylist() == [3]
    assert said == [(CommonspaceWarning, "half of them are odd")]


def test_what_actors_cannot_have_is_refused(retriever: Retriever, path: Path, tmp_path: Path) -> None:
    source = ListedUsers(ParquetFiles(path), retriever)

    def first(found: Candidates) -> Candidates:
        return found

    with pytest.raises(InputError, match="steps are functions of this process"):
        run_job(retriever, source, tmp_path / "out", CONFIG, steps=[first], engine=TWO)
    with pytest.raises(InputError, match="gpus is 1, and answering takes none"):
        next(answers_by_actors(retriever, source, CONFIG, RayEngine(gpus=1)))


@pytest.mark.slow
def test_the_command_line_answers_with_ray(
    cluster: "Cluster", bundle: Path, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runner(capsys)
    job, ray = ("recommend", bundle, "--users", path, "-k", 3, "--chunk-size", 4), ("--engine", "ray", "--actors", 1)
    for out in ("answers", "answers.parquet"):
        assert run(*job, "--out", tmp_path / "local" / out)[0] == 0
        assert run(*job, "--out", tmp_path / "ray" / out, *ray)[0] == 0
        assert_same(pq.read_table(tmp_path / "ray" / out), pq.read_table(tmp_path / "local" / out))
    every = ("similar", bundle, "--all", "-k", 3)
    assert run(*every, "--out", tmp_path / "local.parquet")[0] == 0
    assert run(*every, "--out", tmp_path / "ray.parquet", *ray)[0] == 0
    assert pq.read_table(tmp_path / "ray.parquet")["neighbour"].to_pylist() == (
        pq.read_table(tmp_path / "local.parquet")["neighbour"].to_pylist()
    )


def test_actors_are_for_jobs(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runner(capsys)
    refused: list[tuple[Sequence[object], str]] = [
        (("recommend", bundle, "--history", "red-mug", "--engine", "ray"), "--engine ray is for jobs"),
        (("similar", bundle, "red-mug", "--engine", "ray"), "give --all"),
        (("recommend", bundle, "--history", "red-mug", "--actors", "2"), "are of --engine ray: give that too"),
    ]
    for arguments, words in refused:
        code, _, said = run(*arguments)
        assert (code, words in said) == (2, True), said
