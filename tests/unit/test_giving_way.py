"""A training that no node can take keeps nobody else waiting: neither before it has a place nor with one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune.common.conditions import ConditionStatus, Fact
from kubetune.finetunejob.api import FineTuneJob, Reason
from kubetune.finetunejob.observed import Observed, Wait
from kubetune.finetunejob.queue.eligibility import find_misfit
from kubetune.finetunejob.queue.peers import Peer, Room, read_peer
from kubetune.finetunejob.queue.places import Request, judge, reconsider
from kubetune.runs.read import JobObservation
from kubetune.settings import Settings
from kubetune.workload.gpu import Hardware
from kubetune.workload.misfit import TOLERATED
from tests.support.line import Line
from tests.support.nodes import GPU, gpu_node
from tests.support.objects import finetunejob
from tests.support.observed import job, pod
from tests.support.situations import NOW, SITUATIONS, condition, custom
from tests.support.situations import judge as look

Object = dict[str, Any]

MISFIT = Fact(ConditionStatus.FALSE, "NoNodeWithGPU", "No node offers nvidia.com/gpu.")
BUSY = Fact(ConditionStatus.FALSE, "Unschedulable", "Waits for 1 nvidia.com/gpu, which no node has free now.")
WAIT = Wait(Reason.QUEUED, "1 of at most 1 trainings have a place.", 2, 30.0, MISFIT)


def raw(name: str, created: int, reason: str = "", **status: Any) -> Object:
    """A FineTuneJob whose condition Scheduled has that reason."""
    obj = finetunejob(name, "ns", **status.pop("spec", {}))
    obj["metadata"] |= {"uid": name, "creationTimestamp": f"2026-01-01T00:00:{created:02}Z"}
    told = [{"type": "Scheduled", "status": "False", "reason": reason}] if reason else []
    return obj | {"status": {"conditions": told, **status}}


def peers(*objects: Object) -> tuple[Peer, ...]:
    return tuple(map(read_peer, objects))


def request(obj: Object, misfit: Fact | None = MISFIT) -> Request:
    return Request(FineTuneJob.parse({"metadata": obj["metadata"], "spec": obj["spec"]}), misfit=misfit)


IMPOSSIBLE = raw("a", 1)
TOLD = raw("b", 2, "NoSuitableNode")
"""Another that no node can take."""
NEW, QUEUED, PASSED = raw("c", 3), raw("c", 3, "Queued"), raw("c", 3, "Scheduled")


@pytest.mark.parametrize(
    ("others", "taken", "limit", "position"),
    [
        ((), (), 1, None),
        ((QUEUED,), (), 1, 2),
        ((NEW,), (), 1, 2),
        ((NEW,), (), 2, None),
        ((TOLD,), (), 1, None),
        ((TOLD, QUEUED), (), 2, None),
        ((PASSED,), ("c",), 1, 1),
        ((PASSED, QUEUED | {"metadata": QUEUED["metadata"] | {"uid": "d", "name": "d"}}), ("c",), 2, 2),
    ],
    ids=[
        "nobody else",
        "one waits",
        "a new one",
        "room for both",
        "a younger one of its kind",
        "two places",
        "no place",
        "one place, one waits",
    ],
)
def test_who_could_not_run_is_let_in_last(
    others: tuple[Object, ...], taken: tuple[str, ...], limit: int, position: int | None
) -> None:
    room = Room(peers(*others), frozenset(taken))
    wait = judge(request(IMPOSSIBLE), room, Settings(max_running_per_namespace=limit))
    assert (wait.position if wait else None) == position
    if wait:
        assert wait.misfit is MISFIT
        assert "behind those that a node can take" in wait.message


def test_nobody_counts_one_that_could_not_run() -> None:
    room = Room(peers(TOLD), frozenset())
    assert judge(request(NEW, None), room, Settings(max_running_per_namespace=1)) is None
    third = raw("d", 4)
    wait = judge(request(third, None), Room(peers(TOLD, NEW), frozenset()), Settings(max_running_per_namespace=1))
    assert wait is not None
    assert (wait.position, wait.misfit) == (2, None)


@pytest.mark.law("L13", "F13")
def test_one_that_no_node_can_take_and_that_is_over_the_budget_holds_up_nobody() -> None:
    """What it waits for is state of its own: the condition Scheduled says only that no node takes it."""
    wait = Wait(Reason.BUDGET_EXCEEDED, "The budget is spent.", misfit=MISFIT)
    shown = look(custom(resources={"gpu": 1}), Observed(wait=wait))
    assert condition(shown, "Scheduled")["reason"] == "NoNodeWithGPU"
    over = raw("a", 1) | {"status": shown.status}
    (peer,) = peers(over)
    assert (peer.is_ready, peer.is_misfit, peer.is_over_budget) == (False, True, False)
    younger = raw("b", 2)
    limits = Settings(max_running_per_namespace=1)
    assert judge(request(younger), Room(peers(over), frozenset()), limits) is None
    # In line for a place it does count.
    queued = look(custom(resources={"gpu": 1}), Observed(wait=WAIT))
    assert judge(request(younger), Room(peers(raw("a", 1) | {"status": queued.status}), frozenset()), limits)


OVER = raw("c", 3, "BudgetExceeded", preflight={"cost": {"estimate": 5.0}})
HOPELESS = raw("c", 3, "BudgetExceeded", preflight={"cost": {"estimate": 50.0}})
KUEUES = raw("c", 3, "Queued", spec={"queueName": "q"})
SUSPENDED = raw("c", 3, "Queued", spec={"suspend": True})


@pytest.mark.parametrize(
    ("others", "taken", "limit", "gives_way"),
    [
        ((), ("a",), 1, False),
        ((QUEUED,), ("a",), 1, True),
        ((NEW,), ("a",), 1, False),
        ((KUEUES,), ("a",), 1, False),
        ((SUSPENDED,), ("a",), 1, False),
        ((TOLD,), ("a",), 1, False),
        ((QUEUED,), ("a",), 2, False),
        ((TOLD, QUEUED), ("a", "b"), 2, False),
        ((raw("0", 0, "NoNodeWithGPU"), QUEUED), ("a", "0"), 2, True),
        ((raw("b", 2, "NoNodeWithGPU", spec={"queueName": "q"}), QUEUED), ("a", "b"), 2, True),
        ((PASSED, raw("d", 4, "Queued")), ("a", "c"), 2, True),
        ((OVER,), ("a",), 0, True),
        ((HOPELESS,), ("a",), 0, False),
    ],
    ids=[
        "nobody else",
        "one waits",
        "one that is not told yet",
        "Kueue's",
        "a suspended one",
        "one of its kind",
        "a place is free",
        "a younger one of its kind goes",
        "it is the younger one",
        "what Kueue let in does not go",
        "one runs, one waits",
        "one waits for the budget",
        "its place would not help",
    ],
)
def test_who_could_not_run_gives_its_place_to_one_that_waits(
    others: tuple[Object, ...], taken: tuple[str, ...], limit: int, gives_way: bool
) -> None:
    room = Room(peers(*others), frozenset(taken))
    limits = Settings(max_running_per_namespace=limit, budgets={} if limit else {"ns": 10.0})
    wait = reconsider(request(IMPOSSIBLE), room, limits)
    assert bool(wait) is gives_way
    assert reconsider(request(IMPOSSIBLE, None), room, limits) is None, "what a node can take keeps its place"
    if wait and gives_way:
        assert judge(request(IMPOSSIBLE), replace(room, taken=room.taken - {"a"}), limits), "or it would come and go"


def unplaced(placement: Fact = MISFIT, **members: Any) -> JobObservation:
    return JobObservation(job(activeDeadlineSeconds=600), (pod(**members),), placement=placement)


def test_its_place_is_given_back_by_suspending() -> None:
    observed = Observed(unplaced(), wait=WAIT)
    decision = look(custom(resources={"gpu": 1}), observed)
    (patch,) = decision.patch
    assert patch.body["spec"] == {"suspend": True, "activeDeadlineSeconds": 600}
    assert patch.body["metadata"]["annotations"] == {TOLERATED: "false"}
    assert (decision.stop, decision.delete, decision.create) == ((), (), ())
    assert decision.status["phase"] == "Queued"
    assert decision.status["queue"] == {"reason": "Queued", "position": 2, "message": WAIT.message}
    scheduled = condition(decision, "Scheduled")
    assert (scheduled["status"], scheduled["reason"]) == ("False", "NoNodeWithGPU")
    assert scheduled["message"] == f"{MISFIT.message} {WAIT.message}"
    assert decision.requeue_after == 30.0
    stopped = Observed(JobObservation(job(suspend=True, activeDeadlineSeconds=600)), wait=WAIT)
    again = look(custom(decision.status, resources={"gpu": 1}), stopped)
    assert (again.patch, again.events) == ((), ())
    assert again.status["conditions"] == decision.status["conditions"]
    resumed = look(custom(again.status, resources={"gpu": 1}), replace(stopped, wait=None))
    assert [patch.body for patch in resumed.patch] == [{"spec": {"suspend": False}}]


def test_a_job_that_has_changed_since_it_was_read_is_not_suspended() -> None:
    made = unplaced()
    assert made.job is not None
    made.job["metadata"]["resourceVersion"] = "7"
    (patch,) = look(custom(), Observed(made, wait=WAIT)).patch
    assert patch.body["metadata"]["resourceVersion"] == "7"


@pytest.mark.parametrize("name", SITUATIONS)
@pytest.mark.parametrize("placement", [None, BUSY, MISFIT])
@pytest.mark.parametrize("node", ["", "n1"])
def test_whatever_runs_is_left_alone(name: str, placement: Fact | None, node: str) -> None:
    """Only a pod without a node, that none can take, is ever taken away."""
    found = SITUATIONS[name]
    pods = tuple({**one, "spec": {"nodeName": node} if node else {}} for one in found.run.pods)
    observed = replace(found, run=replace(found.run, pods=pods, placement=placement), wait=WAIT)
    decision = look(custom(), observed)
    suspends = [patch for patch in decision.patch if patch.body["spec"].get("suspend")]
    live = [one for one in pods if one["status"]["phase"] not in {"Succeeded", "Failed"}]
    is_ours = name != "foreign job"
    assert bool(suspends) <= (bool(live) and not node and placement is MISFIT and is_ours)
    assert decision.stop == ()


@pytest.mark.parametrize(
    ("observation", "is_suspended"),
    [
        (unplaced(), True),
        (unplaced(BUSY), False),
        (unplaced(node="n1"), False),
        (replace(unplaced(), pods=()), False),
        (replace(unplaced(), pods=(pod("old", phase="Failed", node="n1"), pod())), True),
        (replace(unplaced(), pods=(pod("old", node="n1"), pod())), False),
    ],
    ids=["no node", "taken", "on a node", "no pod", "after another", "beside one on a lost node"],
)
def test_what_is_suspended(observation: JobObservation, is_suspended: bool) -> None:
    assert bool(look(custom(), Observed(observation, wait=WAIT)).patch) is is_suspended
    assert not look(custom(queueName="q"), Observed(observation, wait=WAIT)).patch, "Kueue's"
    user = look(custom(suspend=True), Observed(observation, wait=WAIT))
    assert (user.status["phase"], len(user.patch)) != ("Queued", 0), "its user's word comes first"


GPU_POD: Object = {"containers": [{"resources": {"limits": {GPU: "1"}}}]}
TAINTED = Hardware((gpu_node("pc", taints=[{"key": GPU, "effect": "NoSchedule"}]),))


@pytest.mark.parametrize(
    ("tolerations", "told", "is_misfit"),
    [
        ([], None, False),
        ([], "true", False),
        ([], "false", True),
        ([{"key": GPU, "operator": "Exists"}], "false", False),
    ],
    ids=["nobody knows", "admission adds it", "admission does not", "written by its user"],
)
def test_what_pods_were_like_is_not_forgotten(tolerations: list[Object], told: str | None, is_misfit: bool) -> None:
    """Else it would be let in for what admission might do, and give its place back for what it has not done."""
    made = job(suspend=True, template={"spec": GPU_POD | {"tolerations": tolerations}})
    if told:
        made["metadata"]["annotations"] = {TOLERATED: told}
    observed = Observed(JobObservation(made), hardware=TAINTED)
    assert (find_misfit(custom(resources={"gpu": 1}), observed, Settings()) is not None) is is_misfit


@pytest.mark.parametrize(
    ("tolerations", "said"), [([], "false"), ([{"key": GPU, "operator": "Exists"}], "true")], ids=["no", "yes"]
)
def test_what_pods_are_like_is_noted(tolerations: list[Object], said: str) -> None:
    waiting = pod()
    waiting["spec"] = GPU_POD | {"tolerations": tolerations}
    observed = Observed(JobObservation(job(), (waiting,), placement=MISFIT), wait=WAIT)
    (patch,) = look(custom(), observed, NOW).patch
    assert patch.body["metadata"]["annotations"] == {TOLERATED: said}


GPUS: Object = {"resources": {"gpu": 1, "gpuMemory": "8Gi"}}
HEAVY: Object = {"resources": {"memory": "64Gi"}}


async def test_an_impossible_one_blocks_nobody() -> None:
    line = Line(1, {"impossible": GPUS, "first": {}, "second": {}})
    await line.settle()
    assert line.is_running("first")
    assert line.jobs.keys() == {"impossible-train", "first-train"} or line.jobs.keys() == {"first-train"}
    assert (line.phase("impossible"), line.reason("impossible")) == ("Queued", "NoNodeWithGPU")
    writes = line.writes
    await line.settle()
    assert line.writes == writes
    line.set_node(4096)
    await line.settle()
    assert line.reason("impossible") == "NoSuitableNode"
    line.set_node(12288)
    await line.settle()
    assert (line.phase("impossible"), line.reason("impossible")) == ("Queued", "Queued")
    assert line.customs["impossible"]["status"]["queue"]["position"] == 1, "it keeps the place its age gives it"
    line.end("first")
    await line.settle()
    assert line.is_running("impossible")
    assert not line.has_place("second")


async def test_one_that_asks_for_more_memory_than_there_is_blocks_nobody() -> None:
    line = Line(1, {"heavy": HEAVY, "light": {}})
    line.set_node(4096)
    await line.settle()
    assert line.is_running("light")
    assert line.reason("heavy") == "NoSuitableNode"
    writes = line.writes
    await line.settle()
    assert line.writes == writes
    line.set_node(4096, "128Gi")
    line.end("light")
    await line.settle()
    assert line.is_running("heavy")


async def test_one_that_is_suspended_before_anybody_else_looks_leaves_its_place() -> None:
    """Else its place would be kept for a minute, as nobody's list has shown its Job."""
    line = Line(1, {"a": {}, "b": {}})
    await line.look("a")
    line.control("a")
    assert line.has_place("a")
    line.customs["a"]["spec"]["suspend"] = True
    await line.look("a")
    line.control("a")
    await line.look("a")
    assert (line.phase("a"), line.has_place("a")) == ("Suspended", False)
    await line.look("b")
    assert line.has_place("b")


async def test_one_whose_job_is_refused_leaves_its_place() -> None:
    """A quota may last for days; others may fit into it."""
    line = Line(1, {"a": {}, "b": {}})
    line.refused.add("a")
    for _ in range(3):
        await line.look("a")
    assert line.customs["a"]["status"]["conditions"][0]["reason"] == "QuotaExceeded"
    await line.look("b")
    line.control("b")
    assert (line.has_place("a"), line.has_place("b")) == (False, True)


async def test_alone_it_keeps_its_pod_for_whoever_adds_nodes() -> None:
    line = Line(1, {"impossible": GPUS})
    await line.settle()
    assert line.has_place("impossible")
    assert (line.phase("impossible"), line.reason("impossible")) == ("Pending", "NoNodeWithGPU")
    line.set_node(12288)
    await line.settle()
    assert line.is_running("impossible")


async def test_a_node_that_goes_away_under_a_training() -> None:
    line = Line(1, {"gpu": GPUS, "cpu": {}})
    line.set_node(12288)
    await line.settle()
    assert line.is_running("gpu")
    line.set_node(None)
    await line.settle()
    assert line.is_running("gpu"), "what runs is not stopped"
    line.lose_pod("gpu")
    await line.settle()
    assert line.is_running("cpu")
    assert line.reason("gpu") == "NoNodeWithGPU"
    line.set_node(12288)
    line.end("cpu")
    await line.settle()
    assert line.is_running("gpu")


async def test_a_taint_that_nobody_tolerates_does_not_make_it_come_and_go() -> None:
    line = Line(1, {"gpu": {"resources": {"gpu": 1}}, "cpu": {}})
    line.nodes = {"pc": (TAINTED.nodes or ())[0], "old": gpu_node("old", count=0)}
    await line.settle()
    assert line.is_running("cpu")
    writes = line.writes
    await line.settle()
    assert line.writes == writes


async def test_where_nodes_cannot_be_read_everything_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> None:
        return None

    monkeypatch.setattr("kubetune.workload.reads.read_nodes", nothing)
    line = Line(1, {"impossible": GPUS, "first": {}})
    await line.settle()
    assert line.has_place("impossible")
    assert not line.has_place("first")


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 3))
def test_no_order_of_events_breaks_the_line(seed: int, limit: int) -> None:
    """Never more than the limit, never a pod stopped that had a node, and in the end everything has run."""
    random = Random(seed)
    specs = {f"j{index}": random.choice([GPUS, {"resources": {"gpu": 1}}, HEAVY, {}, {}]) for index in range(7)}

    async def play() -> None:
        line = Line(limit, specs)
        for _ in range(150):
            await happen(line, random)
            assert sum(map(line.has_place, specs)) <= limit
        line.set_node(12288, "128Gi")
        for _ in range(len(specs) + 1):
            await line.settle(4)
            assert sum(map(line.has_place, specs)) <= limit
            for name in specs:
                line.end(name)
        await line.settle(4)
        assert {line.phase(name) for name in specs} == {"Succeeded"}

    asyncio.run(play())


async def happen(line: Line, random: Random) -> None:
    names = sorted(line.customs)
    event = random.randrange(16)
    some = random.sample(names, random.randint(1, 3))
    if event < 8:
        await asyncio.gather(line.look(*some), _meanwhile(line, random))
    elif event < 13:
        for name in some:
            line.control(name) if event < 11 else line.schedule(name)
    elif event == 13:
        line.set_node(random.choice([None, None, 4096, 12288]))
    elif event == 14:
        line.lose_pod(some[0])
    else:
        line.restart() if random.random() < 0.3 else line.end(some[0])


async def _meanwhile(line: Line, random: Random) -> None:
    """Pods find nodes while the operator looks."""
    for _ in range(random.randrange(8)):
        await asyncio.sleep(0)
    if random.random() < 0.5:
        line.set_node(random.choice([None, 12288]))
        for name in line.customs:
            line.schedule(name)
