"""The gate: from estimates to Go, NoGo or Inconclusive. Pure.

A verdict speaks of these checkpoints on items like these; one training run says nothing of the recipe's average run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kubetune_contract import Gate, GateRule, MetricName, Verdict

from .checks import UNSEEN, Check, objections
from .intervals import Estimate, unseen_share
from .settle import Question, items_needed

POINTS = frozenset({MetricName.CHRF, MetricName.BLEU})
"""Metrics on a scale of 0 to 100."""


@dataclass(frozen=True)
class Contest:
    """The gate's metric of the candidate against one baseline; no estimate when fewer than two groups were scored."""

    baseline: str
    estimate: Estimate | None
    checks: tuple[Check, ...] = ()
    scored: int = 0


@dataclass(frozen=True)
class Decision:
    verdict: Verdict
    message: str


def decide(gate: Gate, contests: Sequence[Contest], doubts: Sequence[str] = ()) -> Decision:
    """The verdict over all baselines.

    Go must hold against every baseline: an intersection-union test, which keeps the error rate alpha without any
    adjustment (Berger 1982). NoGo against one baseline is enough. ``doubts`` are reasons to mistrust the whole
    measurement; any of them turns a Go into Inconclusive.
    """
    decisions = [judge(gate, contest) for contest in contests]
    losses = [d for d in decisions if d.verdict is Verdict.NO_GO]
    open_ends = [d for d in decisions if d.verdict is Verdict.INCONCLUSIVE]
    if losses:
        return Decision(Verdict.NO_GO, sentences(d.message for d in losses))
    if open_ends:
        return Decision(Verdict.INCONCLUSIVE, sentences(d.message for d in open_ends))
    if doubts:
        return Decision(Verdict.INCONCLUSIVE, sentences(doubts))
    return Decision(Verdict.GO, sentences(d.message for d in decisions))


def sentences(parts: Iterable[str]) -> str:
    """Whole sentences, one after the other."""
    return " ".join(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts)


def judge(gate: Gate, contest: Contest) -> Decision:
    """The verdict against one baseline."""
    e = contest.estimate
    if e is None:
        return Decision(Verdict.INCONCLUSIVE, _unmeasured(gate, contest))
    measured = f"{gate.metric} {signed(gate.metric, e.difference)} {interval(gate.metric, e)}"
    said = f"{measured} vs {contest.baseline}, {counted(e)}"
    floor = floor_of(gate)
    if e.low > floor and e.difference >= gate.margin:
        against = objections(contest.checks, floor, 1, gate.alpha)
        if not against:
            return Decision(Verdict.GO, f"{said}: {_gain(gate)}{_hidden(gate, contest, e)}")
        what = f"the interval lies above {'the margin' if floor else '0'}"
    elif e.high < gate.margin:
        against = objections(contest.checks, gate.margin, -1, gate.alpha)
        if not against:
            return Decision(Verdict.NO_GO, f"{said}: {_shortfall(gate)}")
        what = f"the interval lies below {'the margin' if gate.margin else '0'}"
    else:
        return Decision(Verdict.INCONCLUSIVE, f"{said}: {_undecided(gate, e)} {_advice(gate, contest, e)}")
    named = " and ".join(_objection(check, e) for check in against)
    disagree = "disagrees" if len(against) == 1 else "disagree"
    return Decision(Verdict.INCONCLUSIVE, f"{said}: {what}, but {named} {disagree}. {_advice(gate, contest, e)}")


def floor_of(gate: Gate) -> float:
    """What a Go's interval must lie above."""
    return gate.margin if gate.rule is GateRule.SUPERIOR else 0.0


def counted(e: Estimate) -> str:
    """The number of items, and of the groups they come in."""
    return f"n={e.n}" if e.groups == e.n else f"n={e.n} in {e.groups} groups"


def _unmeasured(gate: Gate, contest: Contest) -> str:
    if contest.scored < 2:
        return (
            f"{gate.metric} could be scored on {contest.scored} item(s) beside {contest.baseline}; "
            "an interval needs at least 2. Add test items, or gate on a metric that fits them."
        )
    return (
        f"the {contest.scored} items that {gate.metric} scored beside {contest.baseline} are all of one group (one "
        "prompt, or one value of the group column); an interval needs at least 2. Add items of other groups."
    )


def _gain(gate: Gate) -> str:
    if gate.rule is GateRule.SUPERIOR:
        above = f"the margin of {amount(gate.metric, gate.margin)}" if gate.margin else "0"
        return f"the interval lies above {above} (rule superior)"
    reaches = f" and the gain reaches {amount(gate.metric, gate.margin)}" if gate.margin else ""
    return f"the interval lies above 0{reaches} (rule gain)"


def _hidden(gate: Gate, contest: Contest, e: Estimate) -> str:
    """What a Go does not know of; only where it would matter."""
    hides = any(c.name == UNSEEN and c.low is not None and c.low <= floor_of(gate) for c in contest.checks)
    if not hides:
        return ""
    share = f"{100 * unseen_share(e.groups, gate.alpha):.1f} %"
    return f". A total loss on up to {share} of such items could have stayed unseen, and would outweigh this gain"


def _objection(check: Check, e: Estimate) -> str:
    """The check that does not see what the interval sees, in words."""
    if check.low is None or check.high is None:
        return f"the {check.name} check (p={check.p_value:.2g})"
    ends = f"{check.low:.3g} to {check.high:.3g}"
    if check.name == UNSEEN:
        return (
            f"the {check.name} check ({ends}, with what {e.groups} {'items' if e.groups == e.n else 'groups'} can hide)"
        )
    return f"the {check.name} check ({ends})"


def _shortfall(gate: Gate) -> str:
    if gate.margin == 0.0:
        return "no gain"
    return f"a gain of {amount(gate.metric, gate.margin)} is ruled out"


def _undecided(gate: Gate, e: Estimate) -> str:
    if e.low <= 0 <= e.high:
        return "the interval contains 0."
    rule = " (rule superior)" if gate.rule is GateRule.SUPERIOR else ""
    return f"the gain is real but the margin of {amount(gate.metric, gate.margin)} is inside the interval{rule}."


def _advice(gate: Gate, contest: Contest, e: Estimate) -> str:
    """How many items would settle it, if difference and spread stay what they are."""
    floor = floor_of(gate)
    upward = e.difference >= gate.margin and e.difference > floor
    null = floor if upward else gate.margin
    against = objections(contest.checks, null, 1 if upward else -1, gate.alpha)
    needed = items_needed(Question(e, null, bound_of(gate.metric), gate.alpha), against)
    if needed is None:
        return "The difference sits on the boundary: more items would not settle it."
    return (
        f"About {needed} items would settle a difference of this size: create a second Evaluation with "
        "as many, and name it in the ModelDeployment's requireVerdict.evaluationRef."
    )


def bound_of(metric: MetricName) -> float:
    """The largest difference there can be."""
    return 100.0 if metric in POINTS else 1.0


def amount(metric: MetricName, value: float) -> str:
    return f"{value:.1f}" if metric in POINTS else f"{value:.3f}"


def signed(metric: MetricName, value: float) -> str:
    return f"{value:+.1f}" if metric in POINTS else f"{value:+.3f}"


def interval(metric: MetricName, e: Estimate) -> str:
    return f"[{amount(metric, e.low)}, {amount(metric, e.high)}]"
