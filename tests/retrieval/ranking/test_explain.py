"""What an explanation says of modalities, by hand."""

import numpy as np
import pytest

from indexing.catalogue.item_ids import ItemIds
from indexing.media.files import Modality
from indexing.store.collect import ModalityVectors
from retrieval.candidates import Candidates
from retrieval.models.adapter import Adapter, ModalityGate
from retrieval.ranking.explain import Explanation, with_modalities

BOTH = {Modality.TEXT: np.eye(4, dtype=np.float16)[:3], Modality.IMAGE: np.eye(4, dtype=np.float16)[1:]}
EXISTS = {Modality.TEXT: np.array([True, True, False]), Modality.IMAGE: np.array([True, False, True])}
FOUND = Candidates(
    np.zeros((2, 4), np.float32),
    np.array([[2, 0], [1, -1]]),
    np.array([[1, 0.5], [1, -np.inf]], np.float32),
    ItemIds([*"abc"]),
    "retrieve",
)
TOLD = [[Explanation(name, 1.0, 1.0, 0.0, 0.0, ()) for name in names] for names in ("ca", "b")]


def test_modalities_count_as_they_were_fused() -> None:
    (c, a), (b,) = with_modalities(TOLD, FOUND, ModalityVectors(BOTH, EXISTS, {Modality.IMAGE: 3.0}), None)
    assert list(a.modalities) == ["image", "text"]
    assert a.modalities == pytest.approx({"image": 0.75, "text": 0.25})
    assert (b.modalities, c.modalities) == ({"text": 1.0}, {"image": 1.0})
    assert (a.item_id, a.features) == ("a", {})


def test_an_adapter_weighs_the_modalities() -> None:
    slopes = {modality: np.zeros(4, np.float32) for modality in BOTH}
    offsets = {Modality.TEXT: np.log(np.array([7 / 3], np.float32)), Modality.IMAGE: np.zeros(1, np.float32)}
    zero = np.zeros((4, 2), np.float32)
    adapter = Adapter(zero, np.zeros(2, np.float32), zero.T, ModalityGate(slopes, offsets))
    (c, a), (b,) = with_modalities(TOLD, FOUND, ModalityVectors(BOTH, EXISTS), adapter)
    assert a.modalities == pytest.approx({"text": 0.7, "image": 0.3})
    assert (b.modalities, c.modalities) == ({"text": 1.0}, {"image": 1.0})
