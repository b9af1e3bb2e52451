"""The behaviour block: item vectors learned from histories, beside those of content.

An item's vector is ``[z ; c]``: content and behaviour. A user's query is ``[alpha * taste ; b]``, a text or an image
query ``[q ; 0]``, so one inner product over one index serves all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from indexing.arrays import Mask, Rows, Vectors, history_batches, lengths_of, steps_back, unit, weighted_sums
from indexing.errors import DamagedFileError, ShapeError
from indexing.filesystem.checked_files import check_finite, finite_tensors, read_as
from indexing.filesystem.mapped import map_tensors
from retrieval.models.attention import Attention
from retrieval.models.features.item_features import FeatureMatrix
from retrieval.models.new_items import ColdStartModel
from retrieval.models.user_model import ALL_ALIKE

BEHAVIOUR = "behaviour.safetensors"
_TOWER = {"half_lives": "half_lives", "worth": "bin_weights", "start": "start"}  # name on disk: attribute
_PREDICTOR = ("landmarks", "weights", "offset")
_ATTENTION = "attention."  # how the names of its tensors begin
_OF_ITEMS = ("items", "said", "confidence")  # names on disk of tables with a row for each item
_TABLES = {"items": "items", "said": "context_factors", "confidence": "confidence", "levels": "weight_bins"}


@dataclass(frozen=True, eq=False)
class QueryTower:
    """A query tower: the weighted sum of the context vectors of a history, in several channels.

    The item side it belongs to has been whitened: the scores of all items for a query have a standard deviation in
    proportion to that query's length. So a query of length ``share`` weighs ``share`` in a sum of towers, whatever
    the history.

    Attributes:
        half_lives: (S,) float32, an item this many positions before the last counts half; inf: all alike.
        bin_weights: (S, V) float32, weight of an interaction, at each of V bins.
        start: (r,) float32, the query of an empty history.
        share: Length of the query.
    """

    half_lives: Vectors
    bin_weights: Vectors
    start: Vectors
    share: float = 1.0

    @property
    def width(self) -> int:
        """Dimensions of an item's context vector: S channels of r."""
        return len(self.half_lives) * len(self.start)

    def query(self, context: Vectors, weights: Vectors, weight_bins: Vectors) -> Vectors:
        """Give (r,) float32 for one history that is not empty.

        Args:
            context: (T, S r) float32, the context vector of each item of the history, oldest first.
            weights: (T,), of each interaction.
            weight_bins: (V,), the bins of ``bin_weights``.
        """
        lengths = np.array([len(context)])
        sums = weighted_sums(
            self.counts(weights, weight_bins, steps_back(lengths)), context, np.arange(len(context)), lengths
        )
        query: Vectors = self.queries(sums)[0]
        return query

    def counts(self, weights: Vectors, weight_bins: Vectors, ages: NDArray[np.int64]) -> Vectors:
        """Give the weight of T history items in each channel, (S, T) float32: by interaction weight and age."""
        of_channel = zip(self.half_lives, self.bin_weights, strict=True)
        counts = [
            np.interp(weights, weight_bins, bin_weights) * 0.5 ** (ages / half_life)
            for half_life, bin_weights in of_channel
        ]
        return np.array(counts, np.float32)

    def queries(self, sums: Vectors) -> Vectors:
        """Give queries, (B, r) float32, of weighted sums of context vectors in each channel, (B, S, S r)."""
        total = self.start.astype(np.float32)
        for number, channel in enumerate(np.split(sums, len(self.half_lives), axis=2)):
            total = total + channel[:, number]
        queries: Vectors = np.float32(self.share) * unit(total)
        return queries


class QueryWeights(NamedTuple):
    """How much each part of a query counts.

    Attributes:
        half_life: In positions of a history, of the EASE tower.
        share: Length of the query of the trained tower; that of the EASE tower is 1.
        popular: Weight of popularity beside a history.
        content: Weight of a unit content taste.
    """

    half_life: float
    share: float
    popular: float
    content: float


# The defaults of a block, selected on MovieLens by a split in time. A split by user, where a visit continues, selects a
# half-life of 10, a share of 2.5 and hardly any popularity.
DEFAULT_WEIGHTS = QueryWeights(half_life=ALL_ALIKE, share=0.3, popular=1.6, content=0.0)
DEFAULT_HISTORY_SHRINKAGE = 2.0


@dataclass(frozen=True, eq=False)
class Behaviour:
    """Item factors, and how a history becomes a query for them.

    The last dimension is popularity in the training histories. It alone recommends to users without a history.

    Attributes:
        items: (N, R) float32, ``c``: learned for items with interactions, predicted for the others.
        context_factors: (N, C) float32, the context vectors of items in a history, tower after tower.
        confidence: (N,) float32 from 0 to 1, weight of the learned vector against the predicted one.
        weight_bins: (V,) float32, ascending: weights of interactions between which ``bin_weights`` is interpolated.
        towers: Their dimensions follow each other; together R - 1, and C.
        predictor: Of ``items`` and ``context_factors`` side by side, for items that come later.
        popular: Weight of popularity beside a history.
        content: Weight of a unit content taste, ``alpha``.
        history_shrinkage: A history of this many items counts half, and the query of a new user the other half; with 0
            the history alone counts.
        attention: Added to the queries of the towers, in their dimensions; None goes without.
        returning: The weights of the parts for users who return for a new visit; those within a visit when None.
    """

    items: Vectors
    context_factors: Vectors
    confidence: Vectors
    weight_bins: Vectors
    towers: tuple[QueryTower, ...]
    predictor: ColdStartModel
    popular: float = 0.0
    content: float = 0.0
    history_shrinkage: float = 0.0
    attention: Attention | None = None
    returning: QueryWeights | None = None

    def with_weights(self, weights: QueryWeights) -> "Behaviour":
        """Give the block with other query weights."""
        closed, *learned = self.towers
        closed = replace(closed, half_lives=np.full_like(closed.half_lives, weights.half_life))
        towers = (closed, *(replace(tower, share=weights.share) for tower in learned))
        return replace(self, towers=towers, popular=weights.popular, content=weights.content)

    def queries(
        self, histories: Sequence[Rows], weights: Sequence[Vectors] | None = None, new: Vectors | None = None
    ) -> Vectors:
        """Give the behaviour part of each user's query: (B, R) float32.

        Args:
            histories: B arrays of rows, oldest first.
            weights: One for each row of each history; the upper median bin for all when None.
            new: (B, R) float32, the query of each for an empty history; popularity when None.

        Raises:
            ShapeError: When weights and histories do not fit.
        """
        uses_attention = self.attention is not None and self.attention.share
        attention_queries = self.attention_queries(histories, weights) if uses_attention else None  # costly
        return self.combine(self.tower_queries(histories, weights), attention_queries, histories, new)

    def tower_queries(self, histories: Sequence[Rows], weights: Sequence[Vectors] | None = None) -> Vectors:
        """Give each user's query to each tower alone, of length 1: (B, R - 1) float32, zero for an empty history.

        Raises:
            ShapeError: When weights and histories do not fit.
        """
        liked, lengths = self._weights_or_default(histories, weights), lengths_of(histories)
        rows, ages = np.concatenate([np.empty(0, np.int64), *histories]), steps_back(lengths)
        flat_weights = np.concatenate([np.empty(0, np.float32), *liked])
        counts = np.concatenate([tower.counts(flat_weights, self.weight_bins, ages) for tower in self.towers])
        sums = weighted_sums(counts, self.context_factors, rows, lengths)
        tower_queries, channel, column = [], 0, 0
        for tower in self.towers:
            channels, columns = slice(channel, channel + len(tower.half_lives)), slice(column, column + tower.width)
            tower_queries.append(replace(tower, share=1.0).queries(sums[:, channels, columns]))
            channel, column = channels.stop, columns.stop
        joined: Vectors = np.concatenate(tower_queries, axis=1)
        joined[lengths == 0] = 0
        return joined

    def attention_queries(self, histories: Sequence[Rows], weights: Sequence[Vectors] | None = None) -> Vectors | None:
        """Give the queries of attention alone, (B, R - 1) float32, zero for an empty history; None without it."""
        if self.attention is None:
            return None
        queries = np.zeros((len(histories), self.items.shape[1] - 1), np.float32)
        unit_attention = replace(self.attention, share=1.0)
        liked, lengths = self._weights_or_default(histories, weights), lengths_of(histories)
        for batch in history_batches(lengths):
            context = self.context_factors[np.concatenate([histories[user] for user in batch])]
            batch_weights = np.concatenate([liked[user] for user in batch])
            queries[batch] = unit_attention.queries(context, batch_weights, self.weight_bins, lengths[batch])
        return queries

    def combine(
        self,
        tower_queries: Vectors,
        attention_queries: Vectors | None,
        histories: Sequence[Rows],
        new: Vectors | None = None,
    ) -> Vectors:
        """Combine `tower_queries` and `attention_queries` to the behaviour part of queries: (B, R) float32."""
        shares = np.repeat([tower.share for tower in self.towers], [len(tower.start) for tower in self.towers])
        query = tower_queries * shares.astype(np.float32)
        if self.attention is not None and attention_queries is not None:
            query += np.float32(self.attention.share) * attention_queries
        popular = np.full((len(query), 1), self.popular, np.float32)
        queries: Vectors = np.concatenate([query, popular], axis=1)
        history_fraction = self.history_fractions(histories)
        history_fraction[~queries.any(axis=1)] = 0  # all interaction weights are 0
        queries *= history_fraction
        queries += (1 - history_fraction) * (self.popularity_queries(len(queries)) if new is None else new)
        return queries

    def popularity_queries(self, count: int) -> Vectors:
        """Give the queries of ``count`` users without a history, popularity alone: (B, R) float32."""
        queries = np.zeros((count, self.items.shape[1]), np.float32)
        queries[:, -1] = 1
        return queries

    def history_fractions(self, histories: Sequence[Rows]) -> Vectors:
        """Return the weight of the history in each query: (B, 1) float32, 0 for an empty one."""
        lengths = lengths_of(histories)[:, None]
        if not self.history_shrinkage:
            return (lengths > 0).astype(np.float32)
        return (1 - 0.5 ** (lengths / self.history_shrinkage)).astype(np.float32)

    def _weights_or_default(self, histories: Sequence[Rows], weights: Sequence[Vectors] | None) -> Sequence[Vectors]:
        """Give the interaction weights, or the default where there are none."""
        if weights is None:
            return [np.full(len(rows), self.weight_bins[len(self.weight_bins) // 2], np.float32) for rows in histories]
        if list(map(len, weights)) != list(map(len, histories)):
            raise ShapeError("weights and histories differ in length; give one weight for each row of each history")
        return weights

    def joined(self, content: Vectors, rows: Rows | slice = slice(None)) -> Vectors:
        """Give item vectors ``[z ; c]``, (M, D + R) float32, of content vectors (M, D) for these rows."""
        return np.concatenate([content, self.items[rows]], axis=1)

    def user_queries(
        self,
        tastes: Vectors,
        histories: Sequence[Rows],
        weights: Sequence[Vectors] | None = None,
        new: Vectors | None = None,
    ) -> Vectors:
        """Give users' queries ``[alpha * taste ; b]``, (B, D + R) float32, of content tastes (B, D); see `queries`."""
        return np.concatenate([self.content_queries(tastes, histories), self.queries(histories, weights, new)], axis=1)

    def content_queries(self, tastes: Vectors, histories: Sequence[Rows]) -> Vectors:
        """Give the content part of users' queries, (B, D) float32, of content tastes (B, D)."""
        return np.float32(self.content) * self.history_fractions(histories) * tastes

    def padded(self, queries: Vectors) -> Vectors:
        """Give text or image queries ``[q ; 0]``, (B, D + R) float32."""
        return np.pad(queries, ((0, 0), (0, self.items.shape[1])))

    def with_items(self, features: FeatureMatrix, origins: Rows) -> "Behaviour":
        """Give the block of M other items.

        Args:
            features: Their features, which need no interactions.
            origins: (M,) int64, the old row of the same item, whose vectors are kept; -1 for a new item, whose vectors
                are predicted.
        """
        items, context = np.split(self.predictor.predict(features), [self.items.shape[1]], axis=1)
        has_origin = (origins >= 0)[:, None]
        return replace(
            self,
            items=np.where(has_origin, self.items[origins], items),
            context_factors=np.where(has_origin, self.context_factors[origins], context),
            confidence=np.where(has_origin[:, 0], self.confidence[origins], np.float32(0)),
        )

    def followed_by(self, other: "Behaviour") -> "Behaviour":
        """Append the items of another block."""
        return replace(
            self,
            items=np.concatenate([self.items, other.items]),
            context_factors=np.concatenate([self.context_factors, other.context_factors]),
            confidence=np.concatenate([self.confidence, other.confidence]),
        )

    def take(self, rows: Rows | Mask) -> "Behaviour":
        """Keep some of the items."""
        return replace(
            self, items=self.items[rows], context_factors=self.context_factors[rows], confidence=self.confidence[rows]
        )

    def to_bytes(self) -> bytes:
        """Give everything as safetensors."""
        tensors = {name: getattr(self, attribute) for name, attribute in _TABLES.items()}
        tensors |= {f"predictor.{name}": getattr(self.predictor, name) for name in _PREDICTOR}
        tensors["predictor.nearness"] = np.array([self.predictor.gamma])
        tensors["predictor.additive"] = np.array([self.predictor.additive])
        if self.predictor.by_word is not None:
            tensors["predictor.by_word"] = self.predictor.by_word
        tensors["weights"] = np.array([self.popular, self.content, *(tower.share for tower in self.towers)])
        tensors["few"] = np.array([self.history_shrinkage])
        if self.returning is not None:
            tensors["returning"] = np.array(self.returning)
        for number, tower in enumerate(self.towers):
            for name, attribute in _TOWER.items():
                tensors[f"tower{number}.{name}"] = getattr(tower, attribute)
        if self.attention is not None:
            tensors |= {f"{_ATTENTION}{name}": tensor for name, tensor in self.attention.tensors().items()}
        return save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Behaviour":
        """Read what `to_bytes` gave.

        Raises:
            DamagedFileError: When parts are missing or do not fit together.
        """
        with read_as("the behaviour block", "fit again, or go back"):
            return cls._of(finite_tensors(data, infinite_suffix="half_lives"))

    @classmethod
    def open(cls, path: Path) -> "Behaviour":
        """Map the file of what `to_bytes` gave: tables with a row an item are not read before rows are asked for.

        Raises:
            DamagedFileError: When parts are missing or do not fit together.
        """
        with read_as("the behaviour block", "fit again, or go back"):
            tensors = map_tensors(path)
            check_finite(
                {name: tensor for name, tensor in tensors.items() if name not in _OF_ITEMS},
                infinite_suffix="half_lives",
            )
            return cls._of(tensors)

    @classmethod
    def _of(cls, tensors: Mapping[str, NDArray[Any]]) -> "Behaviour":
        """Make a block of tensors, and check that they fit together."""
        popular, content, *shares = tensors["weights"].tolist()
        towers = tuple(
            QueryTower(**{field: tensors[f"tower{number}.{name}"] for name, field in _TOWER.items()}, share=share)
            for number, share in enumerate(shares)
        )
        landmarks, weights, offset = (tensors[f"predictor.{name}"] for name in _PREDICTOR)
        gamma = tensors["predictor.nearness"].item()
        additive = tensors["predictor.additive"].item() if "predictor.additive" in tensors else 0  # as for few
        predictor = ColdStartModel(landmarks, gamma, weights, offset, additive, tensors.get("predictor.by_word"))
        items, context, confidence, weight_bins = (tensors[name] for name in _TABLES)
        attention = _attention(tensors)
        widths = sum(len(tower.start) for tower in towers) + 1, sum(tower.width for tower in towers)
        shapes = (len(confidence), widths[0]), (len(confidence), widths[1])
        if predictor.by_word is not None and predictor.by_word.shape[1:] != (sum(widths),):
            raise DamagedFileError(
                f"a behaviour block of {sum(widths)} numbers an item, predicted by words of shape "
                f"{predictor.by_word.shape}; fit again, or go back"
            )
        if (items.shape, context.shape) != shapes or weights.shape != (len(landmarks), sum(widths)):
            raise DamagedFileError(
                f"a behaviour block of shapes {items.shape} and {context.shape} with towers of {widths[0] - 1} "
                f"dimensions and a prediction from {len(landmarks)} landmarks by weights of shape {weights.shape}"
            )
        if attention is not None and not attention.fits(len(weight_bins), widths[1], widths[0] - 1):
            raise DamagedFileError("the attention of a behaviour block does not fit it; fit again, or go back")
        history_shrinkage = tensors["few"].item() if "few" in tensors else 0.0  # not in earlier versions
        returning = QueryWeights(*tensors["returning"].tolist()) if "returning" in tensors else None
        return cls(
            items,
            context,
            confidence,
            weight_bins,
            towers,
            predictor,
            popular,
            content,
            history_shrinkage,
            attention,
            returning,
        )


def _attention(tensors: Mapping[str, NDArray[Any]]) -> Attention | None:
    named = {name.removeprefix(_ATTENTION): tensors[name] for name in tensors if name.startswith(_ATTENTION)}
    return Attention.of(named) if named else None
