"""Train LightGBM's LambdaRank on the same features."""

import numpy as np

from indexing.errors import import_extra
from retrieval.ranking.heads.trees import TreesHead
from retrieval.training.ranker.neural_head import Examples
from retrieval.training.ranker_config import TreesConfig


def train_trees_head(examples: Examples, config: TreesConfig | None = None) -> TreesHead:
    """Grow trees.

    Args:
        examples: Of any users and moments.
        config: How.

    Raises:
        TrainingError: When fewer than ten queries have a relevant candidate.
        MissingExtraError: Without the extra ``trees``.
    """
    config = config or TreesConfig()
    lightgbm = import_extra("lightgbm", "trees")
    useful = examples.useful()
    settings = {
        "objective": "lambdarank",
        "learning_rate": config.learning_rate,
        "num_leaves": config.leaves,
        "min_data_in_leaf": config.fewest,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "feature_fraction": config.columns,
        "lambda_l2": 10.0,
        "lambdarank_truncation_level": config.top,
        "max_bin": 127,
        "num_threads": config.threads,
        "seed": config.seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    relevant = (useful.gains[useful.kept] > 0).astype(np.int64)
    data = lightgbm.Dataset(useful.features[useful.kept], relevant, group=useful.kept.sum(axis=1))
    return TreesHead(lightgbm.train(settings, data, num_boost_round=config.rounds).model_to_string())
