"""What an index of words costs: time to build, bytes, time to open, and the median time of a query.

    OMP_NUM_THREADS=1 python -m scripts.benchmarks.search.word_index ITEMS [--titles 1000000] [--seed 0]

ITEMS is a table with a column `title`, as fashion_15k, which is not shipped. Titles are drawn: each has as many words
as a title of the table, its words are drawn with their frequencies there, and it has a SKU of its own besides. Queries
are 200 drawn titles without their SKU, 200 SKUs, and 200 titles in which a letter of a word is wrong; each is asked by
itself, for ten answers. No bundle is built, nothing but the index.
"""

import argparse
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from indexing.index.words.word_index import WordIndex
from scripts.benchmarks.memory import memory
from scripts.benchmarks.record import keep
from scripts.benchmarks.search.words import places, with_typo

K, TIMED = 10, 200


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", type=Path)
    parser.add_argument("--titles", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    titles = drawn(pq.read_table(given.items, columns=["title"])["title"].to_pylist(), given.titles, rng)
    started = perf_counter()
    index = WordIndex.build([f"{title} SKU-{number}" for number, title in enumerate(titles)])
    result: dict[str, Any] = {"titles": len(titles), "build, s": round(perf_counter() - started, 1)}
    with tempfile.TemporaryDirectory() as folder:
        write(index, Path(folder))
        result["peak memory of the build, MiB"] = memory().peak
        result["words"] = len(index.base.vocab_dict)
        result["bytes"] = sum(path.stat().st_size for path in Path(folder).iterdir())
        started = perf_counter()
        index = WordIndex.read(Path(folder), index.mean_length)
        result["open, s"] = round(perf_counter() - started, 2)
        result["median of a query, ms"] = {
            kind: median_ms(index, texts) for kind, texts in queries_of(titles, rng, given.seed).items()
        }
    keep("word_index", result, given.seed)


def drawn(titles: Sequence[str | None], count: int, rng: np.random.Generator) -> list[str]:
    """Draw titles of the words of those that are there."""
    words = [title.split() for title in titles if title]
    lengths = rng.choice([len(one) for one in words], count)
    taken = rng.choice(np.array([word for one in words for word in one]), lengths.sum())
    return [" ".join(one) for one in np.split(taken, np.cumsum(lengths)[:-1])]


def write(index: WordIndex, folder: Path) -> None:
    """Write the files of an index."""
    for name, content in index.contents().items():
        path = folder / name
        path.write_bytes(content) if isinstance(content, bytes) else content(path)


def queries_of(titles: Sequence[str], rng: np.random.Generator, seed: int) -> dict[str, list[str]]:
    """Draw titles, SKUs and misspelt titles."""
    spelling = random.Random(seed)  # noqa: S311 - no secret
    chosen = rng.choice(len(titles), TIMED, replace=False).tolist()
    misspelt = [titles[at] for at in rng.permutation(len(titles))[: 10 * TIMED] if places(titles[at])][:TIMED]
    return {
        "title": [titles[at] for at in chosen],
        "SKU": [f"SKU-{at}" for at in chosen],
        "typo": [with_typo(title, spelling) for title in misspelt],
    }


def median_ms(index: WordIndex, texts: Sequence[str]) -> float:
    """Give the median time of a query by itself."""
    index.search([texts[0]], K)
    times = []
    for text in texts:
        started = perf_counter()
        index.search([text], K)
        times.append(perf_counter() - started)
    return round(1e3 * float(np.median(times)), 2)


if __name__ == "__main__":
    main()
