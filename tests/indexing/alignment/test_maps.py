"""The maps of modalities from different spaces: against exact arithmetic, at the edges, and as files."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.numpy import load, save

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import Encoder, load_encoder
from indexing.encoders.alignment import separate_spaces as spaces_learned
from indexing.encoders.alignment.separate_encoder import SpacesEncoder
from indexing.encoders.alignment.separate_spaces import Spaces, learn_spaces
from indexing.encoders.base import HasBridge
from indexing.encoders.precomputed import VectorsEncoder
from indexing.errors import CatalogueError, DamagedFileError, EncoderError, SeparateSpacesError, ShapeError, VectorError
from indexing.media.files import Modality
from indexing.store.collect import fuse
from indexing.store.encode import NO_DIRECTION
from indexing.store.store import EmbeddingStore
from tests.indexing.alignment.things import IMAGE, TEXT, Things, centred, scaled, side_by_side, spread

LENGTHS = {Modality.TEXT: TEXT, Modality.IMAGE: IMAGE}


def fitted(catalogue: Catalogue, spec: str = "vectors:separate:10") -> SpacesEncoder:
    encoder = load_encoder(spec)
    assert isinstance(encoder, VectorsEncoder)
    made = encoder.fitted(catalogue)
    assert isinstance(made, SpacesEncoder)
    return made


def test_cosines_within_a_part_are_those_of_the_centred_vectors(tmp_path: Path) -> None:
    things = Things()
    bundle = build_bundle(things.catalogue(tmp_path), load_encoder("vectors:separate:10"), tmp_path / "b")
    assert (bundle.manifest.encoder.name, bundle.manifest.encoder.dim) == ("vectors:separate:10", 20)
    assert bundle.manifest.encoder.modalities == (Modality.TEXT, Modality.IMAGE)
    stored = {m: vectors.astype(np.float64) for m, vectors in bundle.modality_vectors.vectors.items()}
    text, image = centred(things.texts, things.has_text), centred(things.images, things.has_image)
    np.testing.assert_allclose(stored[Modality.TEXT] @ stored[Modality.TEXT].T, text @ text.T, atol=2e-3)
    np.testing.assert_allclose(stored[Modality.IMAGE] @ stored[Modality.IMAGE].T, image @ image.T, atol=2e-3)
    assert not (stored[Modality.TEXT] @ stored[Modality.IMAGE].T).any()
    assert bundle.modality_vectors.exists[Modality.TEXT].tolist() == things.has_text.tolist()
    fused, items = fuse(bundle.modality_vectors), side_by_side(things)
    np.testing.assert_allclose(fused @ fused.T, items @ items.T, atol=2e-3)
    info_of_bridge = bundle.manifest.counts["bridge"]
    assert info_of_bridge["text"] == {
        "length": TEXT,
        "kept_dimensions": 10,
        "kept_variance": 1.0,
        "weight": pytest.approx(spread(things.texts, things.has_text) ** 0.5, abs=1e-4),
        "learned_from": int(things.has_text.sum()),
    }


def test_what_is_cut_off_is_what_principal_axes_cut_off(tmp_path: Path) -> None:
    things = Things()
    spaces = learn_spaces(things.catalogue(tmp_path), LENGTHS, 3)
    for modality, vectors, has in (
        (Modality.TEXT, things.texts, things.has_text),
        (Modality.IMAGE, things.images, things.has_image),
    ):
        known = scaled(vectors[has])
        left = known - known.mean(axis=0)
        _, sizes, axes = np.linalg.svd(left, full_matrices=False)
        expected = scaled(left @ axes[:3].T)
        mapped = spaces.apply(modality, vectors[has])
        np.testing.assert_allclose(mapped @ mapped.T, expected @ expected.T, atol=1e-4)
        share = (sizes[:3] ** 2).sum() / (sizes**2).sum()
        assert 0.4 < share < 0.95
        assert spaces.report()[str(modality)]["kept_variance"] == pytest.approx(share, abs=1e-4)
        length = np.sqrt(((left @ axes[:3].T) ** 2).sum(axis=1).mean())
        assert spaces.report()[str(modality)]["weight"] == pytest.approx(length, abs=1e-4)


def test_short_vectors_are_centred_and_lose_nothing(tmp_path: Path) -> None:
    things = Things()
    spaces = fitted(things.catalogue(tmp_path), "vectors:").spaces
    assert spaces.dim == TEXT + IMAGE
    mapped = spaces.apply(Modality.IMAGE, 9 * things.images[:1])
    expected = centred(things.images, things.has_image, things.images[:1])
    np.testing.assert_allclose(mapped[:, spaces.part(Modality.IMAGE)], expected, atol=1e-5)


def test_axes_may_be_learned_from_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    things = Things(400)
    monkeypatch.setattr(spaces_learned, "MAX_VECTORS", 50)
    catalogue = things.catalogue(tmp_path)
    spaces = learn_spaces(catalogue, LENGTHS, 10)
    assert 20 < spaces.report()["text"]["learned_from"] < 100
    mapped = spaces.apply(Modality.TEXT, things.texts)  # of rank 6: fifty show all there is, and the mean is of all
    expected = centred(things.texts, things.has_text, things.texts)
    np.testing.assert_allclose(mapped @ mapped.T, expected @ expected.T, atol=1e-4)
    assert learn_spaces(catalogue, LENGTHS, 10).digest == spaces.digest
    assert learn_spaces(catalogue, LENGTHS, 10, seed=1).digest != spaces.digest


def test_equal_lengths_are_one_space_unless_separate_is_asked_for(tmp_path: Path) -> None:
    things = Things()
    things.images = things.images[:, :TEXT]
    catalogue = things.catalogue(tmp_path)
    one = VectorsEncoder().fitted(catalogue)
    assert (one.info.name, one.info.separate, isinstance(one, HasBridge)) == ("vectors:24", False, False)
    encoder = fitted(catalogue, "vectors:separate")
    assert (encoder.info.name, encoder.info.dim, encoder.info.separate) == ("vectors:separate:256", 2 * TEXT, True)
    assert isinstance(encoder, HasBridge)
    assert isinstance(encoder, Encoder)


def test_a_modality_alone_can_be_centred(tmp_path: Path) -> None:
    things = Things()
    catalogue = things.catalogue(tmp_path, image_vector=None)
    bundle = build_bundle(catalogue, load_encoder("vectors:separate"), tmp_path / "b")
    text = centred(things.texts, things.has_text)[things.has_text]
    found = fuse(bundle.modality_vectors)
    np.testing.assert_allclose(found @ found.T, text @ text.T, atol=2e-3)


def test_the_fingerprint_is_of_the_maps(tmp_path: Path) -> None:
    things = Things()
    some, all_of_them = things.catalogue(tmp_path, range(50)), things.catalogue(tmp_path)
    prints = [
        fitted(all_of_them).info.fingerprint,
        fitted(all_of_them, "vectors:separate:9").info.fingerprint,
        fitted(all_of_them, "vectors:separate:10:ours").info.fingerprint,
        fitted(Things(seed=1).catalogue(tmp_path)).info.fingerprint,
    ]
    assert len(set(prints)) == 4
    assert fitted(things.catalogue(tmp_path)).info.fingerprint == prints[0]
    assert fitted(things.catalogue(tmp_path, range(50))).info.fingerprint != prints[0]
    assert some.source == all_of_them.source


def test_maps_as_a_file(tmp_path: Path) -> None:
    things = Things()
    encoder = fitted(things.catalogue(tmp_path), "vectors:separate:10:ours")
    again = load_encoder(encoder.info.name, bridge=encoder.bridge_bytes())
    assert isinstance(again, SpacesEncoder)
    assert again.info == encoder.info
    np.testing.assert_array_equal(
        again.encode_vectors(Modality.IMAGE, things.images), encoder.encode_vectors(Modality.IMAGE, things.images)
    )
    assert again.bridge_report() == encoder.bridge_report()
    arrays = load(encoder.bridge_bytes())
    wrong = [
        b"",
        save({"about": arrays["about"]}),
        save({name: array for name, array in arrays.items() if name != "text.axes"}),
        save({**arrays, "text.mean": arrays["image.mean"]}),
        save({**arrays, "text.mean": arrays["text.mean"] * np.float32("nan")}),
        save({**arrays, "text.mean": arrays["text.mean"].astype(np.float64)}),
        save({**arrays, "more": arrays["text.mean"]}),
        save(
            {
                **arrays,
                "about": np.frombuffer(arrays["about"].tobytes().replace(b'"spread": 0', b'"spread": 9'), np.uint8),
            }
        ),
        save({"about": np.frombuffer(b"{}", np.uint8)}),
        save({"about": np.frombuffer(b'{"smell": {"kept": 1, "learned_from": 1}}', np.uint8)}),
    ]
    for data in wrong:
        with pytest.raises(DamagedFileError, match="build"):
            Spaces.from_bytes(data)
    with pytest.raises(EncoderError, match="takes no bridge"):
        load_encoder("vectors:24", bridge=encoder.bridge_bytes())


@pytest.mark.parametrize("rest", ["0", "x", ":ours", "-1", "256:" + "x" * 101])
def test_wrong_names(rest: str) -> None:
    with pytest.raises(EncoderError, match=r"names no dimension; write .*vectors:separate:256:NAME|is unusable"):
        load_encoder(f"vectors:separate:{rest}")


def test_queries_that_cannot_be_mapped(tmp_path: Path) -> None:
    encoder = fitted(Things().catalogue(tmp_path))
    with pytest.raises(
        ShapeError, match=r"image vectors have shape \(2, 24\), expected \(N, 70\); text has 24 numbers"
    ):
        encoder.encode_vectors(Modality.IMAGE, np.ones((2, TEXT), np.float32))
    with pytest.raises(VectorError, match="text queries hold NaN or infinity at rows 1"):
        encoder.encode_vectors(Modality.TEXT, np.array([[1] * TEXT, [np.inf] * TEXT], np.float32))
    with pytest.raises(
        SeparateSpacesError, match="no map was learned for audio vectors, only for text, image: name one"
    ):
        encoder.encode_vectors(Modality.AUDIO, np.ones((1, TEXT), np.float32))
    with pytest.raises(EncoderError, match=r"cannot embed 1 texts.*search_vectors\(vectors, modality='text'\)"):
        encoder.encode_texts(["a red mug"])
    with pytest.raises(EncoderError, match=r"cannot embed 1 pictures.*modality='image'\)"):
        encoder.encode_images([Image.new("RGB", (2, 2))])


def written(folder: Path, texts: list[list[float] | None], images: list[list[float] | None]) -> Catalogue:
    ids = [f"item-{row}" for row in range(len(texts))]
    kind = pa.list_(pa.float64())
    table = pa.table({"item_id": ids, "text_vector": pa.array(texts, kind), "image_vector": pa.array(images, kind)})
    pq.write_table(table, folder / "written.parquet")
    return Catalogue.from_parquet(folder / "written.parquet")


def test_what_cannot_be_used_costs_only_its_own_modality(tmp_path: Path) -> None:
    texts = [[3.0, 4.0], [4.0, 3.0], [1.0, 0.0, 0.0], [-1.0, 1.0], None, [0.0, 0.0]]
    images = [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0], [1.0, 1.0], [1.0, float("nan"), 0.0], [1.0, 1.0, 1.0]]
    bundle = build_bundle(written(tmp_path, [*texts], [*images]), load_encoder("vectors:"), tmp_path / "b")
    assert list(bundle.items) == ["item-0", "item-1", "item-2", "item-3", "item-5"]
    store = EmbeddingStore(bundle.folder / "store", bundle.manifest.encoder.dim)
    assert store.reason("item-2", Modality.TEXT) == "vector of the wrong length: row 2: 3 numbers, expected 2"
    assert store.reason("item-3", Modality.IMAGE) == "vector of the wrong length: row 3: 2 numbers, expected 3"
    assert store.reason("item-4", Modality.IMAGE) == (
        "vector with a value that is not finite: row 4: nan at position 1, expected 3 finite numbers"
    )
    assert (store.reason("item-5", Modality.TEXT) or "").startswith("vector of zeros: row 5")
    assert bundle.manifest.counts["bridge"]["text"]["learned_from"] == 3
    means = scaled(np.array([[3, 4], [4, 3], [-1, 1]])).mean(axis=0)
    expected = scaled(scaled(np.array([[3.0, 4.0]])) - means)
    np.testing.assert_allclose(bundle.modality_vectors.vectors[Modality.TEXT][0, :2], expected[0], atol=1e-3)


def test_vectors_that_are_all_alike_are_not_centred(tmp_path: Path) -> None:
    images: list[list[float] | None] = [[1.0, 0.0, 0.0], [0.0, 5.0, 0.0], None]
    bundle = build_bundle(written(tmp_path, [[3.0, 4.0]] * 3, images), load_encoder("vectors:"), tmp_path / "b")
    np.testing.assert_allclose(bundle.modality_vectors.vectors[Modality.TEXT][:, :2], [[0.6, 0.8]] * 3, atol=1e-3)
    fused = fuse(bundle.modality_vectors)
    np.testing.assert_allclose(fused[2, :2], [0.6, 0.8], atol=1e-3)
    assert np.linalg.norm(fused[:2, :2], axis=1) == pytest.approx(
        [0.01 / 0.5**0.5] * 2, rel=0.01
    )  # says next to nothing
    expected = scaled(np.array([[1.0, -1, 0], [-1, 1, 0]]))
    np.testing.assert_allclose(bundle.modality_vectors.vectors[Modality.IMAGE][:2, 2:], expected, atol=1e-3)


def test_a_vector_of_which_the_map_leaves_nothing(tmp_path: Path) -> None:
    images: list[list[float] | None] = [
        [1.0, 0.0, 0.0],
        [-1.0, 0.0, 0.0],
        [0.0, 0.0, 1e-30],
    ]  # the last across the axis
    catalogue = written(tmp_path, [[3.0, 4.0]] * 3, images)
    bundle = build_bundle(catalogue, load_encoder("vectors:separate:1"), tmp_path / "b")
    np.testing.assert_allclose(bundle.modality_vectors.vectors[Modality.IMAGE][:, 1], [1, -1, 0])
    assert bundle.modality_vectors.exists[Modality.IMAGE].tolist() == [True, True, False]
    store = EmbeddingStore(bundle.folder / "store", bundle.manifest.encoder.dim)
    assert store.reason("item-2", Modality.IMAGE) == NO_DIRECTION
    with pytest.raises(VectorError, match="image queries at rows 1 have no direction left in the dimensions"):
        fitted(catalogue, "vectors:separate:1").encode_vectors(
            Modality.IMAGE, np.array([[1, 0, 0], [0, 0, 2]], np.float32)
        )


def test_a_column_without_a_usable_vector(tmp_path: Path) -> None:
    nothing: list[list[float] | None] = [[0.0, 0.0], [0.0, 0.0]]
    with pytest.raises(CatalogueError, match="no usable vector of text: mend that column, or choose others"):
        build_bundle(
            written(tmp_path, nothing, [[1.0, 0.0, 0.0], None]), load_encoder("vectors:separate"), tmp_path / "b"
        )
    with pytest.raises(CatalogueError, match="brings no vectors"):
        build_bundle(written(tmp_path, [None], [None]), load_encoder("vectors:separate"), tmp_path / "b")
