"""Duplicates, caps and the k-core: what there is too much or too little of."""

from hashlib import blake2b

import numpy as np

from indexing.arrays.types import Mask, Rows, Vectors
from retrieval.interactions.cleaning.coded_log import CodedLog


def repeats(log: CodedLog, seconds: int) -> tuple[Mask, Vectors]:
    """Find what a user did again with an item in the same so many seconds of the clock.

    Returns:
        (N,) bool, which interactions repeat an earlier one, and (N,) float32, weights: what stays has the largest of
        those that it stands for.
    """
    slots = log.times // seconds
    order = np.lexsort((np.arange(len(log)), slots, log.pairs))
    pairs, slots = log.pairs[order], slots[order]
    again = np.zeros(len(log), np.bool_)
    again[1:] = (pairs[1:] == pairs[:-1]) & (slots[1:] == slots[:-1])
    out = np.zeros(len(log), np.bool_)
    out[order] = again
    weights = log.weights.copy()
    if len(log):
        weights[order[~again]] = np.maximum.reduceat(log.weights[order], np.flatnonzero(~again))
    return out, weights


def beyond_last(keys: Rows, most: int) -> Mask:
    """Say which interactions are not among the last so many of their key: (N,) bool."""
    return _beyond(keys, np.arange(len(keys))[::-1], most)


def beyond_drawn(log: CodedLog, most: int) -> Mask:
    """Say which interactions are not among those drawn for their item, by a hash of the user_id: (N,) bool."""
    crowded = np.bincount(log.items, minlength=len(log.item_ids)) > most
    lots = np.zeros(len(log.user_ids), np.uint64)
    for user in np.unique(log.users[crowded[log.items]]).tolist():
        lots[user] = int.from_bytes(blake2b(log.user_ids[user].encode(), digest_size=8).digest(), "big")
    return _beyond(log.items, np.argsort(np.lexsort((np.arange(len(log)), lots[log.users]))), most)


def _beyond(keys: Rows, ranks: Rows, most: int) -> Mask:
    """Say which are not among the so many of lowest rank of their key."""
    order = np.lexsort((ranks, keys))
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    lengths = np.diff(np.append(starts, len(keys)))
    out = np.zeros(len(keys), np.bool_)
    out[order] = np.arange(len(keys)) - np.repeat(starts, lengths) >= most
    return out


def outside_core(log: CodedLog, items_a_user: int, users_an_item: int) -> Mask:
    """Say which interactions are outside the k-core, once users and items with too few are gone: (N,) bool."""
    users, items = log.once()
    while True:
        enough = (np.bincount(users, minlength=len(log.user_ids)) >= items_a_user)[users]
        enough &= (np.bincount(items, minlength=len(log.item_ids)) >= users_an_item)[items]
        if enough.all():
            break
        users, items = users[enough], items[enough]
    return ~np.isin(log.pairs, users * max(len(log.item_ids), 1) + items)
