"""Every flipped bit is found, and what is a cache is made again from what is not."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.current import CURRENT
from indexing.bundle.edits.edit import add, delete, upsert
from indexing.bundle.generation import KEPT_HINT, generations
from indexing.bundle.maintenance.rollback import rollback
from indexing.bundle.maintenance.verify import KEPT_LOG_HINT, verify
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import BundleError, DamagedFileError
from retrieval.retriever.learned_parts import compact, repair
from retrieval.retriever.retriever import Retriever
from tests.toy import ToyEncoder, dearer_file, toy_table

FLIPS = 200


@pytest.fixture(scope="module")
def edited(toy_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two generations, and two changes since."""
    folder = tmp_path_factory.mktemp("edited")
    root = folder / "bundle"
    shutil.copytree(toy_bundle, root)
    upsert(root, Catalogue.from_parquet(dearer_file(folder)), ToyEncoder())
    compact(root)
    delete(root, ["red-mug"])
    delete(root, ["red-shoe"])
    return root


@pytest.fixture
def root(edited: Path, tmp_path: Path) -> Path:
    shutil.copytree(edited, tmp_path / "bundle")
    return tmp_path / "bundle"


def answers(root: Path) -> list[tuple[str, ...]]:
    found = Retriever.load(root, ToyEncoder()).search_texts(["red book", "blue", "white chair"], 30)
    return [tuple(hit.item_id for hit in line) for line in found]


def test_a_whole_bundle_has_no_problem_and_is_not_repaired(root: Path) -> None:
    names: list[str] = []
    assert verify(root, names.append) == []
    assert len(names) == len(set(names)) > 10
    report = repair(root)
    assert (report.done, report.left) == ((), ())
    with pytest.raises(BundleError, match="holds no bundle"):
        verify(root.parent / "nothing")


def test_every_flipped_bit_of_every_file_is_found(root: Path) -> None:
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.stat().st_size]
    rng = np.random.default_rng(0)
    seen = set()
    for number in range(FLIPS):
        path = files[number % len(files)]
        whole = path.read_bytes()
        bit = int(rng.integers(0, 8 * len(whole)))
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        problems = verify(root)
        assert any(str(path.relative_to(root)) == problem.path for problem in problems), (path, bit, problems)
        assert all(problem.hint for problem in problems)
        seen.add(path)
        path.write_bytes(whole)
    assert len(seen) == len(files)
    assert verify(root) == []


def test_a_damaged_index_is_built_again_and_answers_the_same(root: Path) -> None:
    before = answers(root)
    old = Bundle.open(root)
    (old.folder / "index.bin").write_bytes(b"damage")
    report = repair(root)
    assert report.done == (f"the index was built again from the vectors, into {generations(root)[-1]}",)
    assert [problem.path for problem in report.left] == [f"{old.manifest.generation}/index.bin"]
    assert not report.left[0].serving
    assert answers(root) == before
    assert [batch.number for batch in Bundle.open(root).batches] == [2, 3]


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_current_names_the_newest_whole_generation_again(root: Path, damage: bytes | None) -> None:
    before, state = answers(root), Bundle.open(root).state
    (root / CURRENT).unlink() if damage is None else (root / CURRENT).write_bytes(damage)
    report = repair(root)
    assert len(report.done) == 1
    assert report.left == ()
    assert Bundle.open(root).state == state
    assert answers(root) == before


def test_what_cannot_be_repaired_is_named_with_a_way_out(root: Path) -> None:
    bundle = Bundle.open(root)
    (bundle.folder / "attributes.arrow").unlink()
    report = repair(root)
    assert report.done == ()
    assert [problem.path for problem in report.left] == [f"{bundle.manifest.generation}/attributes.arrow"]
    assert "rollback" in report.left[0].hint


def test_of_a_kept_generation_nothing_is_promised_that_repair_does_not_do(root: Path) -> None:
    kept, current = generations(root)
    before = answers(root)
    for name in ("index.bin", "frozen/text.npy", "attributes.arrow"):
        path = root / kept / name
        whole = path.read_bytes()
        path.unlink()  # it may be a link
        path.write_bytes(bytes(len(whole)))
        report = repair(root)
        assert report.done == ()
        assert [(left.path, left.hint, left.serving) for left in report.left] == [(f"{kept}/{name}", KEPT_HINT, False)]
        with pytest.raises(
            DamagedFileError, match=rf"{path.name} is damaged.*; the current state does not need it"
        ) as error:
            Bundle.open(root, generation=kept)
        assert "try `commonspace repair`" not in str(error.value)
        path.unlink()
        path.write_bytes(whole)
    assert answers(root) == before
    assert Bundle.open(root, generation=current).manifest.generation == current


def test_what_is_damaged_of_a_kept_generation_and_of_its_changes_goes_with_it(root: Path) -> None:
    kept = generations(root)[0]
    last = max((root / "log").iterdir())
    for path in (root / kept / "index.bin", last):
        path.write_bytes(b"damage")
    repair(root, drop_changes=True)
    assert {left.hint for left in verify(root)} == {KEPT_HINT, KEPT_LOG_HINT}
    for name in ("blue-mug", "red-shoe", "blue-shoe"):
        delete(root, [name])
        compact(root)
    assert verify(root) == []


def test_a_build_takes_over_the_shards_that_are_whole(toy_bundle: Path, tmp_path: Path) -> None:
    root, items = tmp_path / "bundle", toy_table()
    shutil.copytree(toy_bundle, root)
    twins = items.slice(0, 3)
    twins = twins.set_column(0, "item_id", pa.array(["one", "two", "three"]))
    twins = twins.set_column(1, "title", pa.array(["a first pot", "a second pot", "a third pot"]))
    add(root, Catalogue.from_arrow(twins), ToyEncoder())
    compact(root)
    _, second = Bundle.open(root).generation.shards
    content = second.read_bytes()
    second.unlink()  # it may be a link
    second.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (problem,) = [problem for problem in repair(root).left if problem.serving]
    assert problem.path.endswith(f"store/{second.name}")
    assert problem.hint.startswith("put it back from a copy, or build (and fit) again")
    assert "repair" not in problem.message
    encoder = ToyEncoder()
    build_bundle(Catalogue.from_arrow(pa.concat_tables([items, twins])), encoder, root)
    assert sorted({*encoder.encoded} & {*items["title"].to_pylist(), *twins["title"].to_pylist()}) == [
        "a first pot", "a second pot", "a third pot",
    ]  # fmt: skip
    assert not [problem for problem in verify(root) if problem.serving]
    assert Retriever.open(root, ToyEncoder()).search_texts(["a second pot"], 1)[0][0].item_id == "two"


def test_changes_are_given_up_only_when_asked_to(root: Path) -> None:
    last = max((root / "log").iterdir())
    last.write_bytes(last.read_bytes()[:-1])
    report = repair(root)
    assert report.done == ()
    assert [(problem.path, problem.serving) for problem in report.left] == [(f"log/{last.name}", True)]
    report = repair(root, drop_changes=True)
    assert report.done == ("the changes from number 3 to 3 are given up",)
    (left,) = report.left
    assert (left.path, left.serving, left.hint) == (f"log/{last.name}", False, KEPT_LOG_HINT)
    assert repair(root, drop_changes=True).done == ()
    assert "red-mug" not in Bundle.open(root).items
    assert "red-shoe" in Bundle.open(root).items
    assert delete(root, ["blue-mug"]).batch == 4
    assert "blue-mug" not in Bundle.open(root).items


def test_readers_of_changes_that_were_given_up_see_what_came_instead(root: Path) -> None:
    reader = Retriever.load(root, ToyEncoder())
    before = Retriever.load(root, ToyEncoder())
    last = max((root / "log").iterdir())
    last.write_bytes(last.read_bytes()[:-1])
    repair(root, drop_changes=True)
    upsert(root, jsonl(root, '{"item_id": "kite", "title": "green kite"}'), ToyEncoder())
    for each in (reader, before):
        hits = each.latest().search_texts(["green kite"], 30)[0]
        assert hits[0].item_id == "kite"
        assert {"red-shoe", "kite"} <= {hit.item_id for hit in hits}


def jsonl(root: Path, text: str) -> Catalogue:
    (root.parent / "more.jsonl").write_text(text)
    return Catalogue.from_jsonl(root.parent / "more.jsonl")


def test_nothing_is_given_up_unasked_when_current_and_a_change_are_damaged(root: Path) -> None:
    for name in ("CURRENT", "CURRENT.copy"):
        (root / name).write_bytes(b"damage")
    last = max((root / "log").iterdir())
    whole = last.read_bytes()
    last.write_bytes(b"damage")
    report = repair(root)
    assert [line.split(" ")[0] for line in report.done] == ["CURRENT"]
    assert {problem.path for problem in report.left if problem.serving} == {f"log/{last.name}"}
    last.write_bytes(whole)
    assert not {"red-mug", "red-shoe"} & set(Bundle.open(root).items.known(["red-mug", "red-shoe"]))


def test_a_copy_says_what_was_in_force_after_a_rollback(root: Path) -> None:
    state = rollback(root).state
    (root / CURRENT).write_bytes(b"damage")
    assert len(repair(root).done) == 1
    assert Bundle.open(root).state == state
