"""Bodies of requests for items, in the words of the verbs of `Retriever`."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from retrieval.serving.config import (
    MAX_CANDIDATES,
    MAX_FILES,
    MAX_HISTORY,
    MAX_HITS,
    MAX_K,
    MAX_PARTS,
    MAX_RULES,
    MAX_USERS,
    MAX_VECTOR_NUMBERS,
)
from retrieval.serving.engine.versions import Version
from retrieval.serving.schemas.base import (
    Batch,
    Condition,
    File,
    Generation,
    Id,
    Strict,
    Text,
    Time,
    Times,
    Url,
    Weight,
    examples,
)

K = Annotated[int, Field(ge=1, le=MAX_K, description=f"Hits of each query; of all at most {MAX_HITS}.")]


class Diversify(Strict):
    """Arguments of `Retriever.diversify`."""

    method: Literal["mmr", "msd", "calibrated", "caps"] = "mmr"
    strength: Annotated[float, Field(ge=0, le=1)] = 0.3
    sharpness: Annotated[float, Field(gt=0, le=100)] = 1.0
    attribute: Id | None = None
    caps: Annotated[dict[str, Annotated[int, Field(ge=1, le=MAX_K)]], Field(max_length=10)] | None = None
    max_similarity: Annotated[float, Field(ge=-1, le=1)] | None = None
    page: Annotated[int, Field(ge=1, le=MAX_K)] | None = None

    @model_validator(mode="after")
    def _does_something(self) -> "Diversify":
        if self.method == "caps" and not self.caps and self.max_similarity is None:
            raise ValueError("method 'caps' needs caps, as {'brand': 2}, or max_similarity; it does nothing otherwise")
        return self


class Versioned(Strict):
    """Which version of the bundle answers: the one that is served, or another."""

    generation: Generation | None = Field(
        default=None, description="Answer by this generation, see /generations; by the one that is served if left out."
    )
    learned: bool = Field(default=True, description="False leaves out what was learned, as before `fit`.")

    @property
    def version(self) -> Version:
        """Which version of the bundle answers."""
        return Version(self.generation, self.learned)


class Answering(Versioned):
    """What every request for items may say about its answers."""

    k: K = 10
    where: Annotated[list[Condition], Field(max_length=100)] = Field(
        default=[], description="Filters that each hit satisfies."
    )
    attributes: Literal["all"] | Annotated[list[Id], Field(max_length=100)] = Field(
        default=[], description="Attributes of each hit to give."
    )
    vectors: bool = Field(
        default=False, description=f"Give the content vector of each hit; of all at most {MAX_VECTOR_NUMBERS} numbers."
    )


class ShownOnce(Answering):
    """Variants and near-duplicates are shown once, see `Retriever.collapse`."""

    group_by: Id | None = Field(default=None, description="Show one hit of each value of this attribute.")
    duplicates: Literal["show", "collapse"] = "show"
    min_similarity: Annotated[float, Field(gt=0, le=1)] | None = None


Explain = Annotated[
    bool, Field(description="Say of each hit why it was found; of users of the log and sessions with a token alone.")
]


class Postprocessed(ShownOnce):
    """Steps after retrieval: blend, diversify, rules."""

    blend: Annotated[dict[Id, Annotated[float, Field(ge=-1_000, le=1_000)]], Field(max_length=20)] | None = Field(
        default=None, description="Attributes that are added to the score, with their weights."
    )
    diversify: Diversify | None = None
    rules: Annotated[list[dict[str, Any]], Field(max_length=MAX_RULES)] = Field(
        default=[], description="Business rules, as in a file of rules."
    )


class Retrieved(Postprocessed):
    """Steps after retrieval, which choose from more candidates than hits."""

    num_candidates: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] = Field(
        default=200, description="Candidates that the steps after retrieval choose from."
    )


class QueryPart(Strict):
    """One part of a composed query: exactly one of text, image, image_url, audio, item and vector, and a weight."""

    text: Text | None = None
    image: File | None = Field(default=None, description="The bytes of a file, in base64.")
    image_url: Url | None = Field(default=None, description="URL of a picture, of a host that the service allows.")
    audio: File | None = Field(default=None, description="The bytes of a file, in base64.")
    item: Id | None = None
    vector: Annotated[list[Weight], Field(min_length=1, max_length=65_536)] | None = None
    weight: Annotated[float, Field(ge=-1_000, le=1_000, description="Below 0 to lead away from the part.")] = 1.0

    @model_validator(mode="after")
    def _one_kind(self) -> "QueryPart":
        kinds = ("text", "image", "image_url", "audio", "item", "vector")
        given = [name for name in kinds if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a part has {given or 'none'} of {', '.join(kinds)}; give exactly one")
        return self


class ComposedQuery(Strict):
    """A weighted sum of parts."""

    parts: Annotated[list[QueryPart], Field(min_length=1, max_length=MAX_PARTS)]


class UploadOptions(Retrieved):
    """What a search says beside its queries."""

    explain: Explain = False
    rerank: bool = Field(default=False, description="Order the candidates by the published head or the exact score.")
    verdict: bool = Field(default=False, description="Say whether the catalogue has a good match.")


_NEED_VECTORS = ("explain", "rerank", "verdict")


class SearchRequest(UploadOptions):
    """Search with exactly one of texts, queries, images, image_urls and sounds."""

    model_config = examples(
        [
            {"texts": ["a slice of fruit"], "k": 3, "where": [["category", "=", "food"]], "attributes": ["category"]},
            {
                "queries": [
                    {"parts": [{"item": "mug"}, {"text": "coffee", "weight": -0.5}]},
                    "2:golden retriever - fruit",
                ]
            },
            {"texts": ["red shoe"], "mode": "hybrid", "rerank": True, "diversify": {"strength": 0.3}, "verdict": True},
        ]
    )

    texts: Annotated[list[Text], Batch] | None = None
    queries: Annotated[list[Text | ComposedQuery], Batch] | None = Field(
        default=None, description="Composed queries, as parts or as text: '2:golden retriever - fruit'."
    )
    images: Annotated[list[File], Batch] | None = Field(default=None, description="Files in base64.")
    image_urls: Annotated[list[Url], Field(min_length=1, max_length=MAX_FILES)] | None = Field(
        default=None, description="URLs of pictures, of hosts that the service allows."
    )
    sounds: Annotated[list[File], Batch] | None = Field(default=None, description="Files in base64.")
    mode: Literal["vector", "words", "hybrid"] = "vector"
    cross_encoder: bool = Field(default=False, description="Order the candidates by the cross-encoder of this service.")

    @model_validator(mode="after")
    def _one_kind(self) -> "SearchRequest":
        kinds = ("texts", "queries", "images", "image_urls", "sounds")
        given = [name for name in kinds if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"the request has {given or 'none'} of {', '.join(kinds)}; give exactly one")
        if (urls := sum(part.image_url is not None for part in self.parts)) > MAX_FILES:
            raise ValueError(f"the parts have {urls} URLs of pictures; give at most {MAX_FILES}")
        if self.mode != "vector" and given[0] in ("images", "image_urls", "sounds"):
            raise ValueError(f"mode {self.mode!r} searches words, and {given[0]} have none; leave it out")
        if self.cross_encoder and (given != ["texts"] or self.rerank):
            raise ValueError("a cross-encoder orders the answers to texts, in place of rerank")
        if self.mode == "words" and (needing := [name for name in _NEED_VECTORS if getattr(self, name)]):
            raise ValueError(
                f"{needing[0]} needs the vectors of queries, and a search by words alone encodes none; leave it out, "
                "or search with mode 'vector' or 'hybrid'"
            )
        return self

    @property
    def size(self) -> int:
        """How many queries there are."""
        return len(self.texts or self.queries or self.images or self.image_urls or self.sounds or ())

    @property
    def parts(self) -> list[QueryPart]:
        """Parts of its composed queries."""
        return [part for query in self.queries or () if not isinstance(query, str) for part in query.parts]


class SimilarRequest(Retrieved):
    """Search with items."""

    model_config = examples([{"item_ids": ["mug", "elephant"], "k": 5, "by": "content"}])

    item_ids: Annotated[list[Id], Batch]
    by: Literal["content", "behaviour", "both"] = "content"


History = Annotated[list[Id], Field(max_length=MAX_HISTORY)]
Context = Annotated[dict[str, Any], Field(max_length=100)]


class RecommendRequest(Retrieved):
    """Recommend to exactly one of user_ids, histories and session."""

    model_config = examples(
        [
            {"histories": [["mug", "croissant"], []], "k": 10, "explain": True},
            {"user_ids": ["ann"], "k": 10, "diversify": {"caps": {"category": 3}}},
        ]
    )

    user_ids: Annotated[list[Id], Batch] | None = Field(default=None, description="Users of the log of live events.")
    histories: Annotated[list[History], Batch] | None = Field(
        default=None,
        description="For each user the items taken, the oldest first; unknown ones are left out.",
    )
    session: Id | None = Field(default=None, description="A session of the log of live events.")
    weights: Annotated[list[Annotated[list[Weight], Field(max_length=MAX_HISTORY)]], Batch] | None = None
    times: Times | None = Field(default=None, description="When the users ask: one time for all, or one for each.")
    last_times: Annotated[list[Time | None], Batch] | Literal["in_visit"] | None = Field(
        default=None, description="For each history when its last item was taken; 'in_visit' where all ask soon after."
    )
    context: Context | Annotated[list[Context], Batch] | None = Field(
        default=None,
        description="What holds at the request: by column one value for all users or a list with one for each; or a "
        "mapping for each user.",
    )
    profiles: Annotated[list[dict[str, Any]], Batch] | None = Field(
        default=None, description="What is known of each user."
    )
    stages: Literal["all", "retrieval"] = "all"
    exclude_seen: bool = True
    min_relevance: Annotated[float, Field(ge=-1e9, le=1e9)] | None = None
    explain: Explain = False
    scenario: Id | None = Field(default=None, description="A named configuration of this service.")

    @model_validator(mode="after")
    def _one_kind(self) -> "RecommendRequest":
        given = [name for name in ("user_ids", "histories", "session") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"the request has {given or 'none'} of user_ids, histories, session; give exactly one")
        if given[0] != "histories" and (self.weights is not None or self.last_times is not None):
            raise ValueError("weights and last_times go with histories; the log of events knows those of its users")
        return self

    @property
    def size(self) -> int:
        """How many users there are."""
        return len(self.user_ids or self.histories or ("session",))


class ComplementsRequest(Answering):
    """What users take with baskets."""

    model_config = examples([{"baskets": [["mug", "croissant"]], "k": 5}])

    baskets: Annotated[list[Annotated[list[Id], Field(min_length=1, max_length=MAX_HISTORY)]], Batch]


class NextItemsRequest(Answering):
    """What users take soon after items."""

    model_config = examples([{"item_ids": ["mug"], "k": 5}])

    item_ids: Annotated[list[Id], Batch]


class TrendingRequest(Answering):
    """Items that are trending, popular or newest."""

    model_config = examples([{"order": "popular", "k": 10, "by": "category"}])

    order: Literal["trending", "popular", "newest"] = "trending"
    by: Id | None = Field(default=None, description="Give a list for each value of this attribute.")
    date: Id | None = Field(default=None, description="The attribute by which items are new.")
    user_id: Id | None = Field(
        default=None, description="Leave out what this user of the log of live events has seen; needs a token."
    )
    history: History | None = Field(default=None, description="Leave out these items; unknown ones are passed over.")

    @model_validator(mode="after")
    def _one_kind(self) -> "TrendingRequest":
        if self.user_id is not None and self.history is not None:
            raise ValueError("the request has user_id and history; give one of them")
        return self


class RerankRequest(Postprocessed):
    """Order given items: for texts by similarity or a cross-encoder, for histories by the published head."""

    model_config = examples([{"texts": ["a slice of fruit"], "candidates": [["orange-slice", "mug", "elephant"]]}])

    candidates: Annotated[list[Annotated[list[Id], Field(min_length=1, max_length=MAX_CANDIDATES)]], Batch]
    texts: Annotated[list[Text], Batch] | None = None
    histories: Annotated[list[History], Batch] | None = None
    cross_encoder: bool = Field(default=False, description="Order by the cross-encoder of this service.")
    explain: Explain = False

    @model_validator(mode="after")
    def _one_kind(self) -> "RerankRequest":
        if (self.texts is None) == (self.histories is None):
            raise ValueError("give exactly one of texts and histories")
        if len(self.texts or self.histories or ()) != len(self.candidates):
            raise ValueError("give a list of candidates for each text or history")
        if self.cross_encoder and self.texts is None:
            raise ValueError("a cross-encoder orders candidates for texts, and histories have none; leave it out")
        return self


class UsersForRequest(Versioned):
    """Which of some users of the log of live events items suit."""

    model_config = examples([{"item_ids": ["croissant"], "user_ids": ["ann", "bob"], "k": 1}])

    item_ids: Annotated[list[Id], Batch]
    user_ids: Annotated[list[Id], Field(min_length=1, max_length=MAX_USERS)]
    k: K = 10
    times: Time | None = None
