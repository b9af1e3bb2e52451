"""Encoders on the same items: numbers as computed by hand, results that are kept, failures that end nothing."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from indexing.arrays import Vectors, unit
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.sampling import draw
from indexing.diagnostics.geometry import modality_gap, spectrum
from indexing.encoders import Encoder
from indexing.encoders.pocket import PocketEncoder
from indexing.errors import EncoderError, InputError
from indexing.media.files import Modality
from indexing.media.images import ImageLimits, decode_picture
from indexing.sample import items_path
from indexing.store.collect import ModalityVectors, fuse
from indexing.store.encode import EncodeConfig
from retrieval.evaluation.encoder_benchmark.measures import first_relevant_ranks, probes
from retrieval.evaluation.encoder_benchmark.probes import LabelColumn
from retrieval.evaluation.encoder_benchmark.ranking import DIRECTIONS, EncoderRanking, RankConfig, rank_encoders
from tests.toy import COLOURS, DIM, SHAPES, ToyEncoder, picture

ALONE = EncodeConfig(workers=0)


class Blind(ToyEncoder):
    """To whom all pictures are the same."""

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        super().encode_images(images)
        return unit(np.ones((len(images), DIM), np.float32))


class Failing(ToyEncoder):
    """Whose model breaks down at the first picture."""

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        raise RuntimeError("out of\nmemory")


class Reader(ToyEncoder):
    """Who cannot see."""

    def __init__(self) -> None:
        super().__init__("reader", salt="5")
        self.info = replace(self.info, modalities=(Modality.TEXT,))

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        raise AssertionError("asked for pictures")


class Encoders:
    """Loads toy encoders, each once, by names that tests give them."""

    def __init__(self) -> None:
        self.made: dict[str, ToyEncoder] = {
            "plain": ToyEncoder("plain", salt="1"),
            "other": ToyEncoder("other", salt="2"),
            "blind": Blind("blind", salt="3"),
            "failing": Failing("failing", salt="4"),
            "reader": Reader(),
        }

    def __call__(self, name: str) -> Encoder:
        if name not in self.made:
            raise EncoderError(f"there is no encoder {name!r}; known are toys")
        return self.made[name]


@pytest.fixture
def load() -> Encoders:
    return Encoders()


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue.from_parquet(items_file(tmp_path))


def items_file(folder: Path) -> Path:
    """Every colour with every shape three times, of which the second and third have the same title; white unseen."""
    rows = [
        {
            "item_id": f"{colour}-{shape}-{copy}",
            "title": f"{colour} {shape}" + " new" * (copy == 0),
            "image": None if colour == "white" else picture(colour, size=8 + 3 * number + copy),
            "colour": colour,
            "shape": shape,
        }
        for number, shape in enumerate(SHAPES)
        for colour in COLOURS
        for copy in range(3)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")
    return folder / "items.parquet"


def ranked(
    catalogue: Catalogue, names: Sequence[str], folder: Path, load: Encoders, **config: object
) -> EncoderRanking:
    return rank_encoders(catalogue, names, folder, config=RankConfig(encode=ALONE, **config), load=load)  # type: ignore[arg-type]


def by_hand(queries: Vectors, answers: Vectors, titles: Sequence[str], pictures: Sequence[bytes]) -> list[range]:
    """The ranks that the first item with the same title or picture may have: several where others score the same."""
    ranks = []
    for place, query in enumerate(queries):
        scores = answers.astype(np.float64) @ query.astype(np.float64)
        right = [titles[o] == titles[place] or pictures[o] == pictures[place] for o in range(len(answers))]
        best = scores[right].max()
        ranks.append(range(1 + int((scores > best + 1e-6).sum()), 1 + int((scores > best - 1e-6).sum())))
    return ranks


def halves(vectors: Vectors) -> Vectors:
    """As they come back from a store."""
    return unit(vectors.astype(np.float16))


def test_retrieval_is_what_sorting_gives(catalogue: Catalogue, tmp_path: Path, load: Encoders) -> None:
    ranking = ranked(catalogue, ["other", "plain"], tmp_path / "kept", load)
    items = [item for batch in catalogue.batches(99) for item in batch if item.media]
    files = [item.media[0].source for item in items]
    assert len(files) == 45
    for result in ranking.results:
        toy = load.made[result.name]
        titles = [item.text or "" for item in items]
        texts = halves(toy.encode_texts(titles))
        seen = halves(toy.encode_images([decode_picture(f, ImageLimits()) for f in files if isinstance(f, bytes)]))
        assert result.retrieval["pairs"] == 45
        for way, queries, answers in ((DIRECTIONS[0], texts, seen), (DIRECTIONS[1], seen, texts)):
            allowed = by_hand(queries, answers, titles, [f for f in files if isinstance(f, bytes)])
            found = result.retrieval[way]
            ranks = found["ranks"]
            assert all(rank in places for rank, places in zip(ranks, allowed, strict=True))
            assert 1 < np.median(ranks) < 30
            for k in (1, 5, 10):
                share = np.mean([rank <= k for rank in ranks])
                assert found[f"recall@{k}"]["value"] == pytest.approx(share, abs=1e-4)
                assert found[f"recall@{k}"]["low"] <= share <= found[f"recall@{k}"]["high"]
            assert found["median_rank"]["value"] == np.median(ranks)


def test_ranks_keep_the_order_of_equal_scores() -> None:
    same = np.ones((4, 3), np.float32)
    assert first_relevant_ranks(same, same, []).tolist() == [1, 2, 3, 4]
    assert first_relevant_ranks(same, same, [np.array([0, 1, 1, 0])]).tolist() == [1, 2, 2, 1]
    queries = np.random.default_rng(0).normal(size=(2100, 4)).astype(np.float32)
    targets = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    assert first_relevant_ranks(queries, targets, []).tolist() == [1] * 2100


def test_health_and_sizes_are_those_of_the_vectors(catalogue: Catalogue, tmp_path: Path, load: Encoders) -> None:
    (result,) = ranked(catalogue, ["plain"], tmp_path / "kept", load).results
    items = [item for batch in catalogue.batches(99) for item in batch]
    toy = load.made["plain"]
    texts = toy.encode_texts([item.text or "" for item in items]).astype(np.float16)
    exists = np.array([bool(item.media) for item in items])
    seen = np.zeros_like(texts)
    sources = [item.media[0].source for item in items if item.media]
    seen[exists] = toy.encode_images([decode_picture(s, ImageLimits()) for s in sources if isinstance(s, bytes)])
    frozen = ModalityVectors(
        {Modality.TEXT: texts, Modality.IMAGE: seen}, {Modality.TEXT: np.ones(60, np.bool_), Modality.IMAGE: exists}
    )
    gap, distance = modality_gap(unit(texts), unit(seen[exists]), np.random.default_rng(0))
    assert result.health["gap text-image"]["values"]["gap"] == pytest.approx(gap, abs=1e-4)
    assert result.health["gap text-image"]["values"]["mean_distance"] == pytest.approx(distance, abs=1e-4)
    ratio = result.health["anisotropy"]["values"]["item"]["participation_ratio"]
    assert ratio == pytest.approx(spectrum(fuse(frozen))[0], abs=0.06)
    assert result.health["hubness text to item"]["values"]["queries"] == 60
    assert (result.dim, result.bytes_per_item) == (DIM, 2 * DIM * 105 / 60)
    assert all(speed and speed > 0 for speed in result.items_per_second.values())


def test_a_label_is_found_and_reported(catalogue: Catalogue, tmp_path: Path, load: Encoders) -> None:
    found = ranked(catalogue, ["plain", "blind"], tmp_path / "kept", load)
    assert found.label == "shape"
    named = ranked(catalogue, ["plain", "blind"], tmp_path / "kept", load, label="colour")
    probes_of = {result.name: result.probes for result in named.results}
    assert {probe["label"] for probe in probes_of.values()} == {"colour"}
    text, image = probes_of["plain"]["from"]["text"], probes_of["plain"]["from"]["image"]
    assert (text["train"], text["test"], image["train"], image["test"]) == (44, 16, 33, 12)
    assert text["knn"]["value"] == image["knn"]["value"] == image["linear"]["value"] == 1
    assert probes_of["plain"]["largest_class"] == 0.25
    blind = probes_of["blind"]["from"]["image"]
    assert blind["linear"]["value"] == blind["knn"]["value"] == pytest.approx(4 / 12, abs=1e-4)
    assert probes_of["blind"]["from"]["both"]["linear"]["value"] == 1


def test_the_best_comes_first_and_others_are_compared_with_it(
    catalogue: Catalogue, tmp_path: Path, load: Encoders
) -> None:
    ranking = ranked(catalogue, ["blind", "plain"], tmp_path / "kept", load)
    assert [result.name for result in ranking.results] == ["plain", "blind"]
    first, other = ranking.results
    assert first.against_first is None
    hits = [[np.array(one.retrieval[way]["ranks"]) <= 10 for way in DIRECTIONS] for one in (first, other)]
    assert other.against_first is not None
    assert other.against_first["value"] == pytest.approx(np.mean(hits[1]) - np.mean(hits[0]), abs=1e-4)
    assert other.against_first["low"] <= other.against_first["value"] <= other.against_first["high"] < 0


def test_what_is_done_is_kept(catalogue: Catalogue, tmp_path: Path, load: Encoders) -> None:
    folder = tmp_path / "kept"
    first = ranked(catalogue, ["plain", "other"], folder, load)
    counts = {name: (len(toy.encoded), toy.pictures) for name, toy in load.made.items()}
    again = ranked(catalogue, ["plain", "other"], folder, load)
    assert {name: (len(toy.encoded), toy.pictures) for name, toy in load.made.items()} == counts
    assert again == first
    # Another label or seed needs other numbers, but no other vectors: only the models' warming up is new.
    ranked(catalogue, ["plain"], folder, load, label="colour")
    assert (len(load.made["plain"].encoded), load.made["plain"].pictures) == (
        counts["plain"][0] + 1,
        counts["plain"][1] + 1,
    )
    for path in folder.glob("*.json"):
        path.write_bytes(path.read_bytes()[:50])  # damaged results are measured again, from the vectors
    mended = ranked(catalogue, ["plain"], folder, load)
    assert mended.results[0].retrieval == next(one for one in first.results if one.name == "plain").retrieval
    assert mended.results[0].items_per_second == {"text": None, "image": None}
    assert not json.loads(json.dumps(mended.to_json()))["failed"]


def test_changed_items_are_measured_anew(tmp_path: Path, load: Encoders) -> None:
    path = items_file(tmp_path)
    before = ranked(Catalogue.from_parquet(path), ["plain"], tmp_path / "kept", load)
    table = pq.read_table(path)
    pq.write_table(table.slice(9), path)
    after = ranked(Catalogue.from_parquet(path), ["plain"], tmp_path / "kept", load)
    assert (before.results[0].retrieval["pairs"], after.results[0].retrieval["pairs"]) == (45, 36)
    fresh = ranked(Catalogue.from_parquet(path), ["plain"], tmp_path / "elsewhere", load)
    assert after.results[0].retrieval == fresh.results[0].retrieval
    assert after.results[0].health == fresh.results[0].health


def test_failures_are_reported_and_end_nothing(catalogue: Catalogue, tmp_path: Path, load: Encoders) -> None:
    ranking = ranked(catalogue, ["nonsense", "failing", "plain"], tmp_path / "kept", load)
    assert [result.name for result in ranking.results] == ["plain"]
    assert ranking.failed == {
        "nonsense": "there is no encoder 'nonsense'; known are toys",
        "failing": "out of memory",
    }
    with pytest.raises(InputError, match="there is no encoder to rank"):
        ranked(catalogue, [], tmp_path / "kept", load)
    with pytest.raises(InputError, match="there is no column 'hue'"):
        ranked(catalogue, ["plain"], tmp_path / "kept", load, label="hue")


def test_an_encoder_of_texts_alone_has_its_probes_and_comes_last(
    catalogue: Catalogue, tmp_path: Path, load: Encoders
) -> None:
    ranking = ranked(catalogue, ["reader", "plain"], tmp_path / "kept", load, label="colour")
    assert not ranking.failed
    assert [result.name for result in ranking.results] == ["plain", "reader"]
    reader = ranking.results[1]
    assert (reader.retrieval, reader.against_first) == ({}, None)
    assert list(reader.probes["from"]) == ["text"]
    assert reader.probes["from"]["text"]["linear"]["value"] == 1
    assert reader.bytes_per_item == 2 * DIM
    assert set(reader.items_per_second) == {"text"}


def test_few_pictures_end_no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.evaluation.encoder_benchmark.measures.RESAMPLES", 5)
    rng = np.random.default_rng(0)
    label = LabelColumn("x", ("a", "b"), np.arange(40) % 2)
    vectors = rng.normal(size=(40, 4)).astype(np.float16)
    sizes = []
    for _ in range(200):  # two pictures: in the test, in what is fitted on, or held out for the choice
        seen = np.zeros(40, np.bool_)
        seen[rng.choice(40, 2, replace=False)] = True
        frozen = ModalityVectors(
            {Modality.TEXT: vectors, Modality.IMAGE: vectors},
            {Modality.TEXT: np.ones(40, np.bool_), Modality.IMAGE: seen},
        )
        found = probes(frozen, label)["from"]
        sizes.append(found["image"]["train"] if "image" in found else 0)
        assert (found["text"]["train"], found["text"]["test"]) == (30, 10)
    assert set(sizes) == {0, 1}


def test_precomputed_vectors_are_ranked_too(tmp_path: Path) -> None:
    eye = np.eye(12).tolist()
    table = pa.table({"item_id": [str(n) for n in range(12)], "text_vector": eye, "image_vector": eye[::-1]})
    pq.write_table(table, tmp_path / "vectors.parquet")
    ranking = rank_encoders(Catalogue.from_parquet(tmp_path / "vectors.parquet"), ["vectors:"], tmp_path / "kept")
    assert not ranking.failed
    (result,) = ranking.results
    assert (result.retrieval["pairs"], result.items_per_second, result.probes) == (12, {}, {})
    # A text's own picture has score 0, as ten others; the one with 1 and those before it come first.
    expected = [1 + n + (11 - n > n) for n in range(12)]
    assert result.retrieval["text to image"]["ranks"] == expected


def test_the_pocket_encoder_on_the_shipped_sample(tmp_path: Path) -> None:
    pq.write_table(pq.read_table(items_path()).slice(0, 60), tmp_path / "some.parquet")
    catalogue, encoder = Catalogue.from_parquet(tmp_path / "some.parquet"), PocketEncoder()
    config = RankConfig(sample=24, seed=3, encode=ALONE)
    ranking = rank_encoders(catalogue, ["pocket"], tmp_path / "kept", config=config, load=lambda name: encoder)
    (result,) = ranking.results
    items = [item for batch in draw(catalogue, 24, seed=3).batches(24) for item in batch]
    sources = [item.media[0].source for item in items]
    texts = halves(encoder.encode_texts([item.text or "" for item in items]))
    seen = halves(encoder.encode_images([decode_picture(s, ImageLimits()) for s in sources if isinstance(s, bytes)]))
    ranks = 1 + ((texts @ seen.T) > (texts * seen).sum(axis=1)[:, None] + 1e-6).sum(axis=1)
    assert len(ranks) == ranking.items == result.retrieval["pairs"] == 24
    # Decoding at a reduced size may swap two pictures of nearly equal score.
    assert result.retrieval["text to image"]["recall@5"]["value"] == pytest.approx(
        np.mean(ranks <= 5), abs=1 / 24 + 1e-4
    )
    assert np.mean(ranks <= 5) > 0.5  # 5 / 24 by chance


def test_bytes_an_item_have_one_decimal(catalogue: Catalogue, tmp_path: Path, load: Encoders) -> None:
    (plain,) = ranked(catalogue, ["plain"], tmp_path / "kept", load, sample=53).results
    assert plain.bytes_per_item == 59.2  # 53 titles and 45 pictures of 16 numbers: 59.169…
