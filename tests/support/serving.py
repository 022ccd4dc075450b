"""A ModelDeployment's decisions, played against a small stand-in for the Deployment controller."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any

from kubetune.common.decision import Decision
from kubetune.evaluation.api import Evaluation
from kubetune.finetunejob.api import FineTuneJob
from kubetune.modeldeployment.api import ModelDeployment, ModelDeploymentStatus, VersionState
from kubetune.modeldeployment.decide import decide
from kubetune.modeldeployment.plan import Observed
from kubetune.settings import Settings

from .models import NOW, deployment, finished_job

Object = dict[str, Any]


class World:
    """What the decisions lead to: applied children, and pods that the test moves on."""

    def __init__(self, obj: ModelDeployment, job: FineTuneJob | None = None, judge: Evaluation | None = None) -> None:
        self.obj = obj
        self.seen = Observed(job=job if job is not None else finished_job(), evaluation=judge)
        self.decision = Decision(status={})
        self.settings = Settings()
        """The operator's; a test may start another one."""

    def step(self) -> ModelDeploymentStatus:
        """Decides until nothing changes any more; a second decision must never ask for anything new."""
        events: tuple[Any, ...] = ()
        for _ in range(3):
            before = self.obj.status
            self.decision = decide(self.obj, self.seen, NOW, self.settings)
            events += self.decision.events
            self.obj = self.obj.model_copy(
                update={"status": ModelDeploymentStatus.model_validate(self.decision.status)}
            )
            self._apply()
            if not self.decision.apply and self.obj.status == before:
                break
        again = decide(self.obj, self.seen, NOW + timedelta(minutes=1), self.settings)
        assert (again.apply, again.events, again.status) == ((), (), self.obj.status.to_dict())
        self.decision = replace(self.decision, events=events)
        return self.obj.status

    def _apply(self) -> None:
        for child in self.decision.apply:
            live = copy.deepcopy(child)
            live["metadata"]["uid"] = f"uid-{child['kind']}"
            self.observe(**{child["kind"].lower(): live})

    def spec(self, **changes: Any) -> None:
        """The user edits the spec."""
        spec = {**self.obj.spec.to_dict(), **changes}
        fresh = deployment(**{key: value for key, value in spec.items() if value is not None})
        self.obj = fresh.model_copy(update={"status": self.obj.status})

    def observe(self, **changes: Any) -> None:
        self.seen = replace(self.seen, **changes)

    def pod(self, name: str = "demo-1", *, ready: bool = False, init: Object | None = None, **engine: Any) -> Object:
        """A pod of the Deployment's present template."""
        assert self.seen.deployment is not None
        template = self.seen.deployment["spec"]["template"]
        status = {"name": "engine", "image": "i", "started": ready, **engine}
        return {
            "metadata": {**copy.deepcopy(template["metadata"]), "name": name, "namespace": "team", "uid": name},
            "spec": {"nodeName": "node"},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": str(ready)}],
                "initContainerStatuses": [{"name": "fetch", "image": "i", **(init or DONE)}],
                "containerStatuses": [status] if engine or ready else [],
            },
        }

    def serving(self, **changes: Any) -> ModelDeploymentStatus:
        """One pod of the present template answers."""
        self.observe(pods=(self.pod(ready=True, state={"running": {}}),), **changes)
        return self.step()

    @property
    def version(self) -> str | None:
        """What the Deployment's pods serve."""
        if self.seen.deployment is None:
            return None
        label: str = self.seen.deployment["spec"]["template"]["metadata"]["labels"]["kubetune.io/version"]
        return label


DONE: Object = {"state": {"terminated": {"exitCode": 0}}}


def crashed(code: int = 1, message: str = "", restarts: int = 1, **terminated: Any) -> Object:
    dead = {"terminated": {"exitCode": code, "message": message, **terminated}}
    return {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": dead, "restartCount": restarts}


def condition(status: ModelDeploymentStatus, type_: str) -> tuple[str, str, str]:
    found = next(entry for entry in status.conditions if entry.type == type_)
    return found.status.value, found.reason, found.message


def states(status: ModelDeploymentStatus) -> list[tuple[str, VersionState]]:
    return [(version.name, version.state) for version in status.versions]
