"""Threads of a service: each request computes in one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

# In a process of its own: other services of this one limit the same threads.
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from threadpoolctl import threadpool_info
from retrieval.serving import ServiceConfig, create_app
from retrieval.serving.engine.service import running
from tests.toy import ToyEncoder

def threads():
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return sorted({pool["num_threads"] for pool in pools if pool.get("threading_layer") == "pthreads"})

async def during(service):
    async with running(service):
        return await asyncio.to_thread(threads)

before = threads()
service = create_app(ServiceConfig(Path(sys.argv[1])), encoder=ToyEncoder()).state.service
print(json.dumps([before, asyncio.run(during(service)), threads()]))
"""


def test_products_are_computed_in_one_thread_while_the_service_runs(shop: Path) -> None:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "2")
    environment = {**os.environ, **threads, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(shop)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    before, during, after = json.loads(done.stdout)
    if not before:
        pytest.skip("NumPy has no OpenBLAS of its own threads here")
    assert (before, during, after) == ([2], [1], [2])
