"""activeDeadlineSeconds over suspensions, by a real Job controller; the tests write what a kubelet would."""

from __future__ import annotations

import time

import pytest
from aiohttp import web

from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.objects import finetunejob
from tests.support.operator import Operator
from tests.support.points import Record
from tests.support.proxy import Proxy

pytestmark = pytest.mark.usefixtures("operator")

LIMIT = 12
JOB = "demo-train"


def run(kube: Kube, kubelet: Kubelet) -> str:
    pod = kubelet.pod_of(JOB)
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Running")
    return pod


def wait_stopped(kube: Kube, kubelet: Kubelet, pod: str, seconds: float = 20) -> None:
    wait_for(lambda: "deletionTimestamp" in kube.must("pod", pod)["metadata"], seconds, lambda: "not stopped")
    kubelet.finish_deletion(pod)


def left(kube: Kube) -> int:
    seconds: int = kube.must("job", JOB)["spec"]["activeDeadlineSeconds"]
    return seconds


def test_a_deadline_does_not_begin_again(kube: Kube, kubelet: Kubelet, record_property: Record) -> None:
    kube.create("finetunejob", finetunejob(activeDeadlineSeconds=LIMIT))
    pod = run(kube, kubelet)
    time.sleep(5)
    kube.patch("finetunejob", "demo", {"spec": {"suspend": True}})
    wait_stopped(kube, kubelet, pod)
    kube.wait_phase("finetunejob", "demo", "Suspended")
    rest = left(kube)
    assert LIMIT - 9 <= rest <= LIMIT - 5
    assert kube.status("finetunejob", "demo")["activeSeconds"] == LIMIT - rest
    time.sleep(LIMIT - 5)
    assert kube.status("finetunejob", "demo")["phase"] == "Suspended", "it does not count while it is suspended"

    kube.patch("finetunejob", "demo", {"spec": {"suspend": False}})
    pod = run(kube, kubelet)
    resumed = time.monotonic()
    wait_stopped(kube, kubelet, pod)
    ran = time.monotonic() - resumed
    assert ran < LIMIT - 3, "Kubernetes alone would have begun again"
    failure = kube.wait_phase("finetunejob", "demo", "Failed")["failure"]
    assert failure["reason"] == "DeadlineExceeded"
    assert f"activeDeadlineSeconds ({LIMIT})" in failure["message"]
    assert f"{LIMIT - rest}s of it before it was last resumed" in failure["message"]
    record_property(
        "point",
        f"deadline of {LIMIT} s over a suspension of {LIMIT - 5} s: {LIMIT - rest} s used before it, stopped "
        f"{ran:.0f} s after it",
    )


def test_it_survives_the_operators_death_after_the_patch(
    kube: Kube, kubelet: Kubelet, operator: Operator, proxy: Proxy
) -> None:
    """Suspended, and killed before the status tells: what is left is in the very patch that suspended."""

    def writes_status(request: web.Request) -> bool:
        return (
            request.method == "PATCH" and f"/namespaces/{kube.namespace}/" in request.path and "/status" in request.path
        )

    kube.create("finetunejob", finetunejob(activeDeadlineSeconds=LIMIT * 100))
    pod = run(kube, kubelet)
    time.sleep(3)
    fault = proxy.fault(writes_status, 500, times=1000)
    kube.patch("finetunejob", "demo", {"spec": {"suspend": True}})
    wait_for(lambda: kube.must("job", JOB)["spec"]["suspend"], 10, lambda: "not suspended")
    operator.kill()
    fault.times = 0
    rest = left(kube)
    assert LIMIT * 100 - 8 <= rest <= LIMIT * 100 - 3
    wait_stopped(kube, kubelet, pod)
    operator.start()
    operator.wait_ready()
    kube.wait_phase("finetunejob", "demo", "Suspended")
    assert left(kube) == rest, "it is not counted twice"
    assert kube.status("finetunejob", "demo")["activeSeconds"] == LIMIT * 100 - rest
    kube.patch("finetunejob", "demo", {"spec": {"suspend": False}})
    run(kube, kubelet)
    assert left(kube) == rest
