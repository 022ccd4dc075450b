"""Jobs that have ended go some time after their end is on record."""

from __future__ import annotations

from typing import Any, cast

import pytest

from kubetune.common.meta import ObjectMeta
from kubetune.evaluation import decide as evaluation_decide
from kubetune.evaluation.api import EvaluationStatus
from kubetune.finetunejob.api import FineTuneJobStatus
from kubetune.finetunejob.decide import decide
from kubetune.finetunejob.observed import Observed
from kubetune.kube.client import Client
from kubetune.kube.kinds import JOB, Resource
from kubetune.runs.observe import Swept
from kubetune.runs.read import JobObservation
from kubetune.runs.sweep import sweep
from kubetune.settings import Settings
from tests.support.models import NOW, TIME, evaluation, finished_job

Object = dict[str, Any]


def live(owner: str = "me", uid: str = "u", **spec: Any) -> Object:
    metadata = {"name": "demo-train", "namespace": "team", "uid": uid, "ownerReferences": [_owner(owner)]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _owner(uid: str) -> Object:
    return {"apiVersion": "kubetune.io/v1alpha1", "kind": "X", "name": "demo", "uid": uid, "controller": True}


@pytest.mark.law("F17")
def test_the_job_is_told_when_to_go() -> None:
    (patch,) = sweep(live(), "me", 3600)
    assert patch.body == {"metadata": {"uid": "u"}, "spec": {"ttlSecondsAfterFinished": 3600}}
    assert (patch.ref.kind, patch.ref.namespace, patch.ref.name) == ("Job", "team", "demo-train")


@pytest.mark.parametrize(
    "job",
    [
        None,
        live(ttlSecondsAfterFinished=5),
        live("somebody else"),
        live() | {"metadata": live()["metadata"] | {"deletionTimestamp": TIME}},
    ],
    ids=["gone", "told", "foreign", "going"],
)
def test_nothing_to_say(job: Object | None) -> None:
    assert not sweep(job, "me", 3600)


def test_with_zero_jobs_stay() -> None:
    assert not sweep(live(), "me", 0)


@pytest.mark.law("F17")
def test_only_what_is_recorded_goes() -> None:
    """Both kinds decide it from a stored status that is final, never in the pass that records it."""
    job = finished_job()
    observed = Observed(JobObservation(live(job.metadata.uid)))
    first = decide(job, observed, NOW, Settings())
    # An older operator wrote this status: what there is to add to it is recorded first, and the Job looked at again.
    assert (first.patch, first.requeue_after) == ((), 0.0)
    job = job.model_copy(update={"status": FineTuneJobStatus.model_validate(first.status)})
    assert decide(job, observed, NOW, Settings()).patch
    assert not decide(job, observed, NOW, Settings(keep_finished_seconds=0)).patch
    done = evaluation()
    status = EvaluationStatus.model_validate({"phase": "Failed", "completionTime": TIME})
    seen = evaluation_decide.Observed(JobObservation(live(done.metadata.uid)))
    recorded = done.model_copy(update={"status": status})
    assert evaluation_decide.decide(recorded, seen, NOW, Settings()).patch


class Server:
    """Has one Job, or none, and counts how often it is asked."""

    def __init__(self, job: Object | None) -> None:
        self.job = job
        self.asked = 0

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        assert (resource, namespace, name) == (JOB, "team", "demo-train")
        self.asked += 1
        return self.job


async def look(swept: Swept, server: Server, uid: str = "me") -> Object | None:
    return await swept.look(cast(Client, server), ObjectMeta(name="demo", namespace="team", uid=uid), "demo-train")


async def test_each_finished_object_is_looked_at_until_there_is_nothing_to_say() -> None:
    server, swept = Server(live()), Swept(60)
    assert await look(swept, server) == live()
    assert await look(swept, server) == live(), "the patch may have failed"
    server.job = live(ttlSecondsAfterFinished=5)
    assert await look(swept, server) is None
    assert await look(swept, server) is None
    assert server.asked == 3
    assert await look(swept, server, "another") is None
    assert server.asked == 4, "an object of that name that was created anew"
    swept.forget("team", "demo")
    await look(swept, server, "another")
    assert server.asked == 5
