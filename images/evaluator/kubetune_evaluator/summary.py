"""The termination message: the report's essence in the 4,096 bytes that the kubelet keeps. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from kubetune_contract import Artifact, Contents, EvalSummary, MetricName, MetricResult, dumps
from kubetune_contract.paths import SCHEMA, TERMINATION_LIMIT

from .report import Report

DIGITS = 4
"""Significant digits; the report has them all."""
_MESSAGE = 1024


def summarise(report: Report, artifact: Artifact) -> EvalSummary:
    """At most TERMINATION_LIMIT bytes as JSON. What is shortened, in this order: digits, message, p values, metrics
    that the gate does not look at (with a word about it), and at last every result but the first."""
    full = EvalSummary(
        schema=SCHEMA,
        results=tuple(_rounded(result) for result in report.results),
        report=artifact,
        n=report.data.items,
        duration_seconds=round(report.duration_seconds, 1),
        verdict=report.verdict,
        verdict_message=_cut(report.verdict_message, _MESSAGE),
        dataset_sha256=report.data.sha256,
        groups=report.data.groups if report.data.groups != report.data.items else None,
        candidate=Contents(report.models[0].content, report.models[0].adapter_content) if report.models else None,
    )
    gated = report.gate.metric if report.gate else None
    for shorten in _shortenings(gated):
        shortened = shorten(full)
        if len(dumps(shortened).encode()) <= TERMINATION_LIMIT:
            return shortened
    return replace(full, results=full.results[:1], verdict_message=_cut(full.verdict_message, 128))


def _shortenings(gated: MetricName | None) -> Iterator[Callable[[EvalSummary], EvalSummary]]:
    yield lambda summary: summary
    yield lambda summary: replace(summary, verdict_message=_cut(summary.verdict_message, 256))
    yield _without_p_values
    yield lambda summary: _only(summary, gated, 256)
    yield lambda summary: _without_p_values(_only(summary, gated, 128))


def _without_p_values(summary: EvalSummary) -> EvalSummary:
    results = tuple(replace(result, p_value=None) for result in summary.results)
    return replace(summary, results=results, verdict_message=_cut(summary.verdict_message, 256))


def _only(summary: EvalSummary, gated: MetricName | None, message: int) -> EvalSummary:
    kept = tuple(r for r in summary.results if r.metric is (gated or summary.results[0].metric))
    note = f"{len(summary.results) - len(kept)} further results are in the report."
    said = f"{_cut(summary.verdict_message, message) or ''} {note}".strip()
    return replace(summary, results=kept, verdict_message=said)


def _cut(text: str | None, length: int) -> str | None:
    return text if text is None or len(text) <= length else text[: length - 4] + " ..."


def _rounded(result: MetricResult) -> MetricResult:
    return replace(
        result,
        candidate_value=_digits(result.candidate_value),
        baseline_value=_digits(result.baseline_value),
        difference=_digits(result.difference),
        low=_digits(result.low),
        high=_digits(result.high),
        p_value=None if result.p_value is None else _digits(result.p_value),
    )


def _digits(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
