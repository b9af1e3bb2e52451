"""Sampled softmax with logQ correction (Yi et al., 2019): a loss over a sample of the catalogue.

The positives of a query are always in the sample and keep their logits. A sampled negative has its logit lowered by
the log of its expected count, so that the sum over the sample estimates the sum over the catalogue. Without the
correction popular items, which are sampled most often, would be ranked too low. A sampled negative that is a positive
of the query is masked (an accidental hit). Served scores are not corrected.
"""

import torch


def sampled_softmax(
    logits: torch.Tensor, targets: torch.Tensor, log_expected: torch.Tensor, excluded: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of each query with graded positives: (B,).

    A query's positives share its mass by their grades; the loss of a query without any is 0.

    Args:
        logits: (B, C) float, score of each candidate for each query.
        targets: (B, C) float, grade of a candidate that is a positive of the query, 0 for all others.
        log_expected: (C,) or (B, C) float, log of how often a candidate is expected to be drawn; 0 for one that is
            always in the sample. It is ignored for positives.
        excluded: (B, C) bool, candidates that are no negatives of the query.
    """
    grades = targets.sum(dim=1, keepdim=True)
    has_positive = grades[:, 0] > 0
    offsets = torch.where(excluded, torch.inf, log_expected).masked_fill_(targets > 0, 0.0)
    offsets[~has_positive] = 0.0  # or everything might be masked
    whole = torch.logsumexp(logits - offsets, dim=1)
    of_positives = (logits * targets).sum(dim=1)
    return has_positive * whole - of_positives / torch.where(has_positive, grades[:, 0], 1.0)


def log_expected_counts(probabilities: torch.Tensor, items: torch.Tensor, targets: int, uniform: int) -> torch.Tensor:
    """Log of how often each of C items is expected in a sample of two kinds of draws: (C,).

    Both kinds are one sample of a mixture (mixed negative sampling, Yang et al. 2020), so items without interactions
    are in it as well.

    Args:
        probabilities: (N,) float, for each item of the catalogue the probability that it is drawn as a target.
        items: (C,) int64, rows of the candidates.
        targets: Number of targets of other queries in the sample.
        uniform: Number of further candidates, drawn uniformly from all N items.
    """
    expected = targets * probabilities[items].double() + uniform / len(probabilities)
    return expected.clamp(min=1e-12).log().to(probabilities.dtype)


def accidental_hits(items: torch.Tensor, positives: torch.Tensor) -> torch.Tensor:
    """Mark candidates with the same item as a positive of the query, other than the positives: (B, C) bool.

    Args:
        items: (C,) int64, the item of each candidate.
        positives: (B, C) bool, the positives of each query.
    """
    distinct, index = torch.unique(items, return_inverse=True)
    owned = torch.zeros(len(positives), len(distinct)).index_add_(1, index, positives.float())
    return (owned[:, index] > 0) & ~positives


def next_item_loss(
    logits: torch.Tensor,
    items: torch.Tensor,
    log_expected: torch.Tensor,
    seen: torch.Tensor,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean loss of B queries with one target each, against the targets of the others and further negatives.

    Args:
        logits: (B, C) float; candidate i is the target of query i, those after the first B are further negatives.
        items: (C,) int64, the item of each candidate.
        log_expected: (C,) float, see `log_expected_counts`.
        seen: (B, C) bool, whether the candidate is in the query's history and so no negative.
        weights: (B,) float, weight of each query's loss; 1 when None.
    """
    positives = torch.eye(*logits.shape, dtype=torch.bool)
    excluded = accidental_hits(items, positives) | seen
    losses = sampled_softmax(logits, positives.to(logits.dtype), log_expected, excluded)
    return losses.mean() if weights is None else (weights * losses).mean()
