"""From facts to the status and the Events."""

from __future__ import annotations

from typing import Any

from kubetune.common.conditions import Fact
from kubetune.common.decision import Decision
from kubetune.common.job_status import JobCondition
from kubetune.finetunejob.api.from_contract import merge_suggestions
from kubetune.finetunejob.job.effective import in_force
from kubetune.finetunejob.observed import Look
from kubetune.finetunejob.preflight import Preflight
from kubetune.runs.read import Run
from kubetune.runs.status import Stamp, accepted_by, finished, job_status, keep, set_facts, transitions

from . import attempts
from .progress import at_rest
from .suggestions import news


def conclude(look: Look, accepted: Fact, preflight: Preflight, run: Run, **own: Any) -> Decision:
    """``own`` are members of the status beside conditions, attempts and failure."""
    job, stamp = look.job, Stamp(look.now, look.job.metadata.generation)
    old = job.status
    facts = {
        JobCondition.ACCEPTED: accepted_by(accepted, run),
        JobCondition.PREFLIGHTED: preflight.fact,
        JobCondition.SCHEDULED: run.scheduled,
        JobCondition.RUNNING: run.running,
        JobCondition.SUCCEEDED: run.succeeded,
        JobCondition.FINISHED: finished(run),
    }
    conditions = set_facts(old.conditions, facts, stamp)
    figures = preflight.figures or old.preflight
    members = {
        "effective": in_force(job, look.observed.run.job, figures.settings if figures else None),
        "preflight": figures,
        "progress": at_rest(old.progress, figures, run),
        # Only whoever waits in line has a number there.
        "queue": None,
        "suggestions": merge_suggestions(old.suggestions, preflight.suggestions),
    }
    common = job_status(old, conditions, run, stamp)
    counted = attempts.count(old, look.observed.run.pods, common["attempts"])
    status = keep(old, common | counted | members | own)
    events = (*transitions(old.conditions, conditions), *news(old.suggestions, status.suggestions))
    return Decision(status=status.to_dict(), events=events)
