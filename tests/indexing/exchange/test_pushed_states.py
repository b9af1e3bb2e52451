"""What lies in object storage is read with suspicion, removed with care, and reached as its URL says."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.bundle import Bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import DamagedFileError, GenerationError, InputError, MissingExtraError, StorageError
from indexing.exchange import pull_bundle, push_bundle, pushed_states
from indexing.exchange.object_storage import push
from indexing.exchange.object_storage.base import CHUNK, storage_errors
from indexing.exchange.object_storage.cloud import CloudObjects
from indexing.exchange.object_storage.expire import expire
from indexing.exchange.object_storage.folder import FolderObjects
from indexing.exchange.object_storage.state import PushedState, state_name
from indexing.filesystem.checked_files import seal
from retrieval.retriever.learned_parts import compact
from tests.indexing.exchange.shops import FaultyObjects, answers, change, state_of


@pytest.fixture
def place(shop: Path, tmp_path: Path) -> Path:
    push_bundle(shop, tmp_path / "place")
    return tmp_path / "place"


def rewritten(place: Path, spoil: Callable[[dict[str, Any]], object]) -> None:
    """Change the newest state as somebody would who knows the format, checksum and all."""
    path = sorted((place / "states").iterdir())[-1]
    content = json.loads(path.read_bytes())
    del content["checksum"]
    spoil(content)
    path.write_bytes(seal(content))


def renamed(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda state: state["files"][1].update(name=name)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (renamed("../../outside"), "names '../../outside', which no generation has"),
        (renamed("/etc/passwd"), "names '/etc/passwd', which no generation has"),
        (lambda state: state["changes"][0].update(name="../" + state["changes"][0]["name"]), "not list the changes"),
        (
            lambda state: state["changes"][0].update(name=f"{1:012d}-{'0' * 32}.arrow"),
            "other changes than it has",
        ),
        (lambda state: state.update(generation="gen-../../x"), "names 'gen-../../x', which is no generation"),
        (lambda state: state.update(contains=2), "contains change 2 of 1"),
        (lambda state: state.update(last=10**12), "does not list the changes that it counts"),
        (lambda state: state["files"].append(state["files"][0]), "lists a file twice, or no manifest"),
        (lambda state: state["files"].pop(0), "lists a file twice, or no manifest"),
        (lambda state: state["files"].pop(), "state 1 and the manifest of gen-.* differ"),
        (lambda state: state["files"][1].update(object="../secret"), "is said to be '../secret'"),
        (lambda state: state["files"][1].update(object="objects/../../x"), "is said to be 'objects/../../x'"),
        (lambda state: state["files"][1].update(size=-1), "of -1 bytes"),
        (lambda state: state["files"][1].update(size="1"), "size is '1', expected int"),
        (lambda state: state.update(number=3), "says that it is state 3"),
        (lambda state: state.update(format=2), "is of format 2, this version reads 1: upgrade commonspace"),
    ],
)
def test_a_state_that_names_what_no_bundle_has_is_refused(
    spoil: Callable[[dict[str, Any]], object], message: str, place: Path, tmp_path: Path
) -> None:
    rewritten(place, spoil)
    with pytest.raises((DamagedFileError, GenerationError), match=message):
        pull_bundle(place, tmp_path / "reader" / "bundle")
    around = {path.name for path in (tmp_path / "reader").rglob("*")} if (tmp_path / "reader").exists() else set()
    manifest = hashlib.sha256(next(tmp_path.glob("shop/gen-*/manifest.json")).read_bytes()).hexdigest()
    assert around <= {"bundle", "TRANSFERRING", "pulled-files", manifest}


def test_a_size_that_no_disk_has_is_refused_and_one_that_is_exceeded_ends_the_download(
    place: Path, tmp_path: Path
) -> None:
    def grow(state: dict[str, Any]) -> None:
        state["changes"][0]["size"] = 10**18

    rewritten(place, grow)
    with pytest.raises(OSError, match="No space left on device: about 1000000000000"):
        pull_bundle(place, tmp_path / "reader")
    rewritten(place, lambda state: state["changes"][0].update(size=10))
    (change_object,) = [file.object for file in pushed_states(place)[0].changes]
    (place / change_object).write_bytes(bytes(50 * CHUNK))
    endless = FaultyObjects(FolderObjects(place))
    with pytest.raises(DamagedFileError, match="is damaged: it has more than the 10 bytes that were recorded"):
        pull_bundle(endless, tmp_path / "reader")
    assert not (tmp_path / "reader" / "CURRENT").exists()


def test_a_damaged_or_missing_object_is_named_and_the_bundle_stays(shop: Path, place: Path, tmp_path: Path) -> None:
    reader = tmp_path / "reader"
    pull_bundle(place, reader)
    before = state_of(reader)
    change(shop, "blue kite")
    compact(shop)
    push_bundle(shop, place)
    index = next(file for file in pushed_states(place)[-1].files if file.name == "index.bin")
    whole = (place / index.object).read_bytes()
    (place / index.object).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamagedFileError, match=f"{index.object} is damaged: .* another sha256 than was recorded"):
        pull_bundle(place, reader)
    (place / index.object).unlink()
    with pytest.raises(DamagedFileError, match=f"{index.object} is not there, though state 2 .* lists it; pull an"):
        pull_bundle(place, reader)
    assert state_of(reader) == before
    assert push_bundle(shop, place).unchanged  # as far as anybody can tell
    again = push_bundle(shop, place, reupload=True)
    assert (again.number, again.uploaded) == (3, again.files)
    pull_bundle(place, reader)
    assert answers(reader) == answers(shop)


def test_a_damaged_state_is_superseded_when_that_is_said(shop: Path, place: Path, tmp_path: Path) -> None:
    (place / state_name(1)).write_bytes(b"{}")
    with pytest.raises(DamagedFileError, match=r"000000000001.json is damaged: .* with --supersede --reupload"):
        push_bundle(shop, place)
    report = push_bundle(shop, place, supersede=True, reupload=True)
    assert (report.number, report.uploaded) == (2, report.files)
    pull_bundle(place, tmp_path / "reader")
    assert answers(tmp_path / "reader") == answers(shop)


def test_a_damaged_file_here_is_not_pushed_nor_taken_over_by_a_pull(shop: Path, place: Path, tmp_path: Path) -> None:
    reader = tmp_path / "reader"
    pull_bundle(place, reader)
    golden = next(reader.glob("gen-*/golden.safetensors"))
    change(shop, "blue kite")
    compact(shop)
    push_bundle(shop, place)
    data = golden.read_bytes()
    golden.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    pull_bundle(place, reader)
    assert answers(reader) == answers(shop)
    change(shop, "green kite")
    compact(shop)
    index = Bundle.open(shop).folder / "index.bin"
    data = index.read_bytes()
    index.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(DamagedFileError, match=r"index.bin is damaged"):
        push_bundle(shop, place)
    assert [state.number for state in pushed_states(place)] == [1, 2]


def aged(place: Path, hours: float) -> None:
    """Let everything that is there be so much older."""
    for path in place.rglob("*"):
        stat = path.stat()
        os.utime(path, (stat.st_atime, stat.st_mtime - 3600 * hours))


def test_earlier_states_and_what_only_they_need_are_removed_after_a_day(
    shop: Path, place: Path, tmp_path: Path
) -> None:
    for title in ("blue kite", "green kite", "white kite"):
        change(shop, title)
        compact(shop)
        report = push_bundle(shop, place, keep=2)
        assert (report.removed_states, report.removed_objects) == (0, 0)  # some were the newest today
    (stray := place / "objects" / f"{'0' * 64}.{'0' * 16}").write_bytes(b"of a push that was killed")
    aged(place, 25)
    (fresh := place / "objects" / f"{'1' * 64}.{'0' * 16}").write_bytes(b"of a push that is under way")
    states = pushed_states(place)
    report = push_bundle(shop, place, keep=2)
    assert report.removed_states == 2
    assert [state.number for state in pushed_states(place)] == [3, 4]
    needed = {file.object for state in states[2:] for file in (*state.files, *state.changes)}
    left = {f"objects/{path.name}" for path in (place / "objects").iterdir()}
    assert left == needed | {f"objects/{fresh.name}"}
    assert not stray.exists()
    assert report.removed_objects == 1 + len(
        {file.object for state in states for file in (*state.files, *state.changes)} - needed
    )
    pull_bundle(place, tmp_path / "reader", number=3)
    pull_bundle(place, tmp_path / "reader")
    assert answers(tmp_path / "reader") == answers(shop)


def test_a_state_is_kept_for_a_day_after_another_became_the_newest(shop: Path, place: Path) -> None:
    aged(place, 1000)
    change(shop, "blue kite")
    now = datetime.now(UTC)
    assert push_bundle(shop, place, keep=1).removed_states == 0
    objects = FolderObjects(place)
    assert expire(objects, 1, now + timedelta(hours=23)) == (0, 0)
    removed, _ = expire(objects, 1, now + timedelta(hours=25))
    assert (removed, [state.number for state in pushed_states(place)]) == (1, [2])


def test_nothing_is_removed_if_a_state_that_is_kept_cannot_be_read(shop: Path, place: Path) -> None:
    change(shop, "blue kite")
    push_bundle(shop, place)
    aged(place, 25)
    before = sorted(place.rglob("*"))
    (place / state_name(2)).write_bytes(b"{}")
    with pytest.raises(DamagedFileError, match=r"000000000002.json is damaged"):
        expire(FolderObjects(place), 1, datetime.now(UTC))
    assert sorted(place.rglob("*")) == before


def test_a_rollback_uploads_large_files_only_when_they_may_be_gone(
    shop: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "LARGE_BYTES", 0)
    from indexing.bundle.maintenance.rollback import rollback

    change(shop, "blue kite")
    compact(shop)
    push_bundle(shop, place)
    rollback(shop)
    assert push_bundle(shop, place).uploaded == 1  # the change that the first state lacked
    rollback(shop, to=pushed_states(place)[1].generation)
    aged(place, 25)
    files = {file.sha256 for file in pushed_states(place)[1].files} - {f.sha256 for f in pushed_states(place)[2].files}
    assert push_bundle(shop, place).uploaded == len(files)


def test_a_push_that_takes_too_long_says_so_and_counts_for_nothing(
    shop: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(shop, "blue kite")
    times = iter([0.0, 13 * 3600.0])
    monkeypatch.setattr(push, "monotonic", lambda: next(times))
    with pytest.raises(StorageError, match=r"took longer than 12:00:00.*push again"):
        push_bundle(shop, place)
    assert [state.number for state in pushed_states(place)] == [1]


@pytest.fixture
def remote_files() -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    yield files
    files.rm("/pushed", recursive=True)


def test_a_folder_that_was_copied_elsewhere_is_pulled_through_fsspec(
    shop: Path,
    place: Path,
    remote_files: Any,  # noqa: ANN401 - a file system of fsspec
    tmp_path: Path,
) -> None:
    remote_files.put(f"{place}/", "/pushed/shop/", recursive=True)
    pull_bundle("memory://pushed/shop", tmp_path / "reader")
    assert answers(tmp_path / "reader") == answers(shop)
    change(shop, "blue kite")
    push_bundle(shop, place)
    remote_files.put(f"{place}/", "/pushed/shop/", recursive=True)
    assert pull_bundle("memory://pushed/shop", tmp_path / "reader").downloaded == 1
    assert answers(tmp_path / "reader") == answers(shop)
    with pytest.raises(InputError, match="memory://pushed/shop cannot be pushed to: only a folder, file, s3, gs"):
        push_bundle(shop, "memory://pushed/shop")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://ann:secret@example.com/shop", "https://example.com/shop cannot be pulled from: .* listed over HTTP"),
        ("nosuch://bucket/shop?key=secret", "nosuch://bucket/shop cannot be used .*Protocol not known: nosuch"),
        ("az://key:secret@container/shop", "az://container/shop cannot be used .GenericError"),
    ],
)
def test_places_that_cannot_be_read_are_refused_without_their_secrets(url: str, message: str, tmp_path: Path) -> None:
    if url.startswith("az"):
        pytest.importorskip("obstore")
    with pytest.raises((InputError, StorageError), match=message) as refused:
        pull_bundle(url, tmp_path / "reader")
    assert "secret" not in str(refused.value)


def test_errors_of_storage_hide_what_urls_keep_secret() -> None:
    with pytest.raises(StorageError) as caught, storage_errors("s3://bucket"):
        raise RuntimeError("GET https://ann:hidden1@host/shop?sig=hidden2 failed\nDebug: hidden3")
    assert str(caught.value) == "s3://bucket cannot be used (RuntimeError: GET https://host/shop failed)"


def test_what_is_not_installed_is_named(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingExtraError, match=r"obstore cannot be imported: pip install \"\.\[cloud\]\" in a clone"):
        push_bundle(shop, "s3://bucket/shop")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setitem(sys.modules, "obstore.fsspec", None)
    with pytest.raises(MissingExtraError, match=r"Install s3fs .*, or pip install \"\.\[cloud\]\" in a clone"):
        Catalogue.open("s3://bucket/items.parquet", allow_urls=True)


def test_the_environment_says_how_to_reach_s3(
    shop: Path, s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    obstore = pytest.importorskip("obstore")
    settings = {"ACCESS_KEY_ID": "testing", "SECRET_ACCESS_KEY": "testing", "REGION": "us-east-1"}
    for name, value in {**settings, "ENDPOINT_URL": s3_server, "ALLOW_HTTP": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    assert push_bundle(shop, "s3://bucket/by-environment/").url == "s3://bucket/by-environment"
    pull_bundle("s3://bucket/by-environment", tmp_path / "reader")
    assert answers(tmp_path / "reader") == answers(shop)
    monkeypatch.setitem(sys.modules, "s3fs", None)  # tables are read by the same package, where s3fs is not there
    pq.write_table(pa.table({"item_id": ["a", "b"], "title": ["red mug", "lamp"]}), tmp_path / "items.parquet")
    store = CloudObjects("s3://bucket/tables")
    store.upload("items.parquet", tmp_path / "items.parquet")
    items = Catalogue.open("s3://bucket/tables/items.parquet", allow_urls=True)
    assert [item.item_id for batch in items.batches(9) for item in batch] == ["a", "b"]
    with pytest.raises(
        StorageError, match=r"^s3://none/shop cannot be used \(NoSuchBucket\): there is no such bucket; make"
    ):
        push_bundle(shop, "s3://none/shop")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    unreachable = obstore.store.S3Store("bucket", retry_config={"max_retries": 0})
    with pytest.raises(StorageError, match=r"s3://bucket/shop cannot be used .GenericError: .*error sending request"):
        pushed_states(CloudObjects("s3://bucket/shop", unreachable))


def test_an_object_that_was_written_before_its_answer_was_lost_counts_as_written() -> None:
    stores = pytest.importorskip("obstore.store")
    objects = CloudObjects("memory://place", stores.MemoryStore())
    assert objects.create("states/1.json", b"mine")
    assert objects.create("states/1.json", b"mine")
    assert not objects.create("states/1.json", b"theirs")


def test_a_state_says_of_itself_what_people_ask(place: Path) -> None:
    (state,) = pushed_states(place)
    assert PushedState.from_bytes(state.to_bytes(), "it") == state
    assert state.about()["bytes"] == sum(path.stat().st_size for path in (place / "objects").iterdir())
    assert state.about().keys() == {"number", "generation", "items", "last", "pushed", "pushed_by", "bytes"}


def test_a_copy_without_what_it_knows_of_a_place_is_told_to_say_so(shop: Path, place: Path, tmp_path: Path) -> None:
    shutil.copytree(shop, copy := tmp_path / "copy")
    (copy / "TRANSFERS").write_bytes(b"{}")
    with pytest.raises(DamagedFileError, match=r"TRANSFERS is damaged: .*; delete it; a push or pull then asks for"):
        push_bundle(copy, place)
