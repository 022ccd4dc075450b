"""What a ModelDeployment should run now, and why not what it asks for, if it does not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from kubetune.common.conditions import ConditionStatus, Fact
from kubetune.common.reasons import Shared
from kubetune.evaluation.api import Evaluation
from kubetune.finetunejob.api import FineTuneJob
from kubetune.lineage import Found, Obstacle, Unresolved, job_names, resolve_servable
from kubetune.runs.status import accepted
from kubetune.settings import Settings
from kubetune.workload.fingerprint import is_owned_by
from kubetune.workload.gpu import check_shares
from kubetune.workload.inputs import Inputs, Problem, check_inputs, check_spelling
from kubetune.workload.secrets import check_secrets, needed_secrets

from .api import ModelDeployment, Reason
from .gate import admit, judge_spec, judged_contents, unreadable, without_gate
from .ledger import Ledger, Maker, Release
from .resources import child, recreates, used_uris
from .rollout import Exchange, Loading, advance

Object = dict[str, Any]

RECHECK_SECONDS = 10.0
"""Missing claims and Secrets, foreign objects and the Events of pods that have not begun are not watched."""


@dataclass(frozen=True)
class Observed:
    """What the controller has read; the default is a cluster in which nothing exists yet."""

    deployment: Object | None = None
    service: Object | None = None
    pods: tuple[Object, ...] = ()
    warnings: tuple[Object, ...] = ()
    """Warning Events about pods of which no container has begun."""
    placement: Fact | None = None
    """Why no node takes a pod that is on none or not made yet, as nodes and labels tell; None when they do not."""
    runtime_class: str = ""
    """The RuntimeClass that exists for pods with a GPU, looked up where nobody names one."""
    job: Found = None
    """The FineTuneJob ``spec.model`` refers to."""
    evaluation: Evaluation | None = None
    """The Evaluation ``spec.requireVerdict`` refers to."""
    has_evaluation: bool | None = None
    """Whether it is there, although this operator may not be able to read it; None as far as ``evaluation`` tells."""
    inputs: Inputs = field(default_factory=Inputs)
    """Claims that the spec names or that hold the model."""

    def ours(self, deployment: ModelDeployment) -> tuple[Object | None, Object | None]:
        """Deployment and Service, each None when it is missing or somebody else's."""
        uid = deployment.metadata.uid
        found = (obj if obj and is_owned_by(obj, uid) else None for obj in (self.deployment, self.service))
        return next(found), next(found)


@dataclass(frozen=True)
class Present:
    """What runs, how its active version fares, and how pods would be made now."""

    ledger: Ledger | None
    loading: Loading
    make: Maker


@dataclass(frozen=True)
class Plan:
    """``ledger`` says what runs; None is nothing."""

    accepted: Fact
    admitted: Fact
    ledger: Ledger | None
    wanted: Release | None = None
    """None while the spec stands for no model (yet), or for one that must not be made."""
    asked: str | None = None
    """The version that the spec stands for, which may lack something or be held; None while nobody knows."""
    is_held: bool = False
    """Something in the way concerns every version: nothing is touched until it is gone."""

    @property
    def runs_as_wanted(self) -> bool:
        active = self.ledger.active if self.ledger else None
        if active is None or self.wanted is None or active.version != self.wanted.version:
            return False
        return not self.is_back

    @property
    def is_back(self) -> bool:
        """Whether the wanted version runs in the pods before, as it never loaded in those that are asked for."""
        lost = self.ledger.given_up if self.ledger else None
        return lost is not None and self.ledger is not None and lost.version == self.ledger.active.version


def spec_problem(deployment: ModelDeployment, observed: Observed, settings: Settings) -> Problem | None:
    """What is wrong whichever version runs."""
    return (
        check_spelling(_spec_uris(deployment))
        or _name_conflict(deployment, observed)
        or check_shares(deployment.spec.resources, settings)
        or check_inputs(observed.inputs, cache_uris(deployment), deployment.metadata.namespace, _named(deployment))
    )


def make_plan(deployment: ModelDeployment, observed: Observed, present: Present, settings: Settings) -> Plan:
    """``present`` is what runs so far."""
    ledger, loading = present.ledger, present.loading
    held = spec_problem(deployment, observed, settings)
    found = find_release(deployment, observed, ledger)

    def go_on(wanted: Release | None) -> Ledger | None:
        exchange = Exchange(present.make, recreates(deployment), is_idle=deployment.spec.replicas == 0)
        return advance(ledger, wanted, loading, exchange)

    if isinstance(found, Problem):
        if held:
            return Plan(_refused(held), _undecided(held.reason), ledger, is_held=True)
        ledger = go_on(None)
        if found.reason == Reason.FINE_TUNE_JOB_NOT_FINISHED:
            waiting = Fact(ConditionStatus.UNKNOWN, found.reason, found.message)
            return Plan(accepted(), _judge_ahead(deployment, observed, waiting), ledger)
        return Plan(_refused(found), _judge_ahead(deployment, observed, _undecided(found.reason)), ledger)
    admission = admit(found, deployment.spec.model, _gate(deployment), observed.evaluation, ledger)
    if observed.has_evaluation and observed.evaluation is None and not admission.admitted:
        admission = unreadable(_gate(deployment) or "")
    status = ConditionStatus.TRUE if admission.admitted else ConditionStatus.FALSE
    admitted = Fact(status, admission.reason, admission.message)
    missing = held or _find_missing(deployment, observed, found, ledger, settings)
    if missing:
        if not held:
            ledger = go_on(None)
        plan = Plan(_refused(missing), admitted, ledger, asked=found.version, is_held=held is not None)
        if loading.answers and ledger and ledger.active.version == found.version and missing.reason in _LACKS:
            # What answers has what it needs; a new pod would not come up.
            return replace(plan, wanted=ledger.active)
        judged = _undecided(missing.reason) if held else _judge_ahead(deployment, observed, _undecided(missing.reason))
        return replace(plan, admitted=judged)
    ledger = go_on(found if admission.admitted else None)
    return Plan(accepted(), admitted, ledger, found, asked=found.version)


def _judge_ahead(deployment: ModelDeployment, observed: Observed, waiting: Fact) -> Fact:
    """The condition Admitted while the model is waited for: a verdict that can never count is told at once."""
    gate, evaluation = _gate(deployment), observed.evaluation
    hopeless = judge_spec(deployment.spec.model, gate, evaluation) if gate and evaluation else None
    job = observed.job if isinstance(observed.job, FineTuneJob) else None
    template = job.spec.evaluation if job and job.metadata.name == gate else None
    if gate and evaluation is None and template and template.gate is None:
        # The Evaluation of that name that the job will bring along.
        hopeless = without_gate(gate)
    if hopeless:
        return Fact(ConditionStatus.FALSE, hopeless.reason, hopeless.message)
    return waiting


def find_release(deployment: ModelDeployment, observed: Observed, ledger: Ledger | None) -> Release | Problem:
    """What the spec asks for, or why it stands for nothing (yet)."""
    misspelled = check_spelling(_spec_uris(deployment))
    if misspelled:
        return misspelled
    name = next(iter(job_names(deployment.spec.model)), None)
    model = resolve_servable(deployment.spec.model, {name: observed.job} if name else {})
    if isinstance(model, Unresolved):
        # A job deleted after its model went into service leaves the model as it is.
        if model.obstacle is Obstacle.NOT_FOUND and ledger and ledger.active.job == name:
            return ledger.active
        return Problem(_REASONS[model.obstacle], model.message)
    gate = _gate(deployment)
    contents = judged_contents(model, gate, observed.evaluation, ledger)
    return Release(model, job=name, evaluation=gate, contents=contents)


def _find_missing(
    deployment: ModelDeployment, observed: Observed, release: Release, ledger: Ledger | None, settings: Settings
) -> Problem | None:
    """What the release needs and the namespace lacks."""
    if ledger and release is ledger.active:
        return None
    namespace, used = deployment.metadata.namespace, used_uris(release)
    needed = needed_secrets(settings, deployment.spec, used)
    missing = check_inputs(observed.inputs, used, namespace, _named(deployment)) or check_secrets(
        observed.inputs.missing_secrets, needed, namespace, settings, RECHECK_SECONDS
    )
    if missing and observed.placement and not observed.pods:
        # Whoever mends it should not learn only then that no node will do.
        return replace(missing, message=f"{missing.message} {observed.placement.message}")
    return missing


def cache_uris(deployment: ModelDeployment) -> tuple[str, ...]:
    """The cache's claim as a URI, so that it is looked up like the others."""
    cache = deployment.spec.cache
    return (f"pvc://{cache.claim_name}/",) if cache else ()


def named_uris(deployment: ModelDeployment, job: Found) -> tuple[str, ...]:
    """Everything the spec leads to whose claim must exist; nothing while the spec cannot be read."""
    if check_spelling(_spec_uris(deployment)):
        return ()
    base = (job.spec.base_model.uri,) if isinstance(job, FineTuneJob) else ()
    return (*_spec_uris(deployment), *base, *cache_uris(deployment))


def published_uris(job: Found) -> tuple[str, ...]:
    """Where the job's results are, once there are any."""
    status = job.status if isinstance(job, FineTuneJob) else None
    made = (status.artifact, *(status.exports or ())) if status else ()
    return tuple(one.uri for one in made if one)


def _spec_uris(deployment: ModelDeployment) -> tuple[str, ...]:
    model = deployment.spec.model
    return tuple(uri for uri in (model.uri, model.adapter_uri) if uri)


def _named(deployment: ModelDeployment) -> dict[str, str]:
    """URI -> the field that names it."""
    model = deployment.spec.model
    fields = {"spec.model.uri": model.uri, "spec.model.adapterUri": model.adapter_uri}
    caches = dict.fromkeys(cache_uris(deployment), "spec.cache.claimName")
    return {uri: field for field, uri in fields.items() if uri} | caches


_LACKS = {Shared.CLAIM_NOT_FOUND, Shared.SECRET_NOT_FOUND, "ConfigMapNotFound"}
_REASONS = {
    Obstacle.NOT_FOUND: Reason.FINE_TUNE_JOB_NOT_FOUND,
    Obstacle.NOT_FINISHED: Reason.FINE_TUNE_JOB_NOT_FINISHED,
    Obstacle.UNREADABLE: Shared.INVALID_SPEC,
    Obstacle.FAILED: Reason.FINE_TUNE_JOB_FAILED,
    Obstacle.NOT_SERVABLE: Reason.ADAPTER_NOT_SERVABLE,
}


def _gate(deployment: ModelDeployment) -> str | None:
    required = deployment.spec.require_verdict
    return required.evaluation_ref.name if required else None


def _name_conflict(deployment: ModelDeployment, observed: Observed) -> Problem | None:
    for kind, obj in (("Deployment", observed.deployment), ("Service", observed.service)):
        if obj is not None and not is_owned_by(obj, deployment.metadata.uid):
            text = (
                f"{kind} {deployment.metadata.namespace}/{child(deployment)} exists and does not belong to this "
                "ModelDeployment. It is left alone; delete it or give this ModelDeployment another name."
            )
            return Problem(Shared.NAME_CONFLICT, text)
    return None


def _refused(problem: Problem) -> Fact:
    return Fact(ConditionStatus.FALSE, problem.reason, problem.message)


def _undecided(reason: str) -> Fact:
    return Fact(ConditionStatus.UNKNOWN, reason, "No version is judged before the spec is accepted.")
