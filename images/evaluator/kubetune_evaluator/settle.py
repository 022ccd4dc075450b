"""How many items would settle a comparison, if difference and spread stay what they are. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, log

from scipy import stats

from .checks import UNSEEN, Check
from .intervals import GUARDED_SHARE, Estimate, exact_pair, t_quantile

POWER = 0.8
MOST = 1_000_000
"""More than anyone will make."""


@dataclass(frozen=True)
class Question:
    """Whether the difference lies where ``e`` puts it beside ``null``."""

    e: Estimate
    null: float
    bound: float
    """The largest difference there can be."""
    alpha: float

    @property
    def distance(self) -> float:
        return abs(self.e.difference - self.null)

    @property
    def upward(self) -> bool:
        return self.e.difference > self.null

    @property
    def normal(self) -> float:
        return float(stats.norm.ppf(1 - self.alpha / 2))

    @property
    def with_power(self) -> float:
        return self.normal + float(stats.norm.ppf(POWER))

    def reach(self, low: float, high: float) -> float:
        """From the difference to the end of an interval that must not touch ``null``."""
        return self.e.difference - low if self.upward else high - self.e.difference


def items_needed(question: Question, objections: Iterable[Check]) -> int | None:
    """Items after which the interval and the objecting checks would answer it, with the probability POWER.

    None when no number below MOST would do: the difference sits on the boundary.
    """
    if question.distance <= 1e-12 * question.bound:
        return None
    needed = max(
        _by_interval(question), *(_by_check(check, question) for check in objections if not check.advisory), 0.0
    )
    return max(ceil(needed - 1e-9), question.e.n + 1) if needed <= MOST else None


def _by_interval(question: Question) -> float:
    e = question.e
    if e.discordant is not None:
        return _exact(question, (question.with_power * e.deviation / question.distance) ** 2)
    if e.deviation == 0.0:
        return _unseen(question)
    # Skewness may have made this end of the interval longer than Student's t.
    students = t_quantile(question.alpha, e.groups - 1.0) * e.deviation / e.groups**0.5
    longer = max(1.0, question.reach(e.low, e.high) / students)
    return float((longer * question.with_power * e.deviation / question.distance) ** 2 * e.n / e.groups)


def _by_check(check: Check, question: Question) -> float:
    """Until it stops objecting; the interval's number has the power in it."""
    n = question.e.n
    if check.name == UNSEEN:
        return _unseen(question)
    if check.low is not None and check.high is not None:
        return n * (question.reach(check.low, check.high) / question.distance) ** 2
    reached = float(stats.norm.isf((check.p_value if check.p_value is not None else 1.0) / 2))
    return n * (question.normal / reached) ** 2 if reached > 1e-3 else MOST + 1.0


def _unseen(question: Question) -> float:
    """As many that a share of items large enough to undo the difference would have shown itself."""
    e = question.e
    towards = e.difference if question.upward else -e.difference
    share = question.distance / (question.bound + towards)
    enough = log(question.alpha / 2) / log(1 - share) if share < 1 else 1.0
    if e.deviation:
        enough = min(enough, log(question.alpha / 2) / log(1 - GUARDED_SHARE))
    return ceil(enough) * e.n / e.groups


def _exact(question: Question, least: float) -> float:
    """Items of this kind, ``least`` or more, for which ``exact_pair`` gives the answer."""
    e, differing = question.e, float(question.e.discordant or 0)
    net = e.difference * e.n
    shares = [part / e.n for part in ((differing + net) / 2, (differing - net) / 2, e.n - differing)]

    def settled(n: int) -> bool:
        low, high = exact_pair(*(max(0.0, round(share * n, 9)) for share in shares), question.alpha)
        return low > question.null if question.upward else high < question.null

    known, enough = 0, max(e.n + 1, ceil(least))
    while enough <= MOST and not settled(enough):
        known, enough = enough, 2 * enough
    while known and enough <= MOST and enough - known > 1:
        middle = (known + enough) // 2
        known, enough = (known, middle) if settled(middle) else (middle, enough)
    return enough
