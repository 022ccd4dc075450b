"""The gate's decisions, rule by rule."""

from __future__ import annotations

import numpy as np
import pytest

from kubetune_contract import Gate, MetricName, Verdict
from kubetune_evaluator import statistics
from kubetune_evaluator.compare import Answers, compare
from kubetune_evaluator.metrics import Text
from kubetune_evaluator.statistics import Estimate, MeanDifference
from kubetune_evaluator.verdict import Check, Contest, decide, judge


def estimate(low: float, difference: float, high: float, n: int = 100) -> Estimate:
    deviation = (high - low) / 2 / 1.98 * n**0.5
    return Estimate(difference, low, high, n, deviation, 0.05, "paired-t")


def gate(margin: float = 0.0) -> Gate:
    return Gate(MetricName.EXACT_MATCH, margin)


@pytest.mark.parametrize(
    ("margin", "low", "difference", "high", "expected"),
    [
        (0.0, 0.01, 0.10, 0.19, Verdict.GO),
        (0.1, 0.01, 0.10, 0.19, Verdict.GO),
        (0.1, 0.01, 0.09, 0.19, Verdict.INCONCLUSIVE),
        (0.0, -0.01, 0.10, 0.19, Verdict.INCONCLUSIVE),
        (0.0, -0.19, -0.10, -0.01, Verdict.NO_GO),
        (0.0, 0.0, 0.0, 0.0, Verdict.NO_GO),
        (0.0, -0.20, -0.10, 0.0, Verdict.NO_GO),
        (0.2, 0.01, 0.10, 0.19, Verdict.NO_GO),
        (0.19, 0.01, 0.10, 0.19, Verdict.INCONCLUSIVE),
        (0.1, -0.20, -0.05, 0.05, Verdict.NO_GO),
        (0.1, -0.05, 0.05, 0.15, Verdict.INCONCLUSIVE),
    ],
)
def test_verdict_by_interval_and_margin(
    margin: float, low: float, difference: float, high: float, expected: Verdict
) -> None:
    assert judge(gate(margin), Contest("base", estimate(low, difference, high))).verdict is expected


@pytest.mark.walk("Q8")
def test_inconclusive_says_how_many_items_would_settle_it() -> None:
    decision = judge(gate(), Contest("base", estimate(-0.02, 0.04, 0.10)))
    assert decision.message == (
        "exactMatch +0.040 [-0.020, 0.100] vs base, n=100: the interval contains 0. "
        "About 451 items would settle a difference of this size: create a second Evaluation with as many, and name it "
        "in the ModelDeployment's requireVerdict.evaluationRef."
    )


def test_a_difference_on_the_boundary_cannot_be_settled() -> None:
    assert "more items would not settle it" in judge(gate(), Contest("base", estimate(-0.1, 0.0, 0.1))).message


@pytest.mark.parametrize(
    "check",
    [
        Check("bca-bootstrap", low=-0.001, high=0.2, direction=1),
        Check("mcnemar-exact", p_value=0.06, direction=1),
        Check("sign-flip", p_value=0.001, direction=-1),
        Check("wilcoxon-pratt", p_value=0.01, direction=-1, advisory=True),
    ],
)
def test_a_check_that_disagrees_makes_a_gain_inconclusive(check: Check) -> None:
    decision = judge(gate(), Contest("base", estimate(0.01, 0.1, 0.19), (check,)))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert check.name in decision.message


def test_wilcoxon_alone_cannot_object_by_weakness() -> None:
    check = Check("wilcoxon-pratt", p_value=0.4, direction=-1, advisory=True)
    assert judge(gate(), Contest("base", estimate(0.01, 0.1, 0.19), (check,))).verdict is Verdict.GO


def test_the_bootstrap_can_keep_a_loss_open() -> None:
    check = Check("bca-bootstrap", low=-0.1, high=0.06)
    assert judge(gate(0.05), Contest("base", estimate(-0.1, -0.02, 0.04), (check,))).verdict is Verdict.INCONCLUSIVE


def test_too_few_scored_items_are_inconclusive_not_a_loss() -> None:
    decision = judge(gate(), Contest("base", None, scored=1))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "needs at least 2" in decision.message


def test_every_baseline_must_be_beaten() -> None:
    win, open_end = estimate(0.01, 0.1, 0.19), estimate(-0.01, 0.05, 0.11)
    loss = estimate(-0.2, -0.1, -0.01)
    contests = {"win": Contest("a", win), "open": Contest("b", open_end), "loss": Contest("c", loss)}

    def verdict(*names: str) -> Verdict:
        return decide(gate(), [contests[name] for name in names]).verdict

    assert verdict("win", "win") is Verdict.GO
    assert verdict("win", "open") is Verdict.INCONCLUSIVE
    assert verdict("win", "open", "loss") is Verdict.NO_GO
    message = decide(gate(), [contests["win"], contests["loss"]]).message
    assert "vs c" in message
    assert "vs a" not in message


def test_a_doubt_about_the_measurement_forbids_go() -> None:
    decision = decide(gate(), [Contest("base", estimate(0.01, 0.1, 0.19))], doubts=["trained on the test items"])
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.message == "trained on the test items."


@pytest.mark.walk("S6")
def test_every_verdict_is_whole_sentences() -> None:
    win, open_end, loss = estimate(0.01, 0.1, 0.19), estimate(-0.01, 0.05, 0.11), estimate(-0.2, -0.1, -0.01)
    for contests in ([win], [win, win], [open_end, open_end], [loss], [loss, loss], [None, open_end]):
        message = decide(gate(), [Contest(f"b{n}", e) for n, e in enumerate(contests)]).message
        assert message.endswith(".")
        assert ".." not in message
        assert message.count(" vs b") <= message.count(".")
    assert (
        decide(gate(), [Contest("base", loss)]).message == "exactMatch -0.100 [-0.200, -0.010] vs base, n=100: no gain."
    )


def test_five_perfect_items_are_too_few_for_go() -> None:
    """t gives the point 1.0, but five coin flips fall alike by chance too often."""
    right, wrong = [Text("yes", 1)] * 5, [Text("no", 1)] * 5
    found = compare(MetricName.EXACT_MATCH, "base", Answers(right, right, wrong), alpha=0.05, seed=1)
    decision = judge(gate(), Contest("base", found.estimate, found.checks, found.scored))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "mcnemar" in decision.message


def test_no_effect_passes_the_gate_seldom() -> None:
    """Go without any true difference: at most alpha / 2, for a two-sided interval."""
    rng = np.random.default_rng(1)
    passed = 0
    for draw in rng.choice([-1.0, 0.0, 1.0], p=[0.15, 0.7, 0.15], size=(400, 60)):
        e = statistics.estimate(MeanDifference(draw), 0.05)
        check = Check("mcnemar-exact", p_value=statistics.mcnemar(draw), direction=int(np.sign(e.difference)))
        passed += judge(gate(), Contest("base", e, (check,))).verdict is Verdict.GO
    assert passed / 400 <= 0.04
