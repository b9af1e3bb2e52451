"""Flatten an evaluation into names and numbers for MLflow and TensorBoard."""

import re
from math import isfinite

from retrieval.evaluation.evaluate import Evaluation
from retrieval.evaluation.results_file import overall

_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_\-. :/]")  # by MLflow, which is the stricter


def flat_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Return means, 95 % intervals and measures of all lists together; values that are not finite are left out.

    >>> import numpy as np
    >>> flat_metrics(Evaluation(("ann",), {"recall@10": np.array([0.5])}, {"coverage@10": 0.25}, skipped=0))
    {'recall_at_10': 0.5, 'recall_at_10_low': 0.5, 'recall_at_10_high': 0.5, 'coverage_at_10': 0.25, 'queries': 1.0}
    """
    flat: dict[str, float] = {}
    for row in evaluation.table():
        name = metric_name(row.measure)
        flat |= {name: row.mean, f"{name}_low": row.low, f"{name}_high": row.high}
    flat |= {metric_name(name): share for name, share in overall(evaluation).items()}
    flat["queries"] = float(len(evaluation.query_ids))
    return {name: value for name, value in flat.items() if isfinite(value)}


def metric_name(measure: str) -> str:
    """Return a name that both allow.

    >>> metric_name("recall@10")
    'recall_at_10'
    """
    return _NOT_ALLOWED.sub("_", measure.replace("@", "_at_"))
