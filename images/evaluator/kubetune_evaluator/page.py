"""``report.html``: the report as one page that needs nothing else. Pure.

Everything a model or a dataset says is escaped; the page allows no script and no request (Content-Security-Policy).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kubetune_contract import Gate, GateRule, MetricName, Verdict
from kubetune_shared.rows import spoken

from .checks import Check
from .report import DataReport, MetricReport, Report
from .verdict import POINTS, amount, signed

SHOWN = 10
"""Items at either end."""
WIDTH = 220
"""Of an interval's drawing, in pixels."""
_MARGIN = 8

NAMES = {
    MetricName.EXACT_MATCH: "Exact match",
    MetricName.TOKEN_F1: "Token F1",
    MetricName.ROUGE_L: "ROUGE-L",
    MetricName.CHRF: "chrF",
    MetricName.BLEU: "BLEU",
    MetricName.LENGTH_RATIO: "Length ratio",
}
EXPLAINED = {
    MetricName.EXACT_MATCH: "share of answers equal to the reference, white space at the ends aside",
    MetricName.TOKEN_F1: "overlap of words with the reference, 0 to 1",
    MetricName.ROUGE_L: "longest common sequence of words with the reference, 0 to 1",
    MetricName.CHRF: "overlap of character sequences over all items, 0 to 100",
    MetricName.BLEU: "overlap of word sequences over all items, 0 to 100",
    MetricName.LENGTH_RATIO: "median length relative to the reference; the difference is the gain in closeness to 1",
}
_VERDICTS = {
    Verdict.GO: ("go", "Go"),
    Verdict.NO_GO: ("nogo", "No go"),
    Verdict.INCONCLUSIVE: ("open", "Inconclusive"),
    None: ("none", "No gate"),
}
_CHECKS = {
    "sign-flip": "random exchange of answers",
    "mcnemar-exact": "McNemar, exact",
    "bca-bootstrap": "bootstrap (BCa)",
    "unseen": "with losses or gains that no item showed",
    "wilcoxon-pratt": "Wilcoxon signed-rank",
}


@dataclass(frozen=True)
class Drawing:
    """An interval as positions in pixels; ``tone`` is ``up``, ``down`` or ``flat``."""

    low: float
    high: float
    middle: float
    zero: float
    margin: float | None
    tone: str


def render(report: Report, items: Sequence[Mapping[str, Any]], ranked_by: MetricName) -> str:
    """The page. ``items`` are the lines of ``items.jsonl``."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tone, verdict = _VERDICTS[report.verdict]
    baseline = report.models[1].name if len(report.models) > 1 else ""
    best, worst = extremes(items, ranked_by, baseline)
    metrics = dict.fromkeys(metric.metric for metric in report.metrics)
    return environment.get_template("report.html.j2").render(
        report=report,
        tone=tone,
        verdict=verdict,
        baseline=baseline,
        groups=[[row(m, report) for m in report.metrics if m.metric is name] for name in metrics],
        best=best,
        worst=worst,
        ranked_by=NAMES[ranked_by],
        width=WIDTH,
        level=f"{100 * (1 - (report.gate.alpha if report.gate else 0.05)):g} %",
        gate_text=gate_text(report.gate),
        items_text=items_text(report.data),
    )


def gate_text(gate: Gate | None) -> str:
    if gate is None:
        return "no gate was set"
    if gate.rule is GateRule.SUPERIOR:
        asked = f"the interval lies above {amount(gate.metric, gate.margin) if gate.margin else '0'}"
    else:
        reaches = f" and the gain reaches {amount(gate.metric, gate.margin)}" if gate.margin else ""
        asked = f"the interval lies above 0{reaches}"
    return f"Go when {asked} in {NAMES[gate.metric]} against every baseline (rule {gate.rule}, alpha {gate.alpha:g})"


def items_text(data: DataReport) -> str:
    grouped = data.groups is not None and data.groups != data.items
    return f"{data.items} items" + (f" in {data.groups} groups" if grouped else "")


def row(metric: MetricReport, report: Report) -> dict[str, Any]:
    """One line of the table, as text; the lines of a metric stand together."""
    base = {
        "name": NAMES[metric.metric],
        "explained": EXPLAINED[metric.metric],
        "baseline": metric.baseline,
        "gated": report.gate is not None and report.gate.metric is metric.metric,
        "unscored": metric.unscored,
        "scored": metric.scored,
        "drawing": None,
        "checks": [check_text(check) for check in metric.checks],
        "effect": effect_text(metric),
    }
    found = metric.result
    if found is None:
        return base
    return {
        **base,
        "candidate_value": amount(found.metric, found.candidate_value),
        "baseline_value": amount(found.metric, found.baseline_value),
        "difference": signed(found.metric, found.difference),
        "interval": f"{signed(found.metric, found.low)} to {signed(found.metric, found.high)}",
        "p_value": p_text(found.p_value),
        "q_value": p_text(metric.q_value),
        "method": found.method,
        "drawing": drawing(metric, report),
    }


def drawing(metric: MetricReport, report: Report) -> Drawing | None:
    """The interval on an axis that all baselines of the metric share, with 0 always on it."""
    found = metric.result
    if found is None:
        return None
    margin = report.gate.margin if report.gate and report.gate.metric is metric.metric else None
    ends = [0.0, margin or 0.0]
    for other in report.results:
        if other.metric is metric.metric:
            ends += [other.low, other.high]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return round(_MARGIN + (value - low) / span * (WIDTH - 2 * _MARGIN), 1)

    tone = "up" if found.low > 0 else "down" if found.high < 0 else "flat"
    return Drawing(
        place(found.low),
        place(found.high),
        place(found.difference),
        place(0.0),
        place(margin) if margin else None,
        tone,
    )


def check_text(check: Check) -> str:
    name = _CHECKS.get(check.name, check.name)
    if check.p_value is None:
        return f"{name}: {check.low:.4g} to {check.high:.4g}"
    margin = f" (of the margin {check.null:g})" if check.null else ""
    return f"{name}: p {p_text(check.p_value)}{margin}"


def effect_text(metric: MetricReport) -> str:
    effect = metric.effect_size
    if effect is None:
        return ""
    average = f", d_av {effect.d_av:.2f}" if effect.d_av is not None else ""
    return f"d_z {effect.d_z:.2f} ({effect.d_z_low:.2f} to {effect.d_z_high:.2f}), g_z {effect.g_z:.2f}{average}"


def p_text(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.0001" if value < 0.0001 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def extremes(
    items: Sequence[Mapping[str, Any]], metric: MetricName, baseline: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The items with the largest gains, and those with the largest losses, then the worst of the unchanged ones."""
    scored = [(item["gains"][str(metric)][baseline], item) for item in items if str(metric) in item["gains"]]
    known = [(gain, item) for gain, item in scored if gain is not None]
    own = [_own_score(item, metric) for _, item in known]
    upward = sorted(range(len(known)), key=lambda i: (-known[i][0], -own[i], known[i][1]["line"]))
    downward = sorted(range(len(known)), key=lambda i: (known[i][0], own[i], known[i][1]["line"]))
    best = [i for i in upward if known[i][0] > 0][:SHOWN]
    worst = [i for i in downward if known[i][0] <= 0][:SHOWN]
    return [_shown(*known[i], metric, baseline) for i in best], [_shown(*known[i], metric, baseline) for i in worst]


def _own_score(item: Mapping[str, Any], metric: MetricName) -> float:
    """The candidate's score; it is the first of the item's models."""
    return float(next(iter(item["scores"][str(metric)].values())))


def _shown(gain: float, item: Mapping[str, Any], metric: MetricName, baseline: str) -> dict[str, Any]:
    candidate = next(iter(item["answers"]))
    question = item.get("prompt")
    if question is None:
        question = "\n\n".join(map(spoken, item["messages"]))
    scores = item["scores"][str(metric)]
    return {
        "id": item["id"],
        "line": item["line"],
        "question": question,
        "reference": item["reference"],
        "gain": f"{gain:+.1f}" if metric in POINTS else f"{gain:+.2f}",
        "tone": "up" if gain > 0 else "down" if gain < 0 else "flat",
        "answers": [
            {
                "name": name,
                "text": item["answers"][name]["text"],
                "unfinished": item["answers"][name]["unfinished"],
                "score": amount(metric, scores[name]),
            }
            for name in (candidate, baseline)
        ],
    }
