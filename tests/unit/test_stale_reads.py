"""A glance may be behind by whatever no watch has told yet: in any order of events no harm comes of it.

A namespace in memory keeps all its former states. What the reconciler reads by a glance is any of them that is not
older than what it was told; what it reads live is the last. Watches tell late, each kind in its own time.
"""

from __future__ import annotations

import asyncio
from copy import deepcopy
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from kubetune.common.decision import Patch, Ref
from kubetune.finetunejob.controller import FineTuneJobController
from kubetune.finetunejob.report.series import ProgressSeries
from kubetune.kube.client import Client
from kubetune.kube.errors import ApiError
from kubetune.kube.kinds import FINETUNEJOB, JOB, POD, Resource
from kubetune.kube.told import Told
from kubetune.registry import turns
from kubetune.runtime.controller import Key
from kubetune.runtime.intake import Intake
from kubetune.runtime.metrics import Metrics
from kubetune.runtime.polls import Polls
from kubetune.runtime.queue import WorkQueue
from kubetune.runtime.reconciler import Reconciler
from kubetune.settings import Settings
from tests.support.objects import finetunejob, train_summary

Object = dict[str, Any]
Store = dict[tuple[Resource, str], Object]
KEY = Key(FINETUNEJOB.kind, "ns", "demo")
TIME = "2026-01-01T00:00:00Z"
KINDS = (FINETUNEJOB, JOB, POD)


class World:
    """The API server with its past, and the Job controller and kubelet as steps."""

    def __init__(self) -> None:
        self.version = 0
        self.past: list[tuple[int, Store]] = [(0, {})]
        self.events: dict[Resource, list[tuple[str, Object]]] = {kind: [] for kind in KINDS}
        self.told = Told()
        self.pods = 0
        self.statuses: list[Object] = []
        self.is_based_on_live = True

    @property
    def now(self) -> Store:
        return self.past[-1][1]

    def put(self, resource: Resource, obj: Object, event: str = "MODIFIED") -> Object:
        self.version += 1
        obj = deepcopy(obj)
        obj["metadata"] |= {"resourceVersion": str(self.version), "namespace": "ns"}
        store = {**self.now, (resource, obj["metadata"]["name"]): obj}
        if event == "DELETED":
            del store[resource, obj["metadata"]["name"]]
        self.past.append((self.version, store))
        self.events[resource].append((event, obj))
        return obj

    def one(self, resource: Resource) -> Object | None:
        return next((deepcopy(obj) for (kind, _), obj in self.now.items() if kind == resource), None)

    # What happens.

    def create(self) -> None:
        obj = finetunejob("demo", "ns", activeDeadlineSeconds=3600)
        obj["metadata"] |= {"uid": "owner", "generation": 1, "creationTimestamp": TIME}
        self.put(FINETUNEJOB, obj, "ADDED")

    def toggle(self) -> None:
        """Its user suspends it or lets it go on."""
        if custom := self.one(FINETUNEJOB):
            custom["spec"]["suspend"] = not custom["spec"].get("suspend", False)
            custom["metadata"]["generation"] += 1
            self.put(FINETUNEJOB, custom)

    def control(self) -> None:
        """The Job controller."""
        job, pod = self.one(JOB), self.one(POD)
        if job is None or job["status"].get("conditions", [{}])[-1].get("type") == "Complete":
            return
        if job["spec"]["suspend"]:
            if pod:
                self.put(POD, pod, "DELETED")
            job["status"] = {"conditions": [{"type": "Suspended", "status": "True", "lastTransitionTime": TIME}]}
        elif pod is None:
            self.pods += 1
            labels = {"kubetune.io/finetunejob": "demo"}
            metadata = {"name": f"pod-{self.pods}", "uid": f"pod-{self.pods}", "creationTimestamp": TIME}
            spec = deepcopy(job["spec"]["template"]["spec"]) | {"nodeName": "n"}
            self.put(POD, {"metadata": metadata | {"labels": labels}, "spec": spec, "status": {"phase": "Pending"}})
            job["status"] = {"active": 1, "startTime": TIME}
        elif pod["status"]["phase"] == "Succeeded":
            done = {"type": "Complete", "status": "True", "lastTransitionTime": TIME}
            job["status"] = {"succeeded": 1, "conditions": [done], "startTime": TIME}
        if job != self.one(JOB):
            self.put(JOB, job)

    def kubelet(self) -> None:
        """The pod gets one step further."""
        pod = self.one(POD)
        if pod is None:
            return
        if pod["status"]["phase"] == "Pending":
            state: Object = {"running": {"startedAt": TIME}}
            pod["status"] |= {"phase": "Running", "podIP": "10.0.0.1", "startTime": TIME}
        elif pod["status"]["phase"] == "Running":
            state = {"terminated": {"exitCode": 0, "message": train_summary()}}
            pod["status"]["phase"] = "Succeeded"
        else:
            return
        pod["status"]["containerStatuses"] = [{"name": "train", "image": "i", "state": state}]
        self.put(POD, pod)

    # What the operator does.

    async def progress(self, pod_ip: str) -> str | None:
        return None


class Live:
    """``kube.client.Client`` for that world."""

    is_live = True

    def __init__(self, world: World) -> None:
        self.world = world

    def state(self, resource: Resource) -> Store:
        return self.world.now

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        self.world.is_based_on_live = self.is_live
        found = deepcopy(self.state(resource).get((resource, name)))
        if found:
            self.world.told.note(resource.kind, found)
        return found

    async def list(self, resource: Resource, namespace: str | None = None, **_: Any) -> list[Object]:
        found = [deepcopy(obj) for (kind, _), obj in self.state(resource).items() if kind == resource]
        for obj in found:
            self.world.told.note(resource.kind, obj)
        return found

    async def could_create(self, obj: Object) -> bool:
        return False

    async def create(self, obj: Object) -> Object:
        assert self.world.is_based_on_live
        if (JOB, obj["metadata"]["name"]) in self.world.now:
            raise ApiError(409, "AlreadyExists", "exists")
        made = self.world.put(JOB, obj | {"metadata": obj["metadata"] | {"uid": "job"}, "status": {}}, "ADDED")
        self.world.told.note(JOB.kind, made)
        return made

    async def patch(self, patch: Patch) -> Object:
        assert self.world.is_based_on_live, "a Job is changed on nothing but live reads"
        job = self.world.one(JOB)
        assert job
        assert patch.body["spec"].get("suspend") != job["spec"]["suspend"], "nothing is done twice"
        job["spec"] |= patch.body["spec"]
        made = self.world.put(JOB, job)
        self.world.told.note(JOB.kind, made)
        return made

    async def evict(self, ref: Ref, grace_seconds: int) -> None:
        assert self.world.is_based_on_live

    async def apply_status(self, resource: Resource, namespace: str, name: str, uid: str, status: Object) -> Object:
        custom = self.world.one(FINETUNEJOB)
        assert custom
        before = custom.get("status", {})
        if "completionTime" in status or "completionTime" in before:
            assert self.world.is_based_on_live, "an end is told on nothing but live reads"
            assert "completionTime" not in before or status == before, "and once"
        self.world.statuses.append(status)
        made = self.world.put(FINETUNEJOB, custom | {"status": deepcopy(status)})
        self.world.told.note(FINETUNEJOB.kind, made)
        return {"metadata": made["metadata"]}

    async def post_event(self, obj: Object) -> None:
        """Nobody looks at Events here."""


class Glance(Live):
    """Answers with any state that is not older than what was told."""

    is_live = False

    def __init__(self, world: World, draw: st.DataObject) -> None:
        super().__init__(world)
        self.draw = draw

    def state(self, resource: Resource) -> Store:
        least = int(self.world.told.newest(resource) or 0)
        choice = [store for version, store in self.world.past if version >= least]
        return choice[self.draw.draw(st.integers(0, len(choice) - 1))]


class Bench:
    """One operator in that world."""

    def __init__(self, world: World, glance: Glance | None) -> None:
        self.world = world
        self.queue: WorkQueue[Key] = WorkQueue(lambda: 0.0)
        polls = Polls(self.queue, world, 2.0)
        controller = FineTuneJobController(Settings(), polls, ProgressSeries(CollectorRegistry()))
        metrics = Metrics([FINETUNEJOB.kind])
        client = cast(Client, Live(world))
        behind = cast(Client, glance) if glance else None
        self.loop = Reconciler(client, {FINETUNEJOB.kind: controller}, self.queue, metrics, glance=behind)
        seen, references = self.loop.seen, self.loop.references
        self.intake = Intake(self.queue, seen, references, metrics.inventory, self.loop.forget, turns=turns)

    def deliver(self, resource: Resource) -> bool:
        """The watch of that kind tells the next event; False when it has told all."""
        if not self.world.events[resource]:
            return False
        event, obj = self.world.events[resource].pop(0)
        self.world.told.note(resource.kind, obj)
        if resource == FINETUNEJOB:
            self.intake.custom(resource.kind, event, deepcopy(obj))
        else:
            self.intake.child(event, deepcopy(obj))
        return True

    async def work(self) -> bool:
        """One pass, if one is in line."""
        if not self.queue.depth:
            return False
        key = await self.queue.get()
        assert key
        await self.loop.process(key)
        self.queue.done(key)
        assert not self.queue._failures, "no pass fails"
        return True

    async def settle(self) -> None:
        """Everything is told, looked at and carried out by the controllers, but nothing else happens."""
        for _ in range(200):
            if not any([self.deliver(kind) for kind in KINDS]) and not await self.work():
                return
            self.world.control()
        raise AssertionError("it never comes to rest")


STEPS = ["toggle", "control", "kubelet", "kubelet", "work", "work", *KINDS, *KINDS]


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(STEPS), max_size=60), st.data())
@pytest.mark.law("L15")
def test_no_stale_read_does_harm(steps: list[Any], data: st.DataObject) -> None:
    async def play() -> None:
        world = World()
        bench = Bench(world, Glance(world, data))
        world.create()
        for step in steps:
            if isinstance(step, Resource):
                bench.deliver(step)
            elif step == "work":
                await bench.work()
            else:
                getattr(world, step)()
        await bench.settle()
        custom = world.one(FINETUNEJOB)
        assert custom
        # An operator with nothing in its memory, which reads everything live, has nothing to add.
        fresh, count = Bench(world, None), len(world.statuses)
        fresh.queue.add(KEY)
        await fresh.work()
        assert len(world.statuses) == count, (custom["status"], world.statuses[-1])

    asyncio.run(play())


@pytest.mark.law("L15")
async def test_what_ends_is_read_again_live() -> None:
    """Without this the property above could hold because nothing ever ends."""
    world = World()

    class Newest:
        @staticmethod
        def draw(_: Any) -> int:
            return 0

    bench = Bench(world, Glance(world, cast(st.DataObject, Newest)))
    world.create()
    await bench.settle()
    for _ in range(2):
        world.kubelet()
        await bench.settle()
    custom = world.one(FINETUNEJOB)
    assert custom
    assert custom["status"]["phase"] == "Succeeded"
    phases = [status["phase"] for status in world.statuses]
    assert list(dict.fromkeys(phases)) == ["Pending", "Running", "Succeeded"]


@pytest.mark.parametrize("phase", ["Pending", "Running"])
@pytest.mark.law("F27")
async def test_a_missed_deletion_is_found_by_a_live_read(phase: str) -> None:
    world = World()
    bench = Bench(world, None)
    world.create()
    await bench.settle()
    if phase == "Running":
        world.kubelet()
        await bench.settle()
    custom = world.one(FINETUNEJOB)
    assert custom
    assert custom["status"]["phase"] == phase
    world.put(FINETUNEJOB, custom, "DELETED")
    world.events[FINETUNEJOB].clear()
    assert bench.loop.seen.known_keys() == {KEY}
    bench.queue.add(KEY)
    await bench.work()
    assert bench.loop.seen.known_keys() == set()
