"""Reads what a FineTuneJob's decision needs; the reconciler carries the decision out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime

from kubetune.common.decision import Decision
from kubetune.common.job_status import JobPhase
from kubetune.kube.client import Client, Object
from kubetune.kube.kinds import EVALUATION, FINETUNEJOB, Resource
from kubetune.kube.reads import read_inputs, read_job
from kubetune.runtime.controller import Key
from kubetune.runtime.poll import Poller
from kubetune.settings import Settings
from kubetune.workload.fingerprint import is_owned_by
from kubetune.workload.run import JobObservation, read_run
from kubetune.workload.status import is_final
from kubetune_contract import ContractError, TrainProgress, from_json

from .api import FineTuneJob
from .decide import Observed, decide
from .preflight import check_uris
from .resources import MAIN, job_name, used_uris
from .series import ProgressSeries


class FineTuneJobController:
    """``runtime.controller.Controller`` for FineTuneJobs."""

    def __init__(self, settings: Settings, poller: Poller, series: ProgressSeries) -> None:
        self._settings = settings
        self._poller = poller
        self._series = series

    @property
    def resource(self) -> Resource:
        return FINETUNEJOB

    def parse(self, raw: Object) -> FineTuneJob:
        return FineTuneJob.parse(raw)

    async def gather(self, client: Client, obj: FineTuneJob, *, fresh: bool) -> Observed:
        meta, status = obj.metadata, obj.status
        if is_final(status):
            owes_evaluation = status.phase is JobPhase.SUCCEEDED and not status.evaluation_ref
            self._series.remove(meta.namespace, meta.name)
            return Observed(evaluation=await self._evaluation(client, obj) if owes_evaluation else None)
        run = JobObservation()
        if not fresh:
            run = await read_job(client, meta.namespace, job_name(meta.name), self._settings.gpu_resource)
        if run.job is None:
            is_readable = check_uris(obj, self._settings) is None
            used = used_uris(obj, self._settings) if is_readable else ()
            return Observed(run, await read_inputs(client, meta.namespace, used))
        return await self._follow(client, obj, run)

    def decide(self, obj: FineTuneJob, observed: Observed, now: datetime) -> Decision:
        return decide(obj, observed, now, self._settings)

    def children(self, observed: Observed) -> Iterable[Object]:
        if observed.run.job is not None:
            yield observed.run.job
        yield from observed.run.pods

    def references(self, obj: FineTuneJob) -> Iterable[Key]:
        return ()

    def forget(self, key: Key) -> None:
        self._series.remove(key.namespace, key.name)

    async def _follow(self, client: Client, obj: FineTuneJob, observation: JobObservation) -> Observed:
        meta = obj.metadata
        if observation.job is None or not is_owned_by(observation.job, meta.uid):
            return Observed(observation)
        run = read_run(observation, main=MAIN, gpu_resource=self._settings.gpu_resource)
        if run.phase is JobPhase.SUCCEEDED:
            return Observed(observation, evaluation=await self._evaluation(client, obj))
        progress = await self._progress(run.pod_ip) if run.pod_ip else None
        if progress:
            self._series.set(meta.namespace, meta.name, progress)
        elif run.phase is not JobPhase.RUNNING:
            self._series.remove(meta.namespace, meta.name)
        return Observed(observation, progress=progress)

    async def _evaluation(self, client: Client, obj: FineTuneJob) -> Object | None:
        if obj.spec.evaluation is None:
            return None
        return await client.get(EVALUATION, obj.metadata.namespace, obj.metadata.name)

    async def _progress(self, pod_ip: str) -> TrainProgress | None:
        text = await self._poller.progress(pod_ip)
        try:
            return from_json(TrainProgress, json.loads(text)) if text else None
        except (ValueError, ContractError):
            # A trainer of another release may say it differently; the run itself is none the worse.
            return None
