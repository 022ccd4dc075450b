"""What is promised of the operator's statuses and rights, a row each, and the tests that show it.

A test carries the rows that it shows (``@pytest.mark.law("L1", "F1")``). ``python -m tests.run operator`` runs them
all and prints every row with the number of tests that passed. L is a law; F is a fault that a review has found, and
its test failed before it was mended.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

LAWS = {
    "L1": "what was computed is recorded first; a refusal is a condition over it, never a return to an older status",
    "L2": "a status says what is true now: old Events, ignored failures and pauses neither win nor erase",
    "L3": "the gate compares contents: a folder overwritten after its Go is another model",
    "L4": "a version that was admitted is served from files that nobody overwrites, or not at all",
    "L5": "data that cannot prove anything is refused when it is applied",
    "L6": "operator settings and a helm upgrade restart no served model",
    "L7": "any character can stand in a status; one that the API server refuses ends in a smaller one",
    "L8": "nothing that a pod says can stop its object's reconcile",
    "L9": "a status of a newer or older release is read as far as it goes, and never overwritten by a refusal",
    "L10": "a helper that ends or hangs shows in /healthz and ends the process",
    "L11": "a training whose status is gone finds its result and does not train again; spec.rerun does",
    "L12": "two operators never act at once",
    "L13": "what decides about places and budgets is stored, and not read back from a message",
    "L14": "asking a running pod asks nothing of the API server, and progress shares ten status writes a second",
    "L15": "a read that is behind changes nothing, ends nothing and loses nothing",
    "F1": "a finished training is recorded though its Evaluation cannot be created",
    "F2": "a changed operator setting leaves every served pod alone",
    "F3": "a verdict counts for the files that were measured only",
    "F4": "evaluating on the training data, or for a gain that no metric can reach, is refused",
    "F5": "a pod failure that the policy ignores does not freeze the status",
    "F6": "an Event older than the newest pod is not told any more",
    "F7": "progress, loss and the last checkpoint stay on show through suspension, queue and failure",
    "F8": "observedGeneration moves on finished objects, too",
    "F9": "the resync goes on after any error, and its age shows in /healthz",
    "F10": "one odd figure from a pod stops nothing",
    "F11": "a reference to an object that cannot be read is told",
    "F12": "a lost status does not cost a second training",
    "F13": "a job over its budget does not keep younger ones from the queue",
    "F14": "the Kubernetes versions that are promised work",
    "F15": "pull secrets reach every pod",
    "F16": "scratch space is asked for and limited",
    "F17": "finished Jobs and their pods go after a time, once their result is on record",
    "F18": "the operator's rights are those of the calls it makes",
    "F19": "a HorizontalPodAutoscaler finds a selector",
    "F20": "Argo CD's health is right for every refused spec",
    "F21": "status.effective is what the run really has",
    "F22": "a second operator waits",
    "F23": "a deadline does not begin again when its Job is deleted by hand",
    "F24": "MLflow can be used with credentials from a Secret",
    "F25": "a long answer of a pod is read to its end",
    "F26": "a small gain is shown with the digits that tell it from nothing",
    "F27": "an object whose deletion nobody told is forgotten",
    "F28": "a quota that asks for a CPU limit is explained",
    "F29": "progress of a training wakes nobody who waits for its end",
    "F30": "the chart's notes and values work as they are printed",
    "F31": "counters are counters, and one thing has one name",
    "F32": "an optimizer that a CPU can run is not said to need a GPU",
}


ELSEWHERE = {"F32": "tests/trainer/test_methods.py, in the trainer's image"}
"""Rows whose tests need more than this stage has."""


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Puts the rows of every test among the properties that its report carries."""
    for item in items:
        rows = [row for mark in item.iter_markers("law") for row in mark.args]
        unknown = set(rows) - LAWS.keys()
        if unknown:
            raise pytest.UsageError(f"{item.nodeid} shows {sorted(unknown)}, which tests/support/laws.py does not know")
        item.user_properties += [("law", row) for row in rows]


def told(shown: Iterable[str]) -> list[str]:
    """A line for each row; ``shown`` has a row once for every test of it that has passed."""
    counts = dict.fromkeys(LAWS, 0)
    for row in shown:
        counts[row] += 1
    return [f"{row}: {LAWS[row]} ({_by(row, count)})" for row, count in counts.items()]


def _by(row: str, count: int) -> str:
    tests = f"{count} test{'' if count == 1 else 's'}"
    return tests if count else ELSEWHERE.get(row, "NO test")
