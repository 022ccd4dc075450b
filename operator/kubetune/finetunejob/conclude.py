"""From facts to the status and the Events."""

from __future__ import annotations

from typing import Any

from kubetune.common.decision import Decision
from kubetune.common.job_status import JobCondition
from kubetune.workload.explain import Fact
from kubetune.workload.run import Run
from kubetune.workload.status import Stamp, accepted_by, finished, job_status, set_facts, transitions

from . import attempts
from .advice import news
from .api import FineTuneJobStatus
from .effective import in_force
from .figures import merge_suggestions
from .observed import Look
from .preflight import Preflight
from .progress import at_rest


def conclude(look: Look, accepted: Fact, preflight: Preflight, run: Run, **own: Any) -> Decision:
    """``own`` are members of the status beside conditions, attempts and failure; what is not named and not measured
    again by every pass stays as it is."""
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
        "active_seconds": old.active_seconds,
        "cost": old.cost,
        "recovery": old.recovery,
        "suggestions": merge_suggestions(old.suggestions, preflight.suggestions),
    }
    common = job_status(old, conditions, run, stamp)
    counted = attempts.count(old, look.observed.run.pods, common["attempts"])
    status = FineTuneJobStatus(**(common | counted | members | own))
    events = (*transitions(old.conditions, conditions), *news(old.suggestions, status.suggestions))
    return Decision(status=status.to_dict(), events=events)
