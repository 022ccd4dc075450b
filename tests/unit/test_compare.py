"""Comparisons: what is paired, what is reported, which way is better."""

from __future__ import annotations

import pytest
from sacrebleu.metrics.chrf import CHRF

from kubetune_contract import MetricName
from kubetune_evaluator.checks import Design
from kubetune_evaluator.compare import Answers, Comparison, compare
from kubetune_evaluator.metrics import Text

YES, NO = Text("yes", 1), Text("no", 1)


def run(
    metric: MetricName, candidate: list[Text | None], baseline: list[Text | None], reference: Text = YES
) -> Comparison:
    return compare(metric, "base", Answers([reference] * len(candidate), candidate, baseline), Design(0.05, 1))


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
    found = compare(MetricName.CHRF, "base", Answers(references, answers, poor), Design(0.05, 1))
    assert found.result is not None
    expected = CHRF().corpus_score([a.text for a in answers if a], [[r.text for r in references]]).score
    assert found.result.candidate_value == pytest.approx(expected)
    assert found.result.method == "jackknife-skew-t"


def test_checks_fit_the_metric_and_the_number_of_items() -> None:
    few = run(MetricName.TOKEN_F1, [YES, NO] * 10, [NO, NO] * 10)
    many = run(MetricName.EXACT_MATCH, [YES, NO] * 30, [NO, NO] * 30)
    corpus = run(MetricName.CHRF, [YES, NO] * 30, [NO, NO] * 30)
    assert [check.name for check in few.checks] == ["sign-flip", "unseen", "wilcoxon-pratt"]
    assert [check.name for check in many.checks] == ["mcnemar-exact"]
    assert [check.name for check in corpus.checks] == ["sign-flip", "bca-bootstrap", "unseen"]


def test_checks_look_at_the_margin_too() -> None:
    answers = Answers([YES] * 20, [YES, NO] * 10, [NO] * 20)
    found = compare(MetricName.TOKEN_F1, "base", answers, Design(0.05, 1, 0.3))
    nulls = [(check.name, check.null) for check in found.checks if check.p_value is not None]
    assert nulls == [("sign-flip", 0.0), ("sign-flip", 0.3), ("wilcoxon-pratt", 0.0)]


def test_groups_make_the_checks_count_groups() -> None:
    """Sixty items in twelve groups: no exact interval of items, and no McNemar."""
    groups = [index // 5 for index in range(60)]
    answers = Answers([YES] * 60, ([YES] * 5 + [NO] * 5) * 6, [NO] * 60, groups)
    found = compare(MetricName.EXACT_MATCH, "base", answers, Design(0.05, 1))
    alone = run(MetricName.EXACT_MATCH, list(answers.candidate), list(answers.baseline))
    assert found.estimate is not None
    assert alone.estimate is not None
    assert (found.estimate.n, found.estimate.groups, found.estimate.method) == (60, 12, "cluster-skew-t")
    assert alone.estimate.method == "exact-pair"
    assert [check.name for check in found.checks] == ["sign-flip", "unseen", "wilcoxon-pratt"]
    # Six groups all gained, six untouched: as six coins.
    assert found.checks[0].p_value == pytest.approx(2 / 2**6)
    assert found.estimate.high - found.estimate.low > alone.estimate.high - alone.estimate.low


def test_items_of_one_group_give_no_interval() -> None:
    found = compare(MetricName.EXACT_MATCH, "base", Answers([YES] * 9, [YES] * 9, [NO] * 9, [1] * 9), Design(0.05, 1))
    assert found.estimate is None
    assert found.scored == 9


@pytest.mark.parametrize("metric", list(MetricName))
def test_identical_answers_differ_by_nothing(metric: MetricName) -> None:
    answers: list[Text | None] = [Text(f"answer number {i}", 3) for i in range(60)]
    found = compare(
        metric, "base", Answers([Text(f"answer {i}", 2) for i in range(60)], answers, answers), Design(0.05, 1)
    )
    assert found.result is not None
    bound = 100.0 if metric in (MetricName.CHRF, MetricName.BLEU) else 1.0
    share = 1 - 0.025 ** (1 / 60)
    assert found.result.difference == 0.0
    # What 60 items can hide: no point, for nothing says that the next one is equal too.
    assert (found.result.low, found.result.high) == pytest.approx((-share * bound, share * bound))
    assert found.result.p_value == 1.0
