"""From what the evaluator leaves behind to the status of an Evaluation."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from kubetune.common.doubt import attempt, believed
from kubetune.common.job_status import JobPhase
from kubetune.common.sentences import sentences
from kubetune.common.units import format_delta, format_progress
from kubetune.runs.decide import is_due
from kubetune_contract import Contents, EvalProgress, EvalSummary, MetricName, ModelRef
from kubetune_contract import MetricResult as Measured

from .api import Evaluation, EvaluationProgress, MeasuredModel, MetricResult, Report

_NOTHING = EvaluationProgress(done=0, total=0)
"""What is on record before the evaluator has said anything; whatever it says is news."""


def recorded_progress(status: dict[str, Any]) -> EvaluationProgress | None:
    """What of a status on record the evaluator's next answer is compared with; None when no evaluation works."""
    if status.get("phase") != JobPhase.RUNNING:
        return None
    return attempt(EvaluationProgress.model_validate, status.get("progress")) or _NOTHING


def is_worth_a_write(stored: EvaluationProgress, said: EvalProgress, interval: float) -> bool:
    """Whether it would show anything new. With an infinite ``interval``: anything but progress."""
    new = attempt(read_progress, said)
    return new is not None and is_news(stored, new, interval)


def all_done(last: EvaluationProgress | None) -> EvaluationProgress | None:
    """The last progress on show, at its end."""
    if last is None or not last.total:
        return None
    return last.model_copy(update={"done": last.total, "display": format_progress(last.total, last.total)})


def primary_metric(evaluation: Evaluation) -> MetricName:
    """The metric `kubectl get` shows: the one that decides, else the first."""
    spec = evaluation.spec
    return spec.gate.metric if spec.gate else spec.metrics[0]


def result_members(summary: EvalSummary, primary: MetricName) -> dict[str, Any]:
    """The members of the status that only a finished evaluation has."""
    results = tuple(result for result in summary.results if _is_finite(result))
    return {
        "verdict": summary.verdict,
        "verdict_message": summary.verdict_message,
        "n": summary.n,
        "groups": summary.groups,
        "delta": _delta(results, primary),
        "metrics": tuple(_metric(result) for result in results),
        "report": Report(uri=summary.report.uri, manifest_sha256=summary.report.manifest_sha256),
        "dataset_sha256": summary.dataset_sha256,
    }


def describe(summary: EvalSummary) -> str:
    """One sentence for the condition Succeeded."""
    if summary.verdict is None:
        measured = f"Measured {_counted(summary)}; no gate was set"
        return sentences(measured, summary.verdict_message, f"The report is at {summary.report.uri}")
    outcome = f"{summary.verdict.value} on {_counted(summary)}"
    return sentences(outcome, summary.verdict_message, f"The report is at {summary.report.uri}")


def _counted(summary: EvalSummary) -> str:
    return f"{summary.n} items" + (f" in {summary.groups} groups" if summary.groups else "")


def measured_model(candidate: ModelRef | None) -> MeasuredModel | None:
    return MeasuredModel(uri=candidate.uri, adapter_uri=candidate.adapter_uri) if candidate else None


def with_contents(measured: MeasuredModel | None, said: Contents | None) -> MeasuredModel | None:
    """``measured`` with what the evaluator found in its folders."""
    found = believed(said or Contents())
    return measured and measured.model_copy(update={"content": found.model, "adapter_content": found.adapter})


def read_progress(said: EvalProgress) -> EvaluationProgress:
    return EvaluationProgress(
        done=said.done,
        total=said.total,
        model=said.model,
        display=format_progress(said.done, said.total),
        updated_at=datetime.fromtimestamp(int(said.updated_at), UTC),
    )


def is_news(stored: EvaluationProgress | None, new: EvaluationProgress, interval: float) -> bool:
    """Whether ``new`` is worth a write of its own, ``interval`` seconds after the stored one."""
    # Fewer items done is a new attempt, which should show at once.
    return stored is None or is_due(stored.updated_at, new.updated_at, interval) or new.done < stored.done


def _delta(results: tuple[Measured, ...], primary: MetricName) -> str | None:
    """Against the baseline that is hardest to beat, because that one decides."""
    mine = [result for result in results if result.metric is primary]
    if not mine:
        return None
    closest = min(mine, key=lambda result: result.low)
    return format_delta(closest.difference, closest.low, closest.high)


def _metric(result: Measured) -> MetricResult:
    p_value = result.p_value if result.p_value is not None and math.isfinite(result.p_value) else None
    return MetricResult(
        metric=result.metric,
        baseline=result.baseline,
        candidate_value=result.candidate_value,
        baseline_value=result.baseline_value,
        difference=result.difference,
        low=result.low,
        high=result.high,
        n=result.n,
        unscored=result.unscored,
        method=result.method,
        p_value=p_value,
    )


def _is_finite(result: Measured) -> bool:
    """Numbers that are not finite have no form in JSON; such a comparison is in the report only."""
    numbers = (result.candidate_value, result.baseline_value, result.difference, result.low, result.high)
    return all(map(math.isfinite, numbers))
