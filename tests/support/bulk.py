"""Many objects at once, over the operator's own client: for load, and as the floor it is measured against."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config

from kubetune.kube.client import Client, Object

T = TypeVar("T")


@asynccontextmanager
async def connected(kubeconfig: Path, connections: int) -> AsyncIterator[Client]:
    configuration = kubernetes_client.Configuration()
    configuration.client_session_kwargs = {"trust_env": False}
    await kubernetes_config.load_kube_config(  # type: ignore[no-untyped-call]
        config_file=str(kubeconfig), client_configuration=configuration
    )
    configuration.connection_pool_maxsize = connections
    client = Client(kubernetes_client.ApiClient(configuration))
    try:
        yield client
    finally:
        await client.close()


async def for_all(items: Iterable[T], work: Callable[[T], Awaitable[Any]], workers: int) -> None:
    """``work`` on every item, ``workers`` at a time."""
    queue = iter(items)

    async def run() -> None:
        for item in queue:
            await work(item)

    await asyncio.gather(*(run() for _ in range(workers)))


def create_all(kubeconfig: Path, objects: Iterable[Object], workers: int = 16) -> None:
    """Creates the objects and returns when all exist."""

    async def run() -> None:
        async with connected(kubeconfig, workers) as client:
            await for_all(objects, client.create, workers)

    asyncio.run(run())
