"""Named configurations of `/recommend` in one file: picked by name, or by a stable hash of the user."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from indexing.errors import GenerationError, InputError, did_you_mean, examples
from indexing.runtime.arguments import check_path, distinct_keys, is_number, shown, shown_number
from retrieval.interactions.impressions import SCHEMA, Impressions
from retrieval.postprocess.duplicates import ShowOnce
from retrieval.postprocess.rules import Rules
from retrieval.retriever.retriever import Retriever
from retrieval.serving.engine.answering import attributes_at
from retrieval.serving.engine.served_bundle import View
from retrieval.serving.engine.versions import AS_SERVED, Version
from retrieval.serving.insight.state_cache import per_state
from retrieval.serving.schemas.base import Weight
from retrieval.serving.schemas.problems import problems_in_words
from retrieval.serving.schemas.queries import Explain, RecommendRequest, Retrieved

TRIED = 10  # hits of the request that tries a scenario out
_KEYS = ("default", "scenarios", "shares", "seed")
_FORM = 'give {"scenarios": {"plain": {}, "diverse": {"diversify": {"strength": 0.4}}}, "default": "plain"}'


class ScenarioSettings(Retrieved):
    """What a scenario sets of a request, where the request does not say it itself."""

    stages: Literal["all", "retrieval"] = "all"
    exclude_seen: bool = True
    min_relevance: Weight | None = None
    explain: Explain = False

    def apply(self, body: RecommendRequest) -> RecommendRequest:
        """Give a request with these settings in place of what it leaves out."""
        added = {name: getattr(self, name) for name in self.model_fields_set - body.model_fields_set}
        return body.model_copy(update=added) if added else body


@dataclass(frozen=True)
class Scenarios:
    """The scenarios of a service.

    Attributes:
        settings: Each by its name.
        default: Which one holds where none is named and no share is given to users.
        shares: Which part of users gets which scenario; none when empty.
        seed: Another one shares users out anew.

    Example::

        scenarios = Scenarios.open("scenarios.json")
        scenarios.of_user("ann")  # always the same one
    """

    settings: Mapping[str, ScenarioSettings]
    default: str
    shares: Mapping[str, float]
    seed: str = ""

    @classmethod
    def open(cls, path: Path | str) -> "Scenarios":
        """Read a file of scenarios.

        Raises:
            InputError: When it cannot be read, or names what is none; with the scenario and the key at fault.
        """
        path = check_path(path)
        try:
            content = json.loads(path.read_text("utf-8"), object_pairs_hook=distinct_keys)
        except (OSError, ValueError) as error:
            raise InputError(f"the scenarios {path} cannot be read: {error}; {_FORM}") from error
        try:
            return cls.of(content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    @classmethod
    def of(cls, content: Any) -> "Scenarios":  # noqa: ANN401 - any JSON
        """Make scenarios of the content of a file; see `open`."""
        if not isinstance(content, dict) or not isinstance(content.get("scenarios"), dict) or not content["scenarios"]:
            raise InputError(f"there are no scenarios; {_FORM}")
        if unknown := sorted(content.keys() - set(_KEYS)):
            raise InputError(f"there is the unknown key {unknown[0]!r}; the keys are {list(_KEYS)}")
        settings = {name: _settings(name, value) for name, value in content["scenarios"].items()}
        default = content.get("default", next(iter(settings)))
        if default not in settings:
            raise InputError(f"the default {shown(default)} is no scenario; give one of {examples(settings, 20)}")
        seed = content.get("seed", "")
        if not isinstance(seed, str):
            raise InputError(f"the seed is {shown(seed)}; give a text")
        return cls(settings, default, _shares(content.get("shares", {}), settings), seed)

    @property
    def versions(self) -> frozenset[Version]:
        """The versions of the bundle that scenarios name."""
        return frozenset(settings.version for settings in self.settings.values()) - {AS_SERVED}

    def check(self, view: View) -> None:
        """Check that what is served has what the scenarios name.

        Raises:
            InputError: When a generation or an attribute is missing, or a request with the settings would be refused;
                with the scenario.
        """
        for problem in self.problems(view).values():
            raise InputError(problem)

    def problems(self, view: View) -> dict[str, str]:
        """Say why scenarios cannot answer, by ``scenario 'NAME'``; each is looked at once for each state."""
        found = {}
        for name, settings in self.settings.items():
            try:
                served = view.get(settings.version)
                problem = None if served is None else self.problem(name, served.retriever)
            except GenerationError as error:
                problem = f"scenario {name!r}: {error}"
            if problem is not None:
                found[f"scenario {name!r}"] = problem
        return found

    def problem(self, name: str, retriever: Retriever) -> str | None:
        """Say why a state of the bundle cannot answer a scenario; None if it can."""
        settings = self.settings[name]
        return per_state(retriever, ("scenario", name, repr(settings)), lambda: _problem(name, settings, retriever))

    def named(self, name: str) -> str:
        """Check a name that a request gives.

        Raises:
            InputError: When there is no such scenario.
        """
        if name not in self.settings:
            meant = did_you_mean(name, self.settings)
            raise InputError(f"there is no scenario {name!r}{meant}; give one of {examples(self.settings, 20)}")
        return name

    def of_user(self, user_id: str | None) -> str:
        """Give the scenario of a user: always the same one, by a hash; the default one of nobody in particular."""
        if user_id is None or not self.shares:
            return self.default
        place = _fraction(f"{self.seed}:{user_id}")
        reached = 0.0
        for name, share in self.shares.items():
            reached += share
            if place < reached:
                return name
        return [name for name, share in self.shares.items() if share > 0][-1]  # by rounding alone


def _problem(name: str, settings: ScenarioSettings, retriever: Retriever) -> str | None:
    try:
        _try_out(settings, retriever)
    except InputError as error:
        return f"scenario {name!r}: {error}"
    return None


def _try_out(settings: ScenarioSettings, retriever: Retriever) -> None:
    """Ask once as a scenario says, so that all that it names is looked at, also where a request finds nothing.

    Raises:
        InputError: As a request with these settings raises it.
    """
    bundle = retriever.bundle
    somebody = [[bundle.items[int(bundle.is_live.argmax())]]]
    once: ShowOnce = {"group_by": settings.group_by, "duplicates": settings.duplicates}
    if settings.min_similarity is not None:
        once["min_similarity"] = settings.min_similarity
    where = [one if isinstance(one, str) else tuple(one) for one in settings.where]
    found = retriever.recommend(
        somebody, TRIED, stages=settings.stages, where=where, min_relevance=settings.min_relevance, **once
    )
    if settings.blend:
        found = retriever.blend(found, settings.blend)
    if settings.diversify is not None:
        found = retriever.diversify(found, **settings.diversify.model_dump(exclude_unset=True))
    if settings.rules:
        nothing_shown = Impressions(SCHEMA.empty_table())
        retriever.apply_rules(found, Rules.from_list(settings.rules), impressions=nothing_shown)
    attributes_at(retriever, [], settings.attributes)


def _fraction(text: str) -> float:
    """Give a number from 0 to 1, without 1, for a text; it is spread evenly over texts.

    >>> round(_fraction("autumn:ann"), 4) == round(_fraction("autumn:ann"), 4)
    True
    """
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2**53


def _settings(name: str, value: Any) -> ScenarioSettings:  # noqa: ANN401 - any JSON
    if not name.strip() or len(name) > 64 or not name.isprintable():
        raise InputError(f"a scenario is named {name!r:.80}; give a text of 1 to 64 characters")
    try:
        settings = ScenarioSettings.model_validate(value)
    except ValidationError as error:
        raise InputError(f"scenario {name!r}: {_problems(error)}") from error
    try:
        Rules.from_list(settings.rules)
    except InputError as error:
        raise InputError(f"scenario {name!r}: {error}") from error
    return settings


def _problems(error: ValidationError) -> str:
    """Say what is wrong, as for a body of a request."""
    problems: list[Any] = [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
    return f"{problems_in_words(problems, ScenarioSettings)}; the keys are those of a request of /recommend"


def _shares(value: Any, settings: Mapping[str, ScenarioSettings]) -> dict[str, float]:  # noqa: ANN401 - any JSON
    if not isinstance(value, dict):
        raise InputError(f'shares are {shown(value)}; give {{"plain": 0.5, "diverse": 0.5}}')
    for name, share in value.items():
        if name not in settings:
            raise InputError(f"shares name {name!r}, which is no scenario; give some of {examples(settings, 20)}")
        if not is_number(share, 0, 1):
            raise InputError(f"the share of {name!r} is {shown_number(share)}; give a number from 0 to 1")
    if value and not math.isclose(total := math.fsum(value.values()), 1, abs_tol=1e-6):
        raise InputError(f"the shares add up to {total:g}; give shares that add up to 1")
    return {name: float(share) for name, share in value.items()}
