"""Reads what a FineTuneJob's decision needs; the reconciler carries the decision out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial

from kubetune.common.conditions import get_condition
from kubetune.common.decision import Decision
from kubetune.common.doubt import read
from kubetune.common.job_status import JobCondition, JobPhase
from kubetune.kube.client import Client, Object
from kubetune.kube.errors import NotLive
from kubetune.kube.kinds import EVALUATION, FINETUNEJOB, Resource
from kubetune.kube.secrets import SecretCheck
from kubetune.runs.observe import Swept, read_job
from kubetune.runs.read import JobObservation, Run, final_condition, is_suspended, read_run
from kubetune.runs.status import is_final
from kubetune.runtime.controller import ANY, Key
from kubetune.runtime.listener import Listener
from kubetune.runtime.polls import Polls
from kubetune.settings import Settings
from kubetune.workload.fingerprint import is_owned_by
from kubetune.workload.gpu import Hardware, gpu_resource
from kubetune.workload.inputs import Inputs
from kubetune.workload.misfit import MISFITS
from kubetune.workload.nodes import gpu_nodes
from kubetune.workload.reads import read_hardware, read_inputs, read_nodes
from kubetune_contract import TrainProgress

from .api import FineTuneJob, FineTuneJobStatus
from .decide import decide
from .job.checks import all_secrets, all_uris, check_uris
from .job.resources import MAIN, job_name, preflight_name
from .observed import Observed, Wait
from .preflight import is_owed, read_preflight
from .queue.eligibility import could_stop, find_misfit, wants_to_start
from .queue.places import Request
from .queue.slots import Slots
from .report.progress import is_worth_a_write, recorded_live
from .report.series import ProgressSeries

_UNDER_WAY = {JobPhase.RUNNING}


class FineTuneJobController:
    """``runtime.controller.Controller`` for FineTuneJobs."""

    def __init__(self, settings: Settings, polls: Polls, series: ProgressSeries) -> None:
        self._settings = settings
        self._series = series
        self._pods: Listener[TrainProgress, FineTuneJobStatus] = Listener(
            polls,
            settings.progress_write_seconds,
            read=partial(read, TrainProgress),
            is_due=is_worth_a_write,
            tell=lambda key, said: series.set(key.namespace, key.name, said),
        )
        self._slots = Slots(settings)
        self._secrets = SecretCheck()
        self._sweep = Swept(settings.keep_finished_seconds)

    @property
    def resource(self) -> Resource:
        return FINETUNEJOB

    def parse(self, raw: Object) -> FineTuneJob:
        return FineTuneJob.parse(raw)

    async def gather(self, client: Client, obj: FineTuneJob, *, fresh: bool) -> Observed:
        meta, status = obj.metadata, obj.status
        if is_final(status):
            owes_evaluation = status.phase is JobPhase.SUCCEEDED and not status.evaluation_ref
            self._pods.leave(_key(obj))
            self._series.remove(meta.namespace, meta.name)
            return Observed(
                JobObservation(await self._sweep.look(client, meta, job_name(meta.name))),
                evaluation=await self._evaluation(client, obj) if owes_evaluation else None,
            )
        if fresh:
            return await self._prepare(client, obj, Observed())
        run = await read_job(client, meta.namespace, job_name(meta.name))
        checks = JobObservation()
        if is_owed(obj):
            checks = await read_job(client, meta.namespace, preflight_name(meta.name))
        if run.job is not None:
            observed = replace(await self._follow(client, obj, run), preflight=checks)
            return replace(observed, wait=await self._wait(client, obj, observed))
        if checks.job is not None and final_condition(checks.job) is None:
            return Observed(preflight=checks, hardware=await self._hardware(client, obj))
        return await self._prepare(client, obj, Observed(preflight=checks))

    def decide(self, obj: FineTuneJob, observed: Observed, now: datetime) -> Decision:
        return decide(obj, observed, now, self._settings)

    def children(self, observed: Observed) -> Iterable[Object]:
        for observation in (observed.preflight, observed.run):
            if observation.job is not None:
                yield observation.job
            yield from observation.pods

    def references(self, obj: FineTuneJob) -> Iterable[Key]:
        """Whoever may have to wait looks again when another one of the namespace makes room."""
        is_waiting = not obj.spec.suspend and obj.status.phase not in _UNDER_WAY and not is_final(obj.status)
        if is_waiting and self._slots.limits(obj):
            return (Key(FINETUNEJOB.kind, obj.metadata.namespace, ANY),)
        return ()

    def recorded(self, key: Key, status: Object) -> None:
        if self._pods.follows(key):
            self._pods.record(key, recorded_live(status))

    def refused(self, obj: FineTuneJob) -> None:
        # Who waits behind it may go on; it stands in line again with its next try.
        self._slots.leave(obj)

    def forget(self, key: Key) -> None:
        self._pods.leave(key)
        self._series.remove(key.namespace, key.name)
        self._sweep.forget(key.namespace, key.name)

    async def _prepare(self, client: Client, obj: FineTuneJob, observed: Observed) -> Observed:
        """What matters while a Job is to be created."""
        hardware = await self._hardware(client, obj)
        observed = replace(observed, inputs=await self._inputs(client, obj), hardware=hardware)
        return replace(observed, wait=await self._wait(client, obj, observed))

    async def _wait(self, client: Client, obj: FineTuneJob, observed: Observed) -> Wait | None:
        """Asked last, because the answer takes a place."""
        if not self._slots.limits(obj):
            return None
        if obj.spec.suspend:
            self._slots.leave(obj)
        if not wants_to_start(obj, observed, self._settings) and not could_stop(obj, observed):
            return None
        if not client.is_live:
            raise NotLive
        if observed.run.job is not None and is_suspended(observed.run.job):
            observed = replace(observed, hardware=await self._hardware(client, obj))
        figures = read_preflight(obj, observed).figures
        estimate = figures.cost.estimate if figures and figures.cost else None
        misfit = find_misfit(obj, observed, self._settings)
        return await self._slots.wait(client, Request(obj, estimate, misfit))

    async def _hardware(self, client: Client, obj: FineTuneJob) -> Hardware:
        told = get_condition(obj.status.conditions, JobCondition.SCHEDULED)
        was_misfit = told is not None and told.reason in MISFITS
        return await read_hardware(client, obj.spec, self._settings, was_misfit=was_misfit)

    async def _product(self, client: Client, obj: FineTuneJob, run: Run, pods: Iterable[Object]) -> str | None:
        """The GPU under a pod that is not on record yet."""
        is_known = obj.status.phase is JobPhase.RUNNING and run.pod in (obj.status.pods or ())
        if not obj.spec.resources.gpu or is_known:
            return None
        name = next((pod["spec"].get("nodeName") for pod in pods if pod["metadata"]["name"] == run.pod), None)
        nodes = await read_nodes(client, name) or () if name else ()
        found = gpu_nodes(nodes, gpu_resource(obj.spec.resources, self._settings))
        return found[0].product if found else None

    async def _inputs(self, client: Client, obj: FineTuneJob) -> Inputs:
        if check_uris(obj, self._settings):
            return Inputs()
        namespace = obj.metadata.namespace
        inputs = await read_inputs(client, namespace, all_uris(obj, self._settings))
        needed = (use.name for use in all_secrets(obj, self._settings))
        return replace(inputs, missing_secrets=await self._secrets.missing(client, namespace, needed))

    async def _follow(self, client: Client, obj: FineTuneJob, observation: JobObservation) -> Observed:
        meta = obj.metadata
        if observation.job is None or not is_owned_by(observation.job, meta.uid):
            return Observed(observation)
        run = read_run(observation, main=MAIN)
        if run.phase is JobPhase.SUCCEEDED:
            return Observed(observation, evaluation=await self._evaluation(client, obj))
        progress, key = None, _key(obj)
        if run.pod_ip:
            # How long a pod is given to stop follows from what it says.
            progress = await self._pods.listen(key, run.pod_ip, at_once=obj.spec.suspend)
        else:
            self._pods.leave(key)
        if run.phase is not JobPhase.RUNNING and not progress:
            self._series.remove(meta.namespace, meta.name)
        product = await self._product(client, obj, run, observation.pods) if run.phase is JobPhase.RUNNING else None
        return Observed(observation, progress=progress, product=product)

    async def _evaluation(self, client: Client, obj: FineTuneJob) -> Object | None:
        if obj.spec.evaluation is None:
            return None
        return await client.get(EVALUATION, obj.metadata.namespace, obj.metadata.name)


def _key(obj: FineTuneJob) -> Key:
    return Key(FINETUNEJOB.kind, obj.metadata.namespace, obj.metadata.name)
