"""Limits of cleaning a log; each limit can be raised, and each group of them turned off by None."""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from indexing.errors import InputError
from indexing.runtime.arguments import is_whole

EARLIEST = 631_152_000  # 1990-01-01: before it, shops kept no such logs


@dataclass(frozen=True)
class BotLimits:
    """What no person does. A user beyond one of them is left out altogether.

    Attributes:
        per_hour: Most interactions in any 60 minutes. People who rate films from a list reach 600.
        per_day: Most in any 24 hours.
        of_one_item: Fewest interactions that make a robot of a user who has touched one item only.
        copies: Fewest users whose histories are nearly the same; from so many on all of them are left out.
        alike: How alike such histories are: items in both, as a share of items in either.
        copied_items: Fewest items of such histories. At most they hold a twentieth of all items: in a small catalogue
            people may well touch the same.
    """

    per_hour: int = 1000
    per_day: int = 2000
    of_one_item: int = 50
    copies: int = 5
    alike: float = 0.8
    copied_items: int = 5

    def __post_init__(self) -> None:
        _positive(self)
        if not 0.5 <= self.alike <= 1:
            raise InputError(f"alike={self.alike} must be from 0.5 to 1")
        if self.copies < 2:
            raise InputError(f"copies={self.copies} must be 2 or more")


@dataclass(frozen=True)
class PushLimits:
    """When newcomers agree on an item as only paid or fake users do: a push attack.

    Within a window of days, the newcomers who touch an item are compared with those who would if they were like all
    others: like the users outside the window, or like the users of long standing inside it, whichever touch it more
    often. Only users who were there once the item was count, so what is new may become popular, and what everybody
    runs after is not taken for a push. An item that is pushed from its first day on is compared with all users
    instead, and must stand out more.

    Attributes:
        window_days: Lengths of the windows, each tried by itself; the longest first, so that a group is seen whole.
        newcomer_days: For how long after the first interaction a user is a newcomer.
        min_users: Fewest newcomers on the item in the window that count as a push.
        min_share: The same as a share of all users of the log; the larger of the two counts.
        lift: How many times as many as expected they must be; of twice as many, half are likely fake.
        lift_of_new: The same, compared with all users.
        false_alarms: How many pushes chance may show in a whole log, by Chernoff's bound on Poisson numbers: the larger
            the log, the more must speak against chance.
        drop: Leave out what the group did with the item, but for as many users as are likely genuine, those who were
            seen longest: else pushing an item would be a way to get rid of it. Or the whole group, with all it did.
    """

    window_days: tuple[float, ...] = (7.0, 2.0)
    newcomer_days: float = 7.0
    min_users: int = 6
    min_share: float = 0.002
    lift: float = 2.0
    lift_of_new: float = 10.0
    false_alarms: float = 0.3
    drop: Literal["interactions", "users"] = "interactions"

    def __post_init__(self) -> None:
        _positive(self)
        if not self.window_days or not all(0 < days < math.inf for days in self.window_days):
            raise InputError(f"window_days={self.window_days} must be positive numbers, one at least")
        if self.drop not in ("interactions", "users"):
            raise InputError(f"drop={self.drop!r} is neither 'interactions' nor 'users'")


@dataclass(frozen=True)
class Caps:
    """Most that counts of one user or item; None for no cap.

    Attributes:
        per_pair: Interactions of a user with one item, the latest.
        per_user: Interactions of a user, the latest.
        per_item: Interactions with an item, of users drawn by a hash of their ids: always the same ones.
        weight: Larger weights are set to this.
    """

    per_pair: int | None = 20
    per_user: int | None = None
    per_item: int | None = None
    weight: float | None = None

    def __post_init__(self) -> None:
        _positive(self)


@dataclass(frozen=True)
class PrepareConfig:
    """How to prepare a log.

    Attributes:
        earliest: Earlier times (seconds since 1970, UTC) are impossible, unless all are: then the log has no clock.
        latest: Later times are impossible; None is a day from now.
        repeat_seconds: One interaction of a user with an item counts in each so many seconds of the clock.
        bots: What no person does.
        pushes: When newcomers push an item.
        caps: Most that counts of a user or item.
        k_core: Fewest different items a user, and users an item, that stay; repeated until all have them.
    """

    earliest: int = EARLIEST
    latest: int | None = None
    repeat_seconds: int = 1
    bots: BotLimits | None = field(default_factory=BotLimits)
    pushes: PushLimits | None = field(default_factory=PushLimits)
    caps: Caps = field(default_factory=Caps)
    k_core: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.repeat_seconds < 1:
            raise InputError(f"repeat_seconds={self.repeat_seconds} must be 1 or more")
        if self.latest is not None and self.latest < self.earliest:
            raise InputError(f"latest={self.latest} is before earliest={self.earliest}; nothing would be left")
        if self.k_core is not None and not _two_counts(self.k_core):
            raise InputError(
                f"a core of {self.k_core}; give two numbers of 1 and more: items a user, users an item",
                cli="as --k-core 5,5",
            )

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)


def _two_counts(given: object) -> bool:
    return isinstance(given, tuple | list) and len(given) == 2 and all(map(is_whole, given))


def _positive(limits: BotLimits | PushLimits | Caps) -> None:
    for one in fields(limits):
        value = getattr(limits, one.name)
        if isinstance(value, int | float) and not (value > 0 and math.isfinite(value)):
            raise InputError(f"{one.name}={value} must be positive")
