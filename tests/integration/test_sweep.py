"""Finished Jobs and their pods are deleted by Kubernetes' own controller, and only once their end is on record."""

from __future__ import annotations

import time

import pytest
from aiohttp import web

from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.objects import failure_summary, finetunejob, train_summary
from tests.support.operator import Operator, instead
from tests.support.points import Record
from tests.support.proxy import Proxy

KEEP_SECONDS = 2


@pytest.mark.law("F17")
@pytest.mark.parametrize("ends", ["well", "badly"])
def test_a_finished_job_goes_after_its_record(
    kube: Kube, kubelet: Kubelet, operator: Operator, proxy: Proxy, ends: str, record_property: Record
) -> None:
    def writes_status(request: web.Request) -> bool:
        return request.method == "PATCH" and f"/namespaces/{kube.namespace}/finetunejobs/" in request.path

    with instead(operator, resync_seconds="1", keep_finished_seconds=str(KEEP_SECONDS)):
        kube.create("finetunejob", finetunejob())
        pod = kubelet.pod_of("demo-train")
        kubelet.run(pod)
        kube.wait_phase("finetunejob", "demo", "Running")
        fault = proxy.fault(writes_status, 500, times=10**6)
        if ends == "well":
            kubelet.succeed(pod, train_summary())
        else:
            kubelet.fail(pod, 65, failure_summary(65, "MalformedRow", "line 3"))
        wait_for(lambda: fault.served > 2, 20, lambda: "the end is not seen")
        time.sleep(KEEP_SECONDS + 1)
        assert "ttlSecondsAfterFinished" not in kube.must("job", "demo-train")["spec"], "nothing is on record yet"
        fault.times = 0
        final = kube.wait_phase("finetunejob", "demo", "Succeeded" if ends == "well" else "Failed", seconds=60)
        kube.wait_gone("job", "demo-train", seconds=60)
        kube.wait_gone("pod", pod, seconds=30)
        time.sleep(2)
        assert kube.status("finetunejob", "demo") == final
        assert kube.get("job", "demo-train") is None, "it is not run again"
    record_property(
        "point",
        f"a training that ended {ends} while its status could not be written: its Job stays; once it is on record, the "
        "Job and its pod go after keepFinishedSeconds, and the status stays",
    )
