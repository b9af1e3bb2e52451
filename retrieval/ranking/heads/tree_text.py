"""LightGBM's text of trees, read with suspicion: LightGBM trusts every number in it, and a wrong one ends the process.

What is found sound is written anew, so that nothing reaches LightGBM that was not looked at.
"""

import math
import re
from collections.abc import Iterator, Sequence

from indexing.errors import DamagedFileError

HEADER = ("version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx", "objective")
FIXED = {"num_class": "1", "num_tree_per_iteration": "1", "objective": "lambdarank"}
UNREAD = ("monotone_constraints", "tree_sizes", "feature_names")  # of the header; written anew or not needed to score
INNER = ("split_feature", "threshold", "decision_type", "left_child", "right_child")  # a number for each inner node
INNER_UNREAD = ("split_gain", "internal_value", "internal_weight", "internal_count")
LEAVES = ("leaf_value", "leaf_weight", "leaf_count")  # a number for each leaf
MAX_DEPTH = 1_000  # LightGBM walks down a tree by recursion
MAX_FEATURES = 10_000
# Bit 0 is a category; bit 1 where a missing value goes; bits 2 and 3 what counts as missing.
DECISIONS = {0, 2, 4, 6, 8, 10}

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def sound_trees(text: str) -> str:
    """Give the text of a model as LightGBM takes it, with nothing in it but what was checked.

    Raises:
        DamagedFileError: When it is not such a text, or trees in it point to what is not there.
    """
    try:
        head, trees = _parts(text)
        width = _width(head)
        checked = [_checked(number, fields, width) for number, fields in enumerate(trees)]
    except ValueError as error:
        raise DamagedFileError(f"the trees of the second stage cannot be read ({error}); fit again") from error
    names = " ".join(f"Column_{number}" for number in range(width))
    lines = ["tree", *(f"{key}={head[key]}" for key in HEADER), f"feature_names={names}"]
    lines += [f"feature_infos={head['feature_infos']}", ""]
    for number, tree in enumerate(checked):
        lines += [f"Tree={number}", *tree, "", ""]
    return "\n".join([*lines, "end of trees", ""])


def _parts(text: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Take a text apart: its header and the fields of each tree."""
    body, end, _ = text.partition("\nend of trees\n")
    if not end:
        raise ValueError("it has no end")
    blocks = body.split("\nTree=")
    first, *tree_blocks = blocks
    lines = first.split("\n")
    if lines[0] != "tree" or not tree_blocks:
        raise ValueError("it has no trees")
    head = _fields(lines[1:])
    if unknown := set(head) - {*HEADER, *UNREAD, "feature_infos"}:
        raise ValueError(f"its header says {sorted(unknown)[0]!r:.40}")
    trees = []
    for number, block in enumerate(tree_blocks):
        number_text, *lines = block.split("\n")
        if number_text != str(number):
            raise ValueError(f"tree {number} is called {number_text!r:.40}")
        trees.append(_fields(lines))
    return head, trees


def _fields(lines: Sequence[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            continue
        key, equals, value = line.partition("=")
        if not equals or key in fields:
            raise ValueError(f"{line!r:.60} is no field, or one that is there already")
        fields[key] = value
    return fields


def _width(head: dict[str, str]) -> int:
    """Give how many features a header says that there are."""
    if missing := [key for key in (*HEADER, "feature_infos") if key not in head]:
        raise ValueError(f"its header has no {missing[0]}")
    if wrong := [key for key, value in FIXED.items() if head[key] != value]:
        raise ValueError(f"{wrong[0]} is {head[wrong[0]]!r:.40}, expected {FIXED[wrong[0]]}")
    if not re.fullmatch(r"v[34]", head["version"]) or head["label_index"] != "0":
        raise ValueError(f"its version is {head['version']!r:.40}")
    width = _whole(head["max_feature_idx"], 0, MAX_FEATURES - 1) + 1
    ranges = head["feature_infos"].split(" ")
    if len(ranges) != width or not all(map(_is_range, ranges)):
        raise ValueError(f"it has no range for each of {width} features")
    return width


def _is_range(text: str) -> bool:
    if text == "none":
        return True
    bounds = text[1:-1].split(":")
    return text[:1] + text[-1:] == "[]" and len(bounds) == 2 and all(map(_is_number, bounds))


def _checked(number: int, fields: dict[str, str], width: int) -> Iterator[str]:
    """Give the lines of one tree."""
    try:
        leaves = _whole(fields["num_leaves"], 1, 1_000_000)
        columns = {key: _numbers(fields[key], leaves - 1) for key in INNER}
        columns |= {key: _numbers(fields.get(key, ""), leaves - 1, missing="0") for key in INNER_UNREAD}
        columns |= {key: _numbers(fields[key], leaves, missing="0") for key in LEAVES}
        if fields["num_cat"] != "0" or fields.get("is_linear", "0") != "0":
            raise ValueError("it splits by categories or has linear leaves")
        _check_splits(columns, width)
        _check_children(columns, leaves)
        shrinkage = fields["shrinkage"]
        if not _is_number(shrinkage):
            raise ValueError(f"its shrinkage is {shrinkage!r:.40}")
    except (KeyError, ValueError) as error:
        raise ValueError(f"tree {number}: {error}") from error
    lines = [f"{key}={' '.join(values)}" for key, values in columns.items()]
    return iter([f"num_leaves={leaves}", "num_cat=0", *lines, "is_linear=0", f"shrinkage={shrinkage}"])


def _check_splits(columns: dict[str, list[str]], width: int) -> None:
    for value in columns["split_feature"]:
        _whole(value, 0, width - 1)
    if unknown := [value for value in columns["decision_type"] if value not in map(str, DECISIONS)]:
        raise ValueError(f"decision_type {unknown[0]!r:.40} is unknown")
    for key in ("leaf_count", "internal_count"):
        for value in columns[key]:
            _whole(value, 0, 2**31 - 1)


def _check_children(columns: dict[str, list[str]], leaves: int) -> None:
    """Check that from the root each node and each leaf is reached once; a node's children come after it."""
    inner = leaves - 1
    depths, seen = [0] * inner, [0] * (inner + leaves)
    for node, pair in enumerate(zip(columns["left_child"], columns["right_child"], strict=True)):
        for child in (_whole(value, -leaves, inner - 1) for value in pair):
            if 0 <= child <= node:
                raise ValueError(f"node {child} is below node {node}")
            seen[child if child >= 0 else inner - 1 - child] += 1
            if child >= 0:
                depths[child] = depths[node] + 1
    expected = [0, *([1] * (inner + leaves - 1))] if inner else [0]
    if seen != expected:
        raise ValueError("its nodes are not each below one other")
    if max(depths, default=0) > MAX_DEPTH:
        raise ValueError(f"it is {max(depths)} splits deep")


def _numbers(text: str, count: int, *, missing: str | None = None) -> list[str]:
    """Give so many numbers of a line; where it is empty and may be, so many times what stands for them."""
    values = text.split(" ") if text else []
    if not values and missing is not None:
        return [missing] * count
    if len(values) != count or not all(map(_is_number, values)):
        raise ValueError(f"{text!r:.40} are not {count} numbers")
    return values


def _is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and math.isfinite(float(text))


def _whole(text: str, minimum: int, maximum: int) -> int:
    if not re.fullmatch(r"-?\d{1,10}", text) or not minimum <= int(text) <= maximum:
        raise ValueError(f"{text!r:.40} is no whole number from {minimum} to {maximum}")
    return int(text)
