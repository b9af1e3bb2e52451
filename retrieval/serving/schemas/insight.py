"""Bodies of what the page shows beside hits."""

from typing import Annotated, Any, Literal

from pydantic import Field

from retrieval.serving.config import MAX_HISTORY
from retrieval.serving.schemas import answer_examples
from retrieval.serving.schemas.admin import KeptGeneration
from retrieval.serving.schemas.answers import Body, Named, OfVersion
from retrieval.serving.schemas.base import Id, Strict, Weight, examples

MAX_MEDIA = 1_000
MAX_TASTES = 50


class FacetsAnswer(Named):
    """Attributes as filters."""

    model_config = examples(answer_examples.FACETS)

    facets: list[dict[str, Any]] = Field(
        description="Of each attribute its values with their numbers of items, or its smallest and largest number."
    )


class MapAnswer(Named):
    """The space of items in two dimensions."""

    model_config = examples(answer_examples.MAP)

    item_ids: list[str]
    titles: list[str | None]
    places: str = Field(description="For each point two numbers of 16 bits, little-endian, in base64.")
    of: int = Field(description="Items of the bundle; more than points where these are a sample.")
    explained_variance: float = Field(description="Share of the variance that two dimensions have.")
    colours: list[str] = Field(description="What points may be coloured by.")
    colour: dict[str, Any] | None = Field(description="Names, and a byte for each point in base64.")


class PlacesAnswer(OfVersion):
    """Where queries lie on the map: 0 to 1 on either axis within it."""

    model_config = examples(answer_examples.PLACES)

    places: list[Annotated[list[float], Field(min_length=2, max_length=2)]]


class TasteRequest(Strict):
    """A history, and perhaps what each of its items weighs: below 0 for a dislike."""

    model_config = examples(
        [{"history": ["mug", "croissant"]}, {"history": ["mug", "cup"], "weights": [1, -1], "k": 3}]
    )
    history: Annotated[list[Id], Field(max_length=MAX_HISTORY)]
    weights: Annotated[list[Weight], Field(max_length=MAX_HISTORY)] | None = None
    k: Annotated[int, Field(ge=1, le=MAX_TASTES)] = 8


class Taste(Body):
    """A value of an attribute, as a word for a taste."""

    attribute: str
    value: str
    score: float = Field(description="Cosine of the taste and of the items with this value, from the middle of all.")
    share: float = Field(description="Share of all items that have it.")


class TasteAnswer(Named):
    """What a history has in common."""

    model_config = examples(answer_examples.TASTES)

    near: list[Taste]
    far: list[Taste]


class MediaRequest(Strict):
    """Items whose pictures and sounds may be asked for."""

    model_config = examples([{"item_ids": ["mug", "elephant"]}])
    item_ids: Annotated[list[Id], Field(min_length=1, max_length=MAX_MEDIA)]


class MediaAnswer(Body):
    """Which items have a picture and a sound."""

    model_config = examples(answer_examples.MEDIA)

    media: dict[str, list[Literal["image", "audio"]]]


class AskedGeneration(KeptGeneration):
    """A generation that requests may name."""

    served: bool = Field(description="Whether requests are answered by it that name none.")
    open: bool = Field(description="Whether it answers at once; others are opened when they are asked for.")
    staged: bool = Field(description="Whether it was never current, and waits to be published.")


class KeptGenerationsAnswer(Named):
    """The generations that the bundle keeps, the newest first."""

    model_config = examples(answer_examples.KEPT)

    generations: list[AskedGeneration]


class StatusAnswer(Named):
    """How well the service does."""

    model_config = examples(answer_examples.STATUS)

    created: str = Field(description="When the generation was made.")
    batches_since: int = Field(description="Batches of changes since the generation was made.")
    promised_recall: float = Field(description="Of the nearest items, the share that a search is to find.")
    recall: dict[str, float] = Field(description="What it found of each kind of query when it was opened.")
    problems: list[str]
    files: dict[str, str | int] = Field(description="When and how far the files were compared with what was written.")
    learned: dict[str, Any] | None = Field(description="What was learned, from how much, and until when.")
    event_lag_seconds: float | None = Field(
        description="Seconds since the last live event; null without a log, and while the log is empty."
    )
    scenarios: list[str] = Field(description="Names of the scenarios of this service.")
    routes: list[str] = Field(description="Paths that this service answers, to those with a token where one is needed.")
    words: bool = Field(description="Whether the bundle has an index of words.")
    media: bool = Field(description="Whether the service has pictures and sounds of items.")
