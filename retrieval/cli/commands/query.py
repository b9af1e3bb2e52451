"""`commonspace search`, `similar`, `complements`, `next-items`, `users-for`, `recommend` and `rerank`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from indexing.errors import FilterError
from retrieval.batch import BatchConfig
from retrieval.batch.in_memory import candidates_from_table, read_candidates
from retrieval.batch.neighbours import NeighboursConfig
from retrieval.batch.results import Target
from retrieval.batch.table_files import form_of
from retrieval.candidates import Candidates
from retrieval.cli.display.explanations import show_explained, show_query_parts
from retrieval.cli.display.output import show_candidates
from retrieval.cli.display.terminal import UsageError, from_stdin, say, usage_checked
from retrieval.cli.options.engine import EngineOptions
from retrieval.cli.options.log import LogOption, LogOptions, RequiredLog
from retrieval.cli.options.output import OutputOptions
from retrieval.cli.options.postprocessing import PostprocessOptions
from retrieval.cli.options.search import (
    AudioFiles,
    Baskets,
    BundleFolder,
    ComparedBy,
    EveryItem,
    Explain,
    ImageFiles,
    ItemIds,
    K,
    RecommendOptions,
    RelatedOptions,
    SearchOptions,
    SimilarTo,
    Texts,
    TextSearchOptions,
    TopOptions,
)
from retrieval.cli.options.users import At, RequestOptions, UserOptions
from retrieval.cli.runs.batch import recommend_job, rerank_job
from retrieval.cli.runs.histories import from_command_line, from_log, match_items
from retrieval.cli.runs.related_items import baskets_of, neighbours_of_all, show_users
from retrieval.filters import Expression, parse_filter
from retrieval.interactions.histories import LoggedHistories
from retrieval.interactions.known_items import KnownItems
from retrieval.models.features.item_texts import ItemTexts
from retrieval.ranking.cross_encoder import CrossEncoderReranker
from retrieval.retriever.queries import Query, parse_words
from retrieval.retriever.queries.compose import encoded_queries
from retrieval.retriever.retriever import Retriever

CandidatesFile = Annotated[
    Path,
    typer.Argument(
        help="Parquet, CSV or JSON lines with query_id (a user), item_id and perhaps score; or Parquet with one "
        "user per row, see docs/how-to/batch.md."
    ),
]


def search(
    bundle: BundleFolder,
    search: TextSearchOptions,
    postprocess: PostprocessOptions,
    output: OutputOptions,
    texts: Texts = None,
    image: ImageFiles = None,
    audio: AudioFiles = None,
) -> None:
    """Find the items nearest to texts, images or audio.

    Words of which one is + or - are one composed query: '2:golden retriever' + ./pool.jpg - fruit, see
    docs/how-to/search.md.
    """
    if sum(map(bool, (texts, image, audio))) != 1:
        raise UsageError("give either texts or --image or --audio, for example: commonspace search BUNDLE 'a red mug'")
    if search.cross_encoder and not texts:
        raise UsageError("--cross-encoder reranks answers to texts: leave it out, or give texts")
    if search.mode != "vector" and not texts:
        raise UsageError(f"--mode {search.mode} is for texts: leave it out, or give texts")
    if search.explain and (output.out or search.cross_encoder or search.mode == "words"):
        raise UsageError("--explain shows scores of the search: leave out --out, --cross-encoder and --mode words")
    shape = postprocess.read()
    queries, names = _queries(from_stdin(texts or []), image or [], audio or [])
    depth = max(search.k, search.num_candidates) if shape or search.cross_encoder else search.k
    by_parts = search.explain and search.mode == "vector"
    retriever = Retriever.open(bundle)
    where, once = _filters(retriever, search.where), shape.collapse.as_arguments()
    if search.cross_encoder:
        found = _cross_encoded(retriever, search, queries, where, depth)
    else:
        if by_parts:
            queries = list(encoded_queries(retriever.state, queries))
        found = retriever.search(queries, depth, mode=search.mode, where=where, **once)
    answers = shape.apply(retriever, found.named(names), search.k)
    if by_parts:
        show_query_parts(retriever, queries, answers, as_json=output.as_json)
    else:
        show_candidates(answers, retriever.bundle, as_json=output.as_json, out=output.out, explain=search.explain)


def _queries(texts: list[str], images: list[Path], sounds: list[Path]) -> tuple[list[str | Query], list[str]]:
    """Give the queries of a command line with their names."""
    if len(texts) > 1 and {"+", "-"} & set(texts):
        with usage_checked():
            return [parse_words(texts)], [" ".join(texts)]
    files = [Query.image(path) for path in images] + [Query.audio(path) for path in sounds]
    return [*texts, *files], [*texts, *map(str, (*images, *sounds))]


def similar(
    bundle: BundleFolder,
    search: SearchOptions,
    postprocess: PostprocessOptions,
    output: OutputOptions,
    work: EngineOptions,
    item_ids: SimilarTo = None,
    every: EveryItem = False,
    by: ComparedBy = "content",
) -> None:
    """Find the items nearest to items; with --all to every item.

    An item is not in its own list.
    """
    if bool(item_ids) == every:
        raise UsageError("give either items or --all, for example: commonspace similar BUNDLE --all --out near.parquet")
    shape = postprocess.read()
    engine = work.ray_engine()
    if engine is not None and not every:
        raise UsageError("--engine ray finds the neighbours of every item: give --all, or leave it out")
    if every and shape:
        raise UsageError("--all writes lists as they were found: leave out --postprocess, or name the items")
    item_ids = from_stdin(item_ids or [])
    retriever = Retriever.open(bundle)
    where = _filters(retriever, search.where)
    if every:
        neighbours_of_all(retriever, NeighboursConfig(search.k, by, where), output, engine)
        return
    depth = max(search.k, search.num_candidates) if shape else search.k
    found = retriever.similar_items(item_ids, depth, by, where=where, **shape.collapse.as_arguments())
    answers = shape.apply(retriever, found, search.k)
    show_candidates(answers, retriever.bundle, as_json=output.as_json, out=output.out)


def complements(bundle: BundleFolder, baskets: Baskets, search: RelatedOptions, output: OutputOptions) -> None:
    """Find what users take with a basket, apart from similar items.

    Learned from interactions by `fit`.
    """
    given = from_stdin(baskets)
    retriever = Retriever.open(bundle)
    found = retriever.complements(baskets_of(given), search.k, where=_filters(retriever, search.where))
    show_candidates(found.named(given), retriever.bundle, as_json=output.as_json, out=output.out)


def next_items(bundle: BundleFolder, item_ids: ItemIds, search: RelatedOptions, output: OutputOptions) -> None:
    """Find what users take soon after an item.

    Learned from interactions by `fit`.
    """
    item_ids = from_stdin(item_ids)
    retriever = Retriever.open(bundle)
    found = retriever.next_items(item_ids, search.k, where=_filters(retriever, search.where))
    show_candidates(found, retriever.bundle, as_json=output.as_json, out=output.out)


def users_for(
    bundle: BundleFolder,
    item_ids: ItemIds,
    interactions: RequiredLog,
    log: LogOptions,
    output: OutputOptions,
    k: K = 10,
    at: At = None,
) -> None:
    """Find the users of a log whom an item suits best.

    Users who have the item are left out.
    """
    item_ids = from_stdin(item_ids)
    retriever = Retriever.open(bundle)
    history, known = match_items(log.open(interactions, learned=retriever.learned.events), retriever.items)
    show_users(retriever.users_for(item_ids, history, k, times=at), output, known)


def recommend(
    bundle: BundleFolder,
    users: UserOptions,
    search: RecommendOptions,
    log: LogOptions,
    postprocess: PostprocessOptions,
    output: OutputOptions,
    explain: Explain = False,
) -> None:
    """Recommend items to users, from histories or a log.

    Items that a user has seen are left out. Very many users: --out FOLDER is written in parts, and the same command
    continues an interrupted job.
    """
    users.check()
    if explain and (output.out or users.users):
        raise UsageError("--explain shows a few users: leave out --out and --users, or call Retriever.explain")
    shape = postprocess.read(users=bool(users.interactions or users.users))
    retriever = Retriever.open(bundle)
    where = _filters(retriever, search.where)
    if users.users or (users.interactions and not users.user and _is_folder(output.out)):
        sizes, context = (search.k, search.num_candidates, search.rerank), users.context_values
        config = BatchConfig(*sizes, where=where, shape=shape, chunk=users.chunk_size, at=users.at, context=context)
        recommend_job(retriever, users, log, config, output)
        return
    _check_local(users)
    known: KnownItems | None = None
    if users.interactions:
        interactions, known = match_items(
            log.open(users.interactions, learned=retriever.learned.events), retriever.items
        )
        batch = from_log(interactions, retriever, users)
    else:
        batch = from_command_line(users.history or [], users.profile or [])
    found = retriever.recommend(
        list(batch.users.histories.values()),
        max(search.k, search.num_candidates) if search.rerank or shape else search.k,
        stages="all" if search.rerank else "retrieval",
        where=where,
        user_ids=list(batch.users.histories),
        weights=batch.weights,
        times=users.at,
        last_times=batch.last_times,
        profiles=batch.profiles,
        context=users.context_values or None,
        min_relevance=batch.users.min_relevance,
        **shape.collapse.as_arguments(),
    )
    ranked = retriever.rerank(found) if search.rerank else found
    answers = shape.apply(retriever, ranked, search.k, at=users.at)
    if explain:
        show_explained(retriever, answers, ranked, batch.weights, as_json=output.as_json)
    else:
        show_candidates(answers, retriever.bundle, as_json=output.as_json, out=output.out, known=known)


def top(
    bundle: BundleFolder,
    search: TopOptions,
    output: OutputOptions,
) -> None:
    """Show what is trending, popular or newest."""
    retriever = Retriever.open(bundle)
    where = _filters(retriever, search.where)
    found = retriever.top_items(search.order, search.k, where=where, by=search.by, date=search.date)
    show_candidates(found, retriever.bundle, as_json=output.as_json, out=output.out)


def rerank(
    bundle: BundleFolder,
    candidates: CandidatesFile,
    log: LogOptions,
    postprocess: PostprocessOptions,
    output: OutputOptions,
    request: RequestOptions,
    k: K = 10,
    interactions: LogOption = None,
) -> None:
    """Rerank candidates of a file by the learned head.

    Their histories are in the file or in the log. Very many users: --out FOLDER is written in parts, and the same
    command continues an interrupted job.
    """
    shape = postprocess.read(users=True)
    retriever = Retriever.open(bundle)
    if interactions is None or _is_folder(output.out):
        config = BatchConfig(k, shape=shape, chunk=request.chunk_size, at=request.at)
        source = (interactions, log) if interactions else None
        rerank_job(retriever, candidates, source, config, output, request.ray_engine())
        return
    _check_local(request)
    table = read_candidates(candidates)
    history, known = match_items(log.open(interactions, learned=retriever.learned.events), retriever.items)
    histories = LoggedHistories.of(history, retriever.items)
    listed = candidates_from_table(table, retriever, histories, request.at)
    if "reranker" not in retriever.bundle.manifest.features:
        say("no head was learned: this is the order of the exact score; `commonspace fit` learns one", err=True)
    answers = shape.apply(retriever, retriever.rerank(listed), k, at=request.at)
    show_candidates(answers, retriever.bundle, as_json=output.as_json, out=output.out, known=known)


def _check_local(request: RequestOptions) -> None:
    """Refuse actors where a few requests are answered.

    Raises:
        UsageError: When they are asked for.
    """
    if request.ray_engine() is not None:
        raise UsageError("--engine ray is for jobs: answer the users of a file or a log with --out FOLDER")


def _cross_encoded(
    retriever: Retriever, search: TextSearchOptions, queries: Sequence[str | Query], where: list[Expression], depth: int
) -> Candidates:
    """Search by texts, and rerank the answers by a cross-encoder."""
    texts = [query for query in queries if isinstance(query, str)]
    if len(texts) < len(queries):
        raise UsageError("--cross-encoder reads texts, not composed queries: leave it out, or give texts")
    from indexing.encoders.cross_encoder import load_cross_encoder  # loads torch

    item_texts = ItemTexts(retriever.bundle)
    scorer = load_cross_encoder(search.cross_encoder or "")
    found = retriever.search(texts, depth, mode=search.mode, where=where).named(texts)
    return CrossEncoderReranker(scorer, item_texts, dict(zip(texts, texts, strict=True))).rerank(found)


def _is_folder(out: Target | None) -> bool:
    return isinstance(out, Path) and form_of(out) == "folder"


def _filters(retriever: Retriever, where: list[str] | None) -> list[Expression]:
    try:
        return [parse_filter(text, retriever.bundle.attributes) for text in where or []]
    except FilterError as error:
        left_out = retriever.bundle.manifest.counts["cleaning"].get("columns_left_out", {})
        named = [name for name in left_out if f"no attribute {name!r}" in str(error)]
        more = "".join(f"\nthe build left out the column {name!r}: {left_out[name]}" for name in named)
        raise FilterError(f"{error}{more}") from error
