"""The gate in front of traffic: whether a verdict lets a model have it. Contents are compared, not names of folders."""

from __future__ import annotations

from dataclasses import dataclass

from kubetune.common.conditions import ConditionStatus, get_condition
from kubetune.common.job_status import JobCondition
from kubetune.common.model_source import ModelChoice
from kubetune.evaluation.api import Evaluation, MeasuredModel
from kubetune.lineage import Model, plain
from kubetune_contract import Contents, Verdict

from .api import Reason
from .ledger import Ledger, Release


@dataclass(frozen=True)
class Admission:
    """The gate's answer for the wanted version."""

    admitted: bool
    reason: Reason
    message: str


def judge(release: Release, choice: ModelChoice, gate: str | None, evaluation: Evaluation | None) -> Admission:
    """Whether ``gate`` (an Evaluation's name, None: no proof is asked) lets ``release`` have traffic, which ``choice``
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
        return _judge_verdict(release, gate, evaluation)
    return judge_spec(choice, gate, evaluation) or unfinished


def unreadable(gate: str) -> Admission:
    """The Evaluation is there, and another release has written it."""
    return _refused(
        Reason.EVALUATION_NOT_FOUND,
        f"Evaluation {gate!r} does not fit this operator's API, so that its verdict cannot be read. Create it again, "
        "or use a newer operator.",
    )


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
    answer = judge(wanted, choice, gate, evaluation)
    if answer.admitted or answer.reason in {Reason.VERDICT_NO_GO, Reason.VERDICT_INCONCLUSIVE}:
        return answer
    known = ledger.active if ledger else None
    if known and known.version == wanted.version and known.evaluation == gate:
        return Admission(True, Reason.ADMITTED, f"Admitted by Evaluation {gate!r} before. Now: {answer.message}")
    return answer


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


def judged_contents(
    model: Model, gate: str | None, evaluation: Evaluation | None, ledger: Ledger | None
) -> Contents | None:
    """What was in the model's folders when ``gate`` measured it: of the Evaluation, else what it has told before."""
    measured = evaluation.status.candidate if gate and evaluation else None
    if measured and (measured.content or measured.adapter_content) and _is_same_model(model, measured):
        return Contents(measured.content, measured.adapter_content)
    active = ledger.active if ledger else None
    if gate and active and active.evaluation == gate and active.model == model:
        return active.contents
    return None


def _judge_verdict(release: Release, gate: str, evaluation: Evaluation) -> Admission:
    status, model = evaluation.status, release.model
    measured = status.candidate
    if measured is None or not _is_same_model(model, measured):
        what = _show_measured(measured) if measured else "nothing"
        return _of_another(gate, what, _show(model.uri, model.adapter_uri, release.pinned))
    if status.verdict is None:
        return without_gate(gate)
    is_known = measured.content and (measured.adapter_content or not measured.adapter_uri)
    if status.verdict is Verdict.GO and not is_known and release.job is None:
        # A FineTuneJob's own folder bears its uid, and nobody else writes there.
        return _refused(
            Reason.EVALUATION_WITHOUT_CONTENT,
            f"Evaluation {gate!r} was measured by a release of KubeTune that did not record what the folders of "
            f"{_show(model.uri, model.adapter_uri)} held, so nobody can tell whether it is still there. Delete it and "
            "create it again.",
        )
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


def _is_same_model(model: Model, measured: MeasuredModel) -> bool:
    """Whether it was measured, as far as is known before its folders are looked at: the server does that, and takes
    nothing but what was measured."""
    if bool(model.adapter_uri) != bool(measured.adapter_uri):
        return False
    known = Release(model).pinned
    if not _is_same(model.uri, known.model, measured.uri, measured.content):
        return False
    if not (model.adapter_uri and measured.adapter_uri):
        return True
    return _is_same(model.adapter_uri, known.adapter, measured.adapter_uri, measured.adapter_content)


def _is_same(uri: str, known: str | None, measured_uri: str, measured: str | None) -> bool:
    """By content where both are known, else by name."""
    return known == measured if known and measured else plain(uri) == plain(measured_uri)


def _show_measured(measured: MeasuredModel) -> str:
    return _show(measured.uri, measured.adapter_uri, Contents(measured.content, measured.adapter_content))


def _show(uri: str, adapter_uri: str | None, contents: Contents | None = None) -> str:
    found = contents or Contents()
    base = f"{uri} ({found.model})" if found.model else uri
    adapter = f"{adapter_uri} ({found.adapter})" if found.adapter else adapter_uri
    return f"{adapter} on {base}" if adapter_uri else base
