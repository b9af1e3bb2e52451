"""What the trials on films share: their options, and how differences are written down."""

import argparse
from pathlib import Path

from retrieval.evaluation.compare import Comparison
from scripts.benchmarks.recommend.systems import SEEDS


def film_options(description: str | None) -> argparse.ArgumentParser:
    """Make a parser of DATA, --work and --seeds; a trial may add options."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    return parser


def differences(comparison: Comparison) -> dict[str, list[float]]:
    """Give the difference and the limits of its interval for each measure, to four digits."""
    return {row.measure: [round(value, 4) for value in (row.difference, row.low, row.high)] for row in comparison.rows}
