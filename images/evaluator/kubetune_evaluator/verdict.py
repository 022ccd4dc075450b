"""The gate: from estimates to Go, NoGo or Inconclusive. Pure.

A verdict speaks of these checkpoints on items like these; one training run says nothing of the recipe's average run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kubetune_contract import Gate, MetricName, Verdict

from .statistics import Estimate, items_needed

POINTS = frozenset({MetricName.CHRF, MetricName.BLEU})
"""Metrics on a scale of 0 to 100."""
_UNKNOWABLE = 1_000_000


@dataclass(frozen=True)
class Check:
    """A second test of the same data that rests on other assumptions than the interval."""

    name: str
    p_value: float | None = None
    low: float | None = None
    high: float | None = None
    direction: int = 0
    """Sign of the effect the test saw."""
    advisory: bool = False
    """Tests another hypothesis than the mean difference: objects only when significant in the other direction."""


@dataclass(frozen=True)
class Contest:
    """The gate's metric of the candidate against one baseline; no estimate when fewer than two items were scored."""

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
        return Decision(Verdict.NO_GO, _sentences(d.message for d in losses))
    if open_ends:
        return Decision(Verdict.INCONCLUSIVE, _sentences(d.message for d in open_ends))
    if doubts:
        return Decision(Verdict.INCONCLUSIVE, _sentences(doubts))
    return Decision(Verdict.GO, _sentences(d.message for d in decisions))


def _sentences(parts: Iterable[str]) -> str:
    """Whole sentences, one after the other."""
    return " ".join(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts)


def judge(gate: Gate, contest: Contest) -> Decision:
    """The verdict against one baseline."""
    e = contest.estimate
    if e is None:
        return Decision(
            Verdict.INCONCLUSIVE,
            f"{gate.metric} could be scored on {contest.scored} item(s) beside {contest.baseline}; "
            "an interval needs at least 2. Add test items, or gate on a metric that fits them.",
        )
    said = (
        f"{gate.metric} {signed(gate.metric, e.difference)} {interval(gate.metric, e)} vs {contest.baseline}, n={e.n}"
    )
    if e.low > 0 and e.difference >= gate.margin:
        objection = _objection_to_gain(contest.checks, gate.alpha)
        if objection is None:
            return Decision(Verdict.GO, said)
        return Decision(
            Verdict.INCONCLUSIVE,
            f"{said}: the interval lies above 0, but {objection} disagrees. {_advice(gate, e)}",
        )
    if misses(e.high, gate.margin):
        if all(check.high is None or misses(check.high, gate.margin) for check in contest.checks):
            return Decision(Verdict.NO_GO, f"{said}: {_shortfall(gate)}")
        return Decision(Verdict.INCONCLUSIVE, f"{said}: the bootstrap does not rule out the margin. {_advice(gate, e)}")
    return Decision(Verdict.INCONCLUSIVE, f"{said}: {_undecided(gate, e)} {_advice(gate, e)}")


def misses(high: float, margin: float) -> bool:
    """Whether an interval ending at ``high`` rules out a gain of ``margin``; at margin 0, whether it rules out any."""
    return high < margin or (margin == 0.0 and high <= 0.0)


def supports_gain(check: Check, alpha: float) -> bool:
    if check.low is not None:
        return check.low > 0
    return check.p_value is not None and check.p_value < alpha and check.direction > 0


def _objection_to_gain(checks: Sequence[Check], alpha: float) -> str | None:
    """The first check that does not see the gain, in words."""
    for check in checks:
        if check.advisory:
            contrary = check.direction < 0 and check.p_value is not None and check.p_value < alpha
        else:
            contrary = not supports_gain(check, alpha)
        if contrary:
            ends = f"{check.low:.3g} to {check.high:.3g}" if check.low is not None else f"p={check.p_value:.2g}"
            return f"the {check.name} check ({ends})"
    return None


def _shortfall(gate: Gate) -> str:
    if gate.margin == 0.0:
        return "no gain"
    return f"a gain of {amount(gate.metric, gate.margin)} is ruled out"


def _undecided(gate: Gate, e: Estimate) -> str:
    if e.low <= 0 <= e.high:
        return "the interval contains 0."
    return f"the gain is real but the margin of {amount(gate.metric, gate.margin)} is inside the interval."


def _advice(gate: Gate, e: Estimate) -> str:
    """How many items would settle it, if difference and spread stay what they are."""
    boundary = 0.0 if e.difference >= gate.margin and e.difference > 0 else gate.margin
    needed = items_needed(e.deviation, abs(e.difference - boundary), gate.alpha)
    if needed is None or needed > _UNKNOWABLE:
        return "The difference sits on the boundary: more items would not settle it."
    return (
        f"About {max(needed, e.n + 1)} items would settle a difference of this size: create a second Evaluation with "
        "as many, and name it in the ModelDeployment's requireVerdict.evaluationRef."
    )


def amount(metric: MetricName, value: float) -> str:
    return f"{value:.1f}" if metric in POINTS else f"{value:.3f}"


def signed(metric: MetricName, value: float) -> str:
    return f"{value:+.1f}" if metric in POINTS else f"{value:+.3f}"


def interval(metric: MetricName, e: Estimate) -> str:
    return f"[{amount(metric, e.low)}, {amount(metric, e.high)}]"
