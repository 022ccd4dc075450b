"""A cluster with KubeTune in it: found or brought up, with images and chart installed. Every step may be repeated."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from images.build import values
from images.build.engine import NAMESPACE as OURS
from images.build.errors import ImageBuildError
from images.build.session import Session
from tests.cluster import images
from tests.cluster.cluster import Cluster
from tests.cluster.config import CONTAINERD_SOCKET
from tests.cluster.layout import cache_root

from .kube import Kube, Object, is_true
from .provision import IMAGES
from .shell import ROOT, DemoError, run, run_visibly

RELEASE = "kubetune"
SYSTEM_NAMESPACE = "kubetune"
CHART = ROOT / "charts" / "kubetune"
READY_SECONDS = 600.0
USERS = "pods,deployments,statefulsets,daemonsets,jobs,cronjobs"


@dataclass(frozen=True)
class Environment:
    """Where the demo runs. ``local`` is the single-node cluster of this machine, None for a cluster of the user's."""

    kube: Kube
    local: Cluster | None = None


def user_cluster(kubeconfig: str) -> Environment:
    """The cluster that a kubeconfig file names."""
    return Environment(Kube(_with_tools({**os.environ, "KUBECONFIG": kubeconfig})))


def local_cluster(name: str, *, gpus: int = 0) -> Environment:
    """The single-node cluster of this machine, brought up unless it is. Raises DemoError when it cannot be."""
    argv = [sys.executable, "-m", "tests.cluster", "up", "--name", name, "--gpus", str(gpus)]
    run_visibly(argv, os.environ, "the lines above say why; run the same command again to go on")
    cluster = Cluster(name)
    return Environment(Kube({**os.environ, **cluster.env}), cluster)


def load_images(cluster: Cluster) -> str:
    """Builds the images that are missing, imports those that the cluster lacks; returns values that name them."""
    enter = [sys.executable, "-m", "tests.cluster", "exec", "--name", cluster.name, "--"]
    ctr = [*enter, str(cluster.layout.bin / "ctr"), "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io"]
    try:
        return values.render(Session.start(IMAGES).load(ctr))
    except ImageBuildError as error:
        raise DemoError(str(error)) from error


def install(environment: Environment, files: Sequence[Path], settings: Sequence[str] = ()) -> None:
    """``helm upgrade --install`` of the chart; returns when everything it started is ready."""
    kube = environment.kube
    argv = ["helm", "upgrade", "--install", RELEASE, str(CHART), "--namespace", SYSTEM_NAMESPACE, "--create-namespace"]
    # The chart's hook waits for the object store, whose image may have to be pulled first.
    argv += ["--timeout", f"{READY_SECONDS:.0f}s"]
    if not files:
        # Without this an upgrade of the user's installation would forget what it was installed with.
        argv.append("--reset-then-reuse-values")
    for path in files:
        argv += ["--values", str(path)]
    for setting in settings:
        argv += ["--set", setting]
    run(argv, kube.env, timeout=READY_SECONDS + 60)
    kube.wait("the release's pods became ready", lambda: _all_ready(kube), READY_SECONDS)
    if environment.local:
        remove_superseded(kube, environment.local)


def remove_superseded(kube: Kube, cluster: Cluster) -> None:
    """Takes KubeTune's images that nothing in the cluster names any more out of its containerd.

    Only once the new release is up: until then the old operator may start a pod with an image of its own.
    """
    named = kube.run("get", USERS, "--all-namespaces", "--output", "json")
    gone = images.prune(cluster, images_to_keep(images.present(cluster), named))
    if gone:
        print(f"   {len(gone)} superseded images removed from the cluster", flush=True)


def images_to_keep(present: Sequence[str], named: str) -> list[str]:
    """Those present that are not ours, or that ``named``, the text of the cluster's workloads, mentions anywhere.

    Anywhere, since the operator has the images of the pods it will make in its environment.
    """
    mentioned = set(re.findall(rf"{re.escape(OURS)}/[\w.-]+:[\w.-]+", named))
    return [name for name in present if not name.startswith(f"{OURS}/") or name in mentioned]


def installed_values(environment: Environment) -> str:
    """What the release was installed with, as YAML."""
    return run(["helm", "get", "values", RELEASE, "--namespace", SYSTEM_NAMESPACE, "-o", "yaml"], environment.kube.env)


def uninstall(environment: Environment) -> None:
    """``helm uninstall``; claims and custom resources stay."""
    run(["helm", "uninstall", RELEASE, "--namespace", SYSTEM_NAMESPACE, "--wait"], environment.kube.env, timeout=300)


def _all_ready(kube: Kube) -> bool:
    workloads = kube.list(SYSTEM_NAMESPACE, "deployments,statefulsets")
    jobs = kube.list(SYSTEM_NAMESPACE, "jobs")
    return bool(workloads) and all(map(_is_ready, workloads)) and all(is_true(job, "Complete") for job in jobs)


def _is_ready(workload: Object) -> bool:
    wanted, status = workload["spec"].get("replicas", 1), workload.get("status", {})
    seen = status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 0)
    counts = [status.get(name, 0) for name in ("replicas", "readyReplicas", "updatedReplicas")]
    return seen and all(count == wanted for count in counts)


def _with_tools(env: dict[str, str]) -> dict[str, str]:
    return {**env, "PATH": f"{cache_root() / 'bin'}:{env.get('PATH', os.defpath)}"}
