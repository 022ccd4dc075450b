"""The report, its page and the termination message, from made-up answers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

from kubetune_contract import (
    Artifact,
    Contents,
    Dataset,
    EvalConfig,
    Gate,
    GateRule,
    Generation,
    MetricName,
    ModelRef,
    ObjectStore,
    Owner,
    Verdict,
    dumps,
    from_json,
    to_json,
)
from kubetune_evaluator import report as reports
from kubetune_evaluator.checks import Check, Design
from kubetune_evaluator.compare import Answers, compare
from kubetune_evaluator.items import Item
from kubetune_evaluator.metrics import Text
from kubetune_evaluator.page import check_text, extremes, render
from kubetune_evaluator.report import DataReport, ModelReport, Report, Settings
from kubetune_evaluator.summary import summarise

OWNER = Owner("team-nlp", "demo", "uid")
BASE_CONTENT, ADAPTER_CONTENT = f"files:{'a' * 64}", f"manifest:{'b' * 64}"
NASTY = "<script>alert('x')</script> & \"quotes\""


@dataclass(frozen=True)
class Said:
    text: str
    unfinished: bool = False


def text(value: str) -> Text:
    return Text(value, len(value.split()))


@cache
def made(
    metrics: tuple[MetricName, ...], baselines: tuple[str, ...] = ("base",), gate: Gate | None = None, n: int = 60
) -> tuple[Report, list[dict[str, Any]]]:
    """The candidate is right on three of four items, each baseline on one of four; the last item has no answer."""
    items = [Item(f"{i:016x}", i + 1, f"answer {i}", prompt=f"question {i} {NASTY}") for i in range(n)]
    answers: dict[str, list[Said | None]] = {
        "candidate": [Said(f"answer {i}" if i % 4 else "something else") for i in range(n)]
    }
    for name in baselines:
        answers[name] = [Said(f"answer {i}" if i % 4 == 1 else NASTY, unfinished=i % 5 == 0) for i in range(n)]
    answers["candidate"][-1] = None
    texts = {name: [text(a.text) if a else None for a in given] for name, given in answers.items()}
    references = [text(item.reference) for item in items]
    comparisons = [
        compare(metric, name, Answers(references, texts["candidate"], texts[name]), Design(0.05, 1))
        for metric in metrics
        for name in baselines
    ]
    config = EvalConfig(
        1,
        OWNER,
        ModelRef("candidate", "s3://m/base", "s3://m/adapter"),
        tuple(ModelRef(name, "s3://m/base") for name in baselines),
        Dataset("s3://data/test.jsonl"),
        metrics,
        "s3://out/x",
        ObjectStore(),
        gate=gate,
    )
    decision = reports.judged(config, comparisons, ())
    models = tuple(ModelReport(name, "s3://m/base", content=BASE_CONTENT, answered=n) for name in answers)
    models = (replace(models[0], adapter_uri="s3://m/adapter", adapter_content=ADAPTER_CONTENT), *models[1:])
    report = Report(
        schema=1,
        owner=OWNER,
        created_at="2026-01-02T03:04:05+00:00",
        duration_seconds=12.5,
        config_sha256="c" * 64,
        models=models,
        data=DataReport("s3://data/test.jsonl", "d" * 64, n, 0, n, 42),
        settings=Settings(Generation(stop=("\n", "<end>")), "greedy", "CPU", "float32"),
        metrics=reports.metric_reports(comparisons),
        libraries={"torch": "2.13.0"},
        signatures={"bleu": "nrefs:1"},
        gate=gate,
        verdict=decision.verdict if decision else None,
        verdict_message=decision.message if decision else None,
    )
    return report, reports.item_lines(items, answers, comparisons)


def with_baselines(report: Report, names: tuple[str, ...]) -> Report:
    """The same measurements against as many baselines as there are names."""
    copies = [
        replace(metric, baseline=name, result=replace(metric.result, baseline=name))
        for metric in report.metrics
        for name in names
        if metric.result
    ]
    return replace(report, metrics=tuple(copies))


def test_report_survives_its_journey_through_json() -> None:
    report, _ = made(tuple(MetricName), gate=Gate(MetricName.EXACT_MATCH))
    assert from_json(Report, json.loads(json.dumps(to_json(report)))) == report
    assert report.verdict is Verdict.GO


def test_p_values_are_adjusted_over_the_whole_table() -> None:
    report, _ = made((MetricName.EXACT_MATCH, MetricName.CHRF), ("base", "previous"))
    for metric in report.metrics:
        assert metric.result is not None
        assert metric.result.p_value is not None
        assert metric.q_value is not None
        assert metric.q_value >= metric.result.p_value
        assert (metric.scored, metric.unscored) == (59, 1)


def test_items_carry_answers_scores_and_gains_of_every_model() -> None:
    _, lines = made((MetricName.EXACT_MATCH,), ("base", "previous"))
    assert lines[2]["answers"]["candidate"] == {"text": "answer 2", "unfinished": False}
    assert lines[2]["scores"]["exactMatch"] == {"candidate": 1.0, "base": 0.0, "previous": 0.0}
    assert lines[2]["gains"]["exactMatch"] == {"base": 1.0, "previous": 1.0}
    assert lines[-1]["answers"]["candidate"] is None
    assert lines[-1]["gains"]["exactMatch"] == {"base": None, "previous": None}


def test_the_page_escapes_what_models_say_and_loads_nothing() -> None:
    report, lines = made(tuple(MetricName), gate=Gate(MetricName.EXACT_MATCH))
    page = render(report, lines, MetricName.EXACT_MATCH)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", page)
    assert page.count("<svg") == len(MetricName)
    assert page.count("<article") == 20
    assert "team-nlp/demo" in page
    assert 'class="badge go"' in page
    # Every column begins with a capital letter.
    heads = re.findall(r"<th[^>]*>([^<]+)</th>", page.partition("<tbody>")[0])
    assert heads[:3] == ["Metric", "Candidate", "Baseline"]


def test_the_page_says_rule_groups_and_what_a_check_is_of() -> None:
    report, lines = made((MetricName.TOKEN_F1,), gate=Gate(MetricName.TOKEN_F1, 0.05, rule=GateRule.SUPERIOR))
    grouped = replace(report, data=replace(report.data, groups=12))
    page = render(grouped, lines, MetricName.TOKEN_F1)
    assert "the interval lies above 0.050 in Token F1 against every baseline (rule superior, alpha 0.05)" in page
    assert "60 items in 12 groups, measured" in page
    assert "60 items, measured" in render(report, lines, MetricName.TOKEN_F1)
    assert (
        check_text(Check("sign-flip", p_value=0.02, null=0.05))
        == "random exchange of answers: p 0.02 (of the margin 0.05)"
    )
    assert check_text(Check("unseen", low=-0.1, high=0.3)) == "with losses or gains that no item showed: -0.1 to 0.3"
    assert summarise(grouped, ARTIFACT).groups == 12
    assert summarise(report, ARTIFACT).groups is None


@pytest.mark.parametrize("n", [2, 3, 60])
def test_the_page_needs_neither_gate_nor_many_items(n: int) -> None:
    report, lines = made((MetricName.ROUGE_L,), n=n)
    page = render(report, lines, MetricName.ROUGE_L)
    assert "No gate" in page
    assert ("too few items" in page) == (n == 2)


def test_extremes_are_the_largest_gains_and_losses_then_the_worst_unchanged() -> None:
    def line(number: int, gain: float | None, own: float) -> dict[str, Any]:
        answer = {"text": "x", "unfinished": False}
        return {
            "id": str(number),
            "line": number,
            "prompt": "p",
            "reference": "r",
            "answers": {"candidate": answer, "base": answer},
            "scores": {"tokenF1": {"candidate": own, "base": own - (gain or 0)}},
            "gains": {"tokenF1": {"base": gain}},
        }

    lines = [
        line(1, 0.5, 0.5),
        line(2, -0.2, 0.1),
        line(3, 0.0, 1.0),
        line(4, 0.0, 0.0),
        line(5, None, 0),
        line(6, 1, 1),
    ]
    best, worst = extremes(lines, MetricName.TOKEN_F1, "base")
    assert [item["line"] for item in best] == [6, 1]
    assert [item["line"] for item in worst] == [2, 4, 3]


ARTIFACT = Artifact(
    "s3://kubetune/evaluations/team-nlp/demo/0b7e3e2a-1f6c-4a58-9f0d-6a1e6c1d2b3c", "report", "a" * 64, 1
)


@pytest.mark.parametrize(
    ("baselines", "has_p_values"), [(("base", "previous"), True), (("base", "previous", "production"), False)]
)
def test_six_metrics_and_three_baselines_fit_the_termination_message(
    baselines: tuple[str, ...], has_p_values: bool
) -> None:
    report, _ = made(tuple(MetricName), gate=Gate(MetricName.EXACT_MATCH))
    summary = summarise(with_baselines(report, baselines), ARTIFACT)
    assert len(dumps(summary).encode()) <= 4096
    assert len(summary.results) == 6 * len(baselines)
    assert all((result.p_value is not None) is has_p_values for result in summary.results)
    assert summary.verdict is Verdict.GO
    assert summary.candidate == Contents(BASE_CONTENT, ADAPTER_CONTENT)


def test_what_does_not_fit_is_shortened_but_never_the_verdict() -> None:
    names = tuple(f"{letter}" * 63 for letter in "abcdefghij")
    report, _ = made(tuple(MetricName), gate=Gate(MetricName.EXACT_MATCH))
    summary = summarise(with_baselines(report, names), ARTIFACT)
    assert len(dumps(summary).encode()) <= 4096
    assert {result.metric for result in summary.results} == {MetricName.EXACT_MATCH}
    assert len(summary.results) == 10
    assert "50 further results are in the report" in (summary.verdict_message or "")
    assert summary.verdict is Verdict.GO
    assert summary.candidate == Contents(BASE_CONTENT, ADAPTER_CONTENT)


def test_even_absurd_names_leave_a_summary() -> None:
    names = tuple(f"{letter}" * 250 for letter in "abcdefghijklmnopqrst")
    report, _ = made((MetricName.EXACT_MATCH,), gate=Gate(MetricName.EXACT_MATCH))
    summary = summarise(replace(with_baselines(report, names), verdict_message="x" * 5000), ARTIFACT)
    assert len(dumps(summary).encode()) <= 4096
    assert summary.verdict is Verdict.GO
    assert summary.candidate == Contents(BASE_CONTENT, ADAPTER_CONTENT)
