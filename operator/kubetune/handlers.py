"""The only module that knows kopf: its watches tell what has happened, and that is all it does."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import kopf
from kubernetes.aio.client import Configuration

from kubetune.common.labels import SELECTOR
from kubetune.kube.kinds import DEPLOYMENT, EVENT, JOB, POD, SERVICE, Resource
from kubetune.kube.told import Told
from kubetune.registry import CUSTOM
from kubetune.runtime.intake import Intake

CHILDREN = (JOB, POD, DEPLOYMENT, SERVICE)


class WatchError(Exception):
    """Nothing is watched any more; only a restart helps."""


async def watch(
    intake: Intake,
    told: Told,
    configuration: Configuration,
    namespaces: tuple[str, ...],
    stop: asyncio.Event | None = None,
) -> None:
    """Runs kopf until SIGTERM, SIGINT or ``stop``; raises when a watch is beyond repair, so that we are restarted."""
    registry = kopf.OperatorRegistry()
    _register_login(registry, configuration)
    for resource in CUSTOM:
        _register_custom(registry, resource, intake, told)
    for resource in CHILDREN:
        _register_child(registry, resource, intake, told)
    _register_refusals(registry, intake)
    others = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=_settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop,
    )
    # None of these ends but by a signal, by ``stop`` or by a failure.
    ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for error in filter(None, (task.exception() for task in ended)):
        # kopf's own way to end cancels what tells a watch to pause along with the watch, which then takes the one for
        # the other, goes on without credentials and lets kopf (1.45) wait for it for ever.
        raise WatchError(f"the watches have ended: {error!r}") from error
    await kopf.run_tasks(tasks, ignored=others)


def _register_custom(registry: kopf.OperatorRegistry, resource: Resource, intake: Intake, told: Told) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)
    async def see(event: Any, **_: Any) -> None:
        told.note(resource.kind, event["object"])
        intake.custom(resource.kind, event["type"], event["object"])


def _register_child(registry: kopf.OperatorRegistry, resource: Resource, intake: Intake, told: Told) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)
    async def see(event: Any, **_: Any) -> None:
        told.note(resource.kind, event["object"])
        intake.child(event["type"], event["object"])


def _register_refusals(registry: kopf.OperatorRegistry, intake: Intake) -> None:
    @kopf.on.event(EVENT.group, EVENT.version, EVENT.plural, registry=registry)
    async def see(event: Any, **_: Any) -> None:
        intake.refusal(event["type"], event["object"])


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # Our CRDs are checked at start; watching all CRDs and namespaces would need rights over the whole cluster.
    settings.scanning.disabled = True
    settings.watching.server_timeout = 600
    settings.watching.client_timeout = 660
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = 1.0
    settings.watching.chunk_size = 250
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    # One task per object lingers this long after its last event.
    settings.queueing.idle_timeout = 0.5
    settings.persistence.diffbase_storage = _NoDiffBase()
    for resource in CHILDREN:
        settings.watching.label_selectors[resource.group, resource.version, resource.plural] = SELECTOR
    only_refused_jobs = "involvedObject.kind=Job,reason=FailedCreate"
    settings.watching.field_selectors[EVENT.group, EVENT.version, EVENT.plural] = only_refused_jobs
    return settings


class _NoDiffBase(kopf.DiffBaseStorage):
    """Nothing is compared with an earlier state, so kopf need not copy every object of every event to remember it."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return cast(kopf.BodyEssence, {})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        """Nothing to store."""


def _register_login(registry: kopf.OperatorRegistry, configuration: Configuration) -> None:
    """kopf's watches use the same server and credentials as our own client; asked again when they are refused (401)."""

    @kopf.on.login(registry=registry)
    async def login(**__: Any) -> kopf.ConnectionInfo:
        header = await configuration.get_api_key_with_prefix("BearerToken") or ""
        scheme, _, token = header.partition(" ")
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            scheme=scheme or None,
            token=token or None,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
        )
