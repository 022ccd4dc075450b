"""A FineTuneJob before it trains: what is read -> what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from kubetune.finetunejob.api import Reason
from kubetune.finetunejob.decide import decide
from kubetune.finetunejob.observed import Observed
from kubetune.runs.read import JobObservation
from kubetune.settings import Settings
from kubetune.workload.gpu import Hardware
from kubetune.workload.inputs import Inputs
from tests.support.nodes import gpu_node
from tests.support.objects import failure_summary
from tests.support.observed import job, pod, waiting
from tests.support.situations import (
    NOW,
    SITUATIONS,
    check_failed,
    checked,
    checking,
    condition,
    custom,
    judge,
    running,
)

Object = dict[str, Any]


def test_a_new_job_is_checked_first() -> None:
    decision = judge(custom(preflight={}))
    assert [obj["metadata"]["name"] for obj in decision.create] == ["demo-preflight"]
    assert (decision.events, decision.requeue_after) == ((), None)
    assert condition(decision, "Preflighted")["status"] == "Unknown"
    assert decision.status["phase"] == "Pending"


def test_while_it_is_checked_nothing_is_trained() -> None:
    decision = judge(custom(preflight={}), SITUATIONS["checking"])
    assert (decision.create, decision.status["phase"]) == ((), "Preflight")
    assert (condition(decision, "Preflighted")["status"], condition(decision, "Running")["status"]) == (
        "Unknown",
        "False",
    )


def test_a_passed_preflight_starts_the_training_in_the_same_pass() -> None:
    decision = judge(custom(preflight={}), checked())
    assert [obj["metadata"]["name"] for obj in decision.create] == ["demo-train"]
    passed = condition(decision, "Preflighted")
    assert (passed["status"], passed["reason"]) == ("True", "PreflightPassed")
    assert passed["message"] == "100 rows, 50 steps. Needs 7.1 of 12.0 GiB."
    assert decision.status["preflight"]["tokenLengths"]["p90"] == 200
    assert [event.reason for event in decision.events] == ["PreflightPassed"]


SETTINGS_BY_ROWS = {
    "reason": "100 rows: 4 epochs of 25 steps, 4 rows each",
    "numTrainEpochs": 4.0,
    "gradientAccumulationSteps": 1,
    "warmupRatio": 0.1,
    "loggingSteps": 5,
}


def test_what_the_number_of_rows_decides_is_what_the_pod_runs_with() -> None:
    decision = judge(custom(preflight={}), checked(settings=SETTINGS_BY_ROWS))
    (training,) = decision.create
    config = json.loads(training["spec"]["template"]["metadata"]["annotations"]["kubetune.io/config"])
    shown, run = decision.status["effective"]["hyperparameters"], config["hyperparameters"]
    for name, value in SETTINGS_BY_ROWS.items():
        if name != "reason":
            assert shown[name] == run[name] == value, name
    assert shown == {name: run[name] for name in shown}
    assert decision.status["preflight"]["settings"] == SETTINGS_BY_ROWS
    message = condition(decision, "Preflighted")["message"]
    assert message == "100 rows: 4 epochs of 25 steps, 4 rows each, 50 steps. Needs 7.1 of 12.0 GiB."
    again = judge(custom(decision.status, preflight={}), Observed(run=JobObservation(training)))
    assert again.status["effective"] == decision.status["effective"]
    lost = judge(custom(preflight={}), Observed(run=JobObservation(training)))
    assert lost.status["effective"] == decision.status["effective"]


@pytest.mark.walk("W1")
def test_the_training_is_told_which_rows_the_preflight_saw() -> None:
    (training,) = judge(custom(preflight={}), checked()).create
    config = json.loads(training["spec"]["template"]["metadata"]["annotations"]["kubetune.io/config"])
    assert config["datasetSha256"] == judge(custom(preflight={}), checked()).status["preflight"]["datasetSHA256"]


@pytest.mark.walk("S6")
@pytest.mark.parametrize("said", ["trains on the CPU and needs 1 GiB", "Trains on the CPU and needs 1 GiB."])
def test_the_message_of_a_passed_preflight_is_made_of_whole_sentences(said: str) -> None:
    passed = condition(judge(custom(preflight={}), checked(fitMessage=said)), "Preflighted")
    assert passed["message"] == "100 rows, 50 steps. Trains on the CPU and needs 1 GiB."


@pytest.mark.walk("W6")
@pytest.mark.parametrize(
    ("fit", "gpu", "warned"),
    [("Tight", 0, ["Tight"]), ("Tight", 1, []), ("Fits", 0, []), ("Unknown", 0, [])],
)
def test_what_may_not_suffice_on_a_cpu_is_a_warning(fit: str, gpu: int, warned: list[str]) -> None:
    wanted = custom(preflight={}, resources={"gpu": gpu, "memory": "600Mi"})
    decision = judge(wanted, checked(fit=fit, fitMessage="needs 0.8 GiB"))
    assert [event.reason for event in decision.events if event.warning] == warned


def test_killed_between_the_training_job_and_the_status() -> None:
    """The Job exists, the status does not say why: the preflight is read, not run again."""
    before = judge(custom(preflight={}), SITUATIONS["checking"]).status
    decision = judge(custom(before, preflight={}), replace(running(), preflight=checked().preflight))
    assert (decision.create, decision.delete) == ((), ())
    assert condition(decision, "Preflighted")["reason"] == "PreflightPassed"
    assert decision.status["preflight"]["fit"] == "Fits"
    assert decision.status["phase"] == "Running"


def test_a_lost_status_does_not_stop_a_training() -> None:
    decision = judge(custom(preflight={}), running())
    assert (decision.create, decision.status["phase"]) == ((), "Running")
    assert condition(decision, "Preflighted")["status"] == "True"


def test_what_has_passed_is_not_checked_again() -> None:
    status = judge(custom(preflight={}), checked()).status
    decision = judge(custom(status, preflight={}))
    assert [obj["metadata"]["name"] for obj in decision.create] == ["demo-train"]
    assert decision.status["preflight"] == status["preflight"]


def test_a_preflight_deleted_by_hand_is_made_again() -> None:
    status = judge(custom(preflight={}), SITUATIONS["checking"]).status
    assert [obj["metadata"]["name"] for obj in judge(custom(status, preflight={})).create] == ["demo-preflight"]


def test_findings_that_nobody_read_are_found_again() -> None:
    gone = Observed(preflight=JobObservation(job("demo-preflight", final="Complete", succeeded=1)))
    status = judge(custom(preflight={}), SITUATIONS["checking"]).status
    decision = judge(custom(status, preflight={}), gone)
    assert [ref.name for ref in decision.delete] == ["demo-preflight"]
    assert (decision.create, decision.status) == ((), status)


def test_an_unreadable_preflight_ends_the_job() -> None:
    status = judge(custom(preflight={}), checked("nonsense")).status
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "ResultLost")


@pytest.mark.parametrize(("fit", "phase", "created"), [("Require", "Failed", []), ("Warn", "Pending", ["demo-train"])])
def test_what_does_not_fit(fit: str, phase: str, created: list[str]) -> None:
    decision = judge(custom(preflight={"fit": fit}), SITUATIONS["does not fit"])
    assert decision.status["phase"] == phase
    assert [obj["metadata"]["name"] for obj in decision.create] == created
    assert "Needs 14.0 of 12.0 GiB." in condition(decision, "Preflighted")["message"]
    assert ("DoesNotFit", True) in [(event.reason, event.warning) for event in decision.events]
    assert decision.status["preflight"]["fit"] == "DoesNotFit"
    if fit == "Require":
        assert decision.status["failure"]["reason"] == "DoesNotFit"
        assert condition(decision, "Succeeded")["status"] == "False"


@pytest.mark.parametrize("fit", ["Tight", "Unknown"])
def test_a_tight_or_unknown_fit_is_trained(fit: str) -> None:
    assert judge(custom(preflight={}), checked(fit=fit)).create


def test_a_failed_preflight_ends_the_job() -> None:
    decision = judge(custom(preflight={}), check_failed())
    assert decision.create == ()
    assert decision.status["failure"] == {"reason": "MalformedRow", "message": "line 17", "exitCode": 65, "pod": "c1"}
    assert condition(decision, "Preflighted")["reason"] == "MalformedRow"
    later = judge(custom(decision.status, preflight={}))
    assert (later.create, later.status) == ((), decision.status)


@pytest.mark.parametrize(("wanted", "is_so"), [(True, False), (False, True)])
def test_suspend_is_passed_on_to_the_preflight(wanted: bool, is_so: bool) -> None:
    observed = Observed(preflight=JobObservation(job("demo-preflight", suspend=is_so)))
    decision = judge(custom(suspend=wanted, preflight={}), observed)
    assert [(patch.ref.name, patch.body) for patch in decision.patch] == [
        ("demo-preflight", {"spec": {"suspend": wanted}})
    ]


def test_a_missing_input_found_after_the_preflight_keeps_what_it_found() -> None:
    spec: Object = {"preflight": {}, "baseModel": {"uri": "pvc://models/tiny"}}
    decision = judge(custom(**spec), replace(checked(), inputs=Inputs(claims={"models": None})))
    assert decision.create == ()
    assert condition(decision, "Accepted")["reason"] == "ClaimNotFound"
    assert condition(decision, "Preflighted")["status"] == "True"


def test_a_registry_without_a_server_is_refused() -> None:
    spec = {"tracking": {"registeredModel": "support"}}
    assert "spec.tracking.uri" in condition(judge(custom(**spec)), "Accepted")["message"]
    assert decide(custom(**spec), Observed(), NOW, Settings(tracking_uri="http://mlflow:5000")).create


@pytest.mark.walk("W1")
def test_rows_that_changed_end_the_job_with_their_own_reason() -> None:
    said = failure_summary(65, "DataChanged", "the rows at s3://data/x have changed: abab and is cdcd now")
    dead = pod("p1", phase="Failed", started=True, init={"prepare": {"terminated": {"exitCode": 65, "message": said}}})
    ended = job(final="Failed", reason="PodFailurePolicy", failed=1)
    decision = judge(custom(), Observed(run=JobObservation(ended, (dead,))))
    failure = decision.status["failure"]
    assert (decision.status["phase"], failure["reason"], failure["exitCode"]) == ("Failed", "DataChanged", 65)
    assert "abab and is cdcd now" in condition(decision, "Succeeded")["message"]
    assert condition(decision, "Succeeded")["reason"] == Reason.DATA_CHANGED


EVALUATED = {"evaluation": {"dataset": {"uri": "configmap://items/test.jsonl"}}}
STUCK = waiting("CreateContainerConfigError", 'secret "kubetune-object-store" not found')


@pytest.mark.walk("C9")
@pytest.mark.walk("W13")
@pytest.mark.parametrize(
    ("spec", "inputs", "reason", "words"),
    [
        ({}, Inputs(missing_secrets=frozenset(["kubetune-object-store"])), "SecretNotFound", "kubetune-object-store"),
        (EVALUATED, Inputs(config_maps={"items": None}), "ConfigMapNotFound", "spec.evaluation.dataset.uri"),
        (EVALUATED, Inputs(config_maps={"items": frozenset("a")}), "ConfigMapNotFound", "no key test.jsonl"),
    ],
)
@pytest.mark.parametrize("fit", ["Require", "Skip"])
def test_what_is_missing_holds_no_pod(fit: str, spec: Any, inputs: Inputs, reason: str, words: str) -> None:
    decision = judge(custom(**spec, preflight={"fit": fit}), Observed(inputs=inputs))
    assert (decision.create, decision.requeue_after) == ((), 5.0)
    accepted = condition(decision, "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", reason)
    assert words in accepted["message"]


@pytest.mark.walk("W13")
@pytest.mark.parametrize(
    "observed", [check_failed(66), check_failed(77), checking(node="n", containers={"preflight": STUCK})]
)
def test_nothing_is_accepted_above_what_a_pod_found_missing(observed: Observed) -> None:
    decision = judge(custom(preflight={}), observed)
    accepted, summary = condition(decision, "Accepted"), condition(decision, "Succeeded")
    assert accepted["status"] == "False"
    assert accepted["reason"] == summary["reason"]


def test_what_no_node_can_take_is_told_while_it_is_checked() -> None:
    hardware = Hardware((gpu_node("pc", count=0),))
    decision = judge(custom(preflight={}, resources={"memory": "100Ti"}), replace(checking(), hardware=hardware))
    scheduled = condition(decision, "Scheduled")
    assert (scheduled["status"], scheduled["reason"]) == ("False", "NoSuitableNode")
    assert "spec.resources.memory asks for 100Ti" in scheduled["message"]


def test_the_preflight_names_the_secrets_of_what_comes_after_it() -> None:
    """Where nobody may ask for them, its pod tells of one that is missing before anything is trained."""
    spec: dict[str, Any] = {
        "credentials": {"huggingFaceSecret": "token"},
        "evaluation": {"dataset": {"uri": "hf://a/b"}},
    }
    container = judge(custom(preflight={}, **spec)).create[0]["spec"]["template"]["spec"]["containers"][0]
    named = [one["valueFrom"]["secretKeyRef"]["name"] for one in container["env"] if "valueFrom" in one]
    assert "token" in named
