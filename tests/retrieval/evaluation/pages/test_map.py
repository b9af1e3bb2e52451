"""A map of the space: known geometry, known groups, and no surprise in what is drawn."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from indexing.bundle.edits.edit import delete
from indexing.errors import InputError
from retrieval.evaluation.report import item_map as maps
from retrieval.evaluation.report.item_map import groups_of, make_map, principal_plane
from retrieval.retriever.retriever import Retriever
from tests.retrieval.evaluation.shop import Shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


def test_two_dimensions_of_a_plane_keep_all_distances() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(50, 2)) * (3, 1)
    turned = (plane @ np.linalg.qr(rng.normal(size=(8, 2)))[0].T + 5).astype(np.float32)
    points, kept = principal_plane(turned)
    between = np.linalg.norm(plane[:, None] - plane[None], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(points[:, None] - points[None], axis=-1), between, atol=1e-4)
    assert kept == pytest.approx(1, abs=1e-6)
    assert points[:, 0].var() > points[:, 1].var()


def test_a_map_never_flips() -> None:
    """Whatever signs the axes come with, the point that is farthest out along each lies on its positive side."""
    for seed in range(10):
        vectors = np.random.default_rng(seed).normal(size=(30, 6)).astype(np.float32)
        points, _ = principal_plane(vectors)
        assert (points.max(axis=0) == np.abs(points).max(axis=0)).all()


def test_what_has_fewer_dimensions_is_drawn_too() -> None:
    points, kept = principal_plane(np.array([[1.0], [3.0]], np.float32))
    assert sorted(points[:, 0].tolist()) == [-1, 1]
    assert points[:, 1].tolist() == [0, 0]
    assert kept == 1
    assert principal_plane(np.ones((3, 4), np.float32))[1] is None
    assert principal_plane(np.ones((0, 4), np.float32))[0].shape == (0, 2)


def test_groups() -> None:
    assert groups_of([True, False, None]) == ["True", "False", "missing"]
    rare = [f"v{n}" for n in range(12)] + ["v3", "v5"]
    assert Counter(groups_of(rare)) == {"v3": 2, "v5": 2, "v0": 1, "v1": 1, "v10": 1, "v11": 1, "v2": 1, "other": 5}
    assert groups_of([3, 1, 3]) == ["3", "1", "3"]
    years = [float(year) for year in range(1900, 2001)]
    cut = groups_of([*years, None])
    assert cut[0] == cut[20] == "1900 to 1920"
    assert (cut[21], cut[100], cut[101]) == ("1920 to 1940", "1980 to 2000", "missing")
    assert Counter(cut).most_common(1)[0][1] == 21
    assert groups_of([[], ["a", "b"]]) == ["missing", "a"]


def test_modalities_lie_where_their_vectors_are(shop: Shop) -> None:
    bundle = shop.retriever.bundle
    drawn = make_map(bundle, shop.retriever.vectors, [str(n) for n in range(100)])
    assert Counter(drawn.groups) == {"text": 100, "image": 75}
    assert drawn.points.shape == (175, 2)
    assert list(drawn.names[:100]) == [str(n) for n in range(100)]
    assert drawn.names[100] == "0"
    red = [n for n, (name, group) in enumerate(zip(drawn.names, drawn.groups, strict=True)) if group == "image"]
    first = drawn.points[red[0]]
    assert drawn.points[red[3]] == pytest.approx(first, abs=1e-3)  # pictures of one colour share a vector


def test_attributes_of_living_items_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path)
    delete(shop.retriever.bundle.root, ["red-1"])
    retriever = Retriever.load(shop.retriever.bundle.root)
    drawn = make_map(retriever.bundle, retriever.vectors, list(retriever.items), colour_by="colour")
    assert Counter(drawn.groups) == {"red": 24, "green": 25, "blue": 25, "white": 25}
    assert all(name.startswith(group) for name, group in zip(drawn.names, drawn.groups, strict=True))
    monkeypatch.setattr(maps, "MAX_POINTS", 40)
    few = make_map(retriever.bundle, retriever.vectors, list(retriever.items), colour_by="colour")
    again = make_map(retriever.bundle, retriever.vectors, list(retriever.items), colour_by="colour")
    assert len(few.points) == 40
    assert few.names == again.names
    with pytest.raises(InputError, match="there is no attribute 'color' to colour by"):
        make_map(retriever.bundle, retriever.vectors, list(retriever.items), colour_by="color")
