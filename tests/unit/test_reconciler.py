"""The loop around a decision: what is on record when the API server refuses what follows."""

from __future__ import annotations

from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from kubetune.common.decision import Patch
from kubetune.finetunejob.controller import FineTuneJobController
from kubetune.finetunejob.report.series import ProgressSeries
from kubetune.kube.client import Client
from kubetune.kube.errors import ApiError
from kubetune.kube.kinds import FINETUNEJOB, JOB, POD, Resource
from kubetune.runtime.controller import Key
from kubetune.runtime.metrics import Metrics
from kubetune.runtime.poll import Poller
from kubetune.runtime.polls import Polls
from kubetune.runtime.queue import WorkQueue
from kubetune.runtime.reconciler import Reconciler
from kubetune.settings import Settings
from tests.support.objects import EVALUATION, finetunejob
from tests.support.observed import OWNER
from tests.support.situations import succeeded

Object = dict[str, Any]
KEY = Key(FINETUNEJOB.kind, "ns", "demo")
QUOTA = ApiError(403, "Forbidden", "exceeded quota: none, requested: count/evaluations.kubetune.io=1")
INVALID = ApiError(422, "Invalid", "Evaluation is invalid: spec.dataset: bad")


class Server:
    """A FineTuneJob whose training has just succeeded, and a rule against Evaluations."""

    def __init__(self) -> None:
        self.run = succeeded().run
        self.custom = finetunejob("demo", "ns", evaluation=EVALUATION, preflight={"fit": "Skip"})
        self.custom["metadata"] |= {"uid": OWNER, "generation": 1, "resourceVersion": "1"}
        self.custom["status"] = {"phase": "Running"}
        self.refusal: ApiError | None = None
        self.evaluations: list[Object] = []
        self.writes = 0

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        return {FINETUNEJOB: self.custom, JOB: self.run.job if name == "demo-train" else None}.get(resource)

    async def list(self, resource: Resource, namespace: str | None = None, **_: Any) -> list[Object]:
        return list(self.run.pods) if resource == POD else []

    async def create(self, obj: Object) -> Object:
        if self.refusal:
            raise self.refusal
        self.evaluations.append(obj)
        return obj | {"metadata": obj["metadata"] | {"uid": "e", "resourceVersion": "1"}}

    async def apply_status(self, resource: Resource, namespace: str, name: str, uid: str, status: Object) -> Object:
        self.writes += 1
        version = str(self.writes + 1)
        self.custom = self.custom | {"status": status}
        self.custom["metadata"] = self.custom["metadata"] | {"resourceVersion": version}
        return {"metadata": self.custom["metadata"]}

    async def patch(self, patch: Patch) -> Object:
        return {"metadata": {"uid": patch.ref.name, "resourceVersion": "2"}}

    async def post_event(self, obj: Object) -> None:
        """Events are not looked at."""


def reason(server: Server, type_: str) -> tuple[str, str]:
    found = next(one for one in server.custom["status"]["conditions"] if one["type"] == type_)
    return found["status"], found["reason"]


@pytest.mark.law("L1", "F1")
@pytest.mark.parametrize(("refusal", "told"), [(QUOTA, "QuotaExceeded"), (INVALID, "InvalidSpec")])
async def test_no_refusal_of_the_evaluation_loses_the_result(refusal: ApiError, told: str) -> None:
    server, registry = Server(), CollectorRegistry()
    queue: WorkQueue[Key] = WorkQueue(lambda: 0.0)
    controller = FineTuneJobController(Settings(), Polls(queue, Poller(), 2.0), ProgressSeries(registry))
    metrics = Metrics([FINETUNEJOB.kind])
    loop = Reconciler(cast(Client, server), {FINETUNEJOB.kind: controller}, queue, metrics)
    server.refusal = refusal
    for _ in range(4):
        await loop.process(KEY)
        status = server.custom["status"]
        assert (status["phase"], status["artifact"]["kind"]) == ("Succeeded", "adapter")
        assert reason(server, "Succeeded") == ("True", "Completed")
        assert status["completionTime"]
    assert reason(server, "Accepted") == ("False", told)
    assert server.writes == 2, "the result, and why nothing follows"
    server.refusal = None
    for _ in range(2):
        await loop.process(KEY)
    assert [one["metadata"]["name"] for one in server.evaluations] == ["demo"]
    assert server.custom["status"]["evaluationRef"] == {"name": "demo"}
    assert reason(server, "Accepted") == ("True", "Accepted")
    assert server.writes == 3


def loop_over(server: Server) -> Reconciler:
    queue: WorkQueue[Key] = WorkQueue(lambda: 0.0)
    polls = Polls(queue, Poller(), 2.0)
    controller = FineTuneJobController(Settings(), polls, ProgressSeries(CollectorRegistry()))
    return Reconciler(cast(Client, server), {FINETUNEJOB.kind: controller}, queue, Metrics([FINETUNEJOB.kind]))


class Picky(Server):
    """Refuses a status as long as it has one of these members."""

    def __init__(self, refused: tuple[str, ...]) -> None:
        super().__init__()
        self.refused = refused

    async def apply_status(self, resource: Resource, namespace: str, name: str, uid: str, status: Object) -> Object:
        for member in self.refused:
            if member in status:
                raise ApiError(422, "Invalid", f"FineTuneJob is invalid: status.{member}.steps: Invalid value: -1")
        return await super().apply_status(resource, namespace, name, uid, status)


@pytest.mark.law("L7")
@pytest.mark.parametrize("refused", [("results",), ("results", "progress", "effective")])
async def test_what_the_server_refuses_of_a_status_does_not_keep_the_rest_from_being_known(
    refused: tuple[str, ...],
) -> None:
    server = Picky(refused)
    await loop_over(server).process(KEY)
    status = server.custom["status"]
    assert (status["phase"], status["artifact"]["kind"]) == ("Succeeded", "adapter")
    assert not status.keys() & set(refused)


@pytest.mark.law("L9")
async def test_a_finished_status_of_a_newer_release_is_left_as_it_is() -> None:
    server = Server()
    loop = loop_over(server)
    for _ in range(3):
        await loop.process(KEY)
    newer = server.custom["status"] | {"phase": "Polished", "polish": {"grade": 9}}
    server.custom = server.custom | {"status": newer}
    server.custom["metadata"] |= {"generation": 2, "resourceVersion": "99"}
    await loop.process(KEY)
    assert server.custom["status"] == newer | {
        "observedGeneration": 2,
        "conditions": server.custom["status"]["conditions"],
    }
    assert server.custom["status"]["conditions"][0]["type"] == newer["conditions"][0]["type"]
