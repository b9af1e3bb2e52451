"""What `fit` costs and gives beside item-kNN, iALS, EASE and SASRec, in one run on MovieLens 100k.

python -m scripts.benchmarks.fit.time_and_quality DATA [--sasrec PYTHON] [--seed 0] [--quick]

DATA as for `recommend.baselines`. The last tenth of each user is held out. Of each family of peers all settings are
fitted on train and judged on valid by ndcg@20; that is "tuning". The best is then fitted on train and valid, and
answers all users; that is "one fit". Our `fit` chooses its settings itself, so it has no tuning. PYTHON belongs to an
environment with rectools[torch], in which SASRec is fitted once, by `recommend/sasrec_alone.py`; its tuning is not
repeated. Seconds are of the clock and of the processor, lists included; the number of threads is the libraries' own.
"""

import argparse
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from retrieval import FitConfig
from retrieval.evaluation.baselines.recommender import Ranked
from retrieval.evaluation.splits.queries import EvaluationQueries
from retrieval.evaluation.splits.splits import Split
from scripts.benchmarks.recommend.baselines import Films, ask
from scripts.benchmarks.recommend.film_bundle import film_bundle, fitted, quick, recommended
from scripts.benchmarks.recommend.peer_models import FAMILIES, Fits, Known, Setting, named
from scripts.benchmarks.recommend.peers_of_films import ndcg_of, sasrec
from scripts.benchmarks.record import keep

PEERS = ("popularity", "item-kNN BM25 (liked)", "iALS", "EASE (liked)", "EASE (ratings as weights)")
SASREC_SCRIPT = Path(__file__).parents[1] / "recommend" / "sasrec_alone.py"


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sasrec", type=Path, metavar="PYTHON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    films = Films(given.data)
    known = Known.of(given.data, films.items, films.texts)
    split = films.cut("split_user")
    valid = Split("valid", films.part("split_user", "train"), films.part("split_user", "valid"))
    asked = ask(split, films)
    result: dict[str, Any] = {"users": len(asked)}
    for family in PEERS[: 1 if given.quick else None]:
        result[family] = peer(FAMILIES[family], known, (valid, ask(valid, films)), (split, asked))
    with tempfile.TemporaryDirectory() as folder:
        bundle = film_bundle(given.data, Path(folder))
        configs = {"fit, fast": FitConfig(effort="fast"), "fit, default": FitConfig()}
        if given.quick:
            configs = {"fit, quick": quick(FitConfig(effort="fast"))}
        for name, config in configs.items():
            result[name] = ours(bundle, split, asked, config, given.seed)
        if given.sasrec:
            result["SASRec"] = rectools(given.sasrec, given.data, Path(folder), asked, given.seed)
    if not given.quick:
        keep("time_and_quality", result, given.seed)


def peer(
    settings: Sequence[Setting],
    known: Known,
    valid: tuple[Split, EvaluationQueries],
    test: tuple[Split, EvaluationQueries],
) -> dict[str, Any]:
    """Tune a family of peers on valid, then fit the best setting and answer the users."""
    with clocked() as tuning:
        fits = Fits(known, valid[0].past, valid[1])
        best = max(settings, key=lambda setting: _mean(valid[1], fits.lists(setting)))
    with clocked() as once:
        ranked = Fits(known, test[0].past, test[1]).ranked(best, 0)
    return {
        "setting": named(best),
        "settings tried": len(settings),
        "tuning": tuning,
        "one fit": once,
        "ndcg@20": round(_mean(test[1], [ranked]), 4),
    }


def ours(bundle: Path, split: Split, asked: EvaluationQueries, config: FitConfig, seed: int) -> dict[str, Any]:
    """Fit a bundle with one configuration, and ask it by all published stages."""
    with clocked() as once, fitted(bundle, split.past, config, seed) as made:
        candidates = recommended(made.retriever, split.past, asked)
    return {
        "published": list(made.report.published),
        "one fit": once,
        "ndcg@20": round(_mean(asked, [Ranked(candidates.rows, candidates.scores)]), 4),
    }


def rectools(python: Path, data: Path, folder: Path, asked: EvaluationQueries, seed: int) -> dict[str, Any]:
    """Fit SASRec in its own environment, and read its lists; whoever has none is left without."""
    command = [str(python), str(SASREC_SCRIPT), str(data), str(folder), "--split", "split_user", "--seed", str(seed)]
    with clocked() as once:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    nothing = Ranked(np.full((len(asked), 20), -1, np.int64), np.full((len(asked), 20), -np.inf, np.float32))
    ((setting, ranked),) = sasrec(sorted(folder.glob("split_user-*.parquet")), 0, asked, nothing).items()
    return {"setting": setting, "one fit": once, "ndcg@20": round(_mean(asked, ranked), 4)}


def _mean(asked: EvaluationQueries, ranked: Sequence[Ranked]) -> float:
    return float(np.mean([ndcg_of(asked, one).mean() for one in ranked]))


@contextmanager
def clocked() -> Iterator[dict[str, float]]:
    """Time a block, its subprocesses included, in seconds of the clock and of the processor."""
    found: dict[str, float] = {}
    began, started = os.times(), perf_counter()
    try:
        yield found
    finally:
        ended = os.times()
        used = sum(ended[:4]) - sum(began[:4])
        found |= {"s": round(perf_counter() - started, 2), "processor s": round(used, 2)}


if __name__ == "__main__":
    main()
