"""Which events lead to a look, and which are known already."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kubetune.registry import turns
from kubetune.runtime.arrivals import LIMIT, Arrivals
from kubetune.runtime.controller import ANY, Key
from kubetune.runtime.intake import Intake
from kubetune.runtime.inventory import Inventory
from kubetune.runtime.queue import WorkQueue
from kubetune.runtime.references import References
from kubetune.runtime.seen import Seen

Object = dict[str, Any]
DEMO = Key("FineTuneJob", "ns", "demo")


class Bench:
    def __init__(self) -> None:
        self.queue: WorkQueue[Key] = WorkQueue(lambda: 0.0)
        self.seen = Seen()
        self.references = References()
        self.inventory = Inventory(["FineTuneJob", "Evaluation"])
        self.gone: list[Key] = []
        self.intake = Intake(self.queue, self.seen, self.references, self.inventory, self.gone.append, turns=turns)

    def keys(self) -> set[Key]:
        """Takes what is in line."""
        found = set(self.queue._dirty)
        self.queue = self.intake._queue = WorkQueue(lambda: 0.0)
        return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


def custom(version: int, **status: Any) -> Object:
    metadata = {"namespace": "ns", "name": "demo", "uid": "u1", "resourceVersion": str(version)}
    return {"metadata": metadata, "status": status}


def job(version: int, **status: Any) -> Object:
    labels = {"kubetune.io/finetunejob": "demo"}
    metadata = {"namespace": "ns", "name": "demo-train", "uid": "j1", "resourceVersion": str(version), "labels": labels}
    return {"metadata": metadata, "spec": {}, "status": status}


def test_a_new_custom_resource_is_looked_at(bench: Bench) -> None:
    bench.intake.custom("FineTuneJob", "ADDED", custom(5))
    assert bench.keys() == {DEMO}


def test_the_echo_of_our_own_write_is_not(bench: Bench) -> None:
    bench.seen.note_custom(custom(7))
    bench.intake.custom("FineTuneJob", "MODIFIED", custom(7))
    bench.intake.custom("FineTuneJob", "ADDED", custom(5))
    assert bench.keys() == set()
    bench.intake.custom("FineTuneJob", "MODIFIED", custom(8))
    assert bench.keys() == {DEMO}


def test_a_deleted_one_is_forgotten_and_made_again_is_new(bench: Bench) -> None:
    bench.seen.note_custom(custom(7))
    bench.intake.custom("FineTuneJob", "DELETED", custom(9))
    assert (bench.keys(), bench.gone) == (set(), [DEMO])
    bench.intake.custom("FineTuneJob", "ADDED", custom(6))
    assert bench.keys() == {DEMO}


def test_a_new_one_is_kept_until_it_is_looked_at(bench: Bench) -> None:
    bench.intake.custom("FineTuneJob", "ADDED", custom(5))
    bench.intake.custom("FineTuneJob", "MODIFIED", custom(6))
    taken = bench.seen.arrivals.take(DEMO)
    assert taken is not None
    assert taken["metadata"]["resourceVersion"] == "6"
    assert bench.seen.arrivals.take(DEMO) is None


@pytest.mark.parametrize(
    ("event", "obj"),
    [("DELETED", custom(6)), ("MODIFIED", custom(6, phase="Pending"))],
    ids=["deleted", "worked on by somebody"],
)
def test_a_new_one_is_dropped_when_it_is_not_new_any_more(bench: Bench, event: str, obj: Object) -> None:
    bench.intake.custom("FineTuneJob", "ADDED", custom(5))
    bench.intake.custom("FineTuneJob", event, obj)
    assert bench.seen.arrivals.take(DEMO) is None


def test_a_late_event_about_what_was_looked_at_is_not_kept(bench: Bench) -> None:
    bench.seen.note_custom(custom(7))
    bench.intake.custom("FineTuneJob", "ADDED", custom(5))
    assert bench.seen.arrivals.take(DEMO) is None


def test_new_ones_are_kept_up_to_a_limit_and_without_their_history() -> None:
    arrivals = Arrivals()
    for index in range(LIMIT + 1):
        obj = custom(5)
        obj["metadata"]["managedFields"] = [{"manager": "kubectl"}]
        arrivals.note(Key("FineTuneJob", "ns", str(index)), obj)
    assert arrivals.take(Key("FineTuneJob", "ns", str(LIMIT))) is None
    first = arrivals.take(Key("FineTuneJob", "ns", "0"))
    assert first is not None
    assert first["metadata"] == custom(5)["metadata"]


def test_referrers_are_looked_at_too(bench: Bench) -> None:
    evaluation = Key("Evaluation", "ns", "proof")
    bench.references.set(evaluation, [DEMO])
    bench.seen.note_custom(custom(7))
    bench.intake.custom("FineTuneJob", "MODIFIED", custom(7))
    assert bench.keys() == {evaluation}
    bench.references.set(evaluation, [])
    bench.intake.custom("FineTuneJob", "MODIFIED", custom(7))
    assert bench.keys() == set()


PROGRESS: Object = {"progress": {"step": 3}, "cost": {"amount": 1.0}, "suggestions": [{"reason": "X"}]}
SUCCEEDED: Object = {"type": "Succeeded", "status": "Unknown", "reason": "Training", "message": "Pod p trains."}


@pytest.mark.parametrize(
    ("status", "is_woken"),
    [
        (PROGRESS, False),
        ({"conditions": [SUCCEEDED | {"reason": "Saving", "message": "Pod p saves a checkpoint."}]}, False),
        ({"conditions": [SUCCEEDED | {"status": "True"}]}, True),
        ({"conditions": [SUCCEEDED | {"status": "False", "message": "It failed."}]}, True),
        ({"artifact": {"uri": "s3://a/b"}}, True),
        ({"phase": "Failed"}, True),
    ],
    ids=["progress", "what its pod does", "succeeded", "failed", "an artifact", "another phase"],
)
@pytest.mark.law("F29")
def test_who_refers_to_it_is_woken_by_what_matters_there(bench: Bench, status: Object, is_woken: bool) -> None:
    evaluation = Key("Evaluation", "ns", "proof")
    bench.references.set(evaluation, [DEMO])
    before: Object = {"phase": "Running", "conditions": [SUCCEEDED]}
    bench.intake.custom("FineTuneJob", "MODIFIED", custom(7, **before))
    bench.keys()
    bench.seen.note_custom(custom(8))
    bench.intake.custom("FineTuneJob", "MODIFIED", custom(8, **(before | status)))
    assert bench.keys() == ({evaluation} if is_woken else set())
    bench.intake.custom("FineTuneJob", "DELETED", custom(9, **(before | status)))
    assert bench.keys() == {evaluation}, "a deletion always matters"


@pytest.mark.law("F27")
def test_what_is_kept_about_children_goes_with_their_owner(bench: Bench) -> None:
    bench.intake.child("ADDED", job(1))
    assert bench.seen.known_keys() == {DEMO}
    bench.seen.forget_key(DEMO)
    assert bench.seen.known_keys() == set()
    bench.intake.refusal("ADDED", {"involvedObject": {"uid": "j1"}})
    assert bench.keys() == set()


def test_a_child_that_is_gone_is_forgotten(bench: Bench) -> None:
    bench.intake.child("ADDED", job(1))
    bench.intake.child("DELETED", job(2))
    assert bench.seen.known_keys() == set()


def test_a_child_nothing_has_happened_to_is_no_news(bench: Bench) -> None:
    bench.intake.child("ADDED", job(1))
    assert bench.keys() == set()


@pytest.mark.parametrize(
    "status", [{"active": 1}, {"active": 1, "ready": 0}, {"startTime": "2026-01-01T00:00:00Z"}, {"terminating": 0}]
)
def test_counts_of_the_job_controller_are_no_news(bench: Bench, status: Object) -> None:
    bench.seen.note_child(job(1))
    bench.intake.child("MODIFIED", job(2, **status))
    assert bench.keys() == set()


def test_a_failed_pod_is_news_once(bench: Bench) -> None:
    bench.seen.note_child(job(1))
    bench.intake.child("MODIFIED", job(2, failed=1))
    assert bench.keys() == {DEMO}
    bench.intake.child("MODIFIED", job(2, failed=1))
    bench.intake.child("MODIFIED", job(3, failed=1, active=1))
    assert bench.keys() == set()


def test_times_alone_are_no_news(bench: Bench) -> None:
    def with_time(text: str) -> Object:
        return {"conditions": [{"type": "Failed", "status": "True", "lastProbeTime": text}]}

    bench.intake.child("MODIFIED", job(2, **with_time("a")))
    assert bench.keys() == {DEMO}
    bench.intake.child("MODIFIED", job(3, **with_time("b")))
    assert bench.keys() == set()


def test_a_deleted_child_is_news(bench: Bench) -> None:
    bench.seen.note_child(job(1))
    bench.intake.child("DELETED", job(2))
    assert bench.keys() == {DEMO}


def test_a_child_being_deleted_is_news(bench: Bench) -> None:
    bench.seen.note_child(job(1))
    ending = copy.deepcopy(job(2))
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    bench.intake.child("MODIFIED", ending)
    assert bench.keys() == {DEMO}


def test_an_unlabelled_object_concerns_nobody(bench: Bench) -> None:
    stranger = job(1, failed=1)
    del stranger["metadata"]["labels"]
    bench.intake.child("MODIFIED", stranger)
    assert bench.keys() == set()


def test_a_refused_pod_leads_to_the_owner_of_its_job(bench: Bench) -> None:
    bench.intake.child("ADDED", job(1))
    bench.intake.refusal("ADDED", {"involvedObject": {"uid": "j1"}})
    assert bench.keys() == {DEMO}
    bench.intake.refusal("ADDED", {"involvedObject": {"uid": "unknown"}})
    assert bench.keys() == set()


def test_phases_are_counted(bench: Bench) -> None:
    bench.intake.custom("FineTuneJob", "ADDED", custom(1))
    assert _gauges(bench) == {"Pending": 1}
    bench.intake.custom("FineTuneJob", "MODIFIED", custom(2, phase="Running"))
    assert _gauges(bench) == {"Running": 1}
    bench.intake.custom("FineTuneJob", "DELETED", custom(3, phase="Running"))
    assert _gauges(bench) == {}


def _gauges(bench: Bench) -> dict[str, float]:
    family = next(f for f in bench.inventory.collect() if f.name == "kubetune_finetunejobs")
    return {sample.labels["phase"]: sample.value for sample in family.samples}


@pytest.mark.parametrize(
    ("before", "event", "after", "is_woken"),
    [
        ("Running", "MODIFIED", "Succeeded", True),
        ("Running", "MODIFIED", "Failed", True),
        ("Running", "MODIFIED", "Suspended", True),
        ("Queued", "MODIFIED", "Pending", True),
        ("Running", "DELETED", "Running", True),
        ("Pending", "MODIFIED", "Running", False),
        ("Running", "MODIFIED", "Running", False),
        ("Suspended", "MODIFIED", "Suspended", False),
        ("Pending", "MODIFIED", "Queued", False),
    ],
)
def test_who_waits_in_line_is_woken_when_there_may_be_room(
    bench: Bench, before: str, event: str, after: str, is_woken: bool
) -> None:
    waiting, elsewhere = Key("FineTuneJob", "ns", "waiting"), Key("FineTuneJob", "other", "waiting")
    for key in (waiting, elsewhere):
        bench.references.set(key, [key._replace(name=ANY)])
    bench.intake.custom("FineTuneJob", "ADDED", custom(5, phase=before))
    bench.keys()
    bench.intake.custom("FineTuneJob", event, custom(6, phase=after))
    found = bench.keys()
    assert (waiting in found) is is_woken
    assert elsewhere not in found
