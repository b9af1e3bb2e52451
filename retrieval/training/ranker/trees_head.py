"""Train LightGBM's LambdaRank on the same features."""

import numpy as np

from indexing.errors import ShapeError, import_extra
from retrieval.ranking.heads.trees import TreesHead
from retrieval.training.ranker.neural_head import Examples
from retrieval.training.ranker_config import TreesConfig

_LEVELS = 4  # gains are told apart as so many grades


def train_trees_head(examples: Examples, config: TreesConfig | None = None) -> TreesHead:
    """Grow trees.

    Args:
        examples: Of any users and moments.
        config: How.

    Raises:
        TrainingError: When fewer than ten queries have a relevant candidate.
        ShapeError: When there are signs, but not one for each feature.
        MissingExtraError: Without the extra ``trees``.
    """
    config = config or TreesConfig()
    width = examples.features.shape[2]
    if config.signs and len(config.signs) != width:
        raise ShapeError(f"{len(config.signs)} signs for {width} features; take those of `StageFeatures.signs`")
    lightgbm = import_extra("lightgbm", "trees")
    useful = examples.useful()
    levels = np.unique(useful.gains[useful.kept])
    levels = levels[levels > 0] if len(levels) <= _LEVELS + 1 else np.quantile(levels[levels > 0], np.linspace(0, 1, 4))
    grades = np.searchsorted(levels, useful.gains[useful.kept] * (1 + 1e-6), side="right")
    settings = {
        "objective": "lambdarank",
        "label_gain": [0.0, *levels.tolist()],
        "learning_rate": config.learning_rate,
        "num_leaves": config.leaves,
        "min_data_in_leaf": config.fewest,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "feature_fraction": config.columns,
        "lambda_l2": 10.0,
        "lambdarank_truncation_level": config.top,
        "monotone_constraints": list(config.signs) or None,
        "max_bin": 127,
        "num_threads": config.threads,
        "seed": config.seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(useful.features[useful.kept], grades, group=useful.kept.sum(axis=1))
    return TreesHead(lightgbm.train(settings, data, num_boost_round=config.rounds).model_to_string())
