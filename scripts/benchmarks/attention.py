"""Attention beside the towers of the behaviour block, on the valid parts of MovieLens 100k alone.

python -m scripts.benchmarks.attention DATA [--split split_user|in_time] [--seeds 0 1 2] [--settings JSON]

With --split one part is measured and printed, without all of them are kept. JSON: settings of AttentionConfig by name.

DATA as for scripts.benchmarks.baselines; of users with a history. What the block is learned from and judged by:

    split_user   train, and valid
    in_time      what is before the last 14 days before the first window of scripts.benchmarks.learning, and those days

The same block is asked without attention and with it. What is done at serving is chosen by ndcg@20 of one half of the
users, for each way by itself, and the other half is judged; then the halves change places.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.types import Rows
from retrieval.behaviour import Behaviour
from retrieval.evaluation import evaluate
from retrieval.evaluation.questions import Questions
from retrieval.evaluation.splits import Split, at_time, rolling_windows
from retrieval.prepare import histories
from retrieval.settings import settings_of
from retrieval.training.attention import learn_attention
from retrieval.training.behaviour import touched
from retrieval.training.config import AttentionConfig
from retrieval.training.serving import choose_serving
from scripts.benchmarks.baselines import WINDOW_DAYS, WINDOWS, Films, ask
from scripts.benchmarks.film_content import content_of
from scripts.benchmarks.learning import Content, valid_of
from scripts.benchmarks.record import keep
from scripts.benchmarks.systems import SEEDS

_LENGTH = WINDOW_DAYS * 86_400
_MEASURES = ("recall@20", "ndcg@20")


def main() -> None:
    """Measure both splits, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", choices=("split_user", "in_time"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--settings", type=json.loads, default={})
    given = parser.parse_args()
    films = Films(given.data)
    content = Content(films, content_of(given.data, films.items), given.data)
    config = settings_of(AttentionConfig, given.settings)
    splits = {"split_user": valid_of(films, "split_user"), "in_time": in_time(films)}
    result = {
        name: compared(content, split, config, given.seeds)
        for name, split in splits.items()
        if given.split in (None, name)
    }
    if given.split is not None:
        print(json.dumps(result, indent=1))
    else:
        keep("attention", result, seed=given.seeds[0], script="attention")


def in_time(films: Films) -> Split:
    """Cut a window's length before the first window that is judged by test."""
    first = rolling_windows(films.part("split_user", "train", "valid", "test"), WINDOWS, _LENGTH)[0]
    return at_time(first.past, (first.cut or 0) - _LENGTH)


def compared(content: Content, split: Split, config: AttentionConfig, seeds: list[int]) -> dict[str, Any]:
    """Give both measures without attention and with it, of each seed, and what it adds: mean and deviation."""
    asked, pasts = ask(split, content.films), histories(split.past, content.films.items)
    warm = np.flatnonzero(touched(pasts, len(content.films.items)))
    ways: dict[str, list[list[float]]] = {"without": [], "with": []}
    served = []
    for seed in seeds:
        block = replace(content.fit(split.past, seed), attention=None)
        worth = block.levels / np.float32(np.mean(np.concatenate([past.weights for past in pasts])))
        state = learn_attention(block, pasts, worth, warm, replace(config, seed=seed))
        for name, tried in (("without", block), ("with", replace(block, attention=state.attention()))):
            means, choices = judged(content, asked, tried)
            ways[name].append(means)
            served.append({"seed": seed, "way": name} | choices[0])
    added = np.array(ways["with"]) - np.array(ways["without"])
    deviation = added.std(axis=0, ddof=1) if len(seeds) > 1 else np.zeros(len(_MEASURES))
    return {
        "users": int((~asked.new).sum()),
        "measures": _MEASURES,
        **{name: np.round(values, 4).tolist() for name, values in ways.items()},
        "added": [[round(float(one), 4) for one in pair] for pair in zip(added.mean(axis=0), deviation, strict=True)],
        "served": served,
    }


def judged(content: Content, asked: Questions, block: Behaviour) -> tuple[list[float], list[dict[str, float]]]:
    """Give the means of both halves of the users, each served as the other wants it, and how that is."""
    known = np.flatnonzero(~asked.new)
    half = np.random.default_rng(0).permutation(len(known)) % 2
    values, choices = np.zeros((len(known), len(_MEASURES))), list[dict[str, float]]()
    for number in (0, 1):

        def value(tried: Behaviour, lines: Rows = known[half != number]) -> NDArray[np.float64]:
            return measured(content, asked, tried, lines)[:, 1]

        chosen, serving, _ = choose_serving(block, value)
        values[half == number] = measured(content, asked, chosen, known[half == number])
        choices.append(serving)
    return values.mean(axis=0).tolist(), choices


def measured(content: Content, asked: Questions, block: Behaviour, lines: Rows) -> NDArray[np.float64]:
    """Give both measures, (B, 2), of some questions."""
    some = Questions(
        asked.items,
        query_ids=tuple(asked.query_ids[line] for line in lines),
        user_ids=tuple(asked.user_ids[line] for line in lines),
        histories=tuple(asked.histories[line] for line in lines),
        weights=tuple(asked.weights[line] for line in lines),
        relevant=tuple(asked.relevant[line] for line in lines),
    )
    found = some.candidates(*content.answer(block, some), "retrieve")
    per_query = evaluate(found, some.relevant, measures=list(_MEASURES)).per_query
    return np.stack([per_query[name] for name in _MEASURES], axis=1)


if __name__ == "__main__":
    main()
