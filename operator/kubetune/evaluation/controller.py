"""Reads what an Evaluation's decision needs; the reconciler carries the decision out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial

from kubetune.common.decision import Decision
from kubetune.common.doubt import read
from kubetune.kube.client import Client, Object
from kubetune.kube.kinds import EVALUATION, FINETUNEJOB, Resource
from kubetune.kube.secrets import SecretCheck
from kubetune.lineage import Found, job_names, read_reference
from kubetune.runs.observe import Swept, read_job
from kubetune.runs.read import JobObservation, read_run
from kubetune.runs.status import is_final
from kubetune.runtime.controller import Key
from kubetune.runtime.listener import Listener
from kubetune.runtime.polls import Polls
from kubetune.settings import Settings
from kubetune.workload.fingerprint import is_owned_by
from kubetune.workload.inputs import check_spelling
from kubetune.workload.reads import read_hardware, read_inputs
from kubetune_contract import EvalProgress

from .api import Evaluation, EvaluationProgress
from .decide import Observed, decide
from .resources import EVALUATE, Models, all_secrets, job_name, resolve_models, used_uris
from .result import is_worth_a_write, recorded_progress


class EvaluationController:
    """``runtime.controller.Controller`` for Evaluations."""

    def __init__(self, settings: Settings, polls: Polls) -> None:
        self._settings = settings
        self._pods: Listener[EvalProgress, EvaluationProgress] = Listener(
            polls, settings.progress_write_seconds, read=partial(read, EvalProgress), is_due=is_worth_a_write
        )
        self._secrets = SecretCheck()
        self._sweep = Swept(settings.keep_finished_seconds)

    @property
    def resource(self) -> Resource:
        return EVALUATION

    def parse(self, raw: Object) -> Evaluation:
        return Evaluation.parse(raw)

    async def gather(self, client: Client, obj: Evaluation, *, fresh: bool) -> Observed:
        if is_final(obj.status):
            self._pods.leave(_key(obj))
            return Observed(JobObservation(await self._sweep.look(client, obj.metadata, job_name(obj))))
        namespace, run = obj.metadata.namespace, JobObservation()
        if not fresh:
            run = await read_job(client, namespace, job_name(obj))
        if run.job is None:
            return await self._before_start(client, obj)
        return Observed(run, progress=await self._progress(obj, run))

    def decide(self, obj: Evaluation, observed: Observed, now: datetime) -> Decision:
        return decide(obj, observed, now, self._settings)

    def children(self, observed: Observed) -> Iterable[Object]:
        if observed.run.job is not None:
            yield observed.run.job
        yield from observed.run.pods

    def references(self, obj: Evaluation) -> Iterable[Key]:
        choices = (obj.spec.candidate, *(obj.spec.baselines or ()))
        return (Key(FINETUNEJOB.kind, obj.metadata.namespace, name) for name in job_names(*choices))

    def recorded(self, key: Key, status: Object) -> None:
        if self._pods.follows(key):
            self._pods.record(key, recorded_progress(status))

    def refused(self, obj: Evaluation) -> None:
        """Nothing was reserved for it."""

    def forget(self, key: Key) -> None:
        self._pods.leave(key)
        self._sweep.forget(key.namespace, key.name)

    async def _before_start(self, client: Client, obj: Evaluation) -> Observed:
        if check_spelling(used_uris(obj, None)):
            return Observed()
        jobs: dict[str, Found] = {}
        for key in self.references(obj):
            raw = await client.get(FINETUNEJOB, key.namespace, key.name)
            jobs[key.name] = read_reference(raw)
        models = resolve_models(obj, jobs)
        known, namespace = models if isinstance(models, Models) else None, obj.metadata.namespace
        inputs = await read_inputs(client, namespace, used_uris(obj, known))
        needed = (use.name for use in all_secrets(obj, known, self._settings))
        inputs = replace(inputs, missing_secrets=await self._secrets.missing(client, namespace, needed))
        hardware = await read_hardware(client, obj.spec, self._settings)
        return Observed(jobs=jobs, inputs=inputs, hardware=hardware)

    async def _progress(self, obj: Evaluation, observation: JobObservation) -> EvalProgress | None:
        if observation.job is None or not is_owned_by(observation.job, obj.metadata.uid):
            return None
        run = read_run(observation, main=EVALUATE)
        if run.pod_ip is None:
            self._pods.leave(_key(obj))
            return None
        return await self._pods.listen(_key(obj), run.pod_ip)


def _key(obj: Evaluation) -> Key:
    return Key(EVALUATION.kind, obj.metadata.namespace, obj.metadata.name)
