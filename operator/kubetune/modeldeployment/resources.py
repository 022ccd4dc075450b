"""Pure builders of a ModelDeployment's children: the server's configuration, the Deployment around it, the Service."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from kubetune.common.labels import Component, labels, match_labels
from kubetune.common.meta import GROUP
from kubetune.common.names import child_name
from kubetune.settings import Settings
from kubetune.workload.fingerprint import stamp
from kubetune.workload.pod import Container, PodPlan, Volume, pod_template
from kubetune.workload.scratch import scratch_of
from kubetune_contract import Contents, Engine, ModelRef, ObjectStore, Owner, ServeConfig, dumps
from kubetune_contract.paths import CACHE_DIR, SCHEMA, SERVE_PORT

from .api import ModelDeployment, Rollout
from .ledger import LEDGER_ANNOTATION, Ledger, Pods, Release

Object = dict[str, Any]

FETCH = "fetch"
ENGINE = "engine"
VERSION_LABEL = f"{GROUP}/version"
"""On every pod: the version it serves."""
PORT_NAME = "http"
PRE_STOP_SECONDS = 5
"""The time that endpoints take to spread: until then clients still come, and the engine refuses them once it drains."""
STOP_SECONDS = 15
"""What the engine may take to end after it has drained, before it is killed."""
STARTUP_PERIOD_SECONDS = 5
STARTUP_ATTEMPTS = 720
"""One hour to load the weights: large models from slow disks take tens of minutes, and a dead engine ends by itself."""
PROGRESS_DEADLINE_SECONDS = 4 * 3600
"""Fetching and loading together; the Deployment's own judgement only, nothing is stopped by it."""
SHARED_MEMORY_LIMIT = "2Gi"
"""vLLM's processes (and NCCL's) talk over /dev/shm, where container runtimes allow 64 MiB by default."""


def child(deployment: ModelDeployment) -> str:
    """Name of the Deployment and of the Service."""
    return child_name(deployment.metadata.name)


def base_model_name(deployment: ModelDeployment, release: Release) -> str | None:
    """What to ask for to get the bare base; None when it is what answers anyway."""
    return f"{deployment.metadata.name}-base" if release.model.adapter_uri else None


def endpoint(deployment: ModelDeployment, settings: Settings) -> str:
    """Base URL of the OpenAI-compatible API."""
    host = f"{child(deployment)}.{deployment.metadata.namespace}.svc.{settings.cluster_domain}"
    return f"http://{host}:{SERVE_PORT}/v1"


def recreates(deployment: ModelDeployment) -> bool:
    """Whether the old pods stop before the new ones start: by default where there may be no second GPU."""
    default = Rollout.RECREATE if deployment.spec.resources.gpu else Rollout.ROLLING_UPDATE
    return (deployment.spec.rollout or default) is Rollout.RECREATE


def serve_config(deployment: ModelDeployment, release: Release, settings: Settings) -> ServeConfig:
    """The spec in the server's words."""
    spec, metadata = deployment.spec, deployment.metadata
    engine = Engine(
        max_model_len=spec.engine.max_model_len,
        max_num_seqs=spec.engine.max_num_seqs,
        gpu_memory_utilization=spec.engine.gpu_memory_utilization,
        dtype=spec.engine.dtype.value,
        enforce_eager=spec.engine.enforce_eager,
        extra_args=spec.engine.extra_args,
    )
    return ServeConfig(
        schema=SCHEMA,
        owner=Owner(metadata.namespace, metadata.name, metadata.uid),
        version=release.version,
        model=_model(metadata.name, release),
        store=ObjectStore(settings.store_endpoint or None, settings.store_region),
        engine=engine,
        gpus=spec.resources.gpu,
        drain_seconds=spec.drain_seconds,
        keeps_cache=spec.cache is not None,
    )


def _model(name: str, release: Release) -> ModelRef:
    ref = release.model.ref(name)
    return ref if release.pinned == Contents() else replace(ref, contents=release.pinned)


def pods_of(deployment: ModelDeployment, release: Release, settings: Settings) -> Object:
    """The stamped pod template that serves ``release``; replicas and rollout are not part of it."""
    spec, name = deployment.spec, deployment.metadata.name
    image = settings.server_image if spec.resources.gpu else settings.server_cpu_image
    plan = PodPlan(
        labels={**labels(deployment.info, name, Component.SERVER), VERSION_LABEL: release.version},
        config=dumps(serve_config(deployment, release, settings)),
        options=spec,
        uris=used_uris(release),
        init=Container(FETCH, image, "kubetune_server", FETCH),
        main=Container(ENGINE, image, "kubetune_server", "serve", _engine_extra(), has_credentials=False),
        grace_seconds=PRE_STOP_SECONDS + spec.drain_seconds + STOP_SECONDS,
        restart_policy="Always",
        volumes=_volumes(deployment),
    )
    return stamp(pod_template(settings, plan))


_NOT_OF_PODS = {"model", "requireVerdict", "replicas", "rollout"}


def asked_of_pods(deployment: ModelDeployment) -> str:
    """Digest of what the spec asks of pods, whichever version they serve. A field that a later release adds changes
    it only where somebody sets it."""
    spec = deployment.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    asked = {key: value for key, value in spec.items() if key not in _NOT_OF_PODS}
    return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def with_fresh_pods(deployment: ModelDeployment, release: Release, settings: Settings) -> Release:
    """``ledger.Maker`` for one deployment and the operator's present settings."""
    pods = Pods(asked_of_pods(deployment), pods_of(deployment, release, settings))
    return replace(release, loaded=False, pods=pods)


def used_uris(release: Release) -> tuple[str, ...]:
    return tuple(uri for uri in (release.model.uri, release.model.adapter_uri) if uri)


def build_deployment(deployment: ModelDeployment, ledger: Ledger) -> Object:
    """The Deployment that runs the active release in its pods, with the ledger it was decided by."""
    template = ledger.active.pods.template if ledger.active.pods else {}
    return stamp(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": _metadata(deployment, ledger),
            "spec": {
                "replicas": deployment.spec.replicas,
                "revisionHistoryLimit": 2,
                "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
                "strategy": _strategy(deployment),
                "selector": {"matchLabels": match_labels(deployment.info, deployment.metadata.name)},
                "template": template,
            },
        }
    )


def build_service(deployment: ModelDeployment, ledger: Ledger) -> Object:
    """Inside the cluster only: the engine's own access control leaves doors open."""
    return stamp(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata(deployment, ledger),
            "spec": {
                "type": "ClusterIP",
                "selector": match_labels(deployment.info, deployment.metadata.name),
                "ports": [{"name": PORT_NAME, "port": SERVE_PORT, "targetPort": PORT_NAME, "protocol": "TCP"}],
            },
        }
    )


def _metadata(deployment: ModelDeployment, ledger: Ledger) -> Object:
    return {
        "name": child(deployment),
        "namespace": deployment.metadata.namespace,
        "labels": labels(deployment.info, deployment.metadata.name, Component.SERVER),
        "annotations": {LEDGER_ANNOTATION: dumps(ledger)},
        "ownerReferences": [deployment.owner_reference()],
    }


def _strategy(deployment: ModelDeployment) -> Object:
    if recreates(deployment):
        return {"type": "Recreate"}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def _engine_extra() -> Object:
    health = {"httpGet": {"path": "/health", "port": PORT_NAME}}
    return {
        "ports": [{"name": PORT_NAME, "containerPort": SERVE_PORT, "protocol": "TCP"}],
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "startupProbe": {
            **health,
            "periodSeconds": STARTUP_PERIOD_SECONDS,
            "timeoutSeconds": 5,
            "failureThreshold": STARTUP_ATTEMPTS,
        },
        "readinessProbe": {**health, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 2},
        # A busy CPU engine answers late; only one that stays silent for a minute and a half is restarted.
        "livenessProbe": {**health, "periodSeconds": 15, "timeoutSeconds": 10, "failureThreshold": 6},
    }


def _volumes(deployment: ModelDeployment) -> tuple[Volume, ...]:
    cache: Object = scratch_of(deployment.spec.resources).volume()
    if deployment.spec.cache:
        cache = {"persistentVolumeClaim": {"claimName": deployment.spec.cache.claim_name}}
    shared: Object = {"emptyDir": {"medium": "Memory", "sizeLimit": SHARED_MEMORY_LIMIT}}
    return Volume("cache", cache, CACHE_DIR), Volume("shm", shared, "/dev/shm")
