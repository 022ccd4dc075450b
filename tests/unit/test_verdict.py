"""The gate's decisions, rule by rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune_contract import Gate, GateRule, MetricName, Verdict
from kubetune_evaluator import intervals
from kubetune_evaluator.checks import Check, Design, checks_of
from kubetune_evaluator.compare import Answers, compare
from kubetune_evaluator.intervals import Estimate
from kubetune_evaluator.metrics import Text
from kubetune_evaluator.paired import Groups, MeanDifference
from kubetune_evaluator.verdict import Contest, Decision, decide, judge


def estimate(low: float, difference: float, high: float, n: int = 100, groups: int | None = None) -> Estimate:
    deviation = (high - low) / 2 / 1.98 * (groups or n) ** 0.5
    return Estimate(difference, low, high, n, groups or n, deviation, 0.05, "skew-t")


def gate(margin: float = 0.0, rule: GateRule = GateRule.GAIN, metric: MetricName = MetricName.TOKEN_F1) -> Gate:
    return Gate(metric, margin, rule=rule)


def decided(
    values: list[float], margin: float = 0.0, rule: GateRule = GateRule.GAIN, groups: object = None
) -> Decision:
    """On these differences, by estimate, checks and gate."""
    paired = MeanDifference(np.array(values), Groups.named(groups) if groups is not None else None)  # type: ignore[arg-type]
    binary = set(values) <= {-1.0, 0.0, 1.0}
    e = intervals.estimate(paired, 0.05, binary=binary)
    asked = gate(margin, rule, MetricName.EXACT_MATCH if binary else MetricName.TOKEN_F1)
    return judge(asked, Contest("base", e, checks_of(paired, e, Design(0.05, 1, margin)), len(values)))


@pytest.mark.parametrize(
    ("margin", "low", "difference", "high", "expected"),
    [
        (0.0, 0.01, 0.10, 0.19, Verdict.GO),
        (0.1, 0.01, 0.10, 0.19, Verdict.GO),
        (0.1, 0.01, 0.09, 0.19, Verdict.INCONCLUSIVE),
        (0.0, -0.01, 0.10, 0.19, Verdict.INCONCLUSIVE),
        (0.0, -0.19, -0.10, -0.01, Verdict.NO_GO),
        (0.0, 0.0, 0.0, 0.0, Verdict.INCONCLUSIVE),
        (0.0, -0.20, -0.10, 0.0, Verdict.INCONCLUSIVE),
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
        "tokenF1 +0.040 [-0.020, 0.100] vs base, n=100: the interval contains 0. "
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
        Check("unseen", low=-0.001, high=0.3, direction=1),
    ],
)
def test_a_check_that_disagrees_makes_a_gain_inconclusive(check: Check) -> None:
    decision = judge(gate(), Contest("base", estimate(0.01, 0.1, 0.19), (check,)))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert check.name in decision.message


def test_a_loss_by_ranks_forbids_a_superior_go_too() -> None:
    check = Check("wilcoxon-pratt", p_value=0.01, direction=-1, advisory=True)
    contest = Contest("base", estimate(0.06, 0.1, 0.19), (check,))
    assert judge(gate(0.05, GateRule.SUPERIOR), contest).verdict is Verdict.INCONCLUSIVE


def test_wilcoxon_alone_cannot_object_by_weakness() -> None:
    check = Check("wilcoxon-pratt", p_value=0.4, direction=-1, advisory=True)
    assert judge(gate(), Contest("base", estimate(0.01, 0.1, 0.19), (check,))).verdict is Verdict.GO


@pytest.mark.parametrize(
    "check",
    [
        Check("bca-bootstrap", low=-0.1, high=0.06),
        Check("unseen", low=-0.1, high=0.06),
        Check("sign-flip", p_value=0.06, direction=-1, null=0.05),
        Check("sign-flip", p_value=0.01, direction=1, null=0.05),
    ],
)
def test_a_check_that_disagrees_keeps_a_loss_open(check: Check) -> None:
    decision = judge(gate(0.05), Contest("base", estimate(-0.1, -0.02, 0.04), (check,)))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert f"the interval lies below the margin, but the {check.name} check" in decision.message


def test_a_check_of_another_difference_does_not_object() -> None:
    """A loss against the margin may be no loss against nothing, and the other way round."""
    against_nothing = Check("sign-flip", p_value=0.9, direction=-1)
    assert judge(gate(0.05), Contest("base", estimate(-0.1, -0.02, 0.04), (against_nothing,))).verdict is Verdict.NO_GO
    better_than_nothing = Check("wilcoxon-pratt", p_value=0.01, direction=1, advisory=True)
    decision = judge(gate(0.05), Contest("base", estimate(-0.1, -0.02, 0.04), (better_than_nothing,)))
    assert decision.verdict is Verdict.NO_GO
    against_margin = Check("sign-flip", p_value=0.9, direction=1, null=0.05)
    assert judge(gate(0.05), Contest("base", estimate(0.01, 0.1, 0.19), (against_margin,))).verdict is Verdict.GO


@pytest.mark.parametrize(
    ("rule", "low", "expected", "said"),
    [
        (GateRule.GAIN, 0.01, Verdict.GO, "the interval lies above 0 and the gain reaches 0.050 (rule gain)."),
        (GateRule.SUPERIOR, 0.01, Verdict.INCONCLUSIVE, "margin of 0.050 is inside the interval (rule superior)."),
        (GateRule.SUPERIOR, 0.051, Verdict.GO, "the interval lies above the margin of 0.050 (rule superior)."),
        (GateRule.SUPERIOR, -0.01, Verdict.INCONCLUSIVE, "the interval contains 0."),
    ],
)
def test_the_message_says_by_which_rule(rule: GateRule, low: float, expected: Verdict, said: str) -> None:
    decision = decide(gate(0.05, rule), [Contest("base", estimate(low, 0.1, 0.19))])
    assert decision.verdict is expected
    assert said in decision.message


def test_the_message_counts_groups() -> None:
    grouped = estimate(-0.02, 0.04, 0.10, n=100, groups=20)
    decision = judge(gate(), Contest("base", grouped))
    assert "vs base, n=100 in 20 groups: the interval contains 0." in decision.message
    # As many items as before make one standard error, for the groups grow with them.
    assert "About 451 items" in decision.message or "About 45" in decision.message


def test_items_of_one_group_allow_no_interval() -> None:
    decision = judge(gate(), Contest("base", None, scored=12))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "the 12 items that tokenF1 scored beside base are all of one group" in decision.message


@pytest.mark.parametrize(
    ("values", "margin", "expected", "items"),
    [
        # Five of five gained: one more would do, for exactMatch and for a mean alike.
        ([1.0] * 5, 0.0, Verdict.INCONCLUSIVE, 6),
        ([1.0] * 6, 0.0, Verdict.GO, None),
        ([0.9] * 5, 0.0, Verdict.INCONCLUSIVE, 6),
        # Two equal answers are no NoGo; it takes as many as would show a gain on one item in 20.
        ([0.0] * 2, 0.05, Verdict.INCONCLUSIVE, 72),
        ([0.0] * 72, 0.05, Verdict.NO_GO, None),
        ([0.0] * 2, 0.0, Verdict.INCONCLUSIVE, None),
        # A little better on 15 items says nothing of a disaster on one item in 20.
        ([0.05] * 15, 0.0, Verdict.INCONCLUSIVE, 76),
        ([0.05] * 74 + [0.049, 0.051], 0.0, Verdict.GO, None),
        ([0.04] * 20 + [0.06] * 20, 0.0, Verdict.INCONCLUSIVE, 72),
    ],
)
def test_what_was_never_seen_is_not_ruled_out(
    values: list[float], margin: float, expected: Verdict, items: int | None
) -> None:
    decision = decided(values, margin)
    assert decision.verdict is expected, decision.message
    if items:
        assert f"About {items} items would settle" in decision.message, decision.message
        assert decided((values * 50)[:items], margin).verdict is not Verdict.INCONCLUSIVE


def test_a_go_tells_what_may_be_hidden_where_it_would_outweigh() -> None:
    small = decided([0.02] * 50 + [0.03] * 50)
    assert small.verdict is Verdict.GO
    assert "A total loss on up to 3.6 % of such items could have stayed unseen" in small.message
    large = decided([0.2] * 50 + [0.3] * 50)
    assert large.verdict is Verdict.GO
    assert "unseen" not in large.message


def test_an_objecting_check_is_named_with_what_would_settle_it() -> None:
    decision = decided([0.2, 0.1, 0.15, 0.12] * 5)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "the interval lies above 0, but the unseen check" in decision.message
    assert "with what 20 items can hide) disagrees. About 28 items" in decision.message


def test_six_items_of_one_group_are_one_observation() -> None:
    assert decided([1.0] * 6).verdict is Verdict.GO
    assert decided([1.0] * 6, groups="aaabbb").verdict is Verdict.INCONCLUSIVE


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 30),
    st.sampled_from([0.0, 0.05, 0.2]),
    st.sampled_from(list(GateRule)),
)
def test_a_better_item_never_makes_a_verdict_worse(
    gained: int, lost: int, level: int, margin: float, rule: GateRule
) -> None:
    order = [Verdict.NO_GO, Verdict.INCONCLUSIVE, Verdict.GO]

    def rank(*counts: int) -> int:
        values = [value for value, count in zip((1.0, -1.0, 0.0), counts, strict=True) for _ in range(count)]
        return order.index(decided(values, margin, rule).verdict)

    if gained + lost + level >= 1:
        assert rank(gained + 1, lost, level) >= rank(gained, lost, level + 1) >= rank(gained, lost + 1, level)


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1).map(lambda x: round(x, 2)), min_size=2, max_size=8), st.sampled_from([0.0, 0.05]))
def test_superior_is_the_stricter_rule(values: list[float], margin: float) -> None:
    by_gain, by_superior = (decided(values, margin, rule).verdict for rule in GateRule)
    assert by_gain is by_superior or (by_gain, by_superior) == (Verdict.GO, Verdict.INCONCLUSIVE)


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
    assert decide(gate(), [Contest("base", loss)]).message == "tokenF1 -0.100 [-0.200, -0.010] vs base, n=100: no gain."


@pytest.mark.parametrize(("metric", "n", "expected"), [(m, n, n >= 6) for m in MetricName for n in (5, 6)])
def test_five_perfect_items_are_too_few_for_go_and_six_suffice(metric: MetricName, n: int, expected: bool) -> None:
    """Five coin flips fall alike by chance too often."""
    right, wrong = [Text("yes it is so", 4)] * n, [Text("never", 1)] * n
    found = compare(metric, "base", Answers(right, right, wrong), Design(0.05, 1))
    decision = judge(gate(metric=metric), Contest("base", found.estimate, found.checks, found.scored))
    assert (decision.verdict is Verdict.GO) == (expected and metric is not MetricName.LENGTH_RATIO), decision.message
