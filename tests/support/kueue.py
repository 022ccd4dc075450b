"""Kueue itself, installed in a test's cluster as its own manifests say.

Its process runs among the cluster's processes instead of in a pod, which is why the parts of a kubelet and of a Service
are played here: the Secret's files are written for it, and the webhooks' Service is a name for this machine.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import yaml

from tests.cluster import Cluster, build
from tests.cluster.api import Api

from .kube import wait_for

Object = dict[str, Any]

VERSION = build.KUEUE.version
MODULE = "sigs.k8s.io/kueue"
NAMESPACE = "kueue-system"
ACCOUNT = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/kueue-controller-manager/token"
SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/kueue-webhook-server-cert"
CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
WORKLOADS = f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{NAMESPACE}/workloads"
PROBE = "probe"
SERVICE = "kueue-webhook-service"
CONFIG = "kueue-manager-config"
LEFT_OUT = {"Deployment", "ConfigMap", "APIService"}
"""The process is started and configured here. An API that nobody serves would keep namespaces from being deleted."""
NEED_IT = {"CustomResourceDefinition", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}
"""Nothing that these concern can be written while it does not run."""
WEBHOOK_PORT = 443
HEALTH_PORT = 8081
START_SECONDS = 90
STOP_SECONDS = 30


class Kueue:
    """Installed and running inside ``with``; nothing of it stays. Builds it first where the cache lacks it (minutes).

    Its log is ``folder/kueue.log``. ``api`` is the administrator's.
    """

    def __init__(self, cluster: Cluster, api: Api, folder: Path) -> None:
        self._cluster = cluster
        self._api = api
        self._folder = folder
        self._manifests = folder / "manifests.json"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Kueue:
        build.build(build.GROUPS["kueue"], lambda text: print(text, flush=True))
        manifests = default_manifests(self._cluster)
        installed = [_reachable(one) for one in manifests if one["kind"] not in LEFT_OUT]
        self._manifests.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": installed}))
        shipped = next(one["data"] for one in manifests if one["metadata"]["name"] == CONFIG)
        with contextlib.ExitStack() as undo:
            undo.callback(self._remove)
            undo.callback(self._stop)
            self._kubectl("apply", "--server-side", "--force-conflicts")
            self._start(yaml.safe_load(shipped["controller_manager_config.yaml"]))
            self._wait_for_collection()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        # Kueue's own finalizers and conversions need it until its kinds are gone.
        try:
            self._kubectl("delete", "--ignore-not-found", "--timeout=60s", only=NEED_IT)
        finally:
            self._stop()
            self._remove()

    def _remove(self) -> None:
        self._kubectl("delete", "--ignore-not-found", "--wait=false")

    def _kubectl(self, *arguments: str, only: Collection[str] = ()) -> None:
        items = json.loads(self._manifests.read_text())["items"]
        chosen = [one for one in items if not only or one["kind"] in only]
        body = json.dumps({"apiVersion": "v1", "kind": "List", "items": chosen})
        _run(["kubectl", *arguments, "--filename=-"], self._cluster, body)

    def _start(self, shipped: Object) -> None:
        folder = self._folder
        certificates = folder / "certificates"
        certificates.mkdir(exist_ok=True)
        config = folder / "config.json"
        config.write_text(json.dumps(_configured(shipped, str(self._cluster.addresses.node), certificates)))
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(json.dumps(self._credentials()))
        kubeconfig.chmod(0o600)
        command = [str(build.stored(build.KUEUE)), f"--config={config}", f"--kubeconfig={kubeconfig}"]
        with (folder / "kueue.log").open("ab") as log:
            self._process = self._spawn([*command, "--zap-log-level=2"], log)
        wait_for(lambda: self._mount(certificates), START_SECONDS, lambda: f"Kueue makes no certificate: {self.log}")
        wait_for(self._is_ready, START_SECONDS, lambda: f"Kueue does not get ready: {self.log}")

    def _spawn(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        """In the cluster's namespaces, so that it ends with the cluster whatever becomes of the tests."""
        return subprocess.Popen(self._cluster.enter(command), stdout=log, stderr=log, start_new_session=True)

    def _wait_for_collection(self) -> None:
        """The garbage collector learns of new kinds once in 30 s. Until then a deleted Job's Workload stays, admitted,
        and Kueue takes it for that of the next Job of this name."""
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": PROBE}}
        made = self._api.request("POST", CONFIG_MAPS, owner)
        probe = _workload({"apiVersion": "v1", "kind": "ConfigMap", "name": PROBE, "uid": made["metadata"]["uid"]})
        wait_for(lambda: self._api.request("POST", WORKLOADS, probe), START_SECONDS, lambda: self.log)
        self._api.request("DELETE", f"{CONFIG_MAPS}/{PROBE}")
        wait_for(
            lambda: not self._api.request("GET", WORKLOADS)["items"],
            START_SECONDS,
            lambda: "the garbage collector takes no notice of Workloads",
            interval=0.5,
        )

    @property
    def log(self) -> str:
        """The end of what it has written."""
        return (self._folder / "kueue.log").read_text()[-3000:]

    def _credentials(self) -> Object:
        """Those of its own ServiceAccount: it has the rights that its manifests give it, no others."""
        wanted = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 86400},
        }
        token = self._api.request("POST", ACCOUNT, wanted)["status"]["token"]
        authority = str(self._cluster.layout.pki / "ca.crt")
        server = {"server": self._cluster.addresses.api_url, "certificate-authority": authority}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "kueue",
            "clusters": [{"name": "kueue", "cluster": server}],
            "users": [{"name": "kueue", "user": {"token": token}}],
            "contexts": [{"name": "kueue", "context": {"cluster": "kueue", "user": "kueue"}}],
        }

    def _mount(self, folder: Path) -> bool:
        """Whether the Secret has its content, which is then in the folder, as a kubelet would do it."""
        self._must_run()
        data = self._api.request("GET", SECRET).get("data") or {}
        for name, content in data.items():
            (folder / name).write_bytes(base64.b64decode(content))
        return "tls.crt" in data

    def _is_ready(self) -> bool:
        self._must_run()
        try:
            with urllib.request.urlopen(
                f"http://{self._cluster.addresses.node}:{HEALTH_PORT}/readyz", timeout=5
            ) as answer:
                return bool(answer.status == 200)
        except urllib.error.URLError:
            return False

    def _must_run(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None, f"Kueue ended: {self.log}"

    def _stop(self) -> None:
        if self._process is None:
            return
        group, self._process = self._process, None
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group.pid, number)
            group.wait()
            with contextlib.suppress(AssertionError):
                wait_for(lambda: not _is_there(group.pid), STOP_SECONDS, lambda: "Kueue does not end")
                return


def default_manifests(cluster: Cluster) -> list[Object]:
    """What its users apply, out of the sources that it was built from."""
    source = build.COMPONENTS / "kueue"
    found = subprocess.run(["go", "mod", "download", "-json", MODULE], cwd=source, check=True, capture_output=True)
    text = _run(["kubectl", "kustomize", f"{json.loads(found.stdout)['Dir']}/config/default"], cluster)
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


def _reachable(manifest: Object) -> Object:
    """The webhooks' Service leads to the process that is no pod."""
    if manifest["metadata"]["name"] != SERVICE:
        return manifest
    return manifest | {"spec": {"type": "ExternalName", "externalName": "localhost"}}


def _workload(owner: Object) -> Object:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "image"}]}}
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "Workload",
        "metadata": {"name": PROBE, "ownerReferences": [owner]},
        "spec": {"podSets": [{"name": "main", "count": 1, "template": template}]},
    }


def _configured(shipped: Object, address: str, certificates: Path) -> Object:
    """The configuration it is shipped with, but for where it listens and what else is in this cluster."""
    return shipped | {
        "namespace": NAMESPACE,
        "health": {"healthProbeBindAddress": f"{address}:{HEALTH_PORT}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": WEBHOOK_PORT, "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "manageJobsWithoutQueueName": False,
        "integrations": {"frameworks": ["batch/job"]},
        "featureGates": {"VisibilityOnDemand": False},
    }


def _run(command: list[str], cluster: Cluster, body: str | None = None) -> str:
    environment = os.environ | cluster.env
    done = subprocess.run(command, env=environment, input=body, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()[-3000:]}"
    return done.stdout


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
