"""Reads what a ModelDeployment's decision needs; the reconciler carries the decision out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from kubetune.common.conditions import Fact
from kubetune.common.decision import Decision
from kubetune.common.doubt import attempt
from kubetune.common.labels import match_labels
from kubetune.evaluation.api import Evaluation
from kubetune.kube.client import Client, Object
from kubetune.kube.kinds import DEPLOYMENT, EVALUATION, FINETUNEJOB, MODELDEPLOYMENT, POD, SERVICE, Resource
from kubetune.kube.secrets import SecretCheck
from kubetune.lineage import Found, job_names, read_reference
from kubetune.runtime.controller import Key
from kubetune.settings import Settings
from kubetune.workload.inputs import Inputs
from kubetune.workload.misfit import explain_misfit, is_choosy_spec
from kubetune.workload.pod import outline
from kubetune.workload.pods import newest
from kubetune.workload.reads import read_inputs, read_nodes, read_placement, read_runtime_class, read_warnings
from kubetune.workload.secrets import needed_secrets

from .api import ModelDeployment
from .decide import decide
from .plan import Observed, named_uris, published_uris
from .pods import is_unstarted
from .resources import child

EXPLAINED_PODS = 3
"""Pods whose Events are read; they are all stuck for the same reason."""


class ModelDeploymentController:
    """``runtime.controller.Controller`` for ModelDeployments."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secrets = SecretCheck()

    @property
    def resource(self) -> Resource:
        return MODELDEPLOYMENT

    def parse(self, raw: Object) -> ModelDeployment:
        return ModelDeployment.parse(raw)

    async def gather(self, client: Client, obj: ModelDeployment, *, fresh: bool) -> Observed:
        """Children are read even when ``fresh``: they are applied, which would take over somebody else's."""
        namespace, name = obj.metadata.namespace, child(obj)
        job, evaluation = await asyncio.gather(*(self._read(client, key) for key in self._named(obj)))
        deployment, service, pods = await asyncio.gather(
            client.get(DEPLOYMENT, namespace, name),
            client.get(SERVICE, namespace, name),
            client.list(POD, namespace, labels=match_labels(obj.info, obj.metadata.name)),
        )
        found = read_reference(job)
        return Observed(
            deployment=deployment,
            service=service,
            pods=tuple(pods),
            warnings=await self._warnings(client, pods),
            placement=await self._placement(client, obj, pods),
            runtime_class=await self._runtime_class(client, obj),
            job=found,
            evaluation=attempt(Evaluation.parse, evaluation) if evaluation else None,
            has_evaluation=evaluation is not None,
            inputs=await self._inputs(client, obj, found),
        )

    def decide(self, obj: ModelDeployment, observed: Observed, now: datetime) -> Decision:
        return decide(obj, observed, now, self._settings)

    def children(self, observed: Observed) -> Iterable[Object]:
        yield from (obj for obj in (observed.deployment, observed.service) if obj is not None)
        yield from observed.pods

    def references(self, obj: ModelDeployment) -> Iterable[Key]:
        return (key for key in self._named(obj) if key is not None)

    def recorded(self, key: Key, status: Object) -> None:
        """Nothing is compared with it."""

    def refused(self, obj: ModelDeployment) -> None:
        """Nothing was reserved for it."""

    def forget(self, key: Key) -> None:
        """Nothing about a ModelDeployment is kept in memory."""

    def _named(self, obj: ModelDeployment) -> tuple[Key | None, Key | None]:
        """The FineTuneJob and the Evaluation the spec refers to."""
        namespace, gate = obj.metadata.namespace, obj.spec.require_verdict
        job = next((Key(FINETUNEJOB.kind, namespace, name) for name in job_names(obj.spec.model)), None)
        return job, Key(EVALUATION.kind, namespace, gate.evaluation_ref.name) if gate else None

    async def _read(self, client: Client, key: Key | None) -> Object | None:
        if key is None:
            return None
        resource = FINETUNEJOB if key.kind == FINETUNEJOB.kind else EVALUATION
        return await client.get(resource, key.namespace, key.name)

    async def _inputs(self, client: Client, obj: ModelDeployment, job: Found) -> Inputs:
        namespace, used = obj.metadata.namespace, named_uris(obj, job)
        # What the job published is known once it has: its adapter lies in the object store.
        needed = needed_secrets(self._settings, obj.spec, (*used, *published_uris(job)))
        missing = await self._secrets.missing(client, namespace, (use.name for use in needed))
        return replace(await read_inputs(client, namespace, used), missing_secrets=missing)

    async def _warnings(self, client: Client, pods: list[Object]) -> tuple[Object, ...]:
        stuck = [pod for pod in pods if pod["spec"].get("nodeName") and is_unstarted(pod)]
        found = await asyncio.gather(*(read_warnings(client, pod) for pod in stuck[:EXPLAINED_PODS]))
        return tuple(event for events in found for event in events)

    async def _placement(self, client: Client, obj: ModelDeployment, pods: list[Object]) -> Fact | None:
        """Pods of one ModelDeployment wait for the same; before the first there is what it will ask for."""
        waiting = newest(pod for pod in pods if not pod["spec"].get("nodeName"))
        if waiting:
            return await read_placement(client, waiting)
        if pods or not is_choosy_spec(obj.spec):
            return None
        nodes = await read_nodes(client)
        return None if nodes is None else explain_misfit(outline(obj.spec, self._settings), nodes)

    async def _runtime_class(self, client: Client, obj: ModelDeployment) -> str:
        is_named = obj.spec.runtime_class_name or self._settings.runtime_class
        return "" if is_named or not obj.spec.resources.gpu else await read_runtime_class(client)
