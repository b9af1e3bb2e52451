"""Values of Python become the JSON that a service reads."""

import base64
import io
import json
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from indexing.errors import InputError
from indexing.media.images import to_rgb
from retrieval import Query
from retrieval.filters import field, selected
from retrieval.interactions.parse_values import request_seconds
from retrieval.retriever.queries import parse_query
from retrieval.serving.client import queries as calls
from retrieval.serving.client.calls import Call
from retrieval.serving.client.json_values import filter_texts, picture_bytes, to_json
from tests.toy import picture, toy_table

NOON = 1_717_243_200
WRONG: Any = 3
MAPPING: Any = {"price": 3}
OBJECT: Any = object()
SAMPLES: Any = np.zeros(3)


def body_of(call: Call[Any]) -> dict[str, Any]:
    return dict(json.loads(to_json(call.body or {})))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("price < 20", ["price < 20"]),
        (("price", "==", np.float32(20)), [["price", "=", 20.0]]),
        ([("tags", "is missing"), "price < 20"], [["tags", "is missing"], "price < 20"]),
        (field("price").is_in(np.array([1, 2])), [["price", "in", [1, 2]]]),
        ([field("tags").is_present(), ~field("price").between(1, 2)], [["tags", "is present"],
            "not (price >= 1 and price <= 2)"]),
        (field("added") > date(2024, 6, 1), [["added", ">", "2024-06-01"]]),
        (field("cost") < Decimal("1.5"), [["cost", "<", 1.5]]),
        ((), []),
    ],
)  # fmt: skip
def test_filters(where: Any, expected: list[Any]) -> None:  # noqa: ANN401
    assert body_of(calls.search(["red"], where=where))["where"] == expected


def test_filters_of_a_path_are_texts() -> None:
    where: list[Any] = [("price", "==", 20), field("tags").contains("a b"), "year > 3", ("tags", "is missing")]
    assert filter_texts(where) == ["price = 20", 'tags contains "a b"', "year > 3", "tags is missing"]


@pytest.mark.parametrize(
    "times",
    [
        "2024-06-01T12:00",
        datetime(2024, 6, 1, 12),
        datetime(2024, 6, 1, 14, tzinfo=timezone(timedelta(hours=2))),
        pd.Timestamp("2024-06-01T12:00"),
        NOON * 1000,
        np.datetime64("2024-06-01T12:00"),
        [datetime(2024, 6, 1, 12), NOON],
        np.array([NOON, NOON * 1000]),
        np.array(["2024-06-01T12:00"], "M8[ns]"),
        None,
    ],
)
def test_times_are_read_as_in_python(times: Any) -> None:  # noqa: ANN401
    body = body_of(calls.recommend([["mug"], []], times=times, last_times=["2024-06-01", None]))
    assert body["last_times"] == ["2024-06-01", None]
    assert body_of(calls.users_for(["mug"], ["ann"], times=times))["times"] == body["times"]
    given = body["times"] if isinstance(body["times"], list) else [body["times"]]
    assert given == [None] if times is None else set(request_seconds(given, "times")) == {NOON}


def test_queries(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    path.write_bytes(picture("red"))
    in_base64 = base64.b64encode(picture("red")).decode()
    composed: list[Any] = [
        parse_query(f"2:red mug + image:{path} - item:cup"),
        "./a text",
        {"parts": [{"item": "mug"}]},
    ]
    assert body_of(calls.search(composed))["queries"] == [
        {
            "parts": [
                {"text": "red mug", "weight": 2.0},
                {"image": in_base64, "weight": 1.0},
                {"item": "cup", "weight": -1.0},
            ]
        },
        {"parts": [{"text": "./a text", "weight": 1.0}]},
        {"parts": [{"item": "mug"}]},
    ]
    sums = [Query.vector([0.5, 2]) + Query.audio(b"sound")]
    assert body_of(calls.search(sums))["queries"][0]["parts"] == [
        {"vector": [0.5, 2.0], "weight": 1.0},
        {"audio": base64.b64encode(b"sound").decode(), "weight": 1.0},
    ]
    assert body_of(calls.search(["2:red mug"])) == {"texts": ["2:red mug"], "k": 10}


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "I;16", "1", "LA"])
def test_pictures_of_pillow_keep_their_pixels(mode: str) -> None:
    image = Image.effect_noise((9, 7), 60).convert("L" if mode == "I;16" else "RGB").convert(mode)
    image.getexif()[274] = 6  # turned by a right angle: whoever opened it has decided on that
    sent = Image.open(io.BytesIO(picture_bytes(image)))
    assert sent.getexif() == {}
    assert np.array_equal(np.asarray(sent), np.asarray(to_rgb(image)))


def test_files_of_a_form(tmp_path: Path) -> None:
    path = tmp_path / "secret name.png"
    path.write_bytes(picture("red"))
    call = calls.search_images([path, str(path), picture("blue")], 3, attributes=["price"], timeout=3.0)
    assert [content for _, (_, content) in call.files or ()] == [picture("red")] * 2 + [picture("blue")]
    assert "secret" not in str([name for _, (name, _) in call.files or ()])
    assert body_of(call) == {"k": 3, "attributes": ["price"]}
    assert call.options == {"timeout": 3.0}


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: calls.search(["red"], where=MAPPING), "where is .*; give an expression"),
        (lambda: calls.search(["red"], where=[WRONG]), "condition 3 .*is not"),
        (lambda: calls.search(["red"], where=selected(toy_table(), "price < 3")), "belongs to its bundle"),
        (lambda: calls.search(["red"], blend={"price": float("nan")}), "blend cannot be sent: .*; give finite numbers"),
        (lambda: calls.search(["red"], blend={"price": OBJECT}), "object .*cannot be sent; give texts"),
        (lambda: calls.search([WRONG]), r"queries\[0\] is 3"),
        (lambda: calls.search([Query.image("missing.png")]), "a picture cannot be read from .*missing.png"),
        (lambda: calls.search_images([WRONG]), "a picture is 3 .*; give a PIL image"),
        (lambda: calls.search_audio([SAMPLES]), "a sound is .*; give the bytes of a file"),
    ],
)
def test_what_cannot_be_sent(ask: Callable[[], Call[Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        body_of(ask())
