"""A plan for catalogues that nobody has built here: bytes, machines, hours and money.

    python -m scripts.research.scale_plan [--check]

Writes the tables of docs/explanation/scale.md from what was measured (scripts/benchmarks/results) and from `Assumed`,
which is to be changed for prices and machines of your own. With --check nothing is written, and the exit code is 1 if
the page differs.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexing.index.backends.build_sharded import Plan, lists_for
from indexing.index.config import parse_bytes
from scripts.benchmarks.readme_table import RESULTS, ROOT, markdown, updated

PAGE = ROOT / "docs" / "explanation" / "scale.md"
SIZES = {"10M": 10_000_000, "100M": 100_000_000, "1B": 1_000_000_000}
HOURS_A_MONTH, MEMORY = 730, "64G"
SOURCES = ("sharded", "sharded_10m", "encode")
PER_QUERY = ("ms a query", "CPU ms a query of a batch")


@dataclass(frozen=True)
class Assumed:
    """What is assumed, not measured.

    Attributes:
        dim: Length of the vectors.
        vcpu_hour: Dollars for a virtual processor with 4 GiB for an hour.
        gpu_hour: Dollars for a small machine with a GPU for an hour.
        object_month: Dollars for a GB in object storage for a month.
        disk_month: Dollars for a GB of local SSD for a month.
        vcpus: Virtual processors of the largest machine; smaller ones cost in proportion, from 2 on.
        vcpu_gib: Memory of a virtual processor, in GiB.
        usable: Share of the memory that vectors may fill.
        other_bytes: Bytes an item of ids and attributes.
        read_ms: Milliseconds of a random read from local SSD.
        candidates: Vectors that a shard scores anew for a query.
    """

    dim: int = 512
    vcpu_hour: float = 0.0816 / 2
    gpu_hour: float = 1.006
    object_month: float = 0.02
    disk_month: float = 0.08
    vcpus: int = 64
    vcpu_gib: int = 4
    usable: float = 0.9
    other_bytes: int = 100
    read_ms: float = 0.1
    candidates: int = 100

    def processors(self, size: float) -> int:
        """Give the virtual processors whose memory holds so many bytes."""
        return max(2, math.ceil(size / (self.usable * self.vcpu_gib * 2**30)))

    def month(self, processors: int) -> float:
        """Give dollars for so many virtual processors for a month."""
        return processors * self.vcpu_hour * HOURS_A_MONTH


@dataclass(frozen=True)
class Measured:
    """What was measured on two cores, with 512 dimensions.

    Attributes:
        index_bytes: Bytes a vector of an index in shards.
        code_bytes: Bytes of these that stay in memory when the finer vectors are on SSD.
        build_ms: Milliseconds of processor time to build, a vector, where a shard has so many lists.
        lists: Lists of a shard at which it was measured.
        factor: Of the milliseconds of a query in a shard, by its rows to the power `exponent`.
        exponent: See `factor`.
        batch_factor: As `factor`, of the processor time of a query among many.
        batch_exponent: See `batch_factor`.
        images: Pictures encoded a second and core, from files to stored vectors.
        texts: Short texts encoded a second and core.
    """

    index_bytes: float
    code_bytes: float
    build_ms: float
    lists: int
    factor: float
    exponent: float
    batch_factor: float
    batch_exponent: float
    images: float
    texts: float

    @classmethod
    def read(cls, results: Path = RESULTS) -> "Measured":
        """Read it from the results of benchmarks."""
        small, large, encoding = (json.loads((results / f"{name}.json").read_text()) for name in SOURCES)
        shards = large["result"]
        (largest,), bounds = shards["sizes"], Plan.within(parse_bytes(shards["max_memory"]), shards["dim"])
        rows = [row for row in small["result"]["sizes"] if not row["codes on disk"]] + [largest]
        cores, fits = encoding["machine"]["cores"], [grown(rows, name) for name in PER_QUERY]
        return cls(
            index_bytes=largest["bytes a vector"],
            code_bytes=bounds.entry - 2 * shards["dim"],
            build_ms=1000 * largest["build CPU seconds"] / largest["items"],
            lists=lists_for(bounds.sample, largest["items"] // largest["shards"]),
            factor=fits[0][0],
            exponent=fits[0][1],
            batch_factor=fits[1][0],
            batch_exponent=fits[1][1],
            images=encoding["result"]["from files to stored vectors"]["stored images/s"] / cores,
            texts=encoding["result"]["per second"]["short texts"]["commonspace"] / cores,
        )


def grown(rows: Sequence[Mapping[str, float]], name: str) -> tuple[float, float]:
    """Fit what a query costs in a shard: a factor, and the power of the rows of the shard that it grows with.

    >>> grown([{"items": 8, "shards": 2, "ms": 8}, {"items": 16, "shards": 1, "ms": 8}], "ms")
    (2.0, 0.5)
    """
    sizes, costs = ([row[key] / row["shards"] for row in rows] for key in ("items", name))
    exponent, log_factor = np.polyfit(np.log(sizes), np.log(costs), 1)
    return round(float(np.exp(log_factor)), 9), round(float(exponent), 3)


def planned(items: int, measured: Measured, assumed: Assumed) -> dict[str, float]:
    """Reckon what a catalogue of so many items with one vector each takes."""
    index, frozen = items * measured.index_bytes, items * 2 * assumed.dim
    disk = index + 2 * frozen + items * assumed.other_bytes  # frozen vectors are in the generation and in the store
    bounds = Plan.within(parse_bytes(MEMORY), assumed.dim)
    shards = math.ceil(items / bounds.shard)
    in_memory, codes = (assumed.processors(items * each) for each in (measured.index_bytes, measured.code_bytes))
    machines, machines_with_codes = (math.ceil(processors / assumed.vcpus) for processors in (in_memory, codes))
    ms = measured.factor * (items / shards) ** measured.exponent
    batch_ms = shards * measured.batch_factor * (items / shards) ** measured.batch_exponent
    reads = math.ceil(shards / machines_with_codes) * assumed.candidates
    images, texts = (items / rate / 3600 for rate in (measured.images, measured.texts))
    # A vector is compared with all centres of its shard.
    build = items * measured.build_ms / 3.6e6 * lists_for(bounds.sample, items // shards) / measured.lists
    return {
        "GB of a bundle on disk": disk / 1e9,
        "of these the index": index / 1e9,
        "GB of codes in memory": items * measured.code_bytes / 1e9,
        "processor hours to encode pictures": images,
        "the same in dollars": images * assumed.vcpu_hour,
        "processor hours to encode short texts": texts,
        "processor hours to build the index": build,
        "the same, in dollars": build * assumed.vcpu_hour,
        f"shards, built within {MEMORY}": shards,
        "ms a query, one core, all in memory": ms * shards,
        "index in memory: vCPUs": in_memory,
        "index in memory: machines": machines,
        "index in memory: ms a query, machines side by side": ms * math.ceil(shards / machines),
        "index in memory: queries a second at most": in_memory * 1000 / batch_ms,
        "index in memory: dollars a month": assumed.month(in_memory),
        "codes in memory: vCPUs": codes,
        "codes in memory: machines": machines_with_codes,
        "codes in memory: ms of cold reads a query": reads * assumed.read_ms,
        "codes in memory: dollars a month, with SSD": assumed.month(codes) + index / 1e9 * assumed.disk_month,
        "dollars a month to keep the bundle in object storage": disk / 1e9 * assumed.object_month,
    }


def break_even(measured: Measured, assumed: Assumed) -> float:
    """Pictures a second from which on a machine with a GPU encodes for less money than processors do."""
    return assumed.gpu_hour / assumed.vcpu_hour * measured.images


def tables(measured: Measured, assumed: Assumed) -> str:
    """Write both tables of inputs, and the plan."""
    inputs = [
        ("measured", "bytes a vector of an index in shards", measured.index_bytes, "`sharded_10m.json`"),
        ("measured", "bytes of these in memory, at least", measured.code_bytes, "`sharded_10m.json`"),
        (
            "measured",
            f"processor ms a vector to build, {measured.lists} lists",
            measured.build_ms,
            "`sharded_10m.json`",
        ),
        ("measured", "exponent of ms a query by rows of a shard", measured.exponent, "both"),
        ("measured", "exponent of processor ms a query of a batch", measured.batch_exponent, "both"),
        ("measured", "pictures a second and core, stored", measured.images, "`encode.json`"),
        ("measured", "short texts a second and core", measured.texts, "`encode.json`"),
        ("assumed", "bytes an item of ids and attributes", assumed.other_bytes, "a short title and a category"),
        ("assumed", "dollars for a vCPU-hour with 4 GiB", assumed.vcpu_hour, "half of m7g.large [1]"),
        ("assumed", "dollars for an hour with a GPU", assumed.gpu_hour, "g5.xlarge [1]"),
        ("assumed", "dollars for a GB-month of SSD", assumed.disk_month, "[2]"),
        ("assumed", "dollars for a GB-month of object storage", assumed.object_month, "[2]"),
        ("assumed", "ms of a random read of SSD", assumed.read_ms, "[2]"),
        ("assumed", "vCPUs of the largest machine", assumed.vcpus, "m7g.16xlarge, the price in proportion"),
        ("assumed", "share of memory for vectors", assumed.usable, "the rest is for all else"),
    ]
    first = markdown(
        [
            ("", "what", "value", "from"),
            ("---",) * 4,
            *((kind, what, shown(value), of) for kind, what, value, of in inputs),
        ]
    )
    plans = [planned(items, measured, assumed) for items in SIZES.values()]
    rows = [(name, *(shown(plan[name]) for plan in plans)) for name in plans[0]]
    second = markdown([("items", *SIZES), ("---",) * (1 + len(SIZES)), *rows])
    return f"{first}\n\n{second}"


def shown(value: float) -> str:
    """Write a number with three digits that count, and with all digits where it is whole.

    >>> shown(0.0408), shown(1204.6), shown(34), shown(3.352)
    ('0.0408', '1,200', '34', '3.35')
    """
    if isinstance(value, int) or value == 0:
        return f"{value:,}"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def main() -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page differs")
    before = PAGE.read_text()
    after = updated(before, tables(Measured.read(), Assumed()))
    if not parser.parse_args().check:
        PAGE.write_text(after)
    elif before != after:
        sys.exit(f"{PAGE.name}: not as in the results; run python -m scripts.research.scale_plan")


if __name__ == "__main__":
    main()
