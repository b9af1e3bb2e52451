"""Keyword arguments of the verbs: the fields of requests, see docs/reference/http.md.

A field that is left out has the default of the service.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from retrieval.filters import Where
from retrieval.fitting.fit_config import Effort
from retrieval.fitting.selection.temporal_split import SplitMethod
from retrieval.interactions.parse_values import Moment
from retrieval.postprocess.duplicates import Duplicates


class PerCall(TypedDict, total=False):
    """What every verb takes.

    Attributes:
        request_id: Names the request, in its answer and in the log of the service, which makes one otherwise.
        timeout: Seconds until it is given up, with all that is tried again; those of the client otherwise.
    """

    request_id: str | None
    timeout: float | None


class Versioned(PerCall, total=False):
    """Which version of the bundle answers.

    Attributes:
        generation: Name of a generation that the bundle keeps; the one that is served otherwise.
        learned: False leaves out what was learned, as before `fit`.
    """

    generation: str | None
    learned: bool


class Answering(Versioned, total=False):
    """What every verb that gives hits takes.

    Attributes:
        where: Filters, in any form that `Retriever` takes.
        attributes: Names of attributes to give with each hit, or ``"all"``.
        vectors: Give the content vector of each hit.
    """

    where: Where
    attributes: Literal["all"] | Sequence[str]
    vectors: bool


class Postprocessed(Answering, total=False):
    """Steps after retrieval.

    Attributes:
        group_by, duplicates, min_similarity: Show variants and near-duplicates once.
        blend: Attributes that are added to the score, with their weights.
        diversify: Arguments of `Retriever.diversify`.
        rules: Business rules, as in a file of rules.
    """

    group_by: str | None
    duplicates: Duplicates
    min_similarity: float | None
    blend: Mapping[str, float] | None
    diversify: Mapping[str, Any] | None
    rules: Sequence[Mapping[str, Any]]


class Retrieved(Postprocessed, total=False):
    """Steps after retrieval, which choose from more candidates than hits.

    Attributes:
        num_candidates: How many.
    """

    num_candidates: int


class UploadOptions(Retrieved, total=False):
    """What a search with files takes.

    Attributes:
        explain: Say of each hit why it was found.
        rerank: Order the candidates by the published head or the exact score.
        verdict: Say whether the catalogue has a good match.
    """

    explain: bool
    rerank: bool
    verdict: bool


class SearchOptions(UploadOptions, total=False):
    """What a search takes.

    Attributes:
        mode: ``"vector"``, ``"words"`` or ``"hybrid"``.
        cross_encoder: Order the candidates by the cross-encoder of the service.
    """

    mode: Literal["vector", "words", "hybrid"]
    cross_encoder: bool


class RecommendOptions(Retrieved, total=False):
    """What `recommend` takes beside whom it is for; see `Retriever.recommend`.

    Attributes:
        weights: For each history the weights of its items.
        times: When the users ask: one time, or one for each.
        last_times: For each history when its last item was taken; ``"in_visit"`` where all ask soon after.
        context: What holds at the request, by column one value for all users or a list with one for each; or a mapping
            for each user.
        profiles: What is known of each user.
        stages: ``"retrieval"`` is the first stage alone.
        exclude_seen, min_relevance: As in Python.
        explain: Say of each hit why it was found.
        scenario: A named configuration of the service.
    """

    weights: Sequence[Sequence[float]] | None
    times: Moment | Sequence[Moment] | None
    last_times: Sequence[Moment | None] | Literal["in_visit"] | None
    context: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
    profiles: Sequence[Mapping[str, Any]] | None
    stages: Literal["all", "retrieval"]
    exclude_seen: bool
    min_relevance: float | None
    explain: bool
    scenario: str | None


class RerankOptions(Postprocessed, total=False):
    """What `rerank` takes.

    Attributes:
        cross_encoder: Order by the cross-encoder of the service, in place of the exact score.
        explain: Say of each hit why it was found.
    """

    cross_encoder: bool
    explain: bool


class FitOptions(PerCall, total=False):
    """What a fit takes; see `FitConfig`.

    Attributes:
        effort, split, exposure_floor: As in `FitConfig`.
        refresh: Continue from the published parts, with their settings.
        publish: False stages the generation; `publish` makes it current.
        context: Columns of what held at each event.
    """

    effort: Effort
    split: SplitMethod
    exposure_floor: float
    refresh: bool
    publish: bool
    context: Sequence[str]
