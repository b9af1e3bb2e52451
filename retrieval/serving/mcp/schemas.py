"""What the tools take and give: the words of the service, described for assistants."""

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from retrieval.serving.config import MAX_PARTS
from retrieval.serving.schemas.answers import Body, Hit, Named, OfVersion
from retrieval.serving.schemas.base import Condition, Id, Strict, Text
from retrieval.serving.schemas.queries import QueryPart

MAX_HITS = 50
MAX_HISTORY = 200
MAX_EXPLAINED = 20


def _list(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Read a list that a client has written as text, as some do."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _conditions(value: Any) -> Any:  # noqa: ANN401 - any JSON
    read = _list(value)
    return [read] if isinstance(read, str) else read


K = Annotated[int, Field(ge=1, le=MAX_HITS, description="How many items to give.")]
Where = Annotated[
    list[Condition],
    Field(
        max_length=20,
        description="Conditions that every item satisfies, as 'price < 20', 'tags contains red' or "
        "'colour in (red, blue)'. The tool `catalogue` names the attributes and values.",
    ),
    BeforeValidator(_conditions),
]
Attributes = Annotated[
    Literal["all"] | list[Id],
    Field(description="Which attributes of the items to give: 'all', or a list of names."),
    BeforeValidator(_list),
]
History = Annotated[
    list[Id],
    Field(max_length=MAX_HISTORY, description="Items that the user took, by item_id, the oldest first."),
    BeforeValidator(_list),
]
Explain = Annotated[bool, Field(description="Say of each item why it was found.")]


class CatalogueArguments(Strict):
    """Of the tool `catalogue`: none."""


class SearchArguments(Strict):
    """Of the tool `search`: exactly one of text and parts."""

    text: Annotated[Text | None, Field(description="What to look for, in words.")] = None
    parts: Annotated[
        list[QueryPart] | None,
        Field(
            min_length=1,
            max_length=MAX_PARTS,
            description="In place of text a weighted sum: each part has one of text, item (an item_id) and others, and "
            "a weight, below 0 for what the items should not be like.",
        ),
        BeforeValidator(_list),
    ] = None
    mode: Annotated[
        Literal["vector", "words", "hybrid"],
        Field(description="By meaning, by the words themselves as for names and codes, or by both."),
    ] = "vector"
    k: K = 10
    where: Where = Field(default=[])
    attributes: Attributes = "all"
    explain: Explain = False

    @model_validator(mode="after")
    def _one_kind(self) -> "SearchArguments":
        if (self.text is None) == (self.parts is None):
            raise ValueError("give exactly one of text and parts")
        return self


class SimilarArguments(Strict):
    """Of the tool `similar`."""

    item_id: Annotated[Id, Field(description="The item to find others for.")]
    by: Annotated[
        Literal["content", "behaviour", "both"],
        Field(description="By what the items are, by what users took together, or by both."),
    ] = "content"
    k: K = 10
    where: Where = Field(default=[])
    attributes: Attributes = "all"


class RecommendArguments(Strict):
    """Of the tool `recommend`: exactly one of history and user_id."""

    history: History | None = None
    user_id: Annotated[Id | None, Field(description="A user of the log of live events, if the service has one.")] = None
    k: K = 10
    where: Where = Field(default=[])
    attributes: Attributes = "all"
    exclude_seen: Annotated[bool, Field(description="Leave out what the user took already.")] = True
    explain: Explain = False

    @model_validator(mode="after")
    def _one_kind(self) -> "RecommendArguments":
        if (self.history is None) == (self.user_id is None):
            raise ValueError("give exactly one of history and user_id; an empty history is that of a new user")
        return self


class ExplainArguments(Strict):
    """Of the tool `explain`: exactly one of text and history."""

    item_ids: Annotated[
        list[Id],
        Field(min_length=1, max_length=MAX_EXPLAINED, description="The items to explain, by item_id."),
        BeforeValidator(_list),
    ]
    text: Annotated[Text | None, Field(description="The text that was searched for.")] = None
    history: History | None = None
    attributes: Attributes = Field(default=[])

    @model_validator(mode="after")
    def _one_kind(self) -> "ExplainArguments":
        if (self.text is None) == (self.history is None):
            raise ValueError("give exactly one of text and history")
        return self


class Found(OfVersion):
    """Items, the best first."""

    hits: list[Hit]


class AttributeSummary(Body):
    """An attribute of the items."""

    name: str
    type: str = Field(description="As Arrow names it.")
    examples: list[Any] = Field(description="Some values; the most frequent ones where they make groups of items.")
    distinct: int | None = Field(default=None, description="How many values there are, where they make groups.")
    min: float | None = None
    max: float | None = None
    filters: list[str] = Field(description="Examples of conditions for `where`.")


class Catalogue(Named):
    """What can be searched, and how."""

    items: int
    modalities: list[str] = Field(description="What queries may be made of beside items.")
    modes: list[str] = Field(description="Modes of `search` that this catalogue has.")
    learned: dict[str, bool] = Field(description="What was learned of users, for `recommend`.")
    users: bool = Field(description="Whether `recommend` knows users by user_id.")
    attributes: list[AttributeSummary]
