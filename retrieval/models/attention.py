"""Causal self-attention over histories: a query that depends on combinations of items, beyond a weighted sum.

The state of a position reads its item and the items before it. Positions enter by the distance of two items alone, so a
query does not depend on how long ago a history began.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Vectors, steps_back

EPSILON = 1e-5  # added to a variance
_LAYER = {  # name in files: attribute of `Layer`
    "asks": "qkv",
    "gives": "output",
    "half_lives": "half_lives",
    "wide": "expand",
    "offset": "bias",
    "narrow": "contract",
}


@dataclass(frozen=True, eq=False)
class Layer:
    """A transformer block: attention with H heads, then a feed-forward network, each with a residual connection.

    Attributes:
        qkv: (E, 3 E) float32, the projections to queries, keys and values, for all heads side by side.
        output: (E, E) float32, the projection of the heads' outputs.
        half_lives: (H,) float32; an item this many positions earlier is attended to half as much.
        expand: (E, F) float32, first layer of the feed-forward network; a ReLU follows.
        bias: (F,) float32, of the first layer.
        contract: (F, E) float32, second layer.
    """

    qkv: Vectors
    output: Vectors
    half_lives: Vectors
    expand: Vectors
    bias: Vectors
    contract: Vectors

    def states(self, inputs: Vectors, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Vectors:
        """Give the states after this block, (T, E) float32, of B histories from ``starts`` to ``ends``, (B,) each."""
        projected = layer_norm(inputs) @ self.qkv
        attended = np.empty_like(inputs)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            attended[start:end] = self._attend(projected[start:end], end - start)
        return self._feed_forward(inputs + attended @ self.output)

    def last(self, inputs: Vectors, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Vectors:
        """Give the states of the last items alone, (B, E) float32; much faster than `states` for long histories."""
        projected = layer_norm(inputs) @ self.qkv
        parts = zip(starts.tolist(), ends.tolist(), strict=True)
        attended: Vectors = np.concatenate([self._attend(projected[start:end], 1) for start, end in parts])
        return self._feed_forward(inputs[ends - 1] + attended @ self.output)

    def _feed_forward(self, states: Vectors) -> Vectors:
        result: Vectors = states + np.maximum(layer_norm(states) @ self.expand + self.bias, 0) @ self.contract
        return result

    def _attend(self, projected: Vectors, last: int) -> Vectors:
        """Give the output of the heads for the last items: (last, E) float32."""
        length, heads = len(projected), len(self.half_lives)
        queries, keys, values = projected.reshape(length, 3, heads, -1).transpose(1, 2, 0, 3)
        logits = queries[:, length - last :] @ keys.transpose(0, 2, 1) / np.float32(np.sqrt(queries.shape[-1]))
        distance = np.arange(length - last, length, dtype=np.float32)[:, None] - np.arange(length, dtype=np.float32)
        logits = logits - np.float32(np.log(2)) * distance / self.half_lives[:, None, None]
        logits = np.where(distance >= 0, logits, -np.inf)
        attention_weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        attention_weights /= attention_weights.sum(axis=-1, keepdims=True)
        attended: Vectors = (attention_weights @ values).transpose(1, 0, 2).reshape(last, -1)
        return attended


@dataclass(frozen=True, eq=False)
class Attention:
    """Causal attention over a history; its output is added to the queries of the towers, in the same item space.

    Attributes:
        input_weights: (C, E) float32, the projection of an item's context vector.
        liked: (V, E) float32, embedding of the interaction weight: a vector for each of V bins, interpolated between.
        layers: Applied in order; at least one.
        output_weights: (E, r) float32, the projection of the last item's state; zero before training.
        max_length: Only the last items of a history are read, this many.
        share: Weight of the output beside the towers.
    """

    input_weights: Vectors
    liked: Vectors
    layers: tuple[Layer, ...]
    output_weights: Vectors
    max_length: int
    share: float = 1.0

    def queries(self, context: Vectors, weights: Vectors, weight_bins: Vectors, lengths: NDArray[np.int64]) -> Vectors:
        """Give the queries of B concatenated histories, none of them empty: (B, r) float32.

        Args:
            context: (T, C) float32, the context vector of each item, oldest first.
            weights: (T,), of each interaction.
            weight_bins: (V,), at which ``liked`` is given.
            lengths: (B,), of each history.
        """
        is_read = steps_back(lengths) < self.max_length
        lengths = np.minimum(lengths, self.max_length)
        ends = np.cumsum(lengths)
        *inner, final = self.layers
        states = self._states(context[is_read], weights[is_read], weight_bins, lengths, inner)
        queries: Vectors = layer_norm(final.last(states, ends - lengths, ends)) @ self.output_weights
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
        states = context @ self.input_weights + interpolated_rows(weights, weight_bins, self.liked)
        for layer in layers:
            states = layer.states(states, ends - lengths, ends)
        return states

    def fits(self, num_bins: int, context_dims: int, queries: int) -> bool:
        """Whether all arrays have the shapes for these numbers of bins, inputs and outputs."""
        dims = self.input_weights.shape[-1]
        shapes: list[tuple[Vectors, tuple[int, ...]]] = [
            (self.input_weights, (context_dims, dims)),
            (self.liked, (num_bins, dims)),
            (self.output_weights, (dims, queries)),
        ]
        for layer in self.layers:
            hidden, heads = layer.bias.shape[-1], layer.half_lives.shape[-1]
            shapes += [(layer.qkv, (dims, 3 * dims)), (layer.output, (dims, dims)), (layer.half_lives, (heads,))]
            shapes += [(layer.expand, (dims, hidden)), (layer.bias, (hidden,)), (layer.contract, (hidden, dims))]
            if heads < 1 or dims % heads:
                return False
        return self.max_length > 0 and bool(self.layers) and all(table.shape == shape for table, shape in shapes)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Give all arrays by their names in files."""
        tensors: dict[str, NDArray[Any]] = {"into": self.input_weights, "liked": self.liked, "out": self.output_weights}
        tensors["serving"] = np.array([self.max_length, self.share], np.float64)
        for number, layer in enumerate(self.layers):
            tensors |= {f"layer{number}.{name}": getattr(layer, attribute) for name, attribute in _LAYER.items()}
        return tensors

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[Any]]) -> "Attention":
        """Read what `tensors` gave.

        Raises:
            KeyError: When a part is missing.
        """
        layers = []
        for number in count():
            if f"layer{number}.asks" not in tensors:
                break
            layers.append(Layer(**{attribute: tensors[f"layer{number}.{name}"] for name, attribute in _LAYER.items()}))
        max_length, share = tensors["serving"].tolist()
        return cls(tensors["into"], tensors["liked"], tuple(layers), tensors["out"], int(max_length), share)


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
