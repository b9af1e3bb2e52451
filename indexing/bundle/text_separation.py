"""Whether an encoder tells the texts of a catalogue apart, by its vectors and by what its tokenizer does not know."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from indexing.arrays import Rows, Vectors, unit
from indexing.bundle.bundle import Bundle
from indexing.catalogue.arrow_values import python_values
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.cleaning import clean_text
from indexing.catalogue.languages import UNKNOWN as UNTOLD
from indexing.catalogue.languages import guess_language
from indexing.encoders.base import Encoder, KnowsTokens
from indexing.errors import examples
from indexing.media.files import Modality

MAX_TEXTS = 2_000
MIN_SIMILARITY = 0.999  # cosine over which nobody tells two texts apart by their vectors
MAX_SIMILAR, MAX_UNKNOWN = 0.05, 0.25  # shares of texts and of tokens above which something is wrong
MIN_FOREIGN = 0.1  # of the texts, in other languages than the encoder's
ENGLISH, ENGLISH_ONLY_ENCODER = "en", "pocket"  # the language, and the encoder that knows no other
UNKNOWN = "unknown_tokens"  # its name among the counts of a manifest
HINT = (
    "build with an encoder that knows their language: open_clip:ViT-B-32-SigLIP2-256/webli knows many, and "
    "st:NAME any that sentence-transformers has"
)
_NOT_LETTERS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class TextSeparation:
    """What was found.

    Attributes:
        texts: How many texts were compared.
        similar: How many of them have nearly the vector of another, different text.
        pair: Two of these.
        unknown: The share of tokens that the tokenizer does not know; None where it does not say.
        languages: How many texts seem to be in which language, where the encoder knows English alone.
    """

    texts: int
    similar: int
    pair: tuple[str, ...]
    unknown: float | None
    languages: Mapping[str, int] = field(default_factory=dict)

    @property
    def foreign(self) -> dict[str, int]:
        """Other languages than the encoder's, with the count of texts, where these are no few and not by chance."""
        counts = {name: count for name, count in self.languages.items() if name not in (ENGLISH, UNTOLD)}
        count = sum(counts.values())
        relevant = count > max(1, self.languages.get(ENGLISH, 0)) and count >= MIN_FOREIGN * self.texts
        return counts if relevant else {}

    @property
    def good(self) -> bool:
        """Whether the encoder tells the texts apart, as far as was looked."""
        few_duplicates = self.similar < 2 or self.similar <= MAX_SIMILAR * self.texts
        return few_duplicates and (self.unknown or 0.0) <= MAX_UNKNOWN and not self.foreign

    def in_words(self) -> str:
        """Say what was found, in one line."""
        text = f"{self.similar} of {self.texts} texts have nearly the vector of another, different text"
        text += f", e.g. {examples(self.pair)}" if self.pair else ""
        text += f"; {self.unknown:.0%} of their tokens are unknown to the encoder" if self.unknown else ""
        if not self.foreign:
            return text
        languages = ", ".join(f"{name} {count}" for name, count in self.foreign.items())
        return f"{text}; {sum(self.foreign.values())} seem not to be in English, which alone it knows ({languages})"

    def to_json(self) -> dict[str, Any]:
        """Return what was measured as plain JSON values."""
        return {
            "texts": self.texts,
            "alike": self.similar,
            "pair": list(self.pair),
            UNKNOWN: self.unknown,
            "languages": dict(self.languages),
        }


def measure_text_separation(bundle: Bundle, rng: np.random.Generator) -> TextSeparation | None:
    """Compare a sample of a bundle's texts with each other.

    Returns:
        What was found; None when there are no two texts whose vectors a model made.
    """
    names = [name for name in bundle.manifest.columns.get("text") or () if name in bundle.attributes.column_names]
    vectors = bundle.modality_vectors
    if not names or Modality.TEXT not in vectors.vectors:
        return None
    rows = np.flatnonzero(vectors.exists[Modality.TEXT] & bundle.is_live)
    if len(rows) > MAX_TEXTS:
        rows = np.sort(rng.choice(rows, MAX_TEXTS, replace=False))
    texts = item_texts(bundle.attributes.select(names), rows)
    positions = [position for position, text in enumerate(texts) if text]
    if len(positions) < 2:
        return None
    num_similar, pair = _similar_texts(
        unit(vectors.vectors[Modality.TEXT][rows[positions]]), [texts[position] for position in positions]
    )
    english = bundle.manifest.encoder.name == ENGLISH_ONLY_ENCODER
    languages = Counter(map(guess_language, texts)) if english else Counter[str]()
    return TextSeparation(
        len(positions), num_similar, pair, bundle.manifest.counts.get(UNKNOWN), dict(languages.most_common())
    )


def unknown_tokens(encoder: Encoder, catalogue: Catalogue) -> Mapping[str, float]:
    """Return the share of tokens of the first texts that an encoder does not know, by its name in a manifest.

    Returns:
        Nothing where the encoder does not say, or there are no texts.
    """
    names = [name for name in catalogue.columns.text if name in catalogue.attributes.column_names]
    if not isinstance(encoder, KnowsTokens) or not names:
        return {}
    rows = np.arange(min(len(catalogue.attributes), MAX_TEXTS))
    texts = [text for text in item_texts(catalogue.attributes.select(names), rows) if text]
    return {UNKNOWN: round(encoder.unknown_share(texts), 4)} if texts else {}


def item_texts(columns: pa.Table, rows: Rows) -> list[str]:
    """Return the text of each row, its columns joined as for the encoder; empty where there is none."""
    values = [python_values(column) for column in columns.take(pa.array(rows)).columns]
    return [clean_text(fields, Counter()) or "" for fields in zip(*values, strict=True)]


def _similar_texts(vectors: Vectors, texts: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """Count the texts that have nearly the vector of a text with other letters, and show two."""
    keys = np.unique([_NOT_LETTERS.sub(" ", text.casefold()).strip() for text in texts], return_inverse=True)[1]
    similar = (vectors @ vectors.T > MIN_SIMILARITY) & (keys[:, None] != keys)
    rows = np.flatnonzero(similar.any(axis=1))
    if not len(rows):
        return 0, ()
    return len(rows), (texts[rows[0]], texts[int(similar[rows[0]].argmax())])
