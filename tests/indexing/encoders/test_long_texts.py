"""A text of 20 MB costs no encoder more than its beginning, which alone is read: it ends no build and no server."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.cleaning import MAX_TEXT_LENGTH
from indexing.encoders import load_encoder
from indexing.encoders.cross_encoder import load_cross_encoder
from retrieval.retriever.retriever import Retriever
from tests.tiny_models import (
    tiny_bert,
    tiny_chinese_clip,
    tiny_clap,
    tiny_clip,
    tiny_cross_encoder,
    tiny_open_clip,
    tiny_siglip,
)


def tiny_st(folder: Path) -> Path:
    library = pytest.importorskip("sentence_transformers")
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    bert = Transformer(str(tiny_bert(folder.with_name("bert"))), max_seq_length=16)
    model = library.SentenceTransformer(modules=[bert, Pooling(32, "mean")], device="cpu")
    model.save(str(folder), create_model_card=False)
    return folder


LONG = {"words": "mug " * 5_000_000, "one word": "m" * 20_000_000, "wide": "\U0001f376" * 5_000_000}
SECONDS = 6  # of the processor; uncut the tokenizers take thirty
MADE: dict[str, Callable[[Path], Path]] = {
    "hf:clip": tiny_clip,
    "hf:siglip": tiny_siglip,
    "hf:chinese": tiny_chinese_clip,
    "clap:": tiny_clap,
    "open_clip:local-dir:": tiny_open_clip,
    "st:": tiny_st,
}


def quickly(score: Callable[[str], np.ndarray], text: str) -> None:
    expected = score(text[:MAX_TEXT_LENGTH])
    started = time.process_time()
    found = score(text)
    assert time.process_time() - started < SECONDS
    np.testing.assert_allclose(found, expected, atol=1e-6)  # the same batch of the same text


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize("name", ["pocket", *MADE])
def test_each_encoder_reads_the_beginning(tmp_path: Path, name: str, kind: str) -> None:
    spec = "pocket"
    if name != "pocket":
        prefix = "open_clip:local-dir:" if name.startswith("open_clip") else f"{name.partition(':')[0]}:"
        spec = f"{prefix}{MADE[name](tmp_path / 'model')}"
    encoder = load_encoder(spec, precision="float32")
    quickly(lambda text: encoder.encode_texts([text, "mug"]), LONG[kind])


@pytest.mark.parametrize("place", [0, 1])
def test_cross_encoders_read_the_beginning_of_both(tmp_path: Path, place: int) -> None:
    pytest.importorskip("sentence_transformers")
    model = load_cross_encoder(str(tiny_cross_encoder(tmp_path / "model")))
    quickly(lambda text: model.score([(text, "mug") if place == 0 else ("mug", text)]), LONG["words"])


def test_a_search_reads_the_beginning(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\n1,mug\n2,cup\n")
    build_bundle(Catalogue.open(tmp_path / "items.csv"), "pocket", tmp_path / "b")
    retriever = Retriever.load(tmp_path / "b")
    quickly(lambda text: retriever.search_texts([text], k=2).scores, LONG["words"])
