"""What Argo CD makes of the statuses that the decisions produce: its Lua (5.1, as Argo CD's own) is run, not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa import lua51

from kubetune.evaluation import decide as evaluating
from kubetune.evaluation.api import Evaluation
from kubetune.finetunejob.api import FineTuneJob
from kubetune.modeldeployment.api import ModelDeployment
from kubetune.runs.read import JobObservation
from kubetune.settings import Settings
from tests.support.models import NOW, deployment, evaluation, failed_job, gated, judged, running_job
from tests.support.serving import World
from tests.support.situations import SITUATIONS, custom, judge
from tests.unit.test_decide_modeldeployment import HOPELESS, JUDGEMENTS

Object = dict[str, Any]

FILE = Path(__file__).parents[2] / "manifests/argocd/health.yaml"
SCRIPTS = {key.rpartition("_")[2]: text for key, text in yaml.safe_load(FILE.read_text())["data"].items()}


def health(kind: str, obj: Object) -> str:
    """Status by the script of that kind, with the object as Argo CD gives it: what is null is not there."""
    lua = lua51.LuaRuntime()
    table = lua.table_from(obj, recursive=True)
    found = lua.execute(f"local obj = ...\n{SCRIPTS[kind]}", table)
    assert found.message, "people want to know why"
    status: str = found.status
    return status


def shown(obj: FineTuneJob | Evaluation | ModelDeployment, status: Object) -> Object:
    metadata = {"name": obj.metadata.name, "generation": obj.metadata.generation}
    return {"metadata": metadata, "spec": obj.spec.to_dict(), "status": status}


OF_SITUATIONS = {
    "succeeded": "Healthy",
    "result found": "Healthy",
    "failed": "Degraded",
    "result lost": "Degraded",
    "check failed": "Degraded",
    "does not fit": "Degraded",
    "check unreadable": "Degraded",
    "foreign job": "Degraded",
}
"""Everything else is under way."""


@pytest.mark.law("F20")
@pytest.mark.parametrize("suspend", [False, True], ids=["", "suspended"])
@pytest.mark.parametrize("name", SITUATIONS)
def test_a_training(name: str, *, suspend: bool) -> None:
    obj = custom(preflight={"fit": "Require"}, suspend=suspend)
    status = judge(obj, SITUATIONS[name]).status
    expected = OF_SITUATIONS.get(name, "Suspended" if suspend else "Progressing")
    assert health("FineTuneJob", shown(obj, status)) == expected


def test_before_the_operator_has_looked() -> None:
    for kind, obj in (("FineTuneJob", custom()), ("Evaluation", evaluation()), ("ModelDeployment", deployment())):
        bare = shown(obj, {})
        assert health(kind, bare) == "Progressing"
        del bare["status"]
        assert health(kind, bare) == "Progressing"


def test_a_status_of_another_generation_says_nothing_unless_it_is_the_last() -> None:
    obj = custom(suspend=True)
    resumed = shown(obj, judge(obj, SITUATIONS["suspended"]).status)
    resumed["metadata"]["generation"], resumed["spec"]["suspend"] = 2, False
    assert health("FineTuneJob", resumed) == "Progressing"
    done = shown(obj, judge(obj, SITUATIONS["succeeded"]).status)
    done["metadata"]["generation"] = 2
    assert health("FineTuneJob", done) == "Healthy"


@pytest.mark.law("F20")
@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (evaluating.Observed(), "Degraded"),
        (evaluating.Observed(jobs={"demo": failed_job()}), "Degraded"),
        (evaluating.Observed(jobs={"demo": running_job()}), "Progressing"),
        (evaluating.Observed(JobObservation({"metadata": {"name": "demo-evaluate", "uid": "x"}})), "Degraded"),
    ],
    ids=["no training", "failed training", "waits for its training", "foreign job"],
)
def test_an_evaluation(observed: evaluating.Observed, expected: str) -> None:
    obj = evaluation()
    status = evaluating.decide(obj, observed, NOW, Settings()).status
    assert health("Evaluation", shown(obj, status)) == expected


@pytest.mark.parametrize("verdict", ["Go", "NoGo"])
def test_an_evaluation_that_has_ended_is_healthy_whatever_it_says(verdict: str) -> None:
    obj = judged(verdict)
    status = evaluating.decide(obj, evaluating.Observed(), NOW, Settings()).status
    assert health("Evaluation", shown(obj, status)) == "Healthy"


def of(world: World) -> str:
    return health("ModelDeployment", shown(world.obj, world.step().to_dict()))


GATE = {
    "EvaluationNotFound": "Progressing",
    "EvaluationNotFinished": "Progressing",
    "VerdictNoGo": "Suspended",
    "VerdictInconclusive": "Suspended",
}
"""Of a gate that is shut; one that can never open is an error of the spec."""


@pytest.mark.law("F20")
@pytest.mark.parametrize(("judge", "reason", "text", "state"), JUDGEMENTS)
def test_a_deployment_behind_its_gate(judge: Evaluation | None, reason: str, text: str, state: str) -> None:
    world = World(deployment(requireVerdict=gated()), judge=judge)
    assert of(world) == GATE.get(reason, "Degraded")
    world.obj = world.obj.model_copy(update={"spec": world.obj.spec.model_copy(update={"replicas": 0})})
    assert of(world) == "Suspended"


@pytest.mark.law("F20")
@pytest.mark.parametrize(("judge", "spec", "reason"), HOPELESS)
def test_a_gate_that_can_never_open(judge: Evaluation | None, spec: Any, reason: str) -> None:
    assert of(World(deployment(requireVerdict=gated()), running_job(**spec), judge)) == "Degraded"


def test_a_deployment_from_its_job_to_its_first_answer() -> None:
    world = World(deployment(), running_job())
    assert of(world) == "Progressing"
    world = World(deployment(), failed_job())
    assert of(world) == "Degraded", "it waited for ever"
    world = World(deployment())
    world.observe(job=None)
    assert of(world) == "Degraded"
    world = World(deployment())
    assert of(world) == "Progressing", "its pods are to come"
    world.serving()
    assert of(world) == "Healthy"
    world.spec(replicas=0)
    assert of(world) == "Suspended"


@pytest.mark.law("F20")
def test_an_engine_that_does_not_come_up() -> None:
    world = World(deployment())
    world.step()
    dead = {"waiting": {"reason": "CrashLoopBackOff"}}
    last = {"terminated": {"exitCode": 1, "reason": "Error", "message": "ValueError: no such architecture"}}
    world.observe(pods=(world.pod(state=dead, lastState=last, restartCount=3),))
    assert of(world) == "Degraded"
