"""A cluster of Ray on this machine, whose nodes have two logical processors each."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

NODE = {"num_cpus": 2, "object_store_memory": 80 << 20}


@contextmanager
def running_cluster() -> "Iterator[Cluster]":
    """Start a head, to which this process is connected; further nodes are for tests to add."""
    # Ray reads them when it is imported, and starts nothing before.
    before = dict(os.environ)
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t" * 64}
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
