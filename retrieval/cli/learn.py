"""`commonspace fit`."""

from typing import Annotated

import typer

from retrieval.cli.log import Log, MinWeight, Only, open_log
from retrieval.cli.output import Json, show_json, show_pairs
from retrieval.cli.query import BundleFolder
from retrieval.fit import fit as fit_bundle
from retrieval.prepare import hold_out_last

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
            "published": report.refused
            or ", ".join(report.published)
            or "nothing: what was learned did not help on later interactions",
            "ndcg@10 on later interactions": ", ".join(f"{part} {value:.4f}" for part, value in report.ndcg.items()),
            "search by own vector, recall@10": "; ".join(
                f"{modality}: " + ", ".join(f"{part} {value:.4f}" for part, value in found.items())
                for modality, found in report.search.items()
            ),
            "how queries are served": ", ".join(f"{name} {value:g}" for name, value in report.serving.items()),
            "generation": report.generation,
        },
    )
