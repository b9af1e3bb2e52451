"""Which scenario, and which version of the bundle, answers each user of a request."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from indexing.errors import GenerationError, InputError
from retrieval.postprocess.rules import OF_SHOWN
from retrieval.serving.engine.request import current_request
from retrieval.serving.engine.served_bundle import Served
from retrieval.serving.engine.versions import Version
from retrieval.serving.events.event import SESSION
from retrieval.serving.scenarios.scenarios import Scenarios
from retrieval.serving.schemas.queries import RecommendRequest

if TYPE_CHECKING:
    from retrieval.serving.events.event_log import EventLog

ServedBy: TypeAlias = Callable[[Version], Served]


class Assignment(NamedTuple):
    """Those of the users of a request who have the same scenario.

    Attributes:
        body: The request with what the scenario sets.
        served: What answers it.
        variant: The scenario.
        places: Of the users in the whole request; empty for all of them.
    """

    body: RecommendRequest
    served: Served
    variant: str | None = None
    places: Sequence[int] = ()


def versions_of(scenarios: Scenarios | None, body: RecommendRequest) -> set[Version]:
    """Give the versions that may answer a request, by the scenarios that its users may have.

    Raises:
        InputError: When the service has no scenario of the name that the request gives.
    """
    if scenarios is None:
        return {body.version}
    given = [name for name, share in scenarios.shares.items() if share > 0]
    names = [scenarios.default, *given] if body.scenario is None else [scenarios.named(body.scenario)]
    return {scenarios.settings[name].apply(body).version for name in names}


def assign(
    scenarios: Scenarios | None, events: "EventLog | None", body: RecommendRequest, served_by: ServedBy
) -> list[Assignment]:
    """Give each user of a request a scenario: the one that is named, or that of a hash of the user.

    Users whose scenario cannot answer, as the bundle has lost what it names, have the default one, and a note says so.

    Args:
        scenarios: Of the service, if it has any.
        events: The log of live events, which knows who is the same person.
        body: The request; its lists have a value for each user.
        served_by: Gives what answers by a version.

    Raises:
        InputError: When there is no such scenario, or the one that is named, or the default one, cannot answer.
        GenerationError: When the version that is asked for cannot answer.
    """
    if scenarios is None:
        if body.scenario is not None:
            raise InputError("this service has no scenarios; start it with --scenarios FILE")
        return [Assignment(body, served_by(body.version))]
    if body.scenario is not None:
        return [_assigned(scenarios, scenarios.named(body.scenario), body, served_by)]
    given = body.user_ids if body.session is None else [f"{SESSION}{body.session}"]
    if given is None:
        return [_assigned_or_default(scenarios, scenarios.of_user(None), body, served_by)]
    persons = events.main_names(given) if events is not None else given
    names = [scenarios.of_user(person) for person in persons]
    assigned = {name: _assigned_or_default(scenarios, name, body, served_by) for name in dict.fromkeys(names)}
    places: dict[str | None, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(assigned[name].variant, []).append(place)
    of_variant = {one.variant: one for one in assigned.values()}
    if len(of_variant) == 1:
        return list(of_variant.values())
    return [
        one._replace(body=_only(one.body, places[variant]), places=places[variant])
        for variant, one in of_variant.items()
    ]


def _assigned(scenarios: Scenarios, name: str, body: RecommendRequest, served_by: ServedBy) -> Assignment:
    applied = scenarios.settings[name].apply(body)
    served = served_by(applied.version)
    if (problem := scenarios.problem(name, served.retriever)) is not None:
        raise InputError(problem)
    return Assignment(_without_rules_of_users(name, applied, body), served, name)


def _without_rules_of_users(name: str, applied: RecommendRequest, body: RecommendRequest) -> RecommendRequest:
    """Leave out what a scenario says of what users were shown, where the request names no user; a note says so."""
    if body.histories is None or "rules" in body.model_fields_set:
        return applied
    kept = [rule for rule in applied.rules if rule.get("rule") not in OF_SHOWN]
    if len(kept) == len(applied.rules):
        return applied
    current_request().note(
        f"scenario {name!r}: rules that count what was shown to a user ({', '.join(OF_SHOWN)}) are left out, as "
        "histories name no user; ask for user_ids or a session"
    )
    return applied.model_copy(update={"rules": kept})


def _assigned_or_default(scenarios: Scenarios, name: str, body: RecommendRequest, served_by: ServedBy) -> Assignment:
    try:
        return _assigned(scenarios, name, body, served_by)
    except (InputError, GenerationError) as error:
        if name == scenarios.default:
            raise
        default = _assigned(scenarios, scenarios.default, body, served_by)
        current_request().notes.append(f"{error}. The default {scenarios.default!r} answers in place of {name!r}")
        return default


def _only(body: RecommendRequest, places: Sequence[int]) -> RecommendRequest:
    """Give a request for some of its users alone."""
    given = {name: getattr(body, name) for name in ("user_ids", "times", "profiles", "context")}
    lists = {name: [value[place] for place in places] for name, value in given.items() if isinstance(value, list)}
    return body.model_copy(update=lists)
