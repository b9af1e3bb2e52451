"""Tables behind URLs: only when allowed, read like local ones, and without showing what a URL keeps secret."""

import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from indexing.catalogue.catalogue import Catalogue, Item
from indexing.catalogue.medium import Medium
from indexing.errors import CatalogueError, MissingExtraError
from indexing.media.files import Kind
from indexing.media.remote_files import RemoteFile
from retrieval.cli import app

ROWS = [{"item_id": "a", "title": "red mug", "image": "a.png"}, {"item_id": "b", "title": "lamp", "image": None}]


@pytest.fixture
def shop() -> Iterator[str]:
    """A folder in fsspec's memory with one table in three formats."""
    files = fsspec.filesystem("memory")
    with files.open("/shop/items.parquet", "wb") as file:
        pq.write_table(pa.Table.from_pylist(ROWS), file)
    with files.open("/shop/items.csv", "wb") as file:
        file.write(b"item_id,title,image\na,red mug,a.png\nb,lamp,\n")
    with files.open("/shop/items.jsonl", "wb") as file:
        file.write(b'{"item_id": "a", "title": "red mug", "image": "a.png"}\n{"item_id": "b", "title": "lamp"}\n')
    with files.open("/shop/broken.parquet", "wb") as file:
        file.write(b"PAR1 but no more")
    yield "memory://shop"
    files.rm("/shop", recursive=True)


@pytest.mark.parametrize("name", ["items.parquet", "items.csv", "items.jsonl", "items.csv?token=s3cret"])
def test_tables_are_read_like_local_ones_when_allowed(
    shop: str, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(b"x")
    url = f"{shop}/{name}"
    with pytest.raises(CatalogueError, match="is a URL, and URLs are not fetched unless you say so"):
        Catalogue.open(url)
    if "?" in name:
        return
    catalogue = Catalogue.open(url, allow_urls=True)
    beside = RemoteFile("memory://shop/a.png")
    for _ in range(2):
        assert [item for batch in catalogue.batches(1) for item in batch] == [
            Item("a", "red mug", (Medium(Kind.IMAGE, beside),)), Item("b", "lamp")
        ]  # fmt: skip
    with_images = Catalogue.open(url, allow_urls=True, image_dir=tmp_path)
    assert next(with_images.batches(1))[0].media[0].source == (tmp_path / "a.png").resolve()


def test_a_url_of_this_machine_is_a_table_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title,image\na,red mug,a.png\n")
    (item,) = next(Catalogue.open((tmp_path / "items.csv").as_uri(), allow_urls=True).batches(9))
    assert item.media == (Medium(Kind.IMAGE, None, "image path without a folder of files to start from: a.png"),)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://shop/none.parquet", "none.parquet cannot be read: FileNotFoundError"),
        ("memory://shop/none.csv", "none.csv cannot be read: FileNotFoundError"),
        ("memory://shop/broken.parquet", "broken.parquet is not a Parquet file"),
        ("memory://shop/items.xyz", "cannot tell what memory://shop/items.xyz is"),
        ("nothing://shop/items.csv", "nothing://shop/items.csv cannot be read: ValueError: Protocol not known"),
        ("filecache::memory://shop/items.csv", "is a chain of URLs"),
    ],
)
@pytest.mark.usefixtures("shop")
def test_what_cannot_be_read(url: str, message: str) -> None:
    with pytest.raises(CatalogueError, match=message):
        Catalogue.open(url, allow_urls=True)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "open", fail)
    monkeypatch.setitem(sys.modules, "obstore.fsspec", None)
    with pytest.raises(MissingExtraError, match=r"s3://shop/items\.csv cannot be read: Install s3fs .*or pip "):
        Catalogue.open("s3://shop/items.csv", allow_urls=True)


def test_secrets_of_a_url_are_not_shown() -> None:
    file = RemoteFile("https://me:s3cret@example.org/items.csv?token=s3cret#part")
    assert str(file) == "https://example.org/items.csv"
    assert file.suffix == ".csv"
    assert RemoteFile("memory://items.parquet").suffix == ".parquet"
    with pytest.raises(CatalogueError, match=r"^memory://shop/none\.csv cannot be read: ") as caught:
        RemoteFile("memory://shop/none.csv?token=s3cret").read_bytes()
    assert "s3cret" not in str(caught.value)


@pytest.mark.usefixtures("shop")
def test_the_command_line_wants_a_flag_too(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["build", "memory://shop/items.csv", "--out", str(tmp_path / "bundle")])
    assert isinstance(result.exception, CatalogueError)
    assert "memory://shop/items.csv is a URL, and URLs are not fetched unless" in str(result.exception)
    assert not (tmp_path / "bundle").exists()
