"""Hostile bodies and files each get a clear answer, and the service answers as before."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from retrieval.serving import Limits
from tests.hostile import hostile_bodies, hostile_images, hostile_sounds
from tests.retrieval.serving.conftest import Started

QUICK = {"CMYK JPEG", "grey JPEG", "1-bit PNG", "one pixel", "PNG cut at 2%", "PDF", "a pickle", "a path"}
"""Some of the files, quick ones; all are sent by `scripts.benchmarks.live.service_hostile`."""


@pytest.fixture
def patient(started: Started, shop: Path) -> TestClient:
    return started(shop, limits=Limits(deadline=60.0))


def test_bodies(patient: TestClient) -> None:
    before = patient.post("/search", json={"texts": ["red mug"]}).json()["results"]
    for name, body in hostile_bodies():
        answer = patient.post("/search", content=body, headers={"content-type": "application/json"})
        expected = 413 if name == "17 MB" else 400 if answer.status_code == 400 else 422
        assert answer.status_code == (200 if name == "a URL as a query" else expected), name
        if answer.status_code != 200:
            assert answer.json()["error"]["message"], name
        assert patient.post("/search", json={"texts": ["red mug"]}).json()["results"] == before, name


def test_files(patient: TestClient) -> None:
    usable = set()
    for field, files in (("image", hostile_images()), ("audio", hostile_sounds())):
        for name, data in files:
            if (field == "image" and name in QUICK) or (field == "audio" and len(data) < 10_000):
                answer = patient.post("/search/upload", files={field: ("x", data)})
                assert answer.status_code in (200, 422), name
                if answer.status_code == 422:
                    assert answer.json()["error"]["message"], name
                else:
                    usable.add(name)
    assert usable >= {"CMYK JPEG", "grey JPEG", "1-bit PNG", "one pixel"}
    assert not usable & {"PDF", "a pickle", "a path", "PNG cut at 2%"}
