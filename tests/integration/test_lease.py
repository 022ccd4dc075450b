"""Two operators on one API server: one acts, the other waits, and the hand-over takes less than 20 seconds.

Each has a proxy of its own, which counts what it writes. They are of two releases: they name different images.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from tests.cluster import Cluster
from tests.cluster.api import Api
from tests.support.kube import Kube, wait_for
from tests.support.objects import finetunejob
from tests.support.operator import Operator
from tests.support.points import Record
from tests.support.proxy import Proxy, write_kubeconfig

HAND_OVER_SECONDS = 20.0
RUSH = 60
"""Objects that are on their way when the operator is stopped."""
LEASE = "/apis/coordination.k8s.io/v1/namespaces/{}/leases/kubetune-operator"


@dataclass
class Peer:
    """One operator and what lies between it and the API server."""

    operator: Operator
    proxy: Proxy
    image: str

    def writes(self, namespace: str) -> int:
        return self.proxy.writes(namespace).total()


@pytest.fixture
def peers(usual_away: None, cluster: Cluster, admin: Api, kube: Kube, tmp_path: Path) -> Iterator[tuple[Peer, Peer]]:
    """The first acts, the second is alive and waits."""
    with (
        Proxy(f"https://{admin.host}:6443", cluster.layout.pki) as one,
        Proxy(f"https://{admin.host}:6443", cluster.layout.pki) as two,
    ):
        first, second = (_peer(tmp_path, kube, proxy, name) for proxy, name in ((one, "old"), (two, "new")))
        try:
            first.operator.start()
            first.operator.wait_ready()
            second.operator.start()
            second.operator.wait_alive()
            yield first, second
        finally:
            for peer in (first, second):
                peer.operator.kill()


def _peer(folder: Path, kube: Kube, proxy: Proxy, name: str) -> Peer:
    kubeconfig = write_kubeconfig(folder / name, proxy.url)
    settings = {"lease_namespace": kube.namespace, "trainer_image": f"trainer:{name}"}
    return Peer(Operator(kubeconfig, folder / f"{name}.log", **settings), proxy, f"trainer:{name}")


@pytest.fixture
def usual_away(operator: Operator) -> Iterator[None]:
    """It has a lease elsewhere, and would act as well."""
    operator.stop()
    yield
    operator.start()
    operator.wait_ready()


def _takes_over(second: Peer, lost: Callable[[], object]) -> float:
    """Seconds from the loss of the first to the second being ready, which is when it has looked at everything."""
    assert not second.operator.is_ready(), "it waits"
    started = time.monotonic()
    lost()
    second.operator.wait_ready(HAND_OVER_SECONDS)
    return time.monotonic() - started


def _image(kube: Kube, name: str) -> str:
    job = kube.wait_exists("job", f"{name}-train")
    image: str = job["spec"]["template"]["spec"]["containers"][0]["image"]
    return image


def _rush(kube: Kube) -> None:
    for index in range(RUSH):
        kube.create("finetunejob", finetunejob(f"rush-{index}"))


@pytest.mark.law("L12", "F22")
def test_the_second_waits_and_writes_nothing(peers: tuple[Peer, Peer], kube: Kube, record_property: Record) -> None:
    first, second = peers
    kube.create("finetunejob", finetunejob())
    assert _image(kube, "demo") == first.image
    time.sleep(2)
    assert second.writes(kube.namespace) == 0
    assert (second.operator.is_ready(), second.operator.total("kubetune_lease_held")) == (False, 0)
    second.operator.wait_alive()
    assert first.operator.total("kubetune_lease_held") == 1
    seconds = _takes_over(second, first.operator.stop)
    kube.create("finetunejob", finetunejob("later"))
    assert _image(kube, "later") == second.image
    assert seconds < 10, "the first gave the lease back"
    record_property("point", f"two operators, one acts; stopped in order it hands over in {seconds:.1f} s")


@pytest.mark.law("L12", "F22")
def test_killed(peers: tuple[Peer, Peer], kube: Kube, record_property: Record) -> None:
    first, second = peers
    _rush(kube)
    kube.wait_exists("job", "rush-0-train")
    seconds = _takes_over(second, first.operator.kill)
    for index in range(RUSH):
        kube.wait_exists("job", f"rush-{index}-train")
    record_property("point", f"the operator that acts is killed: the next one acts after {seconds:.1f} s")


@pytest.mark.law("L12", "F22")
def test_stopped_and_woken_up_it_writes_nothing_more(
    peers: tuple[Peer, Peer], kube: Kube, record_property: Record
) -> None:
    """The stop signal: a node that hangs, a virtual machine that is moved. What it was about to write is not sent late.

    It is stopped while it waits for the answer upon which it creates Jobs; the answer is there when it wakes up.
    """
    first, second = peers
    first.proxy.hold(lambda request: "dryRun" in request.query)
    _rush(kube)
    wait_for(lambda: first.proxy.holding, 10, lambda: "the first does not ask whether the Secret exists")
    seconds = _takes_over(second, first.operator.freeze)
    first.proxy.let_go()
    for index in range(RUSH):
        kube.wait_exists("job", f"rush-{index}-train")
    before = first.proxy.writes(kube.namespace)
    first.operator.thaw()
    assert first.operator.wait_end(10) == 1
    assert first.proxy.writes(kube.namespace) == before
    assert {what for _, what in before} == {"leases"}
    holder = kube.api.request("GET", LEASE.format(kube.namespace))["spec"]["holderIdentity"]
    assert holder == f"operator-{second.operator.port}"
    assert _image(kube, "rush-0") == second.image
    record_property(
        "point",
        f"the operator that acts is stopped (SIGSTOP) when it is about to create {RUSH} Jobs: the next one, of another "
        f"release, acts after {seconds:.1f} s; woken up with the answer it waited for, it ends and writes nothing",
    )


@pytest.mark.law("L12", "F22")
def test_cut_off_it_ends_before_the_next_begins(peers: tuple[Peer, Peer], kube: Kube, record_property: Record) -> None:
    first, second = peers
    cut: Callable[[web.Request], bool] = lambda request: True  # noqa: E731 - a matcher
    fault = first.proxy.fault(cut, 503, times=0)

    def cut_off() -> None:
        fault.times = 10**6
        first.proxy.drop_watches()
        assert first.operator.wait_end(HAND_OVER_SECONDS) == 1
        assert not second.operator.is_ready(), "the first has ended before the second begins"

    seconds = _takes_over(second, cut_off)
    kube.create("finetunejob", finetunejob())
    assert _image(kube, "demo") == second.image
    record_property("point", f"the operator that acts is cut off: it ends, and the next one acts after {seconds:.1f} s")
