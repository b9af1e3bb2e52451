"""The benchmark of classifiers on products whose label is a colour: seen, named, or in neither."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from scripts.benchmarks.encode import classify
from scripts.benchmarks.encode.products import names_own, read, spelled, without
from scripts.benchmarks.encode.seed_network import Inputs, SeedNetwork, train_and_ask
from tests.toy import COLOURS, ToyEncoder, picture

NAMES = tuple(COLOURS)


@pytest.fixture
def products(tmp_path: Path) -> Path:
    rows = [
        {
            "item_id": str(number),
            "title": f"{NAMES[number % 4]}s thing {number % 7}",
            "description": "nothing to see",
            "image": picture(NAMES[number % 4], size=20 + number % 5),
            "masterCategory": NAMES[number % 4].title(),
            "articleType": "Red" if number % 4 == 0 else "Other" if number > 8 else f"rare {number}",
        }
        for number in range(120)
    ]
    rows.append(rows[0] | {"item_id": "broken", "image": b"no picture"})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "items.parquet")
    return tmp_path / "items.parquet"


def test_each_input_tells_what_it_can(products: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.benchmarks.encode.seed_network.BATCH", 16)
    monkeypatch.setattr("scripts.benchmarks.encode.seed_network.RATE", 1e-2)
    report = classify.measured(products, ToyEncoder(), seed=0, cache=tmp_path / "cache")
    assert report["items"] == 120
    by_colour = report["by"]["masterCategory"]
    assert by_colour["classes"] == {name.title(): 30 for name in NAMES}
    assert (by_colour["train"], by_colour["test"]) == (96, 24)
    named = by_colour["share of test texts that name their class"]
    assert named == {"title": 1, classify.BARE: 0, "description": 0}
    accuracy = {
        shown: {system: one["accuracy"]["value"] for system, one in found.items() if "accuracy" in one}
        for shown, found in by_colour["from"].items()
    }
    for system in ("network from scratch", "linear probe", "ridge probe", "nearest neighbours"):
        assert accuracy["title"][system] == accuracy["image"][system] == accuracy["title and image"][system] == 1
        assert accuracy["description"][system] == 0.25  # the same for all: one class of four
    assert accuracy["image"]["zero-shot"] == 1
    bare = by_colour["from"][classify.BARE]
    assert bare["linear probe minus network"]["value"] == pytest.approx(
        bare["linear probe"]["accuracy"]["value"] - bare["network from scratch"]["accuracy"]["value"], abs=1e-4
    )
    assert set(report["by"]["articleType"]["classes"]) == {"Other", "Red"}  # those with at least ten items


def test_the_cache_spares_the_pictures(products: Path, tmp_path: Path) -> None:
    encoder = ToyEncoder()
    first = read(products, classify.LABELS, encoder, tmp_path / "cache")
    assert encoder.pictures == 120
    again = read(products, classify.LABELS, encoder, tmp_path / "cache")
    assert encoder.pictures == 120
    np.testing.assert_array_equal(first.images, again.images)
    assert [row["item_id"] for row in again.rows] == [str(number) for number in range(120)]
    some = read(products, classify.LABELS, encoder, None, drawn=(50, 1))
    assert len(some.rows) in (49, 50)  # the broken picture may be among those drawn
    places = [int(row["item_id"]) for row in some.rows]
    np.testing.assert_allclose(some.images, first.images[places], atol=1e-6)


def test_the_network_is_the_seed() -> None:
    torch.manual_seed(0)
    network = SeedNetwork(3, text=True, image=True).eval()
    words, pixels = (torch.tensor([5, 9, 7]), torch.tensor([0, 2])), torch.rand(2, 3, 40, 30)
    logits = network(words, pixels)
    assert network.words is not None
    assert network.look is not None
    bags = torch.stack([network.words.weight[[5, 9]].mean(dim=0), network.words.weight[7]])
    seen = torch.nn.functional.adaptive_avg_pool2d(network.look(pixels).clamp(min=0), 4).flatten(1)
    hidden = network.fusion(torch.cat([bags, seen], dim=1)).clamp(min=0)
    torch.testing.assert_close(logits, network.classes(hidden))


def test_the_same_seed_gives_the_same_network() -> None:
    rng = np.random.default_rng(0)
    inputs = Inputs([f"w{a} w{b}" for a, b in rng.integers(0, 9, (90, 2))], None)
    labels = rng.integers(0, 3, 90)
    found = [
        train_and_ask(inputs, labels, np.arange(0, 90, 5), inputs, classes=3, seed=seed).classes for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_words_of_class_names_are_found_and_taken_out() -> None:
    names = ["Tshirts", "Casual Shoes", "Watches"]
    assert without("Puma Men's T-shirt, casual watch 2", names) == "puma men s 2"
    assert names_own("Grey T-Shirt", "Tshirts")
    assert names_own("a shoe", "Casual Shoes")
    assert not names_own("a short", "Tshirts")
    assert spelled("Flip-Flops (2)") == ["flipflops", "2"]
