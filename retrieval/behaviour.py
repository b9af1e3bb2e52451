"""The behaviour block: what goes with what, learned from users, beside the content of items.

An item's vector is ``[z ; c]``: content and behaviour. A user's query is ``[alpha * taste ; b]``, a text or an image
query ``[q ; 0]``, so one inner product over one index serves all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from safetensors.numpy import load, save

from indexing.encoders.base import unit
from indexing.errors import DamagedFileError, ShapeError
from indexing.types import Rows, Vectors

BEHAVIOUR = "behaviour.safetensors"
_TOWER = ("said", "half_lives", "worth", "start")


@dataclass(frozen=True, eq=False)
class Tower:
    """One way of reading a history: a sum of what each of its items says, in several channels.

    The item side it belongs to has been whitened: the scores of all items for a query have a standard deviation of
    that query's length. So a query of length ``share`` weighs ``share`` in a sum of towers, whatever the history.

    Attributes:
        said: (S, N, r) float32, what item i says of the next ones in each of S channels.
        half_lives: (S,) float32, an item this many positions before the last counts half; inf: all alike.
        worth: (S, V) float32, how much an interaction counts, at each of V levels of weight.
        start: (r,) float32, what is said before any history.
        share: Length of the query.
    """

    said: Vectors
    half_lives: Vectors
    worth: Vectors
    start: Vectors
    share: float = 1.0

    def query(self, history: Rows, weights: Vectors, levels: Vectors) -> Vectors:
        """Give (r,) float32 for one history, oldest first, with the weight of each interaction."""
        ages = np.arange(len(history))[::-1]
        total = self.start.astype(np.float32)
        for said, half_life, worth in zip(self.said, self.half_lives, self.worth, strict=True):
            counts = np.interp(weights, levels, worth) * 0.5 ** (ages / half_life)
            total = total + counts.astype(np.float32) @ said[history]
        query: Vectors = np.float32(self.share) * unit(total[None])[0]
        return query


@dataclass(frozen=True, eq=False)
class Predictor:
    """What content and attributes say of behaviour: a linear map.

    Attributes:
        weights: (F, R) float32.
        offset: (R,) float32.
    """

    weights: Vectors
    offset: Vectors

    def predict(self, described: Vectors) -> Vectors:
        """Map (M, F) float32, zero where nothing is known, to (M, R) float32."""
        predicted: Vectors = described @ self.weights + self.offset
        return predicted


@dataclass(frozen=True, eq=False)
class Behaviour:
    """Item factors, and how a history becomes a query for them.

    The last dimension is popularity up to the cut. It alone answers users without a history.

    Attributes:
        items: (N, R) float32, ``c``: learned where there is something to learn from, else predicted.
        confidence: (N,) float32 from 0 to 1, how much of ``c`` was learned and how much predicted.
        levels: (V,) float32, rising: weights of interactions between which ``worth`` is interpolated.
        towers: Their dimensions follow each other; together R - 1.
        predictor: For items that come later.
        popular: How much popularity counts beside a history.
        content: How much a unit content taste counts, ``alpha``.
    """

    items: Vectors
    confidence: Vectors
    levels: Vectors
    towers: tuple[Tower, ...]
    predictor: Predictor
    popular: float = 0.0
    content: float = 0.0

    def queries(self, histories: Sequence[Rows], weights: Sequence[Vectors] | None = None) -> Vectors:
        """Give the behaviour part of each user's query: (B, R) float32.

        Args:
            histories: B arrays of rows, oldest first; an empty one asks for what is popular.
            weights: One for each row of each history; all of them the middle level when None.

        Raises:
            ShapeError: When weights and histories do not fit.
        """
        if weights is None:
            weights = [np.full(len(rows), np.median(self.levels), np.float32) for rows in histories]
        if list(map(len, weights)) != list(map(len, histories)):
            raise ShapeError("weights and histories differ in length; give one weight for each row of each history")
        made = np.zeros((len(histories), self.items.shape[1]), np.float32)
        for line, (rows, of_rows) in enumerate(zip(histories, weights, strict=True)):
            if not len(rows):
                made[line, -1] = 1.0
                continue
            parts = [tower.query(rows, of_rows, self.levels) for tower in self.towers]
            made[line] = np.concatenate([*parts, [np.float32(self.popular)]])
        return made

    def joined(self, content: Vectors, rows: Rows | slice = slice(None)) -> Vectors:
        """Give item vectors ``[z ; c]``, (M, D + R) float32, of content vectors (M, D) for these rows."""
        return np.concatenate([content, self.items[rows]], axis=1)

    def asked(self, tastes: Vectors, histories: Sequence[Rows], weights: Sequence[Vectors] | None = None) -> Vectors:
        """Give users' queries ``[alpha * taste ; b]``, (B, D + R) float32, of content tastes (B, D)."""
        return np.concatenate([np.float32(self.content) * tastes, self.queries(histories, weights)], axis=1)

    def padded(self, queries: Vectors) -> Vectors:
        """Give text or image queries ``[q ; 0]``, (B, D + R) float32: behaviour has no say in them."""
        return np.pad(queries, ((0, 0), (0, self.items.shape[1])))

    def to_bytes(self) -> bytes:
        """Give everything as safetensors."""
        tensors = {name: getattr(self, name) for name in ("items", "confidence", "levels")}
        tensors |= {f"predictor.{one.name}": getattr(self.predictor, one.name) for one in fields(Predictor)}
        tensors["weights"] = np.array([self.popular, self.content, *(tower.share for tower in self.towers)])
        for number, tower in enumerate(self.towers):
            for name in _TOWER:
                tensors[f"tower{number}.{name}"] = getattr(tower, name)
        return save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Behaviour":
        """Read what `to_bytes` gave.

        Raises:
            DamagedFileError: When parts are missing or do not fit together.
        """
        tensors = load(data)
        try:
            popular, content, *shares = tensors["weights"].tolist()
            towers = tuple(
                Tower(**{name: tensors[f"tower{number}.{name}"] for name in _TOWER}, share=share)
                for number, share in enumerate(shares)
            )
            predictor = Predictor(tensors["predictor.weights"], tensors["predictor.offset"])
            items, confidence, levels = (tensors[name] for name in ("items", "confidence", "levels"))
        except KeyError as missing:
            raise DamagedFileError(f"the behaviour block has no {missing}; learn again, or go back") from missing
        width = sum(len(tower.start) for tower in towers) + 1
        if items.shape != (len(confidence), width) or len(predictor.offset) != width:
            raise DamagedFileError(f"behaviour block of shape {items.shape} with towers of {width - 1} dimensions")
        return cls(items, confidence, levels, towers, predictor, popular, content)
