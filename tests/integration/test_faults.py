"""What the operator survives: a server that refuses, slows down or vanishes, watches that break, its own death."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from aiohttp import web

from tests.cluster import Cluster
from tests.cluster.api import Api
from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.objects import failure_summary, finetunejob, train_summary
from tests.support.operator import Operator
from tests.support.proxy import Matcher, Proxy, write_kubeconfig


def creates(plural: str, namespace: str) -> Matcher:
    return lambda request: request.method == "POST" and request.path.endswith(f"/namespaces/{namespace}/{plural}")


def writes_status(namespace: str) -> Matcher:
    def matches(request: web.Request) -> bool:
        return request.method == "PATCH" and f"/namespaces/{namespace}/" in request.path and "/status" in request.path

    return matches


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (409, "Conflict"),
        (410, "Expired"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
    ],
)
def test_a_refusal_that_passes(kube: Kube, operator: Operator, proxy: Proxy, status: int, reason: str) -> None:
    child = proxy.fault(creates("jobs", kube.namespace), status, times=1, reason=reason)
    own = proxy.fault(writes_status(kube.namespace), status, times=1, reason=reason)
    kube.create("finetunejob", finetunejob())
    kube.wait_exists("job", "demo-train")
    kube.wait_phase("finetunejob", "demo", "Pending")
    assert (child.served, own.served) == (1, 1)
    assert operator.is_ready()


def test_the_servers_wish_to_wait_is_obeyed(kube: Kube, operator: Operator, proxy: Proxy) -> None:
    assert operator.is_ready()
    fault = proxy.fault(creates("jobs", kube.namespace), 429, times=2, reason="TooManyRequests")
    started = time.monotonic()
    kube.create("finetunejob", finetunejob())
    kube.wait_exists("job", "demo-train")
    assert fault.served == 2
    assert time.monotonic() - started >= 2, "Retry-After was 1 s, twice"


@pytest.mark.law("L1")
def test_an_invalid_child_is_reported_not_repeated(kube: Kube, operator: Operator, proxy: Proxy) -> None:
    assert operator.is_ready()
    text = 'Job.batch "demo-train" is invalid: spec.template: nonsense'
    fault = proxy.fault(creates("jobs", kube.namespace), 422, times=100, reason="Invalid", message=text)
    kube.create("finetunejob", finetunejob())
    condition = kube.wait_condition("finetunejob", "demo", "Accepted", "InvalidSpec", seconds=5)
    assert "nonsense" in condition["message"]
    time.sleep(2)
    assert fault.served <= 2


def test_a_missing_permission_is_reported(kube: Kube, operator: Operator, proxy: Proxy) -> None:
    assert operator.is_ready()
    text = 'jobs.batch is forbidden: User "system:serviceaccount:kubetune:operator" cannot create resource "jobs"'
    fault = proxy.fault(creates("jobs", kube.namespace), 403, times=100, reason="Forbidden", message=text)
    kube.create("finetunejob", finetunejob())
    condition = kube.wait_condition("finetunejob", "demo", "Accepted", "CreationRefused", seconds=5)
    assert "cannot create resource" in condition["message"]
    time.sleep(2)
    assert fault.served <= 2


def test_dropped_watches_are_taken_up_again(kube: Kube, kubelet: Kubelet, operator: Operator, proxy: Proxy) -> None:
    assert operator.is_ready()
    kube.create("finetunejob", finetunejob())
    pod = kubelet.pod_of("demo-train")
    assert proxy.drop_watches() >= 7
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Running")
    kube.create("finetunejob", finetunejob("second"))
    kube.wait_exists("job", "second-train")


def test_an_expired_watch_is_listed_again(kube: Kube, operator: Operator, proxy: Proxy) -> None:
    assert operator.is_ready()
    proxy.expire_watches(8)
    proxy.drop_watches()
    wait_for(lambda: proxy.expired == 8, 20, lambda: f"{proxy.expired} watches were opened again")
    kube.create("finetunejob", finetunejob())
    kube.wait_exists("job", "demo-train", seconds=20)


def watches_jobs(request: web.Request) -> bool:
    return request.path.endswith("/apis/batch/v1/jobs") and "watch" in request.query


@pytest.mark.law("L10")
@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize("is_open", [False, True], ids=["at-the-start", "later"])
def test_ends_when_a_watch_is_beyond_repair(
    cluster: Cluster, admin: Api, tmp_path: Path, status: int, *, is_open: bool
) -> None:
    """Alive without watches it would look healthy and do nothing; ended, it is started again by the kubelet."""
    operator = Operator(tmp_path / "kubeconfig", tmp_path / "operator.log", lease_name="of-its-own")
    with Proxy(f"https://{admin.host}:6443", cluster.layout.pki) as own:
        write_kubeconfig(operator.kubeconfig, own.url)
        fault = own.fault(watches_jobs, status, times=0 if is_open else 1)
        operator.start()
        try:
            if is_open:
                wait_for(lambda: own.watches == 8, 20, lambda: f"{own.watches} of 8 watches are open")
                fault.times = 1
                own.drop_watches()
            assert operator.wait_end(15) == 1
        finally:
            operator.kill()
    assert fault.served == 1


def test_killed_and_started_again(kube: Kube, kubelet: Kubelet, operator: Operator) -> None:
    """The run goes on without the operator, and what happened meanwhile is seen afterwards."""
    kube.create("finetunejob", finetunejob())
    pod = kubelet.pod_of("demo-train")
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Running")
    job = kube.must("job", "demo-train")
    operator.kill()
    kube.create("finetunejob", finetunejob("later"))
    kubelet.succeed(pod, train_summary())
    operator.start()
    operator.wait_ready()
    kube.wait_phase("finetunejob", "demo", "Succeeded")
    kube.wait_exists("job", "later-train")
    assert kube.must("job", "demo-train")["metadata"]["uid"] == job["metadata"]["uid"]


def test_killed_between_child_and_status(kube: Kube, operator: Operator, proxy: Proxy) -> None:
    """The Job exists, the status was never written: the next operator finds the one and writes the other."""
    fault = proxy.fault(writes_status(kube.namespace), 500, times=100)
    kube.create("finetunejob", finetunejob())
    job = kube.wait_exists("job", "demo-train")
    wait_for(lambda: fault.served, 10, lambda: "no status write was tried")
    operator.kill()
    fault.times = 0
    operator.start()
    operator.wait_ready()
    kube.wait_phase("finetunejob", "demo", "Pending")
    assert kube.must("job", "demo-train")["metadata"]["uid"] == job["metadata"]["uid"]


def test_stops_in_order_when_asked(operator: Operator) -> None:
    assert operator.stop(seconds=20) == 0
    operator.start()
    operator.wait_ready()


def test_api_server_restart(kube: Kube, kubelet: Kubelet, operator: Operator, cluster: Cluster) -> None:
    """Away for longer than the lease lasts, it ends the operator, which the kubelet starts again."""
    kube.create("finetunejob", finetunejob())
    pod = kubelet.pod_of("demo-train")
    cluster.restart("kube-apiserver")
    wait_for(lambda: kube.get("pod", pod), 30, lambda: "the API server did not come back")
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Running", seconds=60)
    kube.create("finetunejob", finetunejob("second"))
    kube.wait_exists("job", "second-train", seconds=60)
    operator.wait_ready()


@pytest.mark.law("L7")
def test_any_character_reaches_the_status(kube: Kube, kubelet: Kubelet, operator: Operator) -> None:
    """An emoji is two escapes in JSON, which the YAML of a server-side apply does not take."""
    assert operator.is_ready()
    job = finetunejob()
    job["spec"]["dataset"]["uri"] = "s3://data/chats-\U0001f600.jsonl"
    kube.create("finetunejob", job)
    kube.wait_exists("job", "demo-train")
    kube.wait_phase("finetunejob", "demo", "Pending")
    # Half a pair of escapes is no character at all.
    summary = failure_summary(65, "MalformedRow", "line 3 says \U0001f4a5 and \ud83d")
    kubelet.fail(kubelet.pod_of("demo-train"), 65, summary)
    failed = kube.wait_phase("finetunejob", "demo", "Failed")
    assert "\U0001f4a5" in failed["failure"]["message"]
