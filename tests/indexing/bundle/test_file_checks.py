"""Whenever files are compared, damage is found, and nothing is read of a file that is too short."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import generations
from indexing.bundle.maintenance.verify import verify
from indexing.errors import DamagedFileError, InputError
from indexing.filesystem import file_checks, fsops
from indexing.filesystem.checked_files import seal, unseal
from indexing.filesystem.file_checks import CHECKS, Check, FileChecks, FileRecord, shared_outcomes
from retrieval.retriever.learned_parts import repair
from retrieval.retriever.retriever import Retriever
from tests.toy import ToyEncoder

NAMES = ["attributes.arrow", "content_sum.npy", "frozen/image.npy", "frozen/text.npy", "frozen/text.exists.npy"]


def flip(path: Path, at: float = 0.6) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 4
    path.write_bytes(data)


def asked(retriever: Retriever) -> list[tuple[str, ...]]:
    searched = retriever.search_texts(["red book", "blue chair"], 5)
    similar = retriever.similar_items(["red-mug"], 5)
    recommended = retriever.recommend([["red-mug", "blue-mug"]], 5)
    return [tuple(hit.item_id for hit in hits) for found in (searched, similar, recommended) for hits in found]


@pytest.mark.parametrize("check", CHECKS)
def test_answers_are_the_same_and_progress_is_told(toy_bundle: Path, check: Check) -> None:
    retriever = Retriever.open(toy_bundle, ToyEncoder(), check=check)
    assert asked(retriever) == asked(Retriever.open(toy_bundle, ToyEncoder()))
    checks, records = retriever.bundle.generation.checks, retriever.bundle.manifest.files
    progress = checks.wait()
    assert progress.check == ("all" if check == "auto" else check)
    assert (progress.files, progress.damaged) == (len(records), None)
    assert progress.bytes == sum(record.size for record in records)
    assert progress.complete == (check != "lazy")  # the quarantine was not used
    assert 0 < progress.bytes_checked <= progress.bytes
    assert progress.to_json()["checked"] == progress.checked
    assert retriever.status.measured


@pytest.mark.parametrize("name", [*NAMES, "index.bin", "golden.safetensors", "ids.npy"])
def test_a_flipped_bit_is_found_before_the_file_is_used(
    own_toy_bundle: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexing.bundle.generation.MANY_ITEMS", 0)
    folder = Bundle.open(own_toy_bundle).folder
    flip(folder / name)
    with pytest.raises(DamagedFileError, match=f"{name} is damaged: its bytes"):
        Bundle.open(own_toy_bundle)
    with pytest.raises(DamagedFileError, match=f"{name} is damaged: its bytes"):
        asked(Retriever.open(own_toy_bundle, ToyEncoder(), check="lazy"))
    assert [problem.path for problem in verify(own_toy_bundle)] == [f"{folder.name}/{name}"]


def test_what_the_background_finds_ends_the_answers(own_toy_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_checks, "SMALL_BYTES", 0)  # all files wait for the background
    flip(Bundle.open(own_toy_bundle).folder / "rejects.parquet")
    whole, hold = fsops.sha256, threading.Event()

    def held(path: Path) -> str:
        hold.wait(60)
        return whole(path)

    monkeypatch.setattr(fsops, "sha256", held)
    retriever = Retriever.open(own_toy_bundle, ToyEncoder(), check="background")
    before = asked(retriever)
    assert all(before)
    assert not retriever.status.measured
    assert retriever.bundle.generation.checks.progress.checked == 0
    hold.set()
    assert "rejects.parquet" in str(retriever.bundle.generation.checks.wait(60).damaged)
    for verb in (
        lambda: retriever.search_texts(["red"]),
        lambda: retriever.similar_items(["red-mug"]),
        lambda: retriever.index,
    ):
        with pytest.raises(DamagedFileError, match=r"rejects.parquet is damaged"):
            verb()
    assert not retriever.status.measured
    monkeypatch.setattr(fsops, "sha256", whole)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_cut_or_gone_is_refused_at_opening(own_toy_bundle: Path, name: str, check: Check) -> None:
    path = Bundle.open(own_toy_bundle).folder / name
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(DamagedFileError, match=f"{name} is damaged: it has {len(data) - 1} bytes of {len(data)}"):
        Bundle.open(own_toy_bundle, check=check)
    path.unlink()
    with pytest.raises(DamagedFileError, match=f"{name} is missing"):
        Bundle.open(own_toy_bundle, check=check)
    path.mkdir()
    with pytest.raises(DamagedFileError, match=f"{name} is damaged: it is no regular file"):
        Bundle.open(own_toy_bundle, check=check)


def test_an_unknown_way_to_check_is_refused(toy_bundle: Path) -> None:
    with pytest.raises(InputError, match=r"check is 'never'"):
        Bundle.open(toy_bundle, check="never")  # type: ignore[arg-type]


def test_a_new_state_is_checked_as_the_one_before(own_toy_bundle: Path) -> None:
    retriever = Retriever.open(own_toy_bundle, ToyEncoder(), check="lazy")
    (retriever.bundle.folder / "ids.npy").unlink()
    repair(own_toy_bundle)
    latest = retriever.latest()
    assert latest.bundle.generation is not retriever.bundle.generation
    assert latest.bundle.generation.checks.progress.check == "lazy"
    assert asked(latest) == asked(Retriever.open(own_toy_bundle, ToyEncoder()))


@pytest.mark.parametrize("name", ["frozen/image.npy", "frozen/text.exists.npy", "ids.npy", "content_sum.npy"])
def test_what_the_store_has_too_is_written_again(own_toy_bundle: Path, name: str) -> None:
    before, old = asked(Retriever.open(own_toy_bundle, ToyEncoder())), Bundle.open(own_toy_bundle)
    written = {record.name: record.sha256 for record in old.manifest.files}
    flip(old.folder / name)
    report = repair(own_toy_bundle)
    newest = generations(own_toy_bundle)[-1]
    assert report.done == (f"the items were written into files that are mapped, in {newest}",)
    again = Bundle.open(own_toy_bundle)
    assert {record.name: record.sha256 for record in again.manifest.files} == written
    assert (again.folder / "index.bin").stat().st_ino == (old.folder / "index.bin").stat().st_ino
    assert asked(Retriever.open(own_toy_bundle, ToyEncoder())) == before


def test_files_are_compared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"one")
    compared: list[str] = []
    whole = fsops.sha256

    def counted(path: Path) -> str:
        compared.append(path.name)
        return whole(path)

    monkeypatch.setattr(fsops, "sha256", counted)
    checks = FileChecks(tmp_path, [FileRecord("a", 3, whole(tmp_path / "a"))], "lazy")
    for _ in range(3):
        checks.use(lambda name: name == "a")
        checks.use(lambda name: name == "b")
    assert compared == ["a"]
    assert checks.progress.complete


def test_processes_that_share_outcomes_compare_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"one")
    records = [FileRecord("a", 3, fsops.sha256(tmp_path / "a"))]
    compared: list[str] = []
    whole = fsops.sha256

    def counted(path: Path) -> str:
        compared.append(path.name)
        return whole(path)

    monkeypatch.setattr(fsops, "sha256", counted)
    with shared_outcomes():
        for _ in range(3):  # as processes do
            assert FileChecks(tmp_path, records).progress.complete
        assert compared == ["a"]
        (tmp_path / "a").write_bytes(b"two")  # another time of change: another file
        for _ in range(2):
            with pytest.raises(DamagedFileError, match="a is damaged"):
                FileChecks(tmp_path, records)
    with pytest.raises(DamagedFileError, match="a is damaged"):
        FileChecks(tmp_path, records)


def test_much_is_left_to_the_background_unless_it_is_said(toy_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_checks, "AUTO_BYTES", 1000)
    assert Bundle.open(toy_bundle, check="auto").generation.checks.mode == "background"
    assert Bundle.open(toy_bundle).generation.checks.mode == "all"


def test_a_bundle_of_the_former_format_opens(own_toy_bundle: Path) -> None:
    before = asked(Retriever.open(own_toy_bundle, ToyEncoder()))
    as_former_format(own_toy_bundle)
    for check in CHECKS:
        assert asked(Retriever.open(own_toy_bundle, ToyEncoder(), check=check)) == before
    assert repair(own_toy_bundle).done != ()
    assert Bundle.open(own_toy_bundle).has("frozen/image.npy")
    assert asked(Retriever.open(own_toy_bundle, ToyEncoder())) == before


def as_former_format(root: Path) -> None:
    """Write a bundle as it was before its items were in files that are mapped."""
    bundle = Bundle.open(root)
    pq.write_table(bundle.attributes, bundle.folder / "attributes.parquet")
    content = unseal(bundle.folder / "manifest.json")
    gone = [file for file in content["files"] if file["name"] in ("ids.npy", *NAMES) or "frozen/" in file["name"]]
    for file in gone:
        (bundle.folder / file["name"]).unlink()
    shutil.rmtree(bundle.folder / "frozen")
    path = bundle.folder / "attributes.parquet"
    record = {"name": path.name, "size": path.stat().st_size, "sha256": fsops.sha256(path)}
    content["files"] = [*(file for file in content["files"] if file not in gone), record]
    content["format_version"] = 2
    (bundle.folder / "manifest.json").write_bytes(seal(content))
    assert np.all(Bundle.open(root).is_live)
