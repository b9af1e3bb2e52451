"""A query composed of weighted parts."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from PIL import Image

from indexing.arrays import Vectors, check_vectors
from indexing.errors import InputError
from indexing.runtime.arguments import check_array, check_kind, check_number, is_number, shown

PartKind = Literal["text", "image", "audio", "item", "vector"]
_WEIGHT = "give a finite number"


@dataclass(frozen=True, eq=False)
class QueryPart:
    """One part of a query.

    Attributes:
        kind: ``"text"``, ``"image"``, ``"audio"``, ``"item"`` or ``"vector"``.
        value: The text; the picture or sound, as `Retriever.search_images` and `search_audio` take it; the item_id; or
            (D,) float32.
        weight: Of either sign; parts of weight 0 are not encoded.
        encoded: (D,) float32, what an encoder made of the value; it is encoded when searched where None.
    """

    kind: PartKind
    value: Any
    weight: float = 1.0
    encoded: Vectors | None = field(default=None, repr=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QueryPart):
            return NotImplemented
        return (self.kind, self.weight) == (other.kind, other.weight) and _same(self.value, other.value)

    @property
    def label(self) -> str:
        """The part without its weight, in the syntax of the command line where it has one: ``image:pool.jpg``."""
        if self.kind == "text":
            return repr(self.value)
        if isinstance(self.value, str | Path):
            return f"{self.kind}:{self.value}"
        return f"{self.kind}:{_brief(self.value)}"


@dataclass(frozen=True, repr=False)
class Query:
    """A weighted sum of texts, pictures, sounds, items and vectors, for `Retriever.search`.

    Each part counts by its direction, whatever its length. Queries are equal when they have equal parts in the same
    order.

    Attributes:
        parts: At least one.

    >>> Query.text("running shoe") + 0.5 * Query.image("pool.jpg") - 0.7 * Query.item("sandal-3")
    Query.text('running shoe') + 0.5 * Query.image('pool.jpg') - 0.7 * Query.item('sandal-3')
    """

    parts: tuple[QueryPart, ...]
    __array_ufunc__ = None  # a number of numpy times a query is a query, not an array

    def __post_init__(self) -> None:
        if not isinstance(self.parts, tuple) or not all(isinstance(part, QueryPart) for part in self.parts):
            raise InputError(f"parts is {shown(self.parts)}; make queries by Query.text(…) and its like")
        if not self.parts:
            raise InputError("a query has no parts; give at least one, as Query.text('a red mug')")

    @classmethod
    def text(cls, text: str) -> "Query":
        """Ask by a text, never read as a path or URL."""
        return cls((QueryPart("text", check_kind(text, str, "text", "give a text")),))

    @classmethod
    def image(cls, image: Image.Image | bytes | Path | str) -> "Query":
        """Ask by a picture: a PIL image, the bytes of a file, or the path of one; it is read when searched."""
        if not isinstance(image, Image.Image | bytes | Path | str):
            raise InputError(f"image is {shown(image)}; give a PIL image, the bytes of a file, or the path of one")
        return cls((QueryPart("image", image),))

    @classmethod
    def audio(cls, sound: np.ndarray[Any, Any] | bytes | Path | str) -> "Query":
        """Ask by a sound: the bytes of a file, the path of one, or samples; see `Retriever.search_audio`."""
        if not isinstance(sound, np.ndarray | bytes | Path | str):
            raise InputError(f"sound is {shown(sound)}; give the bytes of a file, the path of one, or samples")
        return cls((QueryPart("audio", sound),))

    @classmethod
    def item(cls, item_id: str) -> "Query":
        """Ask by the content of an item, which is not left out of the answers."""
        return cls((QueryPart("item", check_kind(item_id, str, "item_id", "give an item_id")),))

    @classmethod
    def vector(cls, vector: Any) -> "Query":  # noqa: ANN401 - checked here
        """Ask by (D,) numbers in the space of the items, of any length but zero."""
        array = check_array(vector, "vector", np.float32, "give (D,) numbers")
        if array.ndim != 1 or not array.size:
            raise InputError(f"vector has shape {array.shape}; give (D,) numbers")
        return cls((QueryPart("vector", check_vectors(array[None], name="vector")[0]),))

    def __add__(self, other: "Query") -> "Query":
        return Query(self.parts + other.parts) if isinstance(other, Query) else NotImplemented

    def __sub__(self, other: "Query") -> "Query":
        return self + -other if isinstance(other, Query) else NotImplemented

    def __neg__(self) -> "Query":
        return self * -1

    def __mul__(self, weight: float) -> "Query":
        if isinstance(weight, Query):
            return NotImplemented
        weight = check_number(weight, "weight", _WEIGHT)
        return Query(tuple(replace(part, weight=part.weight * weight) for part in self.parts))

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "Query":
        if isinstance(divisor, Query):
            return NotImplemented
        if not is_number(divisor) or not divisor:
            raise InputError(f"divisor is {shown(divisor)}; give a finite number other than 0")
        return Query(tuple(replace(part, weight=part.weight / float(divisor)) for part in self.parts))

    @property
    def label(self) -> str:
        """The query in the syntax of the command line, where its parts have one: ``2:'red mug' - item:sandal-3``."""
        return joined([(part.weight, part.label) for part in self.parts], ":")

    def __repr__(self) -> str:
        terms = [(part.weight, f"Query.{part.kind}({_brief(part.value)})") for part in self.parts]
        return joined(terms, " * ")


def joined(terms: list[tuple[float, str]], times: str) -> str:
    """Write a weighted sum.

    >>> joined([(2, "a"), (-1, "b"), (-0.5, "c")], ":")
    '2:a - b - 0.5:c'
    """
    written = ""
    for weight, term in terms:
        sign = (" - " if weight < 0 else " + ") if written else ("-" if weight < 0 else "")
        written += sign + ("" if abs(weight) == 1 else f"{abs(weight):g}{times}") + term
    return written


def as_queries(queries: Any) -> list[Query]:  # noqa: ANN401 - checked here
    """Give texts as queries.

    Raises:
        InputError: When one is neither a text nor a `Query`, with its position.
    """
    for position, query in enumerate(queries):
        if not isinstance(query, str | Query):
            raise InputError(f"queries[{position}] is {shown(query)}; give a text or a Query")
    return [query if isinstance(query, Query) else Query.text(query) for query in queries]


def _brief(value: object) -> str:
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, Path):
        return repr(str(value))
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, Image.Image):
        return f"<{value.width} x {value.height} picture>"
    return f"<{np.size(cast(Any, value))} numbers>"


def _same(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return isinstance(left, np.ndarray) and isinstance(right, np.ndarray) and np.array_equal(left, right)
    return type(left) is type(right) and bool(left == right)
