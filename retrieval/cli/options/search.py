"""Options of every query: which bundle, how many answers, which items may be among them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from retrieval.retriever.fallback.top_items import Order
from retrieval.retriever.related.items import By as Comparison
from retrieval.retriever.search import SearchMode

QUERY = "Query"

BundleFolder = Annotated[Path, typer.Argument(help="Folder of a bundle.")]
Texts = Annotated[
    list[str] | None, typer.Argument(help="Texts to search for; - reads one per line from standard input.")
]
ItemIds = Annotated[list[str], typer.Argument(help="Items; - reads one per line from standard input.")]
SimilarTo = Annotated[
    list[str] | None,
    typer.Argument(help="Items to find similar ones of; - reads one per line from standard input."),
]
Baskets = Annotated[
    list[str],
    typer.Argument(help="Baskets, each like mug-1,cup-2; - reads one per line from standard input."),
]
EveryItem = Annotated[
    bool,
    typer.Option(
        "--all",
        rich_help_panel=QUERY,
        help="Write the neighbours of every item as a table to --out; the same command continues an interrupted run.",
    ),
]
ComparedBy = Annotated[
    Comparison,
    typer.Option(
        "--by",
        rich_help_panel=QUERY,
        help="Compare content, behaviour (what users take together) or both.",
    ),
]
ImageFiles = Annotated[
    list[Path] | None,
    typer.Option("--image", rich_help_panel=QUERY, help="Image file to search with; repeat for several."),
]
AudioFiles = Annotated[
    list[Path] | None,
    typer.Option("--audio", rich_help_panel=QUERY, help="Audio file to search with; repeat for several."),
]
CrossEncoderName = Annotated[
    str | None,
    typer.Option(
        "--cross-encoder",
        rich_help_panel=QUERY,
        help="Rerank the answers to texts by this sentence-transformers cross-encoder: ORG/REPO or a folder.",
    ),
]
K = Annotated[int, typer.Option("-k", min=1, max=10_000, rich_help_panel=QUERY, help="Number of answers per query.")]
NumCandidates = Annotated[
    int,
    typer.Option(
        "--num-candidates",
        min=1,
        rich_help_panel=QUERY,
        help="Number of candidates per query that are reranked and postprocessed; the best k of them are kept.",
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        rich_help_panel=QUERY,
        help="Filter, like 'year >= 1990 and not (colour in red, blue)'; repeat for several that all hold.",
    ),
]
Rerank = Annotated[
    bool, typer.Option("--rerank/--no-rerank", rich_help_panel=QUERY, help="Rerank the candidates by the second stage.")
]

Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        rich_help_panel=QUERY,
        help="Explain each answer: by items of the history, modalities, stages and features.",
    ),
]
Mode = Annotated[
    SearchMode,
    typer.Option(
        "--mode",
        rich_help_panel=QUERY,
        help="Find items by their vectors, by their words, or by both; words need an index, see --words of build.",
    ),
]
TopOrder = Annotated[
    Order,
    typer.Option(
        "--order",
        rich_help_panel=QUERY,
        help="popular: liked by most users in the log of fit; trending: recent likes count more; newest: by --date.",
    ),
]
By = Annotated[
    str | None,
    typer.Option("--by", rich_help_panel=QUERY, help="An attribute: one list for each of its values."),
]
Date = Annotated[
    str | None,
    typer.Option(
        "--date",
        rich_help_panel=QUERY,
        help="Column of dates, times or numbers for newest; without it the order of addition.",
    ),
]


@dataclass(frozen=True)
class TopOptions:
    """In which order items come, and what each of them satisfies."""

    order: TopOrder = "popular"
    k: K = 10
    where: Where = None
    by: By = None
    date: Date = None


ExplainQuery = Annotated[
    bool,
    typer.Option(
        "--explain",
        rich_help_panel=QUERY,
        help="Show the contribution of each part of a query to the score, or with --mode hybrid of each list.",
    ),
]


@dataclass(frozen=True)
class SearchOptions:
    """How many answers there are, and what each of them satisfies."""

    k: K = 10
    num_candidates: NumCandidates = 100
    where: Where = None


@dataclass(frozen=True)
class RelatedOptions:
    """How many related items there are, and what each of them satisfies."""

    k: K = 10
    where: Where = None


@dataclass(frozen=True)
class TextSearchOptions(SearchOptions):
    """By what texts are searched, and what is shown of it."""

    mode: Mode = "vector"
    cross_encoder: CrossEncoderName = None
    explain: ExplainQuery = False


@dataclass(frozen=True)
class RecommendOptions:
    """How many recommendations there are, by which stages, and what each of them satisfies."""

    k: K = 10
    num_candidates: NumCandidates = 200
    rerank: Rerank = True
    where: Where = None
