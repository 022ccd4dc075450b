"""Comparisons: what is paired, what is reported, which way is better."""

from __future__ import annotations

import pytest
from sacrebleu.metrics.chrf import CHRF

from kubetune_contract import MetricName
from kubetune_evaluator.compare import Answers, Comparison, compare
from kubetune_evaluator.metrics import Text

YES, NO = Text("yes", 1), Text("no", 1)


def run(
    metric: MetricName, candidate: list[Text | None], baseline: list[Text | None], reference: Text = YES
) -> Comparison:
    return compare(metric, "base", Answers([reference] * len(candidate), candidate, baseline), alpha=0.05, seed=1)


def test_items_without_an_answer_leave_both_sides() -> None:
    found = run(MetricName.EXACT_MATCH, [YES, YES, NO, None], [NO, YES, NO, YES])
    assert found.result is not None
    assert (found.result.n, found.result.unscored) == (3, 1)
    assert found.result.candidate_value == pytest.approx(2 / 3)
    assert found.result.baseline_value == pytest.approx(1 / 3)
    assert found.result.difference == pytest.approx(1 / 3)
    assert found.gains == (1.0, 0.0, 0.0, None)


def test_one_scored_item_gives_no_interval() -> None:
    found = run(MetricName.EXACT_MATCH, [YES, None], [NO, NO])
    assert found.result is None
    assert found.estimate is None
    assert found.scored == 1


def test_length_ratio_reports_medians_and_gains_by_closeness_to_one() -> None:
    reference = Text("a b c d", 4)
    short, right, long = Text("a", 1), Text("a b c d", 4), Text("x " * 40, 40)
    found = run(MetricName.LENGTH_RATIO, [right, right, long], [short, long, short], reference)
    assert found.result is not None
    assert (found.result.candidate_value, found.result.baseline_value) == (1.0, 0.25)
    assert found.gains == pytest.approx((0.75, 1.0, -0.25))
    assert found.result.difference == pytest.approx(0.5)


def test_a_corpus_metric_reports_the_corpus_value_not_the_mean() -> None:
    references = [Text("the cat sat", 3), Text("a much longer reference text than the other", 8)]
    answers: list[Text | None] = [Text("the cat sat", 3), Text("a much longer text", 4)]
    poor: list[Text | None] = [Text("dog", 1), Text("a reference", 2)]
    found = compare(MetricName.CHRF, "base", Answers(references, answers, poor), alpha=0.05, seed=1)
    assert found.result is not None
    expected = CHRF().corpus_score([a.text for a in answers if a], [[r.text for r in references]]).score
    assert found.result.candidate_value == pytest.approx(expected)
    assert found.result.method == "jackknife-t"


def test_checks_fit_the_metric_and_the_number_of_items() -> None:
    few = run(MetricName.TOKEN_F1, [YES, NO] * 10, [NO, NO] * 10)
    many = run(MetricName.EXACT_MATCH, [YES, NO] * 30, [NO, NO] * 30)
    assert [check.name for check in few.checks] == ["sign-flip", "wilcoxon-pratt"]
    assert [check.name for check in many.checks] == ["mcnemar-exact", "bca-bootstrap", "wilcoxon-pratt"]


@pytest.mark.parametrize("metric", list(MetricName))
def test_identical_answers_differ_by_nothing(metric: MetricName) -> None:
    answers: list[Text | None] = [Text(f"answer number {i}", 3) for i in range(60)]
    found = compare(
        metric, "base", Answers([Text(f"answer {i}", 2) for i in range(60)], answers, answers), alpha=0.05, seed=1
    )
    assert found.result is not None
    assert (found.result.low, found.result.difference, found.result.high) == (0.0, 0.0, 0.0)
    assert found.result.p_value == 1.0
