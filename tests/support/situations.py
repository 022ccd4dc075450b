"""Situations a FineTuneJob may be found in, and the decision about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kubetune.common.decision import Decision
from kubetune.finetunejob.api import FineTuneJob
from kubetune.finetunejob.decide import decide
from kubetune.finetunejob.observed import Observed
from kubetune.runs.read import JobObservation
from kubetune.settings import Settings
from kubetune_contract import TrainProgress

from .objects import failure_summary, finetunejob, found_summary, preflight_summary, train_summary
from .observed import OWNER, job, pod, waiting

Object = dict[str, Any]
NOW = datetime(2026, 1, 2, tzinfo=UTC)
SETTINGS = Settings()


def custom(status: Object | None = None, **spec: Any) -> FineTuneJob:
    raw = finetunejob(namespace="ns", **spec)
    raw["metadata"] |= {"uid": OWNER, "generation": 1}
    return FineTuneJob.parse(raw | ({"status": status} if status else {}))


def judge(obj: FineTuneJob, observed: Observed | None = None, now: datetime = NOW) -> Decision:
    return decide(obj, observed or Observed(), now, SETTINGS)


def condition(decision: Decision, type_: str) -> Object:
    found: Object = next(c for c in decision.status["conditions"] if c["type"] == type_)
    return found


def running(**progress: Any) -> Observed:
    alive = pod(node="n1", started=True, ip="1.1.1.1", containers={"train": {"running": {}}})
    said = TrainProgress(phase="training", step=31, total_steps=50, updated_at=NOW.timestamp())
    return Observed(JobObservation(job(), (alive,)), progress=replace(said, **progress) if progress else None)


def succeeded(message: str | None = None, **more: Any) -> Observed:
    state = {"terminated": {"exitCode": 0, "message": train_summary() if message is None else message}}
    done = pod(phase="Succeeded", started=True, containers={"train": state})
    return Observed(JobObservation(job(final="Complete", succeeded=1), (done,)), **more)


def failed(code: int = 65) -> Observed:
    state = {"terminated": {"exitCode": code, "message": failure_summary(code, "MalformedRow", "line 17")}}
    dead = pod(phase="Failed", started=True, containers={"train": state})
    return Observed(JobObservation(job(final="Failed", reason="PodFailurePolicy", failed=1), (dead,)))


def checking(**pod_members: Any) -> Observed:
    """The preflight's Job with one pod."""
    return Observed(preflight=JobObservation(job("demo-preflight"), (pod("c1", **pod_members),)))


def checked(message: str | None = None, **summary: Any) -> Observed:
    """A preflight that has ended well."""
    said = preflight_summary(**summary) if message is None else message
    state = {"terminated": {"exitCode": 0, "message": said}}
    done = pod("c1", phase="Succeeded", started=True, containers={"preflight": state})
    return Observed(preflight=JobObservation(job("demo-preflight", final="Complete", succeeded=1), (done,)))


def check_failed(code: int = 65) -> Observed:
    state = {"terminated": {"exitCode": code, "message": failure_summary(code, "MalformedRow", "line 17")}}
    dead = pod("c1", phase="Failed", started=True, containers={"preflight": state})
    ended = job("demo-preflight", final="Failed", reason="PodFailurePolicy", failed=1)
    return Observed(preflight=JobObservation(ended, (dead,)))


SITUATIONS = {
    "nothing yet": Observed(),
    "job without pod": Observed(JobObservation(job())),
    "blank pod": Observed(JobObservation(job(), (pod(),))),
    "stuck": Observed(JobObservation(job(), (pod(node="n", containers={"train": waiting("ErrImagePull", "no")}),))),
    "running": running(),
    "running and telling": running(loss=1.5, eta_seconds=720.0),
    "suspended": Observed(JobObservation(job(suspend=True))),
    "failed": failed(),
    "succeeded": succeeded(),
    "result lost": succeeded("nonsense"),
    "checking": checking(node="n1", started=True, containers={"preflight": {"running": {}}}),
    "check is stuck": checking(node="n1", containers={"preflight": waiting("ErrImagePull", "no")}),
    "check is suspended": Observed(preflight=JobObservation(job("demo-preflight", suspend=True))),
    "check failed": check_failed(),
    "checked": checked(),
    "does not fit": checked(fit="DoesNotFit", fitMessage="Needs 14.0 of 12.0 GiB."),
    "check unreadable": checked("nonsense"),
    "result found": checked(found_summary()),
    "foreign job": Observed(JobObservation(job() | {"metadata": {"name": "demo-train", "uid": "x"}})),
}
