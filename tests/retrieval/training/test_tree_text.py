"""Trees from anyone: the same scores as LightGBM's where they are sound, else refused before LightGBM sees them."""

import re

import numpy as np
import pytest

from indexing.errors import DamagedFileError
from retrieval.ranking.heads import TreesHead
from retrieval.ranking.heads.tree_text import sound_trees

lightgbm = pytest.importorskip("lightgbm")


@pytest.fixture(scope="module")
def text() -> str:
    rng = np.random.default_rng(0)
    features, grades = rng.normal(size=(400, 5)), rng.integers(0, 2, 400)
    features[rng.random(features.shape) < 0.1] = np.nan
    data = lightgbm.Dataset(features, grades, group=[20] * 20)
    settings = {"objective": "lambdarank", "num_leaves": 6, "verbosity": -1, "num_threads": 1}
    return str(lightgbm.train(settings | {"monotone_constraints": [1, 0, 0, 0, -1]}, data, 8).model_to_string())


def test_sound_trees_score_as_they_did(text: str) -> None:
    features = np.random.default_rng(1).normal(size=(300, 5)).astype(np.float32)
    features[::7, 2] = np.nan
    expected = lightgbm.Booster(model_str=text).predict(features).astype(np.float32)
    head = TreesHead(text)
    # The same trees in the same order: equal sums, whoever adds them up.
    np.testing.assert_allclose(head.score(features), expected, rtol=1e-6)
    assert head.width == 5
    assert TreesHead.read(head.tensors()).text == text


def test_a_tree_without_a_split_is_sound() -> None:
    features, grades = np.ones((40, 2)), np.arange(40) % 2
    data = lightgbm.Dataset(features, grades, group=[20, 20])
    text = lightgbm.train({"objective": "lambdarank", "verbosity": -1}, data, 2).model_to_string()
    np.testing.assert_allclose(TreesHead(text).score(features.astype(np.float32)), 0)


def first(text: str, key: str, value: str) -> str:
    """Put something else in place of the first number of the second tree's field."""
    start = text.index("\nTree=1\n")
    return text[:start] + re.sub(rf"\n{key}=(\S+)", f"\n{key}={value}", text[start:], count=1)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("left_child", "2147483000", "tree 1: '2147483000' is no whole number from -6 to 4"),
        ("left_child", "-7", "tree 1: '-7' is no whole number"),
        ("left_child", "0", "tree 1: node 0 is below node 0"),
        ("right_child", "-1", "tree 1: its nodes are not each below one other"),
        ("split_feature", "999999", "tree 1: '999999' is no whole number from 0 to 4"),
        ("split_feature", "-1", "tree 1: '-1' is no whole number from 0 to 4"),
        ("threshold", "nan", "tree 1: 'nan .* are not 5 numbers"),
        ("threshold", "1e999", "tree 1: '1e999 .* are not 5 numbers"),
        ("leaf_value", "inf", "tree 1: 'inf .* are not 6 numbers"),
        ("leaf_value", "1 2", "are not 6 numbers"),
        ("decision_type", "1", "tree 1: decision_type '1' is unknown"),
        ("decision_type", "127", "tree 1: decision_type '127' is unknown"),
        ("num_leaves", "7", "are not 6 numbers"),
        ("num_leaves", "-3", "'-3' is no whole number"),
        ("num_leaves", "99999999999", "is no whole number"),
        ("num_cat", "1", "it splits by categories"),
        ("is_linear", "1", "or has linear leaves"),
        ("shrinkage", "x", "its shrinkage is 'x'"),
        ("leaf_count", "-5", "'-5' is no whole number"),
    ],
)
def test_trees_that_point_elsewhere_are_refused(text: str, key: str, value: str, reason: str) -> None:
    with pytest.raises(
        DamagedFileError, match=rf"the trees of the second stage cannot be read \(.*{reason}.*\); fit again"
    ):
        TreesHead(first(text, key, value))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("max_feature_idx=4", "max_feature_idx=400000000", "no whole number"),
        ("max_feature_idx=4", "max_feature_idx=3", "no range for each of 4 features"),
        ("num_class=1", "num_class=3", "num_class is '3', expected 1"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=0", "num_tree_per_iteration is '0'"),
        ("objective=lambdarank", "objective=multiclass num_class:3", "objective is"),
        ("objective=lambdarank", "average_output\nobjective=lambdarank", "is no field"),
        ("Tree=1\n", "Tree=7\n", "tree 1 is called '7'"),
        ("version=v4", "version=v9", "its version is 'v9'"),
        ("\nnum_class=1", "\nnum_class=1\nnum_class=1", "is no field, or one that is there already"),
        ("\nlabel_index=0", "", "its header has no label_index"),
    ],
)
def test_headers_that_are_not_understood_are_refused(text: str, old: str, new: str, reason: str) -> None:
    with pytest.raises(DamagedFileError, match=reason):
        sound_trees(text.replace(old, new, 1))


def test_a_text_that_is_cut_or_garbled_anywhere_is_refused_or_sound(text: str) -> None:
    """No text reaches LightGBM that ends it: this test would end too."""
    rng = np.random.default_rng(2)
    whole = text[: text.index("end of trees") + 13]
    features = rng.normal(size=(20, 5)).astype(np.float32)
    refused = 0
    for mutant in range(300):
        place = int(rng.integers(0, len(whole)))
        cut = whole[:place] if mutant % 3 == 0 else whole[:place] + chr(rng.integers(33, 127)) + whole[place + 1 :]
        try:
            assert np.isfinite(TreesHead(cut).score(features)).all()
        except DamagedFileError:
            refused += 1
    assert refused > 150


def test_deep_trees_are_refused() -> None:
    """LightGBM goes down a tree by recursion."""
    leaves = 5_000
    inner = range(leaves - 1)
    tree = {
        "num_leaves": leaves,
        "num_cat": 0,
        "split_feature": " ".join("0" for _ in inner),
        "threshold": " ".join("1" for _ in inner),
        "decision_type": " ".join("2" for _ in inner),
        "left_child": " ".join(str(-1 - node) for node in inner),
        "right_child": " ".join([*(str(node + 1) for node in inner[:-1]), str(-leaves)]),
        **dict.fromkeys(("leaf_value", "leaf_weight", "leaf_count"), " ".join("1" for _ in range(leaves))),
        "shrinkage": 1,
    }
    head = "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=0\n"
    head += "objective=lambdarank\nfeature_infos=[0:1]\n\nTree=0\n"
    with pytest.raises(DamagedFileError, match="4998 splits deep"):
        sound_trees(head + "\n".join(f"{key}={value}" for key, value in tree.items()) + "\n\n\nend of trees\n")
