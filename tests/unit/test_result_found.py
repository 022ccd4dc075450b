"""A result that is in the object store already: taken, with its date, and nothing is trained."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from kubetune.finetunejob.api import FineTuneJob
from kubetune.finetunejob.job.config import build_config
from kubetune.finetunejob.job.uris import results_uri
from kubetune.finetunejob.queue.eligibility import wants_to_start
from kubetune.runs.read import JobObservation
from kubetune.settings import Settings
from kubetune_contract import ContractError, PreflightSummary, TrainSummary, from_json
from tests.support.objects import EVALUATION, finetunejob, found_summary
from tests.support.situations import (
    NOW,
    SETTINGS,
    SITUATIONS,
    checked,
    condition,
    custom,
    judge,
    running,
    succeeded,
)

Object = dict[str, Any]
DATE = "2025-06-15T15:06:40Z"
FOUND = SITUATIONS["result found"]


@pytest.mark.law("L11", "F12")
def test_a_job_without_status_takes_the_result_that_its_preflight_finds() -> None:
    """Restored from a backup, or made anew from Git: no training Job, no place, no GPU."""
    decision = judge(custom(preflight={}), FOUND)
    status = decision.status
    assert (decision.create, decision.patch, decision.delete) == ((), (), ())
    assert (status["phase"], status["attempts"]) == ("Succeeded", 0)
    assert status["completionTime"] == "2026-01-01T00:00:00Z"
    assert "startTime" not in status
    said = condition(decision, "Succeeded")
    assert (said["status"], said["reason"]) == ("True", "ResultFound")
    for words in ("Nothing was trained", DATE, "s3://kubetune/x/adapter", "spec.rerun"):
        assert words in said["message"]
    assert condition(decision, "Finished")["status"] == "True"
    assert condition(decision, "Preflighted")["reason"] == "ResultFound"
    for name in ("Scheduled", "Running"):
        assert (condition(decision, name)["status"], condition(decision, name)["reason"]) == ("False", "ResultFound")
    assert [(event.reason, event.warning) for event in decision.events] == [("ResultFound", False)]


@pytest.mark.law("L11", "F12")
def test_all_of_the_result_is_taken() -> None:
    status = judge(custom(preflight={}), FOUND).status
    assert status["artifact"]["uri"] == "s3://kubetune/x/adapter"
    assert status["artifact"]["manifestSHA256"] == "ab" * 32
    assert (status["results"]["steps"], status["results"]["runSHA256"]) == (50, "34" * 32)
    assert status["results"]["trainedTime"] == DATE
    assert status["mlflowRunID"] == "run-1"
    assert status["progress"]["display"] == "100% 50/50"
    assert status["effective"]["hyperparameters"]["numTrainEpochs"] == 4.0, "what the number of rows decides"
    assert "cost" not in status, "nothing was spent"


def test_it_asks_for_no_place() -> None:
    assert not wants_to_start(custom(preflight={}), FOUND, SETTINGS)
    assert wants_to_start(custom(preflight={}), checked(), SETTINGS)


def test_its_evaluation_follows() -> None:
    spec: Object = {"preflight": {}, "evaluation": EVALUATION}
    first = judge(custom(**spec), FOUND)
    assert (first.create, first.requeue_after) == ((), 0.0)
    second = judge(custom(first.status, **spec))
    assert [obj["kind"] for obj in second.create] == ["Evaluation"]
    assert second.status["evaluationRef"] == {"name": "demo"}


@pytest.mark.law("L11", "F12")
def test_without_a_preflight_the_trainings_pod_finds_it() -> None:
    """fit: Skip. The pod has run, so that it counts; what it had cost until then stays."""
    cost = {"activeSeconds": 10.0, "gpuSeconds": 0.0, "reportedSeconds": 10.0}
    decision = judge(custom({"cost": cost}), succeeded(found_summary(activeSeconds=3600.0)))
    assert condition(decision, "Succeeded")["reason"] == "ResultFound"
    assert (decision.status["attempts"], decision.status["cost"]["activeSeconds"]) == (1, 10.0)
    assert decision.status["results"]["trainedTime"] == DATE
    trained = judge(custom(), succeeded())
    assert condition(trained, "Succeeded")["reason"] == "Completed"
    assert "trainedTime" not in trained.status["results"]


def test_a_training_under_way_is_not_ended_by_it() -> None:
    decision = judge(custom(preflight={}), replace(running(), preflight=FOUND.preflight))
    assert (decision.status["phase"], decision.patch, decision.delete) == ("Running", (), ())


@pytest.mark.parametrize(
    "said",
    [
        found_summary(artifact={"uri": "s3://x", "kind": "adapter", "manifestSha256": "ab", "bytes": -1}),
        found_summary(found=None),
        found_summary(found={"at": 1e300, "uid": "x"}),
    ],
)
def test_a_result_that_cannot_be_is_not_taken(said: str) -> None:
    status = judge(custom(preflight={}), checked(said)).status
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "ResultLost")


@pytest.mark.law("L8")
def test_an_odd_figure_about_it_stops_nothing() -> None:
    """A date that cannot be tells nothing of when; settings that cannot be are left out."""
    odd = {"at": 1e300, "uid": "x"}
    ended = judge(custom(), succeeded(found_summary(found=odd)))
    assert (ended.status["phase"], condition(ended, "Succeeded")["reason"]) == ("Succeeded", "Completed")
    settings = {"reason": "", "numTrainEpochs": -1.0}
    taken = judge(custom(preflight={}), checked(found_summary(found={"at": 1.0, "uid": "x", "settings": settings})))
    assert condition(taken, "Succeeded")["reason"] == "ResultFound"
    assert taken.status["effective"]["hyperparameters"]["numTrainEpochs"] == 3.0


def test_neither_summary_is_taken_for_the_other() -> None:
    with pytest.raises(ContractError, match="fit"):
        from_json(PreflightSummary, json.loads(found_summary()))
    with pytest.raises(ContractError, match="artifact"):
        from_json(TrainSummary, json.loads(str(_said(checked().preflight))))


def _said(observation: JobObservation) -> str:
    (pod,) = observation.pods
    message: str = pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"]
    return message


def owned(namespace: str = "a", name: str = "demo", **spec: Any) -> FineTuneJob:
    raw = finetunejob(name, namespace, **spec)
    raw["metadata"] |= {"uid": f"{namespace}-uid", "generation": 1}
    return FineTuneJob.parse(raw)


@pytest.mark.law("L11", "F12")
def test_every_namespace_and_name_has_an_index_of_its_own() -> None:
    shared: Object = {"output": {"uri": "s3://mine/runs/"}}
    assert results_uri(owned(), SETTINGS) == "s3://kubetune/finetunejobs/a/demo/results"
    assert results_uri(owned(**shared), SETTINGS) == "s3://mine/runs/results/a/demo"
    specs: tuple[Object, ...] = ({}, shared)
    jobs = [owned(namespace, name, **spec) for namespace in "ab" for name in ("demo", "other") for spec in specs]
    assert len({results_uri(job, SETTINGS) for job in jobs}) == len(jobs)


@pytest.mark.law("L11", "F12")
def test_the_pods_are_told_where_to_look_and_what_sets_the_run_apart() -> None:
    config = build_config(owned(rerun="2"), Settings())
    assert (config.results, config.rerun) == ("s3://kubetune/finetunejobs/a/demo/results", "2")
    assert build_config(owned(), Settings()).rerun is None


def test_feeding_the_result_back_changes_nothing() -> None:
    status = judge(custom(preflight={}), FOUND).status
    again = judge(custom(status, preflight={}), now=NOW.replace(year=2027))
    assert (again.status, again.events, again.create) == (status, (), ())
