"""`commonspace search`, `similar`, `recommend` and `rerank`."""

from pathlib import Path
from typing import Annotated

import typer

from indexing.errors import FilterError
from retrieval.batch import BatchConfig
from retrieval.batch.in_memory import candidates_from_table, read_candidates, users_of
from retrieval.batch.table_files import form_of
from retrieval.candidates import Candidates
from retrieval.cli.display.explanations import Explain, show_explained
from retrieval.cli.display.output import Json, Out, show_candidates
from retrieval.cli.display.terminal import UsageError, from_stdin, say
from retrieval.cli.options.batch import Chunk, UsersFile, recommend_job, rerank_job
from retrieval.cli.options.log import (
    ItemColumn,
    LogOptions,
    MinWeight,
    Only,
    ProfilesFile,
    RepeatsOption,
    TimeColumn,
    UserColumn,
    WeightColumn,
    known,
    named_columns,
)
from retrieval.cli.options.postprocessing import (
    Alike,
    ApartOption,
    CapOption,
    Deep,
    Diversify,
    Page,
    RulesFile,
    Sharpness,
    Strength,
    shape_of,
)
from retrieval.cli.options.users import History, OneUser, Profile, of_histories, of_log
from retrieval.features.item_texts import ItemTexts
from retrieval.filters import Expression, parse_filter
from retrieval.interactions.known_items import KnownItems
from retrieval.ranking.cross_encoder import CrossEncoderReranker
from retrieval.retriever.retriever import Retriever

BundleFolder = Annotated[Path, typer.Argument(help="Folder of a bundle.")]
Depth = Annotated[int, typer.Option("-k", min=1, max=10_000, help="Answers a query.")]
Where = Annotated[
    list[str] | None,
    typer.Option(help="Filter, like 'year >= 1990 and not (colour in red, blue)'; repeat for several that all hold."),
]
CrossEncoderName = Annotated[
    str | None,
    typer.Option(help="Order what texts find by this cross-encoder of sentence-transformers: ORG/REPO or a folder."),
]


def search(
    bundle: BundleFolder,
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts to search for; - reads one a line from standard input.")
    ] = None,
    image: Annotated[list[Path] | None, typer.Option(help="Picture to search with; repeat for several.")] = None,
    audio: Annotated[list[Path] | None, typer.Option(help="Sound to search with; repeat for several.")] = None,
    k: Depth = 10,
    where: Where = None,
    cross_encoder: CrossEncoderName = None,
    depth: Deep = 100,
    diversify: Diversify = None,
    strength: Strength = None,
    sharpness: Sharpness = None,
    page: Page = None,
    apart: ApartOption = None,
    attribute: Alike = None,
    cap: CapOption = None,
    rules: RulesFile = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Find the items nearest to texts, pictures or sounds."""
    if sum(map(bool, (texts, image, audio))) != 1:
        raise UsageError("give either texts or --image or --audio, for example: commonspace search BUNDLE 'a red mug'")
    if cross_encoder and not texts:
        raise UsageError("--cross-encoder orders what texts find: leave it out, or give texts")
    shape = shape_of(
        diversify, cap, rules, attribute=attribute, strength=strength, sharpness=sharpness, page=page, apart=apart
    )
    texts = from_stdin(texts or [])
    deep = max(k, depth) if shape or cross_encoder else k
    retriever = Retriever.load(bundle)
    filters = _filters(retriever, where)
    if texts and cross_encoder:
        found, names = _read_anew(retriever, cross_encoder, texts, filters, deep), tuple(texts)
    elif texts:
        found, names = retriever.search_texts(texts, deep, where=filters), tuple(texts)
    elif image:
        found, names = retriever.search_images(image, deep, where=filters), tuple(map(str, image))
    else:
        found, names = retriever.search_audio(audio or [], deep, where=filters), tuple(map(str, audio or []))
    show_candidates(shape.apply(retriever, found.named(names), k), retriever.bundle, as_json=as_json, out=out)


def similar(
    bundle: BundleFolder,
    item_ids: Annotated[
        list[str], typer.Argument(help="Items to find the neighbours of; - reads one a line from standard input.")
    ],
    k: Depth = 10,
    where: Where = None,
    depth: Deep = 100,
    diversify: Diversify = None,
    strength: Strength = None,
    sharpness: Sharpness = None,
    page: Page = None,
    apart: ApartOption = None,
    attribute: Alike = None,
    cap: CapOption = None,
    rules: RulesFile = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Find the items nearest to items, which are left out of their own lists."""
    item_ids = from_stdin(item_ids)
    shape = shape_of(
        diversify, cap, rules, attribute=attribute, strength=strength, sharpness=sharpness, page=page, apart=apart
    )
    deep = max(k, depth) if shape else k
    retriever = Retriever.load(bundle)
    found = retriever.similar_items(item_ids, deep, where=_filters(retriever, where))
    show_candidates(shape.apply(retriever, found, k), retriever.bundle, as_json=as_json, out=out)


def recommend(
    bundle: BundleFolder,
    history: History = None,
    interactions: Annotated[
        str | None, typer.Option(help="A log of interactions, or 'sample': every user in it.")
    ] = None,
    users_file: UsersFile = None,
    user: OneUser = None,
    profile: Profile = None,
    profiles: ProfilesFile = None,
    k: Depth = 10,
    depth: Annotated[
        int, typer.Option("--num-candidates", help="Candidates a user that are reranked, diversified and ruled.")
    ] = 200,
    rerank: Annotated[bool, typer.Option(help="Order the candidates by the learned head.")] = True,
    where: Where = None,
    only: Only = None,
    min_weight: MinWeight = None,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    time_column: TimeColumn = None,
    weight_column: WeightColumn = None,
    repeats: RepeatsOption = None,
    diversify: Diversify = None,
    strength: Strength = None,
    sharpness: Sharpness = None,
    page: Page = None,
    apart: ApartOption = None,
    attribute: Alike = None,
    cap: CapOption = None,
    rules: RulesFile = None,
    chunk: Chunk = BatchConfig.chunk,
    explain: Explain = False,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Recommend items to users, from histories or a log; seen items are left out.

    Very many users: --out FOLDER is written part by part, and the same command goes on where it stopped.
    """
    if sum(map(bool, (history or profile, interactions, users_file))) != 1:
        raise UsageError("give one of --history ID,ID,…, --interactions FILE and --users FILE")
    if profiles and not interactions:
        raise UsageError("--profiles goes with --interactions; --users has columns of its own, --history --profile")
    if explain and (out or users_file):
        raise UsageError("--explain shows a few users: leave out --out and --users, or call Retriever.explain")
    shape = shape_of(
        diversify, cap, rules, attribute=attribute, strength=strength, sharpness=sharpness, page=page, apart=apart
    )
    columns = named_columns(user_column, item_column, time_column, weight_column)
    options = LogOptions(only, min_weight, columns, repeats)
    retriever = Retriever.load(bundle)
    if users_file or (interactions and not user and _a_folder(out)):
        config = BatchConfig(k, depth, rerank, where=_filters(retriever, where), shape=shape, chunk=chunk)
        read = (interactions, options) if interactions else None
        recommend_job(retriever, users_file, read, config, profiles=profiles, out=out, as_json=as_json)
        return
    fits: KnownItems | None = None
    filters = _filters(retriever, where)
    if interactions:
        log, fits = known(options.open(interactions), retriever.items)
        asked = of_log(log, retriever, user, profiles)
    else:
        asked = of_histories(history or [], profile or [])
    found = retriever.recommend(
        list(asked.users.histories.values()),
        max(k, depth) if rerank or shape else k,
        stages="all" if rerank else "retrieval",
        where=filters,
        user_ids=list(asked.users.histories),
        weights=asked.weights,
        profiles=asked.profiles,
        least=asked.users.least,
    )
    ranked = retriever.rerank(found) if rerank else found
    shaped = shape.apply(retriever, ranked, k)
    if explain:
        show_explained(retriever, shaped, ranked, asked.weights, as_json=as_json)
    else:
        show_candidates(shaped, retriever.bundle, as_json=as_json, out=out, fits=fits)


def rerank(
    bundle: BundleFolder,
    candidates: Annotated[
        Path,
        typer.Argument(
            help="Parquet, CSV or JSON lines with query_id (a user), item_id and score, or best first; or Parquet, one "
            "line a user, see docs/how-to/batch.md."
        ),
    ],
    interactions: Annotated[
        str | None, typer.Option(help="The log with the users' histories, or 'sample'; unless they are in the file.")
    ] = None,
    k: Depth = 10,
    only: Only = None,
    min_weight: MinWeight = None,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    time_column: TimeColumn = None,
    weight_column: WeightColumn = None,
    repeats: RepeatsOption = None,
    diversify: Diversify = None,
    strength: Strength = None,
    sharpness: Sharpness = None,
    page: Page = None,
    apart: ApartOption = None,
    attribute: Alike = None,
    cap: CapOption = None,
    rules: RulesFile = None,
    chunk: Chunk = BatchConfig.chunk,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Order candidates from a file anew by the learned head.

    Very many users: --out FOLDER is written part by part, and the same command goes on where it stopped.
    """
    shape = shape_of(
        diversify, cap, rules, attribute=attribute, strength=strength, sharpness=sharpness, page=page, apart=apart
    )
    columns = named_columns(user_column, item_column, time_column, weight_column)
    options = LogOptions(only, min_weight, columns, repeats)
    retriever = Retriever.load(bundle)
    if interactions is None or _a_folder(out):
        read = (interactions, options) if interactions else None
        rerank_job(retriever, candidates, read, BatchConfig(k, shape=shape, chunk=chunk), out=out, as_json=as_json)
        return
    log, fits = known(options.open(interactions), retriever.items)
    listed = candidates_from_table(read_candidates(candidates), retriever, users_of(log, retriever.items))
    if "reranker" not in retriever.bundle.manifest.features:
        say("no head was learned: this is the order of the exact score; `commonspace fit` learns one", err=True)
    ranked = shape.apply(retriever, retriever.rerank(listed), k)
    show_candidates(ranked, retriever.bundle, as_json=as_json, out=out, fits=fits)


def _read_anew(
    retriever: Retriever, cross_encoder: str, texts: list[str], filters: list[Expression], depth: int
) -> Candidates:
    """Search by texts, and order what is found by a cross-encoder."""
    from indexing.encoders.cross_encoder import load_cross_encoder  # loads torch

    item_texts = ItemTexts(retriever.bundle)
    scorer = load_cross_encoder(cross_encoder)
    found = retriever.search_texts(texts, depth, where=filters).named(texts)
    return CrossEncoderReranker(scorer, item_texts, dict(zip(texts, texts, strict=True))).rerank(found)


def _a_folder(out: Path | None) -> bool:
    return out is not None and form_of(out) == "folder"


def _filters(retriever: Retriever, where: list[str] | None) -> list[Expression]:
    try:
        return [parse_filter(text, retriever.bundle.attributes) for text in where or []]
    except FilterError as error:
        left_out = retriever.bundle.manifest.counts["cleaning"].get("columns_left_out", {})
        named = [name for name in left_out if f"no attribute {name!r}" in str(error)]
        more = "".join(f"\nthe build left out the column {name!r}: {left_out[name]}" for name in named)
        raise FilterError(f"{error}{more}") from error
