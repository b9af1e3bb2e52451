"""`commonspace fit` and `commonspace evaluate`."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from indexing.errors import InputError
from retrieval.batch import relevant_items, users_of
from retrieval.cli.log import Log, MinWeight, Only, open_log
from retrieval.cli.output import Json, show_json, show_pairs
from retrieval.cli.query import BundleFolder
from retrieval.evaluation import evaluate as evaluate_candidates
from retrieval.fit import fit as fit_bundle
from retrieval.interactions import Interactions
from retrieval.prepare import hold_out_last
from retrieval.retriever import Retriever

HoldOut = Annotated[
    float, typer.Option(min=0.0, max=0.9, help="Share of each user's last interactions kept away from learning.")
]


def fit(
    bundle: BundleFolder,
    interactions: Log,
    only: Only = None,
    min_weight: MinWeight = None,
    hold_out: HoldOut = 0.0,
    as_json: Json = False,
) -> None:
    """Learn an adapter and a reranking head, and publish what helps as a new generation."""
    log = open_log(interactions, only=only, min_weight=min_weight)
    if hold_out:
        log, _ = hold_out_last(log, hold_out)
    report = fit_bundle(bundle, log)
    if as_json:
        show_json(report.to_json())
        return
    show_pairs(
        f"{bundle}: learned from {len(log)} interactions",
        {
            "published": ", ".join(report.published) or "nothing: what was learned did not help on later interactions",
            "ndcg@10 on later interactions": ", ".join(f"{part} {value:.4f}" for part, value in report.ndcg.items()),
            "text search, recall@10": ", ".join(f"{part} {value:.4f}" for part, value in report.text_search.items()),
            "generation": report.generation,
        },
    )


def evaluate(
    bundle: BundleFolder,
    interactions: Log,
    history: Annotated[str | None, typer.Option(help="Rows that are history, like 'split=train,valid'.")] = None,
    relevant: Annotated[str | None, typer.Option(help="Rows that should be found, like 'split=test'.")] = None,
    hold_out: HoldOut = 0.2,
    min_weight: MinWeight = None,
    depth: Annotated[int, typer.Option(help="Candidates a user.")] = 200,
    rerank: Annotated[bool, typer.Option(help="Order the candidates by the learned head.")] = True,
    as_json: Json = False,
) -> None:
    """Measure recommendations for held-out interactions: rank the whole catalogue without what was seen.

    Without --history and --relevant, each user's last interactions are to be found; fit the bundle with the same
    --hold-out then, or it has seen the answers.
    """
    past, future = _parts(interactions, history, relevant, hold_out, min_weight)
    retriever = Retriever.load(bundle)
    histories = users_of(past, retriever.items)
    wanted = relevant_items(future, histories)
    users = [user for user in histories if wanted.get(user)]
    if not users:
        raise InputError("no user has both a history and interactions to be found; check --history and --relevant")
    found = retriever.recommend([histories[user] for user in users], depth, user_ids=users)
    ranked = retriever.rerank(found) if rerank else found
    result = evaluate_candidates(ranked, [wanted[user] for user in users])
    if as_json:
        show_json(result.to_json() | {"without_history": len(wanted.keys() - histories.keys())})
        return
    table = Table(
        "measure", "mean", "95 % interval", title=f"{len(users)} users ({ranked.stage})", title_justify="left"
    )
    for measure, mean, low, high in result.table():
        table.add_row(measure, f"{mean:.4f}", f"{low:.4f} to {high:.4f}")
    for measure, share in result.coverage.items():
        table.add_row(measure, f"{share:.4f}", "")
    Console().print(table)


def _parts(
    source: str, history: str | None, relevant: str | None, hold_out: float, min_weight: float | None
) -> tuple[Interactions, Interactions]:
    if (history is None) != (relevant is None):
        raise InputError("give both --history and --relevant, or neither")
    if history is not None and relevant is not None:
        return open_log(source, only=history), open_log(source, only=relevant, min_weight=min_weight)
    return hold_out_last(open_log(source, min_weight=min_weight), hold_out)
