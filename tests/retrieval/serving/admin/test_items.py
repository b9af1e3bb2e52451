"""Items over HTTP: what is added is found by the next query, what is deleted is not, and bad rows are named."""

import io
import json
import shutil
from base64 import b64encode
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import add
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import CatalogueError
from retrieval.serving import Limits
from retrieval.serving.admin.edits import Mode, edit_items, encoding
from retrieval.serving.admin.items import LINES, PARQUET
from tests.retrieval.serving.admin.conftest import ADMIN, AdminClient
from tests.retrieval.serving.conftest import Started
from tests.toy import ToyEncoder, picture, toy_table

TWIN = {"item_id": "twin", "title": "red mug", "price": 4, "tags": ["red", "mug"]}
PICTURE = b64encode(picture("red")).decode()


def test_an_added_item_is_found_and_a_deleted_one_is_not(admin: AdminClient) -> None:
    assert "twin" not in admin.found("red mug")
    job = admin.post("items", {"items": [TWIN]})["job"]
    assert (job["kind"], job["state"], job["change"]) == ("add", "done", 1)
    assert job["report"]["added"] == 1
    assert "twin" in admin.found("red mug")
    assert admin.client.get("/items/twin").json()["item"]["attributes"]["price"] == 4
    gone = admin.delete("items/twin")["job"]
    assert (gone["change"], gone["report"]["removed"]) == (2, 1)
    assert "twin" not in admin.found("red mug")
    assert admin.delete("items/twin", 404)["error"]["type"] == "UnknownItemError"


def test_it_is_what_add_in_python_makes(admin: AdminClient, shop: Path, tmp_path: Path, own_shop: Path) -> None:
    """The same vector, to the last bit, from a picture in base64 as from one in a file."""
    item = {**TWIN, "image": PICTURE}
    assert admin.put(item)["encoded"] == 2
    other = tmp_path / "other"
    shutil.copytree(shop, other)
    table = pa.Table.from_pylist([{**TWIN, "image": picture("red")}], toy_table().schema)
    pq.write_table(table, tmp_path / "twin.parquet")
    add(other, Catalogue.from_parquet(tmp_path / "twin.parquet"), ToyEncoder())
    mine, theirs = (Bundle.open(root).batches[0] for root in (own_shop, other))
    assert mine.embeddings.equals(theirs.embeddings)
    assert mine.attributes.equals(theirs.attributes)


def test_upsert_replaces_and_update_changes_attributes(admin: AdminClient) -> None:
    admin.put(TWIN)
    report = admin.put({**TWIN, "title": "blue lamp"}, mode="upsert")
    assert (report["added"], report["replaced"]) == (0, 1)
    assert "twin" in admin.found("blue lamp", 2)
    assert "twin" not in admin.found("red mug", 2)
    assert admin.put({"item_id": "twin", "price": 99}, mode="update")["updated"] == 1
    assert admin.client.get("/items/twin").json()["item"]["attributes"]["price"] == 99
    assert admin.put({**TWIN, "title": "blue lamp", "price": 99}, mode="upsert")["unchanged"] == 1


def test_rows_that_are_no_items_are_named_and_the_others_put_in(admin: AdminClient) -> None:
    report = admin.put(
        TWIN,
        {"title": "without a name"},
        5,
        {**TWIN, "item_id": "path", "image": "/etc/passwd"},
        {**TWIN},
        {"item_id": "bare", "price": 1},
        {**TWIN, "item_id": "torn", "title": None, "image": b64encode(b"no picture").decode()},
    )
    assert report["added"] == 1
    assert {row["row"]: row["reason"].split(":")[0] for row in report["rejected_rows"]} == {
        1: "missing item_id",
        2: "a JSON int instead of an object",
        3: "not base64",
        4: "duplicate item_id",
        5: "neither text nor file",
    }
    assert sum(report["rejected"].values()) == 5
    assert list(report["failed"]) == ["torn"]
    assert "path" not in admin.found("red mug", 20)


def test_new_attributes_and_columns_that_are_not_there_are_named(admin: AdminClient) -> None:
    report = admin.put({"item_id": "twin", "titel": "red mug", "description": "red mug", "price": 4, "tags": ["red"]})
    assert report["other_columns"] == (
        "texts of the bundle are those of title; here there is no title; texts are read from description; new "
        "attributes: description, titel"
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"items": [{"item_id": "red-mug", "title": "red mug"}]}, "in .* already: 'red-mug'"),
        ({"items": [{"title": "nameless"}]}, "no column named item_id"),
        ({"items": [5, "six"]}, "a JSON int instead of an object"),
        ({"items": []}, "at least 1 item"),
        ({"items": [TWIN] * 10_001}, "at most 10000 items"),
        ({"items": [TWIN], "modus": "upsert"}, "modus"),
        ({"items": [TWIN], "mode": "merge"}, "'add', 'upsert' or 'update'"),
        ({"items": [{**TWIN, "price": "dear"}]}, "column 'price' .* is text"),
        ({"mode": "update", "items": [{"item_id": "red-mug", "colour": "x"}]}, "'colour'"),
        ({"mode": "update", "items": [{"item_id": "nothing", "price": 1}]}, "'nothing'"),
        ({"mode": "upsert", "items": [{"item_id": "red-mug", "title": "red mug"}]}, "price"),
    ],
)
def test_what_cannot_be_used_changes_nothing(admin: AdminClient, body: dict[str, Any], said: str) -> None:
    error = admin.post("items", body, 422)["error"]
    with pytest.raises(ValueError, match=said):
        raise ValueError(f"{error['message']}; {error['hint']}")
    assert Bundle.open(admin.root).state.last == 0


def test_deleting_many_is_whole_or_nothing(admin: AdminClient) -> None:
    error = admin.post("items/delete", {"item_ids": ["red-mug", "nothing"]}, 422)["error"]
    assert "1 of 2 item ids are not in" in error["message"]
    assert "red-mug" in admin.found("red mug")
    job = admin.post("items/delete", {"item_ids": ["red-mug", "nothing"], "missing_ok": True})["job"]
    assert job["report"]["removed"] == 1
    assert "red-mug" not in admin.found("red mug")
    assert admin.post("items/delete", {"item_ids": []}, 422)


def test_a_failed_job_is_in_the_list_with_its_reason(admin: AdminClient) -> None:
    admin.post("items", {"items": [{"item_id": "red-mug", "title": "red mug"}]}, 422)
    (job,) = admin.get("jobs")["jobs"]
    assert (job["kind"], job["state"]) == ("add", "failed")
    assert job["error"]["hint"] == 'replace them with "mode": "upsert"'


def test_files_are_told_by_their_bytes(admin: AdminClient) -> None:
    error = admin.upload("items/upload", {"items": b"item_id,title\n1,red mug\n"}, status=422)["error"]
    assert "neither Parquet nor JSON lines" in error["message"]
    error = admin.upload("items/upload", {"items": b"PAR1"}, '{"mode": "upsert", "more": 1}', 422)["error"]
    assert error["message"] == "request.more: there is no such field, did you mean `mode`?"


def edited(root: Path, name: str, content: bytes, mode: Mode = "add") -> dict[str, Any]:
    """Put in what was uploaded, as the process of a job does."""
    (root.parent / name).write_bytes(content)
    return edit_items(mode, root.parent / name, Bundle.open(root), ToyEncoder(), encoding(Limits(), here=True))


def test_items_of_a_parquet_file(own_shop: Path) -> None:
    pictures = ({"bytes": picture("red"), "path": None}, {"bytes": None, "path": str(own_shop.parent / PARQUET)})
    rows: list[dict[str, Any]] = [{**TWIN, "image": pictures[0]}, {**TWIN, "item_id": "path", "image": pictures[1]}]
    rows.append({"item_id": None})
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    report = edited(own_shop, PARQUET, file.getvalue())
    assert (report["added"], report["rejected_rows"]) == (2, [{"row": 2, "item_id": None, "reason": "missing item_id"}])
    assert list(report["partly"]) == ["path"]  # its text alone
    assert "path" in report["partly"]["path"]
    assert edited(own_shop, PARQUET, file.getvalue(), "upsert")["unchanged"] == 2


def test_items_of_json_lines(own_shop: Path) -> None:
    lines = [
        json.dumps({**TWIN, "image": PICTURE}),
        "[1]",
        "",
        "{torn",
        json.dumps({**TWIN, "item_id": "two", "image": None}),
    ]
    report = edited(own_shop, LINES, "\n".join(lines).encode())
    assert report["added"] == 2
    assert [row["row"] for row in report["rejected_rows"]] == [1, 2]  # empty lines are none
    assert report["rejected_rows"][0]["reason"] == "a JSON list instead of an object"
    changed = json.dumps({"item_id": "two", "price": 7}).encode()
    assert edited(own_shop, LINES, changed, "update")["updated"] == 1
    with pytest.raises(CatalogueError, match=r"row 1 is not JSON.*nothing was changed"):
        edited(own_shop, LINES, changed + b"\nnot json", "update")


def test_a_picture_over_the_limit_of_the_service(started: Started, own_shop: Path) -> None:
    client = started(own_shop, admin_token=ADMIN, limits=Limits(image_pixels=16))
    report = AdminClient(client, own_shop).put({**TWIN, "image": PICTURE})
    assert (report["added"], report["num_partly"]) == (1, 1)
    assert "16" in report["partly"]["twin"]


def test_an_explicit_null_empties_a_value(admin: AdminClient) -> None:
    """Of an item alone, too, where nothing tells the type of the column but the bundle."""
    admin.put({**TWIN, "image": PICTURE})
    report = admin.put({**TWIN, "price": None, "image": None}, mode="upsert")
    assert report["replaced"] == 1
    assert "price" not in admin.client.get("/items/twin").json()["item"]["attributes"]
    assert Bundle.open(admin.root).attributes.schema.field("price").type == pa.int64()
