"""A causal self-attention model of users: what the items of a history say together, beyond the sum of each.

The state of a position reads that item and those before it, so an item that comes later changes nothing. How near two
items are in a history counts by their distance alone, so a query does not depend on how long ago a history began.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Vectors, steps_back

EPSILON = 1e-5  # added to a variance


@dataclass(frozen=True, eq=False)
class Layer:
    """One block: attention with H heads, then a network for each position, both added to what comes in.

    Attributes:
        asks: (E, 3 E) float32, the projections to queries, keys and values, for all heads side by side.
        gives: (E, E) float32, from what the heads found.
        half_lives: (H,) float32; an item so many positions before another is attended to half as much.
        wide: (E, F) float32, then all below zero is dropped.
        offset: (F,) float32.
        narrow: (F, E) float32.
    """

    asks: Vectors
    gives: Vectors
    half_lives: Vectors
    wide: Vectors
    offset: Vectors
    narrow: Vectors

    def states(self, inputs: Vectors, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Vectors:
        """Give (T, E) float32 of what came in, (T, E), for histories from starts to ends, (B,) each."""
        projected = layer_norm(inputs) @ self.asks
        attended = np.empty_like(inputs)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            attended[start:end] = self._attend(projected[start:end], end - start)
        return self._feed_forward(inputs + attended @ self.gives)

    def last(self, inputs: Vectors, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Vectors:
        """Give of `states` those of the last items alone, (B, E) float32, for far less where histories are long."""
        projected = layer_norm(inputs) @ self.asks
        parts = zip(starts.tolist(), ends.tolist(), strict=True)
        attended: Vectors = np.concatenate([self._attend(projected[start:end], 1) for start, end in parts])
        return self._feed_forward(inputs[ends - 1] + attended @ self.gives)

    def _feed_forward(self, states: Vectors) -> Vectors:
        result: Vectors = states + np.maximum(layer_norm(states) @ self.wide + self.offset, 0) @ self.narrow
        return result

    def _attend(self, projected: Vectors, last: int) -> Vectors:
        """Give what the heads find for the last so many items: (last, E) float32."""
        length, heads = len(projected), len(self.half_lives)
        queries, keys, values = projected.reshape(length, 3, heads, -1).transpose(1, 2, 0, 3)
        logits = queries[:, length - last :] @ keys.transpose(0, 2, 1) / np.float32(np.sqrt(queries.shape[-1]))
        distance = np.arange(length - last, length, dtype=np.float32)[:, None] - np.arange(length, dtype=np.float32)
        logits = logits - np.float32(np.log(2)) * distance / self.half_lives[:, None, None]
        logits = np.where(distance >= 0, logits, -np.inf)
        likely = np.exp(logits - logits.max(axis=-1, keepdims=True))
        likely /= likely.sum(axis=-1, keepdims=True)
        attended: Vectors = (likely @ values).transpose(1, 0, 2).reshape(last, -1)
        return attended


@dataclass(frozen=True, eq=False)
class Attention:
    """Causal attention over a history; its output is added to the queries of the towers, in the same item space.

    Attributes:
        into: (C, E) float32, of what an item of a history says.
        liked: (V, E) float32, added by weight: one vector for each of V bins, interpolated between them.
        layers: One after the other, one at least.
        out: (E, r) float32, from the state of the last item; zero before learning.
        longest: So many items of a history are read, the last.
        share: How much it counts.
    """

    into: Vectors
    liked: Vectors
    layers: tuple[Layer, ...]
    out: Vectors
    longest: int
    share: float = 1.0

    def queries(self, context: Vectors, weights: Vectors, weight_bins: Vectors, lengths: NDArray[np.int64]) -> Vectors:
        """Give (B, r) float32 for histories that follow each other, none of them empty.

        Args:
            context: (T, C) float32, what each of their items says, oldest first.
            weights: (T,), of each interaction.
            weight_bins: (V,), at which ``liked`` is given.
            lengths: (B,), of each history.
        """
        is_read = steps_back(lengths) < self.longest
        lengths = np.minimum(lengths, self.longest)
        ends = np.cumsum(lengths)
        *inner, final = self.layers
        states = self._states(context[is_read], weights[is_read], weight_bins, lengths, inner)
        queries: Vectors = layer_norm(final.last(states, ends - lengths, ends)) @ self.out
        return np.float32(self.share) * queries

    def states(self, context: Vectors, weights: Vectors, weight_bins: Vectors, lengths: NDArray[np.int64]) -> Vectors:
        """Give the state of each item, (T, E) float32; see `queries`."""
        return self._states(context, weights, weight_bins, lengths, self.layers)

    def _states(
        self,
        context: Vectors,
        weights: Vectors,
        weight_bins: Vectors,
        lengths: NDArray[np.int64],
        layers: Sequence[Layer],
    ) -> Vectors:
        ends = np.cumsum(lengths)
        states = context @ self.into + interpolated_rows(weights, weight_bins, self.liked)
        for layer in layers:
            states = layer.states(states, ends - lengths, ends)
        return states

    def fits(self, num_bins: int, context_dims: int, queries: int) -> bool:
        """Whether all tables have the shapes that so many bins and dimensions of inputs and outputs need."""
        dims = self.into.shape[-1]
        shapes: list[tuple[Vectors, tuple[int, ...]]] = [
            (self.into, (context_dims, dims)),
            (self.liked, (num_bins, dims)),
            (self.out, (dims, queries)),
        ]
        for layer in self.layers:
            hidden, heads = layer.offset.shape[-1], layer.half_lives.shape[-1]
            shapes += [(layer.asks, (dims, 3 * dims)), (layer.gives, (dims, dims)), (layer.half_lives, (heads,))]
            shapes += [(layer.wide, (dims, hidden)), (layer.offset, (hidden,)), (layer.narrow, (hidden, dims))]
            if heads < 1 or dims % heads:
                return False
        return self.longest > 0 and bool(self.layers) and all(table.shape == shape for table, shape in shapes)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Give everything by name."""
        tensors: dict[str, NDArray[Any]] = {"into": self.into, "liked": self.liked, "out": self.out}
        tensors["serving"] = np.array([self.longest, self.share], np.float64)
        for number, layer in enumerate(self.layers):
            tensors |= {f"layer{number}.{field.name}": getattr(layer, field.name) for field in fields(layer)}
        return tensors

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[Any]]) -> "Attention":
        """Take what `tensors` gave.

        Raises:
            KeyError: When a part is missing.
        """
        layers = []
        for number in count():
            if f"layer{number}.asks" not in tensors:
                break
            layers.append(Layer(**{field.name: tensors[f"layer{number}.{field.name}"] for field in fields(Layer)}))
        longest, share = tensors["serving"].tolist()
        return cls(tensors["into"], tensors["liked"], tuple(layers), tensors["out"], int(longest), share)


def layer_norm(states: Vectors) -> Vectors:
    """Subtract the mean of each row, and divide by its standard deviation."""
    centred = states - states.mean(axis=-1, keepdims=True)
    result: Vectors = centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + np.float32(EPSILON))
    return result


def interpolated_rows(weights: Vectors, weight_bins: Vectors, table: Vectors) -> Vectors:
    """Interpolate the rows of a table (V, E), one for each bin, at weights (T,): (T, E) float32.

    >>> interpolated_rows(np.array([1.5, 9.0]), np.array([1.0, 2.0]), np.array([[0.0], [4.0]])).tolist()
    [[2.0], [4.0]]
    """
    position = np.interp(weights, weight_bins, np.arange(len(weight_bins)))
    low = np.minimum(position.astype(np.int64), max(len(weight_bins) - 2, 0))
    part = (position - low).astype(np.float32)[:, None]
    result: Vectors = ((1 - part) * table[low] + part * table[np.minimum(low + 1, len(weight_bins) - 1)]).astype(
        np.float32
    )
    return result
