"""What lies in a bundle's folder and should not, cannot be read, or says something else than its checksum suggests."""

import errno
import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.current import CURRENT
from indexing.bundle.edits.edit import delete
from indexing.bundle.generation import Generation, generations
from indexing.bundle.maintenance.rollback import rollback
from indexing.bundle.maintenance.verify import verify
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import BundleError, DamagedFileError
from indexing.filesystem import fsops
from indexing.filesystem import locks as lock
from indexing.filesystem.file_checks import Check
from indexing.filesystem.locks import write_lock
from indexing.media.files import Modality
from indexing.store.encode import EncodeConfig
from retrieval.retriever.learned_parts import compact, repair
from retrieval.retriever.retriever import Retriever
from tests.toy import ToyEncoder, toy_file

ENCODE = EncodeConfig(32, workers=0)


def made(folder: Path, encoder: ToyEncoder) -> Path:
    build_bundle(Catalogue.from_parquet(toy_file(folder)), encoder, folder / "bundle", encode=ENCODE)
    return folder / "bundle"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = made(tmp_path_factory.mktemp("files"), ToyEncoder())
    delete(root, ["red-mug"])
    return root


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("other"), ToyEncoder(salt="other"))


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "bundle")
    return tmp_path / "bundle"


def shards_of(root: Path) -> list[Path]:
    return sorted(Bundle.open(root).folder.glob("store/*.parquet"))


def neighbours(root: Path) -> list[str]:
    return [hit.item_id for hit in Retriever.load(root, ToyEncoder()).similar_items(["blue-mug"], 8)[0]]


def test_a_shard_that_the_manifest_does_not_list_is_not_read(root: Path, other: Path) -> None:
    before, vectors = neighbours(root), Bundle.open(root).modality_vectors.vectors[Modality.TEXT]
    (shard,) = shards_of(other)
    stray = Bundle.open(root).folder / "store" / shard.name.replace("000000", "000001")
    shutil.copy(shard, stray)
    (problem,) = verify(root)
    assert (problem.path, problem.serving) == (str(stray.relative_to(root)), False)
    assert "does not list it" in problem.message
    assert neighbours(root) == before
    np.testing.assert_array_equal(Bundle.open(root).modality_vectors.vectors[Modality.TEXT], vectors)
    compact(root)
    assert neighbours(root) == before
    assert stray.name not in {path.name for path in shards_of(root)}


@pytest.mark.parametrize("name", ["store/._000000-0123.parquet", ".DS_Store", "store/.nfs0001"])
def test_a_hidden_file_of_the_operating_system_is_harmless(root: Path, name: str) -> None:
    before = neighbours(root)
    (Bundle.open(root).folder / name).write_bytes(b"\0\5\x16\7")
    assert verify(root) == []
    assert neighbours(root) == before
    compact(root)
    assert neighbours(root) == before


def test_an_unlisted_shard_does_not_go_into_the_next_build(root: Path, other: Path) -> None:
    before = neighbours(root)
    for shard in shards_of(other):
        shutil.copy(shard, Bundle.open(root).folder / "store" / shard.name.replace("000000", "000001"))
    source = root.parent / "source"
    source.mkdir()
    assert neighbours(made(root.parent, ToyEncoder()))[:1] == before[:1]
    assert len(shards_of(root)) == 1


VANISHED: list[Callable[[Retriever], Any]] = [
    lambda retriever: retriever.bundle.modality_vectors,
    lambda retriever: retriever.bundle.parts,
    lambda retriever: retriever.bundle.attributes,
    lambda retriever: retriever.bundle.read("golden.safetensors"),
    lambda retriever: retriever.bundle.index,
]


@pytest.mark.parametrize("used", range(len(VANISHED)))
def test_a_folder_moved_while_it_is_open_is_reported_and_not_made_again(root: Path, used: int) -> None:
    bundle = Bundle.open(root)
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(DamagedFileError, match="gen-"):
        VANISHED[used](type("Opened", (), {"bundle": bundle}))  # type: ignore[arg-type]
    assert not root.exists()


@pytest.mark.parametrize("name", ["index.bin", "attributes.arrow", "golden.safetensors"])
def test_a_bad_sector_is_named_and_verify_continues(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Bundle.open(root).folder / name
    other = Bundle.open(root).folder / "rejects.parquet"
    other.write_bytes(bytes(other.stat().st_size))
    whole = fsops.sha256

    def reading(path: Path) -> str:
        if path == bad:
            raise OSError(errno.EIO, "Input/output error")
        return whole(path)

    monkeypatch.setattr(fsops, "sha256", reading)
    found = {problem.path: problem.message for problem in verify(root)}
    assert found.keys() == {str(path.relative_to(root)) for path in (bad, other)}
    assert "Input/output error" in found[str(bad.relative_to(root))]
    with pytest.raises(DamagedFileError, match=f"{name} cannot be read .Input/output error"):
        Bundle.open(root)


def test_repair_builds_an_index_on_a_bad_sector_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, bad, whole = neighbours(root), Bundle.open(root).folder / "index.bin", fsops.sha256

    def reading(path: Path) -> str:
        if path == bad:
            raise OSError(errno.EIO, "Input/output error")
        return whole(path)

    monkeypatch.setattr(fsops, "sha256", reading)
    report = repair(root)
    assert report.done == (f"the index was built again from the vectors, into {generations(root)[-1]}",)
    assert neighbours(root) == before


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_nothing_is_written(root: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    before = Bundle.open(root).state
    monkeypatch.setattr(fcntl, "flock", refused)
    for change in (lambda: delete(root, ["red-shoe"]), lambda: compact(root), lambda: rollback(root)):
        with pytest.raises(BundleError, match=f"its file system .* has no locks .{os.strerror(number)}.*move"):
            change()
    assert Bundle.open(root).state == before  # readers need none
    monkeypatch.undo()
    delete(root, ["red-shoe"])  # what was tried left nothing in the way


def test_the_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nhost:/b {tmp_path.resolve()} nfs4 rw 0 0\nc /elsewhere tmpfs rw 0 0\n")
    monkeypatch.setattr(lock, "MOUNTS", mounts)
    assert lock._describe_file_system(tmp_path) == f"nfs4 at {tmp_path.resolve()}"
    monkeypatch.setattr(lock, "MOUNTS", tmp_path / "none")
    assert lock._describe_file_system(tmp_path) == str(tmp_path)


def test_a_copied_lock_locks_nothing(root: Path, tmp_path: Path) -> None:
    with write_lock(root):
        shutil.copytree(root, tmp_path / "copy")
    delete(tmp_path / "copy", ["red-shoe"])


def test_a_full_disk_is_named_with_bytes_before_anything_is_written(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(OSError, match=r"about \d{4,} bytes are needed there, 1 are free") as raised:
        compact(root)
    assert raised.value.filename == str(root)
    assert not [path.name for path in root.iterdir() if "-gen-" in path.name]


@pytest.mark.parametrize("at", ["attributes.arrow", "index.bin", "manifest.json"])
def test_a_disk_that_fills_up_is_left_as_it_was(root: Path, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(fsops.Disk):
        def create(self, path: Path) -> int:
            self.path = path
            return super().create(path)

        def write(self, descriptor: int, data: bytes | memoryview) -> None:
            if self.path.name == f"{at}.tmp":
                super().write(descriptor, data[:10])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().write(descriptor, data)

    before = {path.name for path in root.iterdir()}
    monkeypatch.setattr(fsops, "disk", Full())
    with pytest.raises(
        OSError, match=r"No space left on device after 10 bytes of this file; \d+ bytes are free"
    ) as caught:
        compact(root)
    assert str(caught.value.filename).endswith(at)
    assert {path.name for path in root.iterdir()} - {"COMPACTING"} == before


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
@pytest.mark.parametrize("name", ["log", CURRENT, "gen/manifest.json"])
def test_what_is_no_regular_file_is_refused_without_reading_it(root: Path, kind: str, name: str) -> None:
    batch = next((root / "log").glob("*.arrow"))
    path = {"log": batch, CURRENT: root / CURRENT}.get(name, Bundle.open(root).folder / "manifest.json")
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    assert any(problem.path == str(path.relative_to(root)) for problem in verify(root) if problem.serving)
    with pytest.raises(DamagedFileError, match="is no regular file"):
        Bundle.open(root)


@pytest.mark.parametrize("to", ["", "gen-nonsense"])
def test_a_rollback_to_no_generation_is_refused(root: Path, to: str) -> None:
    compact(root)
    with pytest.raises(BundleError, match=f"keeps no generation '{to}'"):
        rollback(root, to)


WRONG: list[Callable[[Path], object]] = [
    lambda folder: delete(folder, ["a"]),
    compact,
    rollback,
    repair,
    verify,
]


@pytest.mark.parametrize("verb", range(len(WRONG)))
def test_nothing_is_left_in_a_folder_that_is_no_bundle(tmp_path: Path, verb: int) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BundleError, match="holds no bundle"):
            WRONG[verb](folder)
    assert list(tmp_path.iterdir()) == []


def test_a_curve_into_a_folder_that_is_not_there_makes_none(tmp_path: Path) -> None:
    from indexing.errors import InputError
    from retrieval.cli.display.curves import check_format

    with pytest.raises(InputError, match="there is no folder"):
        check_format(tmp_path / "no" / "curve.html")
    assert list(tmp_path.iterdir()) == []


def test_a_generation_collected_while_it_was_opened_is_opened_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Bundle.open(root).manifest.generation
    whole, tried = Generation.open, []

    def opening(folder: Path, *, only: Collection[str] | None = None, check: Check = "all") -> Generation:
        tried.append(folder.name)
        if len(tried) == 1:
            monkeypatch.setattr(Generation, "open", whole)
            compact(root)
            shutil.rmtree(root / first)
        return whole(folder, only=only, check=check)

    monkeypatch.setattr(Generation, "open", opening)
    opened = Bundle.open(root)
    assert tried == [first]
    assert opened.manifest.generation == generations(root)[-1] != first


def test_changes_of_another_encoder_are_refused_at_opening(root: Path) -> None:
    from dataclasses import replace

    from indexing.bundle.change_log import Batch, digest_of, write_batch
    from indexing.bundle.current import write_state

    bundle = Bundle.open(root)
    nothing = bundle.batches[0]
    batch = Batch(2, "f" * 64, ("red-shoe",), nothing.embeddings, nothing.attributes)
    names = [*(path.name for path in (root / "log").glob("*.arrow")), write_batch(root, batch)]
    write_state(root, replace(bundle.state, last=2, digest=digest_of(names)))
    with pytest.raises(BundleError, match=r"batch 2 .* was encoded by another encoder"):
        Bundle.open(root)


def test_a_generation_under_the_name_of_another_is_refused(root: Path) -> None:
    first = Bundle.open(root).folder
    compact(root)
    second = Bundle.open(root).folder
    shutil.rmtree(second)
    shutil.copytree(first, second)
    with pytest.raises(DamagedFileError, match=f"is that of '{first.name}'"):
        Bundle.open(root)
