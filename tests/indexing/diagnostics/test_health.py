"""Health numbers against values worked out by hand, and findings on bundles that are ill in a known way."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.arrays import Vectors, unit
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.diagnostics import geometry, health
from indexing.diagnostics.health import Finding, examine
from indexing.encoders import load_encoder
from retrieval import cli
from tests.toy import ToyEncoder, toy_file, toy_table


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def floats(*lines: tuple[float, ...]) -> Vectors:
    return np.array(lines, np.float32)


def test_gap_by_hand() -> None:
    # Means (0, 1) and (1/2, 1/2): √(1/4 + 1/4) apart. Pairs: (0,1)-(1,0) √2 and (0,1)-(0,1) 0.
    gap, distance = geometry.modality_gap(floats((0, 1)), floats((1, 0), (0, 1)), rng())
    assert gap == pytest.approx(np.sqrt(0.5))
    assert distance == pytest.approx(np.sqrt(2) / 2)
    assert geometry.modality_gap(floats((0, 1)), floats((0, 1)), rng()) == (0.0, 0.0)


def test_mean_distance_of_a_sample_is_near_that_of_all() -> None:
    many = unit(rng().normal(size=(3000, 8)))
    _, sampled = geometry.modality_gap(many, many[::-1], rng())
    everything = np.sqrt(np.maximum(2 - 2 * many.astype(np.float64) @ many.T, 0)).mean()
    assert sampled == pytest.approx(everything, abs=0.01)


def test_mean_cosine_by_hand_and_by_all_pairs() -> None:
    assert geometry.mean_cosine(floats((1, 0), (0.6, 0.8), (0, 1))) == pytest.approx((0.6 + 0 + 0.8) / 3)
    assert geometry.mean_cosine(floats((1, 0))) == 0
    vectors = unit(rng().normal(size=(50, 6)) + 1)
    cosines = vectors.astype(np.float64) @ vectors.T
    assert geometry.mean_cosine(vectors) == pytest.approx(cosines[~np.eye(50, dtype=bool)].mean())


def test_spectrum_by_hand() -> None:
    # Variances 2 and 1/2 along the axes: (5/2)² / (4 + 1/4) = 25/17; entropy of (4/5, 1/5).
    ratio, rank = geometry.spectrum(floats((2, 0), (-2, 0), (0, 1), (0, -1)))
    assert ratio == pytest.approx(25 / 17)
    assert rank == pytest.approx(np.exp(-(0.8 * np.log(0.8) + 0.2 * np.log(0.2))))
    assert geometry.spectrum(floats((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0))) == pytest.approx((2, 2))
    assert geometry.spectrum(floats((3, 4), (3, 4))) == (0, 0)


def test_skewness_by_hand() -> None:
    # Mean 1, deviations -1, -1, -1, 3: moments 12/4 = 3 and 24/4 = 6, so 6 / 3^1.5.
    assert geometry.skewness(np.array([0, 0, 0, 4])) == pytest.approx(6 / 3**1.5)
    assert geometry.skewness(np.array([2, 2, 2])) == 0


def test_occurrences_by_hand() -> None:
    # On a line of angles 0°, 10°, 25° and 90°: the neighbours of each, itself left out, are 1, 0, 1 and 2.
    angles = np.deg2rad([0, 10, 25, 90])
    items = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = geometry.occurrences(items, items, np.arange(4), k=1)
    assert found.counts.tolist() == [1, 2, 1, 0]
    np.testing.assert_allclose(found.best_scores, np.cos(np.deg2rad([10, 10, 15, 65])), rtol=1e-5)
    assert found.never == 0.25
    assert found.never_by_chance == 0.75**4
    assert found.skewness_by_chance == pytest.approx((1 - 2 / 4) / np.sqrt(4 * 0.25 * 0.75))
    # Not made from any item, nothing is left out; and lists as long as the catalogue stop one before.
    assert geometry.occurrences(items, items, np.full(4, -1), k=1).counts.tolist() == [1, 1, 1, 1]
    assert geometry.occurrences(items, items, np.arange(4), k=10).counts.tolist() == [3, 3, 3, 3]


def test_identical_by_hand() -> None:
    assert geometry.identical(floats((1, 0), (0, 1), (1, 0), (1, 0))) == 2
    assert geometry.unusable(np.array([[1, np.nan], [0, 0], [1, 0], [np.inf, 0]], np.float16)) == (2, 1)


def built(folder: Path, **arrays: Any) -> Bundle:  # noqa: ANN401
    pq.write_table(pa.table(arrays), folder / "items.parquet")
    return build_bundle(Catalogue.from_parquet(folder / "items.parquet"), load_encoder("vectors:"), folder / "bundle")


def lists(vectors: Vectors) -> pa.Array:
    return pa.array(list(vectors), pa.list_(pa.float32()))


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_an_even_cloud_is_healthy(tmp_path: Path) -> None:
    vectors = rng().normal(size=(300, 40)).astype(np.float32)
    bundle = built(tmp_path, item_id=[str(row) for row in range(300)], text_vector=lists(vectors))
    findings = examine(bundle)
    assert [finding.name for finding in findings if not finding.good] == []
    assert [finding.name for finding in findings] == [
        "damage",
        "quarantine",
        "anisotropy",
        "hubness text to item",
        "hubness item to item",
        "duplicates",
    ]
    assert abs(by_name(findings)["anisotropy"].values["item"]["mean_cosine"]) < 0.01
    assert examine(bundle) == findings


def test_every_illness_is_named_with_a_way_out(tmp_path: Path) -> None:
    # Thin around a large mean, twins, two far modalities, and one item in the middle of all: a hub.
    noise = rng().normal(size=(400, 30)).astype(np.float32)
    texts = unit(0.2 * unit(noise) + np.eye(30, dtype=np.float32)[0])
    texts[0] = texts.mean(axis=0)
    texts[1:21] = texts[21:41]
    pictures = unit(0.1 * unit(noise[::-1]) - np.eye(30, dtype=np.float32)[0])
    image = [None if row % 2 else list(map(float, pictures[row])) for row in range(400)]
    image[2] = [0.0] * 30
    for row in range(4, 24, 2):
        image[row] = [1.0]
    ids = [f"item-{row}" for row in range(400)]
    bundle = built(tmp_path, item_id=ids, text_vector=lists(texts), image_vector=pa.array(image))
    found = by_name(examine(bundle))
    ill = {name for name, finding in found.items() if not finding.good}
    assert ill >= {"quarantine", "gap text-image", "duplicates"}
    assert all(bool(finding.hint) != finding.good for finding in found.values())
    assert found["quarantine"].values["quarantined"] == {"vector of the wrong length": 10, "vector of zeros": 1}
    assert "10 of them: vector of the wrong length" in found["quarantine"].verdict
    assert found["duplicates"].values["identical"] >= 0.02
    assert found["gap text-image"].values["gap"] > 1.8


def test_a_hub_is_named(tmp_path: Path) -> None:
    # Items are far from each other and near the middle: it comes first in every list but its own, and then ties at
    # cosine 0 go to the lowest rows, so that ten or eleven items fill all lists.
    items = np.concatenate([np.full((1, 200), 1, np.float32), np.eye(200, dtype=np.float32)])
    ids = ["everywhere", *map(str, range(200))]
    found = by_name(examine(built(tmp_path, item_id=ids, text_vector=lists(items))))["hubness item to item"]
    assert not found.good
    assert (found.values["largest_hub"], found.values["largest_hub_in_lists"]) == ("everywhere", 200)
    assert found.values["never"] == round(190 / 201, 4)
    assert found.verdict.endswith("'everywhere' is in 200 of 201 lists")


def test_narrow_vectors_are_noticed(tmp_path: Path) -> None:
    vectors = unit(0.3 * unit(rng().normal(size=(100, 16))) + 1)
    found = by_name(examine(built(tmp_path, item_id=[str(r) for r in range(100)], text_vector=lists(vectors))))
    assert not found["anisotropy"].good
    assert found["anisotropy"].values["item"]["mean_cosine"] > 0.9


def test_samples_are_bounded_and_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MAX_ITEMS", 50)
    monkeypatch.setattr(health, "MAX_QUERIES", 20)
    vectors = rng().normal(size=(200, 8)).astype(np.float32)
    bundle = built(tmp_path, item_id=[str(row) for row in range(200)], text_vector=lists(vectors))
    first, again, other = examine(bundle, seed=1), examine(bundle, seed=1), examine(bundle, seed=2)
    hubness = by_name(first)["hubness text to item"].values
    assert (hubness["items"], hubness["queries"]) == (50, 20)
    assert first == again
    assert first != other


def test_one_item_is_enough(tmp_path: Path) -> None:
    findings = examine(built(tmp_path, item_id=["only"], text_vector=lists(floats((1, 2)))))
    assert "duplicates" not in by_name(findings)


def test_two_items_are_compared(tmp_path: Path) -> None:
    findings = by_name(
        examine(built(tmp_path, item_id=["one", "other"], text_vector=lists(np.eye(2, dtype=np.float32))))
    )
    assert findings["duplicates"].good
    assert "hubness text to item" in findings


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return int(stopped.value.code or 0), shown.out, shown.err


def test_doctor_and_export_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "bundle"
    build_bundle(Catalogue.from_parquet(toy_file(tmp_path)), ToyEncoder(), bundle)
    code, out, _ = run(capsys, "doctor", bundle, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["good"] == all(finding["good"] for finding in report["findings"])
    code, out, _ = run(capsys, "doctor", bundle)
    assert code == 0
    assert "gap text-image" in out
    log = tmp_path / "log.csv"
    ids = toy_table()["item_id"].to_pylist()
    log.write_text("user_id,item_id,timestamp\n" + "".join(f"u,{item},{step}\n" for step, item in enumerate(ids)))
    for form, more in (("faiss", ["--flat"]), ("clip-retrieval", []), ("mmrec", ["--interactions", log])):
        code, out, _ = run(capsys, "export", bundle, "--format", form, "--out", tmp_path / form, *more, "--json")
        assert code == 0
        assert (json.loads(out)["folder"], json.loads(out)["items"]) == (str(tmp_path / form), 20)
    assert (tmp_path / "mmrec" / "mmrec.inter").exists()
    code, _, err = run(capsys, "export", bundle, "--format", "mmrec", "--out", tmp_path / "x")
    assert (code, "give --interactions LOG with --format mmrec" in err) == (2, True)
    assert run(capsys, "export", bundle, "--format", "parquet", "--out", tmp_path / "x")[0] == 2
