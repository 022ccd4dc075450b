"""The preflight as its Job tells it: not begun, under way, passed or failed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kubetune.common.conditions import ConditionStatus, Fact, get_condition, is_true
from kubetune.common.doubt import attempt, read
from kubetune.common.job_status import Failure, JobCondition, JobPhase
from kubetune.common.model import format_time
from kubetune.common.reasons import Shared
from kubetune.common.sentences import capitalised, sentences
from kubetune.runs.read import JobObservation, Run, read_run
from kubetune.workload.explain import WAITING_TEXT
from kubetune_contract import Fit, PreflightSummary, TrainSummary

from .api import FineTuneJob, FitPolicy, PreflightStatus, Reason
from .api.from_contract import found_at, preflight_status, read_suggestions, result_members
from .api.status_types import Suggestion
from .job.resources import PREFLIGHT
from .observed import Observed

AFTER_TEXT = "The training starts once the preflight has passed."
NEVER_TEXT = "Did not run: the preflight failed."


@dataclass(frozen=True)
class Preflight:
    """How far it is."""

    fact: Fact
    """The condition Preflighted."""
    is_passed: bool = False
    run: Run | None = None
    """The preflight's Job; None where it does not matter any more."""
    figures: PreflightStatus | None = None
    suggestions: tuple[Suggestion, ...] = ()
    found: TrainSummary | None = None
    """The result of this very run, which was in the object store already."""
    is_lost: bool = False
    """It has succeeded and its pod is gone before anybody read what it found."""


def is_owed(job: FineTuneJob) -> bool:
    """Whether nobody knows yet that it has passed."""
    return job.spec.preflight.fit is not FitPolicy.SKIP and not is_true(job.status.conditions, JobCondition.PREFLIGHTED)


def read_preflight(job: FineTuneJob, observed: Observed) -> Preflight:
    """What is known of the preflight. It is run once: after it has passed, the status or the training's Job tells."""
    known = known_result(job)
    if known:
        return known
    run = read_run(observed.preflight, main=PREFLIGHT)
    found = _read(job, run)
    if observed.run.job is not None and not found.is_passed:
        # Only a preflight that has passed lets the training start; its figures went with the status.
        return Preflight(Fact(ConditionStatus.TRUE, Reason.PREFLIGHT_PASSED, "The training was started."), True)
    return found


def known_result(job: FineTuneJob) -> Preflight | None:
    """What needs no look at the Job: it is left out, or the status says that it has passed."""
    if job.spec.preflight.fit is FitPolicy.SKIP:
        text = "Left out, as spec.preflight.fit says; the training checks its inputs itself."
        return Preflight(Fact(ConditionStatus.TRUE, Reason.PREFLIGHT_SKIPPED, text), is_passed=True)
    stored = get_condition(job.status.conditions, JobCondition.PREFLIGHTED)
    if stored is None or stored.status is not ConditionStatus.TRUE:
        return None
    fact = Fact(stored.status, stored.reason, stored.message)
    return Preflight(fact, is_passed=True, figures=job.status.preflight)


def _read(job: FineTuneJob, run: Run) -> Preflight:
    if run.phase is JobPhase.SUCCEEDED:
        return _conclude(job, run)
    if run.phase is JobPhase.FAILED:
        return Preflight(Fact(ConditionStatus.FALSE, run.succeeded.reason, run.succeeded.message), run=run)
    if run.phase in {JobPhase.SUSPENDING, JobPhase.SUSPENDED}:
        return Preflight(Fact(ConditionStatus.UNKNOWN, run.succeeded.reason, run.succeeded.message), run=run)
    if run.phase is JobPhase.RUNNING:
        text = f"Pod {run.pod} checks data, model, access and memory."
        return Preflight(Fact(ConditionStatus.UNKNOWN, Reason.PREFLIGHT, text), run=run)
    stuck = run.running if run.scheduled.status is ConditionStatus.TRUE else run.scheduled
    is_stuck = stuck.reason not in {Shared.WAITING, Shared.PREPARING}
    status = ConditionStatus.FALSE if is_stuck else ConditionStatus.UNKNOWN
    return Preflight(Fact(status, stuck.reason, stuck.message), run=run)


def _conclude(job: FineTuneJob, run: Run) -> Preflight:
    if run.message is None and run.pod is None:
        return Preflight(Fact(ConditionStatus.UNKNOWN, Shared.WAITING, WAITING_TEXT), run=run, is_lost=True)
    result = read(TrainSummary, run.message)
    trained = found_at(result) if result and attempt(result_members, result) else None
    if trained:
        text = f"The result of {format_time(trained)} is in the object store; there is nothing to train."
        return Preflight(Fact(ConditionStatus.TRUE, Reason.RESULT_FOUND, text), True, run, found=result)
    summary = read(PreflightSummary, run.message)
    figures = attempt(preflight_status, summary) if summary else None
    if summary is None or figures is None:
        text = (
            f"Pod {run.pod} has left no summary that can be read: the trainer's image and the operator are not of one "
            "release. Let both be of one, or leave the preflight out (spec.preflight.fit: Skip)."
        )
        return _fail(run, Shared.RESULT_LOST, text)
    suggestions = read_suggestions(summary.suggestions)
    found = Preflight(Fact(ConditionStatus.TRUE, Reason.PREFLIGHT_PASSED, _describe(job, summary)), True, run, figures)
    if summary.fit is Fit.DOES_NOT_FIT and job.spec.preflight.fit is FitPolicy.REQUIRE:
        text = sentences(capitalised(summary.fit_message))
        found = replace(_fail(run, Reason.DOES_NOT_FIT, text), figures=figures)
    return replace(found, suggestions=suggestions)


def _fail(run: Run, reason: str, text: str) -> Preflight:
    fact = Fact(ConditionStatus.FALSE, reason, text)
    failure = Failure(reason=reason, message=text, pod=run.pod)
    failed = replace(run, phase=JobPhase.FAILED, succeeded=fact, failure=failure)
    return Preflight(fact, run=failed)


def _describe(job: FineTuneJob, summary: PreflightSummary) -> str:
    rows = summary.settings.reason if summary.settings else f"{summary.train_rows} rows"
    text = sentences(f"{rows}, {summary.steps} steps", capitalised(summary.fit_message))
    if summary.fit is Fit.DOES_NOT_FIT:
        return sentences(text, f"It is trained all the same, because spec.preflight.fit is {job.spec.preflight.fit}")
    return text


def run_before_training(preflight: Preflight) -> Run:
    """The facts of the training while the preflight decides."""
    run = preflight.run or read_run(JobObservation(), main=PREFLIGHT)
    fact = preflight.fact
    has_ended = run.phase is JobPhase.FAILED
    is_held = run.phase in {JobPhase.SUSPENDING, JobPhase.SUSPENDED}
    text = NEVER_TEXT if has_ended else fact.message if is_held else AFTER_TEXT
    return Run(
        phase=JobPhase.PREFLIGHT if run.phase is JobPhase.RUNNING else run.phase,
        scheduled=Fact(ConditionStatus.FALSE if has_ended else ConditionStatus.UNKNOWN, fact.reason, text),
        running=Fact(ConditionStatus.FALSE, fact.reason, text),
        succeeded=Fact(ConditionStatus.FALSE if has_ended else ConditionStatus.UNKNOWN, fact.reason, fact.message),
        failure=run.failure,
        pod=run.pod,
        finished=run.finished,
        is_unsettled=run.is_unsettled,
        recheck_after=run.recheck_after,
    )
