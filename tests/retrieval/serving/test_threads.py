"""Threads of a service: each request computes in one."""

import asyncio
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from retrieval.serving import ServiceConfig, create_app
from retrieval.serving.engine.service import running
from tests.toy import ToyEncoder


def blas_threads() -> set[int]:
    """How many threads a product uses, of each BLAS whose pool all threads of the process share, as NumPy's."""
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return {pool["num_threads"] for pool in pools if pool.get("threading_layer") == "pthreads"}


def test_products_are_computed_in_one_thread_while_the_service_runs(shop: Path) -> None:
    if not blas_threads():
        pytest.skip("NumPy has no OpenBLAS here")
    service = create_app(ServiceConfig(shop), encoder=ToyEncoder()).state.service

    async def during() -> set[int]:
        async with running(service):
            return await asyncio.to_thread(blas_threads)

    with threadpool_limits(2, "blas"):  # of one thread, which alone may say how many there are
        assert blas_threads() == {2}
        assert asyncio.run(during()) == {1}
        assert blas_threads() == {2}
