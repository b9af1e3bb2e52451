"""Bodies of answers; they describe the interface, and clients read them."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from indexing.errors import import_extra
from retrieval.candidates import FOLDED
from retrieval.serving.schemas import answer_examples
from retrieval.serving.schemas.base import examples

if TYPE_CHECKING:
    import pandas as pd


class Body(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(extra="forbid")


class Error(Body):
    """Why a request was not answered."""

    type: str = Field(description="A name of the error, as InputError.", examples=["UnknownItemError"])
    message: str = Field(description="What is wrong, and with which value.")
    hint: str = Field(description="What to do about it; perhaps empty.")
    request_id: str


class ErrorBody(Body):
    """The body of every answer that is an error."""

    model_config = examples(answer_examples.ERROR)

    error: Error


class Hit(Body):
    """An item that was found."""

    item_id: str
    rank: int = Field(description="From 1.")
    score: float = Field(description="By the stage that ordered the hits last; higher is better.")
    source: str | None = Field(description="Where the hit comes from, as 'content', 'behaviour' or 'popular'.")
    stage: str = Field(description="What ordered the hits last.")
    scores: dict[str, float] = Field(description="The score by each stage, where it is known.")
    title: str | None = Field(description="The first text of the item.")
    attributes: dict[str, Any] | None = Field(default=None, description="Those asked for.")
    folded: list[str] | None = Field(default=None, description="Items that this hit stands for.")
    rules: list[str] | None = Field(default=None, description="Rules that moved this hit.")
    why: dict[str, Any] | None = Field(default=None, description="Why the hit was found, if asked for.")
    vector: list[float] | None = Field(default=None, description="Its content, if asked for.")


class Verdict(Body):
    """Whether the catalogue has a good match."""

    probability: float
    good: bool


class Result(Body):
    """The hits of one query, the best first."""

    query_id: str
    variant: str | None = Field(default=None, description="The scenario, where users of one request have several.")
    generation: str | None = Field(default=None, description="That of these hits, where it is not that of the answer.")
    change: int | None = Field(default=None, description="That of these hits, beside their generation.")
    learned: bool | None = Field(default=None, description="False where what was learned was left out of these hits.")
    hits: list[Hit]
    verdict: Verdict | None = None
    excluded: dict[str, int] | None = Field(default=None, description="Hits that each rule left out.")


class Named(Body):
    """What every answer has: the request, and the state of the bundle that it was answered from."""

    request_id: str
    generation: str
    change: int = Field(description="Number of the last change of the bundle that the answer knows.")
    variant: str | None = None
    notes: list[str] | None = Field(default=None, description="What is unusual about the request.")


class OfVersion(Named):
    """An answer of the version that was asked for."""

    learned: bool | None = Field(default=None, description="False where what was learned was left out.")


class Answer(OfVersion):
    """Hits of each query."""

    model_config = examples(answer_examples.HITS)

    results: list[Result]

    def to_arrow(self) -> pa.Table:
        """Give a table with one row for each hit, as `Candidates.to_arrow` does: ``query_id, item_id, rank, score, …``.

        Where duplicates were collapsed, ``folded`` lists the item_ids that a hit stands for.
        """
        hits = [(result.query_id, hit) for result in self.results for hit in result.hits]
        table = pa.table(
            {
                "query_id": pa.array([query_id for query_id, _ in hits], pa.string()),
                "item_id": pa.array([hit.item_id for _, hit in hits], pa.string()),
                "rank": pa.array([hit.rank for _, hit in hits], pa.int64()),
                "score": pa.array([hit.score for _, hit in hits], pa.float32()),
                "stage": pa.array([hit.stage for _, hit in hits], pa.string()),
                "source": pa.array([hit.source for _, hit in hits], pa.string()),
            }
        )
        if all(hit.folded is None for _, hit in hits):
            return table
        return table.append_column(FOLDED, pa.array([hit.folded or [] for _, hit in hits], FOLDED.type))

    def to_pandas(self) -> "pd.DataFrame":
        """Give the table of `to_arrow` as a DataFrame.

        Raises:
            MissingExtraError: When pandas is not installed.
        """
        import_extra("pandas", "pandas")
        return self.to_arrow().to_pandas()


class UserHit(Body):
    """A user whom an item suits."""

    user_id: str
    rank: int
    score: float


class UsersResult(Body):
    """The users of one item."""

    item_id: str
    users: list[UserHit]


class UsersAnswer(OfVersion):
    """Users of each item."""

    model_config = examples(answer_examples.USERS)

    results: list[UsersResult]

    def to_arrow(self) -> pa.Table:
        """Give a table with one row for each user of an item: ``item_id, user_id, rank, score``."""
        hits = [(result.item_id, hit) for result in self.results for hit in result.users]
        return pa.table(
            {
                "item_id": pa.array([item_id for item_id, _ in hits], pa.string()),
                "user_id": pa.array([hit.user_id for _, hit in hits], pa.string()),
                "rank": pa.array([hit.rank for _, hit in hits], pa.int64()),
                "score": pa.array([hit.score for _, hit in hits], pa.float32()),
            }
        )


class Item(Body):
    """An item with its attributes."""

    item_id: str
    title: str | None
    attributes: dict[str, Any]
    vector: list[float] | None = None


class ItemAnswer(Named):
    """One item."""

    model_config = examples(answer_examples.ITEM)

    item: Item


class ItemsAnswer(Named):
    """A page of items."""

    model_config = examples(answer_examples.ITEMS)

    items: list[Item]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null after the last one.")
    unknown: list[str] | None = Field(default=None, description="Of `ids`, those that the bundle lacks.")


class Live(Body):
    """The process answers."""

    model_config = examples(answer_examples.LIVE)

    status: str = "live"


class Ready(Body):
    """Whether the service can answer queries, and how well."""

    model_config = examples(answer_examples.READY)

    status: str = Field(description="'ready', 'degraded', 'damaged' or 'stopping'.")
    generation: str
    change: int = Field(description="Number of the last change of the bundle that answers know.")
    problems: list[str]
    files: dict[str, str | int] = Field(description="When and how far the files were compared with what was written.")


class Info(Named):
    """What is served."""

    model_config = examples(answer_examples.INFO)

    version: str
    items: int
    encoder: dict[str, Any]
    index: dict[str, Any]
    files: dict[str, str | int] = Field(description="When and how far the files were compared with what was written.")
    learned: dict[str, bool]
    attributes: dict[str, str]
    limits: dict[str, float]
    writes: bool = Field(description="Whether this service takes writes, with a write token.")
    events: bool = Field(description="Whether this service has a log of live events.")
