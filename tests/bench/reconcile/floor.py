"""The floor: a client that knows what to write and only writes it.

Same HTTP client, same number of requests in flight, same objects and the same verbs as the operator.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from kubetune.finetunejob.api import FineTuneJob
from kubetune.finetunejob.decide import decide
from kubetune.finetunejob.observed import Observed
from kubetune.kube.client import Client, Object
from kubetune.kube.kinds import FINETUNEJOB
from kubetune.settings import Settings
from tests.support.bulk import connected, for_all

WORKERS = Settings.workers


async def write_beside(kubeconfig: Path, namespace: str) -> None:
    """For every FineTuneJob that exists: its Job, its status."""
    async with connected(kubeconfig, WORKERS * 2) as client:
        existing = [page async for page in client.pages(FINETUNEJOB, namespace)]
        await for_all([_whole(obj) for page in existing for obj in page], lambda raw: _write(client, raw), WORKERS)


async def write_all(kubeconfig: Path, objects: list[Object]) -> None:
    """Every FineTuneJob itself, its Job, its status."""
    async with connected(kubeconfig, WORKERS * 2) as client:

        async def one(obj: Object) -> None:
            await _write(client, await client.create(obj))

        await for_all(objects, one, WORKERS)


async def _write(client: Client, raw: Object) -> None:
    job = FineTuneJob.parse(raw)
    decision = decide(job, Observed(), datetime.now(UTC), Settings())
    await client.create(decision.create[0])
    meta = job.metadata
    await client.apply_status(FINETUNEJOB, meta.namespace, meta.name, meta.uid, decision.status)


def _whole(item: Object) -> Object:
    return {"apiVersion": FINETUNEJOB.api_version, "kind": FINETUNEJOB.kind, **item}
