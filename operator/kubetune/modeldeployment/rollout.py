"""Which version a ModelDeployment runs: the gate in front of traffic and the way back from a version that never loads.

What ran before is read from the ledger, an annotation of the live Deployment and Service, never from memory or from
the status: it survives the operator, and it cannot disagree with what really runs.

Only the model is behind the gate. Replicas, resources and engine settings take effect at once, for whichever version
is active.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from kubetune.common.conditions import ConditionStatus, get_condition
from kubetune.common.job_status import JobCondition
from kubetune.common.meta import GROUP
from kubetune.common.model_source import ModelChoice
from kubetune.evaluation.api import Evaluation
from kubetune.lineage import Model, plain
from kubetune_contract import ContractError, Verdict, dumps, from_json

from .api import Reason

LEDGER_ANNOTATION = f"{GROUP}/ledger"
VERSION_LENGTH = 10
"""Hexadecimal digits of a version's name: 40 bits tell the versions of one deployment apart."""
LOAD_ATTEMPTS = 3
"""Failed starts after which a version that never answered is given up where that frees the place for the one before."""
MESSAGE_LIMIT = 500
"""Characters kept of the reason why a version was given up; annotations are shared with everybody else's."""


@dataclass(frozen=True)
class Release:
    """A model admitted for this deployment; ``job`` and ``evaluation`` name what it came from and what admitted it."""

    model: Model
    job: str | None = None
    evaluation: str | None = None
    loaded: bool = False
    """Whether a pod has answered with it at least once."""

    @property
    def version(self) -> str:
        """Short hash of everything that makes the answers: base, adapter and the digest of the files."""
        return hashlib.sha256(dumps(self.model).encode()).hexdigest()[:VERSION_LENGTH]


@dataclass(frozen=True)
class GivenUp:
    """A version that never loaded; ``template`` is the digest of the pods that were tried, so that any change of
    engine settings, resources or image earns it another try."""

    version: str
    template: str
    message: str


@dataclass(frozen=True)
class Ledger:
    """What the Deployment runs, the last version before it that had loaded, and what was given up."""

    active: Release
    previous: Release | None = None
    given_up: GivenUp | None = None


@dataclass(frozen=True)
class Admission:
    """The gate's answer for the wanted version."""

    admitted: bool
    reason: Reason
    message: str


@dataclass(frozen=True)
class Loading:
    """How the pods of the active version fare: whether one answers, else how often and why starting failed."""

    answers: bool = False
    failed_starts: int = 0
    problem: str = ""


Digest = Callable[[Release], str]
"""Digest of the pod template that would serve a release with the present settings."""


def read_ledger(*objects: dict[str, Any] | None) -> Ledger | None:
    """The first readable ledger; None when nothing was ever admitted (or somebody removed it everywhere)."""
    for obj in objects:
        text = (obj or {}).get("metadata", {}).get("annotations", {}).get(LEDGER_ANNOTATION)
        if text:
            try:
                return from_json(Ledger, json.loads(text))
            except (ContractError, ValueError):
                continue
    return None


def judge(model: Model, choice: ModelChoice, gate: str | None, evaluation: Evaluation | None) -> Admission:
    """Whether ``gate`` (an Evaluation's name, None: no proof is asked) lets ``model`` have traffic, which ``choice``
    stands for."""
    if gate is None:
        return Admission(True, Reason.NO_GATE, "No verdict is required.")
    if evaluation is None:
        return _refused(
            Reason.EVALUATION_NOT_FOUND,
            f"Evaluation {gate!r} does not exist in this namespace. Create it or correct requireVerdict.",
        )
    unfinished = _judge_progress(gate, evaluation)
    if unfinished is None:
        return _judge_verdict(model, gate, evaluation)
    return judge_spec(choice, gate, evaluation) or unfinished


def judge_spec(choice: ModelChoice, gate: str, evaluation: Evaluation) -> Admission | None:
    """Why the verdict can never count, whatever it will be: its Evaluation has no gate, or its candidate is another
    model. None while that is not plain from what is written."""
    if evaluation.spec.gate is None:
        return without_gate(gate)
    candidate = evaluation.spec.candidate
    asked, measured = choice.fine_tune_job_ref, candidate.fine_tune_job_ref
    if asked and measured:
        is_other = asked.name != measured.name
    else:
        # A job and a folder may be the same; that shows once the job has ended.
        is_other = bool(choice.uri and candidate.uri) and _folders(choice.uri or "", choice.adapter_uri) != _folders(
            candidate.uri or "", candidate.adapter_uri
        )
    return _of_another(gate, _written(candidate), _written(choice)) if is_other else None


def _written(choice: ModelChoice) -> str:
    if choice.fine_tune_job_ref:
        return f"the result of FineTuneJob {choice.fine_tune_job_ref.name!r}"
    return _show(choice.uri or "", choice.adapter_uri)


def _of_another(gate: str, measured: str, asked: str) -> Admission:
    return _refused(
        Reason.EVALUATION_OF_ANOTHER_MODEL,
        f"Evaluation {gate!r} (spec.requireVerdict.evaluationRef) measures {measured}, but this deployment asks for "
        f"{asked}. Name an Evaluation whose candidate is this model.",
    )


def without_gate(gate: str) -> Admission:
    """The answer about an Evaluation that gives no verdict."""
    return _refused(
        Reason.EVALUATION_WITHOUT_GATE,
        f"Evaluation {gate!r} (spec.requireVerdict.evaluationRef) has no gate and therefore no verdict. Name one with "
        "spec.gate.",
    )


def admit(
    wanted: Release, choice: ModelChoice, gate: str | None, evaluation: Evaluation | None, ledger: Ledger | None
) -> Admission:
    """As ``judge``, but a version this gate has admitted before is not sent back for want of evidence.

    Only a verdict against this very model does that; an Evaluation that was deleted, or started again, says nothing.
    """
    answer = judge(wanted.model, choice, gate, evaluation)
    if answer.admitted or answer.reason in {Reason.VERDICT_NO_GO, Reason.VERDICT_INCONCLUSIVE}:
        return answer
    known = ledger.active if ledger else None
    if known and known.version == wanted.version and known.evaluation == gate:
        return Admission(True, Reason.ADMITTED, f"Admitted by Evaluation {gate!r} before. Now: {answer.message}")
    return answer


def advance(
    ledger: Ledger | None, wanted: Release | None, loading: Loading, digest: Digest, *, one_at_a_time: bool
) -> Ledger | None:
    """The ledger to run by. ``wanted`` is None unless it is resolved and admitted; None is returned when there is
    nothing to run yet.

    ``one_at_a_time`` is the Recreate strategy: the old version is gone while the new one loads, so one that never
    loads is replaced by the one before. A rolling update keeps the old pods until the new ones answer anyway.
    """
    if ledger is None:
        return Ledger(wanted) if wanted else None
    if loading.answers and not ledger.active.loaded:
        ledger = replace(ledger, active=replace(ledger.active, loaded=True))
    if one_at_a_time:
        ledger = _fall_back(ledger, loading, digest)
    if wanted is None:
        return ledger
    if wanted.version == ledger.active.version:
        return replace(ledger, active=replace(wanted, loaded=ledger.active.loaded), given_up=None)
    if was_given_up(ledger, wanted, digest):
        return ledger
    previous = ledger.active if ledger.active.loaded else ledger.previous
    return Ledger(wanted, previous=previous if previous and previous.version != wanted.version else None)


def was_given_up(ledger: Ledger, wanted: Release, digest: Digest) -> bool:
    """Whether ``wanted`` was tried with these very settings and never loaded."""
    lost = ledger.given_up
    return lost is not None and lost.version == wanted.version and lost.template == digest(wanted)


def _fall_back(ledger: Ledger, loading: Loading, digest: Digest) -> Ledger:
    active = ledger.active
    if active.loaded or ledger.previous is None or loading.failed_starts < LOAD_ATTEMPTS:
        return ledger
    lost = GivenUp(active.version, digest(active), loading.problem[:MESSAGE_LIMIT])
    return Ledger(ledger.previous, given_up=lost)


def _judge_progress(gate: str, evaluation: Evaluation) -> Admission | None:
    succeeded = get_condition(evaluation.status.conditions, JobCondition.SUCCEEDED)
    if succeeded is not None and succeeded.status is ConditionStatus.FALSE:
        return _refused(
            Reason.EVALUATION_FAILED,
            f"Evaluation {gate!r} failed: {succeeded.message.rstrip('.')}. "
            "Correct the cause, delete it and create it again.",
        )
    if succeeded is None or succeeded.status is not ConditionStatus.TRUE:
        phase = evaluation.status.phase.value if evaluation.status.phase else "not started"
        return _refused(Reason.EVALUATION_NOT_FINISHED, f"Waits for the verdict of Evaluation {gate!r} ({phase}).")
    return None


def _judge_verdict(model: Model, gate: str, evaluation: Evaluation) -> Admission:
    status = evaluation.status
    measured = status.candidate
    if measured is None or _folders(measured.uri, measured.adapter_uri) != _folders(model.uri, model.adapter_uri):
        what = _show(measured.uri, measured.adapter_uri) if measured else "nothing"
        return _of_another(gate, what, _show(model.uri, model.adapter_uri))
    if status.verdict is None:
        return without_gate(gate)
    because = f": {status.verdict_message.rstrip('.')}" if status.verdict_message else ""
    if status.verdict is Verdict.GO:
        return Admission(True, Reason.ADMITTED, f"Evaluation {gate!r} says Go{because}.")
    if status.verdict is Verdict.NO_GO:
        return _refused(
            Reason.VERDICT_NO_GO,
            f"Evaluation {gate!r} says NoGo{because}. Train a better model and evaluate that, "
            "or remove requireVerdict to serve this one all the same.",
        )
    return _refused(
        Reason.VERDICT_INCONCLUSIVE,
        f"Evaluation {gate!r} is inconclusive{because}. Evaluate with more items, "
        "or remove requireVerdict to serve this model all the same.",
    )


def _refused(reason: Reason, message: str) -> Admission:
    return Admission(False, reason, message)


def _folders(uri: str, adapter_uri: str | None) -> tuple[str, str | None]:
    return plain(uri), plain(adapter_uri) if adapter_uri else None


def _show(uri: str, adapter_uri: str | None) -> str:
    return f"{adapter_uri} on {uri}" if adapter_uri else uri
