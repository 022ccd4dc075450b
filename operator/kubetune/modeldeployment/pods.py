"""The server's pods, read one by one and as the rollout sees them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kubetune.common.conditions import ConditionStatus, Fact
from kubetune.common.doubt import believed, read
from kubetune.common.job_status import Failure
from kubetune.common.reasons import Shared
from kubetune.workload.explain import explain_waiting, failure_of
from kubetune.workload.fingerprint import SPEC_HASH
from kubetune.workload.pods import condition, container_statuses
from kubetune.workload.secrets import name_secret
from kubetune_contract import Contents, ExitCode, FetchSummary

from .api import Reason
from .resources import ENGINE, FETCH, VERSION_LABEL
from .rollout import LOAD_ATTEMPTS, Loading

Object = dict[str, Any]


@dataclass(frozen=True)
class ServerPod:
    """One pod that is not being deleted."""

    name: str
    version: str
    template: str
    """Digest of the template it was made from."""
    loaded: bool
    """Model and adapter are fetched and the engine has answered its start-up probe."""
    ready: bool
    failed_starts: int
    """How often a container of it has died."""
    is_stuck: bool
    """Whether it cannot come up as it is: no image, or three times no files. An engine that has died says nothing of
    the kind, as its starts are counted over the pod's whole life."""
    fact: Fact
    """Where it is, or why it is not further."""
    failure: Failure | None
    """The last death of a container, while the pod has not loaded since."""
    contents: Contents
    """What its folders held when they were fetched, as far as they were looked at."""


def read_pods(
    pods: Iterable[Object], warnings: Iterable[Object], placement: Fact | None = None
) -> tuple[ServerPod, ...]:
    """``warnings`` are Events about any of the pods, ``placement`` says why those on no node are there. Pods that are
    being deleted are left out."""
    events = tuple(warnings)
    return tuple(
        _read(pod, _about(pod, events), placement)
        for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))
        if not pod["metadata"].get("deletionTimestamp")
    )


def loading_of(pods: Iterable[ServerPod], version: str, template: str) -> Loading:
    """How ``version`` fares; starts are counted for pods of the present template only.

    A store that does not answer is no fault of the version.
    """
    mine = [pod for pod in pods if pod.version == version]
    own = [pod for pod in mine if not pod.failure or pod.failure.exit_code != ExitCode.UNAVAILABLE]
    worst = max((pod for pod in own if pod.template == template), key=lambda pod: pod.failed_starts, default=None)
    present = [pod for pod in mine if pod.template == template]
    failure = worst.failure if worst else None
    return Loading(
        answers=any(pod.ready for pod in mine),
        has_loaded=any(pod.ready for pod in present),
        failed_starts=worst.failed_starts if worst else 0,
        is_refused=failure is not None and failure.exit_code == ExitCode.CHANGED,
        problem=failure.message if failure else "",
        reason=failure.reason if failure else "",
        is_stuck=not any(pod.ready for pod in mine) and any(pod.is_stuck for pod in present),
    )


def is_unstarted(pod: Object) -> bool:
    """Whether no container of it has begun, so that only Events can say what is wrong."""
    states = [status.get("state") or {} for status in container_statuses(pod)]
    return not any("running" in state or "terminated" in state for state in states)


def _about(pod: Object, events: Iterable[Object]) -> list[Object]:
    uid = pod["metadata"].get("uid")
    return [event for event in events if event.get("involvedObject", {}).get("uid") == uid]


def _read(pod: Object, warnings: list[Object], placement: Fact | None) -> ServerPod:
    metadata, statuses = pod["metadata"], container_statuses(pod)
    loaded = bool(_engine(statuses).get("started"))
    failure = None if loaded else _failure(pod, statuses)
    fact = _progress(pod, statuses, failure) or explain_waiting(pod, warnings, placement)
    if fact.reason == "Preparing":
        text = f"Node {pod['spec'].get('nodeName')} is fetching image and model."
        fact = Fact(ConditionStatus.FALSE, Reason.FETCHING, text)
    return ServerPod(
        name=metadata["name"],
        version=metadata.get("labels", {}).get(VERSION_LABEL, ""),
        template=metadata.get("annotations", {}).get(SPEC_HASH, ""),
        loaded=loaded,
        ready=(condition(pod, "Ready") or {}).get("status") == "True",
        failed_starts=sum(status.get("restartCount", 0) for status in statuses),
        is_stuck=fact.reason == Shared.IMAGE_PULL_FAILED or (failure is not None and _failed_fetches(statuses)),
        fact=fact,
        failure=failure,
        contents=_contents(statuses),
    )


def _contents(statuses: list[Object]) -> Contents:
    """From the fetch step's last words, as far as they can be believed."""
    ended = next((status.get("state") or {} for status in statuses if status["name"] == FETCH), {})
    summary = read(FetchSummary, (ended.get("terminated") or {}).get("message"))
    return believed((summary and summary.contents) or Contents())


def _failed_fetches(statuses: list[Object]) -> bool:
    fetch = next((status for status in statuses if status["name"] == FETCH), {})
    return not _has_recovered(fetch) and fetch.get("restartCount", 0) >= LOAD_ATTEMPTS


def _engine(statuses: list[Object]) -> Object:
    return next((status for status in statuses if status["name"] == ENGINE), {})


def _progress(pod: Object, statuses: list[Object], failure: Failure | None) -> Fact | None:
    """Where a pod is that got as far as running something; None before that."""
    engine = _engine(statuses)
    if engine.get("started"):
        return Fact(ConditionStatus.TRUE, Reason.LOADED, f"Pod {pod['metadata']['name']} has loaded it.")
    if failure:
        where = f" {_where_to_read(pod, engine)}" if failure.reason == Reason.ENGINE_FAILED else ""
        return Fact(ConditionStatus.FALSE, failure.reason, f"{failure.message}{where}")
    if "running" in (engine.get("state") or {}):
        text = f"The engine on node {pod['spec'].get('nodeName')} is loading the model."
        return Fact(ConditionStatus.FALSE, Reason.LOADING, text)
    return None


def _failure(pod: Object, statuses: list[Object]) -> Failure | None:
    for status in statuses:
        failure = failure_of(status, "state") or failure_of(status, "lastState")
        if failure is None or _has_recovered(status):
            continue
        # An engine that dies without a word of ours is vLLM's own failure: its last log lines are the message.
        reason = Reason.ENGINE_FAILED if status["name"] == ENGINE and failure.reason == "Error" else failure.reason
        said = {"reason": str(reason), "message": name_secret(failure.message, pod), "pod": pod["metadata"]["name"]}
        return failure.model_copy(update=said)
    return None


def _where_to_read(pod: Object, engine: Object) -> str:
    """The command that shows the dead engine's whole log; the next one has begun a log of its own."""
    previous = "" if "terminated" in (engine.get("state") or {}) else " --previous"
    metadata = pod["metadata"]
    return f"All it said: kubectl logs -n {metadata['namespace']} {metadata['name']} -c {ENGINE}{previous}"


def _has_recovered(status: Object) -> bool:
    """An init container that got through at last."""
    terminated = (status.get("state") or {}).get("terminated") or {}
    return terminated.get("exitCode") == 0
