"""How hard a search tries, for each kind of query: texts need ten to twenty times what pictures need."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from indexing.errors import InputError

LARGEST = 10_000_000


@dataclass(frozen=True)
class Effort:
    """How hard a search tries; what an index has no use for is 0.

    Attributes:
        lists: How many inverted lists are scanned.
        candidates: How many of the best codes get scores from finer vectors.
        ef_search: How many candidates a walk over a graph keeps.
    """

    lists: int = 0
    candidates: int = 0
    ef_search: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
                raise InputError(f"effort {name} is {value!r}, expected a whole number from 0 to {LARGEST}")

    def to_json(self) -> dict[str, int]:
        """Give the fields that are in use."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True)
class Efforts:
    """An effort for each kind of query (``"text"``, ``"image"``, …).

    Attributes:
        kinds: The effort by kind.
        default: What counts when no kind has an effort.
    """

    kinds: Mapping[str, Effort] = field(default_factory=dict)
    default: Effort = field(default_factory=Effort)

    @property
    def greatest(self) -> Effort:
        """The greatest of all in every field: enough for any kind that was measured."""
        if not self.kinds:
            return self.default
        return Effort(*(max(getattr(one, each.name) for one in self.kinds.values()) for each in fields(Effort)))

    def of(self, kind: str | None) -> Effort:
        """Give the effort for a kind of query; for none, or one that is unknown, the greatest of all."""
        known = None if kind is None else self.kinds.get(kind)
        return self.greatest if known is None else known

    def to_json(self) -> dict[str, dict[str, int]]:
        """Give them as plain JSON values."""
        return {kind: effort.to_json() for kind, effort in self.kinds.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Mapping[str, int]], default: Effort | None = None) -> "Efforts":
        """Read what `to_json` gave.

        Raises:
            InputError: When it is something else.
        """
        try:
            kinds = {kind: Effort(**effort) for kind, effort in data.items()}
        except (AttributeError, TypeError) as error:
            raise InputError(f"efforts {str(data)[:60]!r} cannot be read: {error}") from error
        return cls(kinds, default or Effort())
