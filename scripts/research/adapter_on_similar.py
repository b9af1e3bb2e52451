"""Does the adapter serve `similar_items` where there is no behaviour block? Frozen vectors beside it, on valid.

python -m scripts.research.adapter_on_similar DATA --work FOLDER [--seeds 0 1 2]

DATA and FOLDER as for `two_stage`. `fit` learns the train part of the split by user with the adapter alone. Each user
asks for what is like the last film that they liked, and should find what they liked in the valid part. Films of the
history are no answers, for either.
"""

from typing import Any

import numpy as np

from indexing.arrays import Rows
from retrieval import Candidates, FitConfig, Retriever, evaluate
from retrieval.evaluation import compare
from retrieval.evaluation.splits.queries import EvaluationQueries
from retrieval.evaluation.splits.splits import Split
from scripts.benchmarks.recommend.baselines import Films, ask, to_row
from scripts.benchmarks.recommend.film_bundle import Fitted
from scripts.benchmarks.recommend.kept_lists import Served
from scripts.benchmarks.recommend.systems import LIKED, K
from scripts.benchmarks.record import keep
from scripts.research.film_trials import differences, film_options

MEASURES = ("recall@20", "ndcg@20")
DEEPEST = 900


def main() -> None:
    """Measure both, and keep."""
    options = film_options(__doc__).parse_args()
    films = Films(options.data)
    past = films.part("split_user", "train")
    asked = ask(Split("valid", past, films.part("split_user", "valid")), films)
    served = Served(options.data, options.work, list(options.seeds), FitConfig(behaviour=None, reranker=None))
    before = judged(similar(Retriever.open(served.bundle()), asked), asked)

    def lists(made: Fitted) -> dict[str, Any]:
        return {"similar": similar(made.retriever, asked)}

    found = served.lists("adapter-on-similar", past, lists)
    table: dict[str, Any] = {"frozen": to_row(before), "reports": found.reports}
    for seed, ranked in zip(options.seeds, found.ranked["similar"], strict=True):
        after = judged(asked.candidates(ranked.rows, ranked.scores, "similar"), asked)
        table[f"adapter, seed {seed}"] = to_row(after)
        table[f"added, seed {seed}"] = differences(compare(before, after, measures=list(MEASURES), resamples=2000))
    keep("adapter_on_similar", table, seed=options.seeds[0])


def similar(retriever: Retriever, asked: EvaluationQueries) -> Candidates:
    """Give what is like the last liked film of each user, without what the user knows."""
    names = list(retriever.items)
    mine = asked.items.rows(names)
    last = [
        (rows[weights >= LIKED] if (weights >= LIKED).any() else rows)[-1]
        for rows, weights in zip(asked.histories, asked.weights, strict=True)
    ]
    found = retriever.similar_items([asked.items[int(row)] for row in last], DEEPEST)
    rows = np.full((len(asked), K), -1, np.int64)
    for line, known in enumerate(asked.histories):
        unseen: Rows = mine[found.rows[line][found.rows[line] >= 0]]
        unseen = unseen[~np.isin(unseen, known)][:K]
        rows[line, : len(unseen)] = unseen
    scores = np.broadcast_to(-np.arange(K, dtype=np.float32), rows.shape)
    return asked.candidates(rows, np.where(rows < 0, -np.inf, scores).astype(np.float32), "similar")


def judged(found: Candidates, asked: EvaluationQueries) -> Any:  # noqa: ANN401 - an Evaluation
    """Judge lists by what each user liked next."""
    return evaluate(found, list(asked.relevant), measures=list(MEASURES))


if __name__ == "__main__":
    main()
