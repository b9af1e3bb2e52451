"""`commonspace build`."""

from dataclasses import replace
from typing import Annotated

import numpy as np
import typer

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.text_separation import HINT, measure_text_separation
from indexing.encoders import load_encoder
from retrieval.cli.display.bundle import show_bundle
from retrieval.cli.display.terminal import say, usage_checked
from retrieval.cli.options.encoding import DEFAULT_ENCODER, EncodingOptions, IndexOptions
from retrieval.cli.options.items import ItemColumns, Source, WordColumns, or_sample, word_columns
from retrieval.cli.options.output import Json, OutFolder
from retrieval.fitting.published_model import carry_over

FALLBACK = (
    "pocket is a small fall-back encoder, for English texts and simple pictures; for data of your own take one such as "
    "--encoder open_clip:ViT-B-32-SigLIP2-256/webli"
)
DropLearned = Annotated[
    bool,
    typer.Option("--drop-learned", help="Build without the learned parts of the bundle; by default items keep them."),
]


def build(
    source: Source,
    out: OutFolder,
    items: ItemColumns,
    encoding: EncodingOptions,
    index: IndexOptions,
    words: WordColumns = None,
    drop_learned: DropLearned = False,
    as_json: Json = False,
) -> None:
    """Encode items, index them and publish a bundle.

    An interrupted build continues where it stopped.
    """
    with usage_checked():
        index_config, encode_config = index.config, encoding.config
    catalogue = items.open(or_sample(source), replace(items.named, words=word_columns(words)))
    if encoding.encoder == DEFAULT_ENCODER:
        say(FALLBACK, err=True)
    encoder = load_encoder(
        encoding.encoder, precision=encoding.precision, device=encoding.device, compile=encoding.compile
    )
    bundle = build_bundle(
        catalogue,
        encoder,
        out,
        index=index_config,
        encode=encode_config,
        progress=True,
        carry=carry_over,
        drop_learned=drop_learned,
        index_device=index.index_device,
        queries=index.queries,
    )
    show_bundle(bundle, as_json, cautions=_cautions(bundle))


def _cautions(bundle: Bundle) -> list[str]:
    """Warn if the encoder of a new bundle cannot distinguish its texts."""
    separation = measure_text_separation(bundle, np.random.default_rng(0))
    return [] if separation is None or separation.good else [f"{separation.in_words()}: {HINT}"]
