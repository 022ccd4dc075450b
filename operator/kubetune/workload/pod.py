"""The pod template every workload starts from: locked down, offline, configured by one annotation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kubetune.common.meta import GROUP
from kubetune.common.pod_options import PodOptions, Resources, Toleration
from kubetune.common.quantity import smaller
from kubetune.settings import Settings
from kubetune_contract import paths, uris

from .gpu import affinity_of, demand_of
from .scratch import Scratch, scratch_of
from .secrets import HUB_FIELD, STORE_FIELD, TRACKING_KEYS, TRACKING_TOKEN, needed_secrets

Object = dict[str, Any]

CONFIG_ANNOTATION = f"{GROUP}/config"
"""The workload's configuration; mounted as a file by the downward API, so that a child and its configuration are one
write and can never disagree."""
USER = 65532
"""uid, gid and fsGroup of every workload container; nobody's on any node."""
INIT_CPU = "100m"
"""Fetching and checking waits for the network; the scheduler must not reserve the training's cores twice."""


@dataclass(frozen=True)
class Container:
    """One container of a workload.

    ``module`` and ``verb`` are run as ``python -m module verb``; ``extra`` is merged into the container (ports,
    probes, lifecycle).
    """

    name: str
    image: str
    module: str
    verb: str
    extra: Object = field(default_factory=dict)
    has_credentials: bool = True
    """Whether it reaches the object store and hubs; one that does not is not trusted with their keys."""

    @property
    def command(self) -> list[str]:
        return ["python", "-m", self.module, self.verb]


@dataclass(frozen=True)
class Volume:
    """A further volume of the pod, mounted in every container at ``path``."""

    name: str
    source: Object
    path: str
    read_only: bool = False


@dataclass(frozen=True)
class PodPlan:
    """What one kind wants of its pod; everything else is the same for all."""

    labels: dict[str, str]
    config: str
    """The contract's configuration as JSON text."""
    options: PodOptions
    uris: tuple[str, ...]
    """All URIs the containers read or write; they decide on mounts and credentials."""
    init: Container | None
    main: Container
    grace_seconds: int
    """Between SIGTERM and SIGKILL."""
    restart_policy: str = "Never"
    volumes: tuple[Volume, ...] = ()
    read_later: tuple[str, ...] = ()
    """URIs of pods that come after this one: it names their Secrets, too, so that one that is missing is told now."""
    runtime_class: str = ""
    """Of a pod with a GPU, where neither the spec nor the settings name one."""
    gpu_memory_bytes: int | None = None
    """Least memory of each GPU, beside what the spec asks for."""
    tracking_secret: str = ""
    """Secret with credentials for MLflow; empty: none."""
    disk_bytes: int | None = None
    """Scratch space as the preflight estimates it; None: nobody has."""
    is_counted: bool = False
    """Whether somebody (Kueue) counts what it requests."""

    @property
    def scratch(self) -> Scratch:
        return scratch_of(self.options.resources, self.disk_bytes, is_counted=self.is_counted)


def pod_template(settings: Settings, plan: PodPlan) -> Object:
    """A complete pod template with one main container and at most one init container."""
    options = plan.options
    mounted = (*_base_volumes(plan.scratch), *_uri_volumes(plan.uris), *plan.volumes)

    def env_of(container: Container) -> Object:
        wanted = (*plan.uris, *plan.read_later) if container.has_credentials else ()
        tracking = plan.tracking_secret if container.has_credentials else ""
        return {"env": [*_environment(settings, options, wanted), *_tracking_environment(tracking)]}

    common = {
        "imagePullPolicy": settings.image_pull_policy,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [_mount(volume) for volume in mounted],
        # With no summary of its own a dying container leaves its last log lines as the termination message.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    spec: Object = {
        "restartPolicy": plan.restart_policy,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": plan.grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            # Without it a claim with many files is re-owned at every start, which takes minutes.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(plan.main, common | env_of(plan.main), _resources(settings, plan))],
        "volumes": [{"name": volume.name, **volume.source} for volume in mounted],
    }
    if plan.init:
        spec["initContainers"] = [_container(plan.init, common | env_of(plan.init), _init_resources(plan))]
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    spec |= _placement(settings, plan)
    metadata = {"labels": plan.labels, "annotations": {CONFIG_ANNOTATION: plan.config}}
    return {"metadata": metadata, "spec": spec}


def outline(options: PodOptions, settings: Settings) -> Object:
    """The part of a pod's spec that decides on its node, of a pod that is not made yet."""
    plan = PodPlan({}, "", options, (), None, Container("main", "", "", ""), 0)
    return {"containers": [{"name": "main", "resources": _resources(settings, plan)}], **_placement(settings, plan)}


def _container(container: Container, common: Object, resources: Object) -> Object:
    return {
        "name": container.name,
        "image": container.image,
        "command": container.command,
        "resources": resources,
        **common,
        **container.extra,
    }


def _mount(volume: Volume) -> Object:
    mount: Object = {"name": volume.name, "mountPath": volume.path}
    return mount | {"readOnly": True} if volume.read_only else mount


def _init_resources(plan: PodPlan) -> Object:
    asked = plan.options.resources
    memory = {"memory": asked.memory}
    return {
        "requests": {"cpu": smaller(INIT_CPU, asked.cpu), **memory, **plan.scratch.requests},
        "limits": {**cpu_limit(asked), **memory, **plan.scratch.limits},
    }


def cpu_limit(asked: Resources) -> Object:
    """None unless it is asked for: throttling would slow training down while cores are idle."""
    return {"cpu": asked.cpu_limit} if asked.cpu_limit else {}


def _resources(settings: Settings, plan: PodPlan) -> Object:
    asked = plan.options.resources
    requests: Object = {"cpu": asked.cpu, "memory": asked.memory, **plan.scratch.requests}
    limits: Object = {**cpu_limit(asked), "memory": asked.memory, **plan.scratch.limits}
    gpus = demand_of(asked, settings)
    if gpus:
        requests[gpus.resource] = limits[gpus.resource] = gpus.count
    return {"requests": requests, "limits": limits}


def _placement(settings: Settings, plan: PodPlan) -> Object:
    options = plan.options
    placement: Object = {}
    gpus = demand_of(options.resources, settings, plan.gpu_memory_bytes)
    affinity = affinity_of(gpus) if gpus else None
    if affinity:
        placement["affinity"] = affinity
    if options.node_selector:
        placement["nodeSelector"] = dict(options.node_selector)
    if options.tolerations:
        placement["tolerations"] = [Toleration.to_dict(toleration) for toleration in options.tolerations]
    runtime_class = options.runtime_class_name or ((settings.runtime_class or plan.runtime_class) if gpus else "")
    if runtime_class:
        placement["runtimeClassName"] = runtime_class
    return placement


def _base_volumes(scratch: Scratch) -> tuple[Volume, ...]:
    folder, _, name = paths.CONFIG_PATH.rpartition("/")
    field_path = f"metadata.annotations['{CONFIG_ANNOTATION}']"
    config = {"downwardAPI": {"items": [{"path": name, "fieldRef": {"fieldPath": field_path}}]}}
    return (
        Volume("config", config, folder, read_only=True),
        Volume("work", scratch.volume(), paths.WORK_DIR),
        Volume("tmp", scratch.volume(), paths.TMP_DIR),
    )


def _uri_volumes(wanted: Iterable[str]) -> tuple[Volume, ...]:
    parsed = [uris.parse(uri) for uri in wanted]
    claims = dict.fromkeys(uri.authority for uri in parsed if uri.scheme == "pvc")
    maps = dict.fromkeys(uri.authority for uri in parsed if uri.scheme == "configmap")
    volumes = []
    for index, name in enumerate(claims):
        source: Object = {"persistentVolumeClaim": {"claimName": name, "readOnly": True}}
        volumes.append(Volume(f"claim-{index}", source, f"{paths.PVC_ROOT}/{name}", read_only=True))
    for index, name in enumerate(maps):
        source = {"configMap": {"name": name}}
        volumes.append(Volume(f"configmap-{index}", source, f"{paths.CONFIGMAP_ROOT}/{name}", read_only=True))
    return tuple(volumes)


def _environment(settings: Settings, options: PodOptions, wanted: tuple[str, ...]) -> list[Object]:
    schemes = {uris.parse(uri).scheme for uri in wanted}
    env: list[Object] = [
        {"name": "HOME", "value": paths.TMP_DIR},
        {"name": "KUBETUNE_LOG_LEVEL", "value": settings.log_level},
    ]
    secrets = needed_secrets(settings, options, wanted)
    env += [_from_secret(key, use.name) for use in secrets for key in use.keys if use.field == STORE_FIELD]
    if "hf" in schemes:
        env += [{"name": name, "value": "0"} for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")]
    # In this order since the first release: pods of a template that differs are made anew.
    return env + [_from_secret(key, use.name) for use in secrets for key in use.keys if use.field == HUB_FIELD]


def _tracking_environment(secret: str) -> list[Object]:
    """A Secret holds a name and a password, or a token: none of its keys has to be there."""
    found = [_from_secret(key, secret) for key in (*TRACKING_KEYS, TRACKING_TOKEN)] if secret else []
    for one in found:
        one["valueFrom"]["secretKeyRef"]["optional"] = True
    return found


def _from_secret(name: str, secret: str) -> Object:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}}
