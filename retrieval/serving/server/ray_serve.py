"""Serving on Ray Serve: replicas of the application on the nodes of a cluster, each of which follows the bundle.

``serve run retrieval.serving.server.ray_serve:app bundle=/data/shop`` runs `app`. Ray starts, replaces and scales
replicas and passes requests to them; all else is the service of `commonspace serve`.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt
from starlette.routing import Route

from indexing.errors import InputError, import_extra, require_extra
from indexing.runtime.ray_cluster import import_ray
from retrieval.serving.app import create_app
from retrieval.serving.config import READ_TOKEN, ServiceConfig
from retrieval.serving.schemas.errors import error_response
from retrieval.serving.server.uvicorn_server import BACKLOG

if TYPE_CHECKING:
    from ray.serve import Application

OLDEST = (2, 60)  # replicas of releases not long before unpickled what anybody sent to a port of theirs, token or not
DEFAULTS = {
    # A replica says itself which requests are late or too many: none is to wait elsewhere, where there is no deadline.
    "max_ongoing_requests": BACKLOG,
    "max_queued_requests": BACKLOG,
    "logging_config": {"enable_access_log": False},
}


class Arguments(BaseModel):
    """What `serve run` and configurations of Ray Serve give; tokens and the URL of events are in the environment.

    Attributes:
        bundle: Folder of the bundle, the same on each node.
        replicas: How many there are; the fewest where there is ``max_replicas``.
        max_replicas: The most, between which Ray Serve scales by the requests that are under way.
        cpus: Processors of a node that each takes.
        scenarios, catalogue: As of `ServiceConfig`.
    """

    model_config = ConfigDict(extra="forbid")

    bundle: Path
    replicas: PositiveInt = 1
    max_replicas: PositiveInt | None = None
    cpus: PositiveFloat = 1
    scenarios: Path | None = None
    catalogue: Path | None = None


def app(arguments: Arguments) -> "Application":
    """Build the application of arguments; see `application`."""
    options: dict[str, Any] = {"ray_actor_options": {"num_cpus": arguments.cpus}}
    if arguments.max_replicas is None:
        options["num_replicas"] = arguments.replicas
    else:
        options["autoscaling_config"] = {"min_replicas": arguments.replicas, "max_replicas": arguments.max_replicas}
    config = ServiceConfig.from_environment(
        arguments.bundle,
        events=os.environ.get("COMMONSPACE_EVENTS") or None,
        scenarios=arguments.scenarios,
        catalogue=arguments.catalogue,
    )
    return application(config, options)


def application(config: ServiceConfig, options: Mapping[str, Any] | None = None) -> "Application":
    """Give an application for `ray.serve.run`, whose replicas serve a bundle.

    Args:
        config: The settings; host and port are those of Ray Serve.
        options: Of `ray.serve.deployment`, as ``{"num_replicas": 4}`` or ``{"autoscaling_config": {…}}``.

    Raises:
        InputError: When replicas cannot serve with these settings.
        EngineError: When Ray is too old.
        MissingExtraError: When Ray Serve is not installed.
    """
    config = _of_replicas(config)
    require_extra("ray", "ray-serve")
    import_ray("auto", OLDEST)
    serve = import_extra("ray.serve", "ray-serve")

    def build() -> FastAPI:  # runs in each replica, to which Ray sends the settings
        return replica_app(config)

    try:
        deployed = serve.deployment(name="commonspace", **{**DEFAULTS, **(options or {})})
        bound: Application = deployed(serve.ingress(build)(Replica)).bind()
    except (TypeError, ValueError) as error:
        raise InputError(f"options are not those of ray.serve.deployment: {error}") from error
    return bound


class Replica:
    """What Ray Serve asks a replica for beside requests."""

    app: FastAPI  # set by Ray Serve

    async def check_health(self) -> None:
        """Return at once, where requests run: a replica whose loop hangs is replaced, one that answers 503 is not.

        A damaged bundle is damaged for a new replica too, which may begin to answer before it knows; and the one that
        is there follows what repairs it.
        """

    async def state(self) -> dict[str, str | int]:
        """Give the process and what it serves; ``handle.broadcast("state").results()`` gives those of all replicas."""
        served = self.app.state.service.served.current
        return {"process": os.getpid(), "generation": served.generation, "change": served.change}


def replica_app(config: ServiceConfig) -> FastAPI:
    """Open the bundle in a replica."""
    ray = import_ray("auto", OLDEST)
    if _file_of_events(config) is not None and sum(node["Alive"] for node in ray.nodes()) > 1:
        raise InputError(
            "events are in a file of one node, and there are several: write postgresql://USER@HOST/DATABASE"
        )
    app = create_app(config)
    app.router.routes.insert(0, Route("/metrics", _no_metrics))
    return app


async def _no_metrics(_: Request) -> Response:
    """Refuse: each replica counts for itself, and nobody chooses which one is asked."""
    hint = "scrape the metrics that Ray has of Serve; commonspace serve has those of this service"
    return error_response(501, "MetricsError", "a replica of Ray Serve does not know what others answered", hint)


def _of_replicas(config: ServiceConfig) -> ServiceConfig:
    """Check settings, and give them with paths that do not depend on where a process runs."""
    if config.read_token is None:
        raise InputError(f"there is no read token, and other machines may reach Ray Serve: set {READ_TOKEN}")
    if config.admin_token is not None:
        raise InputError(
            "there is an admin token, and replicas change no bundle: jobs would end where one is scaled down; leave it "
            "out, and run one commonspace serve with it beside, whose changes replicas follow"
        )
    file = _file_of_events(config)
    if file is not None and not file.is_absolute():
        raise InputError(f"events are in {file}, and replicas run elsewhere: write sqlite:////FOLDER/FILE")
    scenarios = None if config.scenarios is None else Path(config.scenarios).absolute()
    catalogue = None if config.catalogue is None else Path(config.catalogue).absolute()
    return replace(config, bundle=Path(config.bundle).absolute(), scenarios=scenarios, catalogue=catalogue)


def _file_of_events(config: ServiceConfig) -> Path | None:
    """Give the file of SQLite that events are in, None where they are in no file."""
    if config.events is None:
        return None
    from retrieval.serving.events.database import Database  # loads sqlalchemy

    return Database(config.events).path
