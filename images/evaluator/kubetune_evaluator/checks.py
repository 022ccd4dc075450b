"""Second looks at the same data that rest on other assumptions than the interval. Pure.

Go and NoGo alike need all of them to agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import statistics
from .intervals import GUARDED_SHARE, RESAMPLES, Estimate, bca_interval, unseen, unseen_share
from .paired import CorpusDifference, MeanDifference, Paired

UNSEEN = "unseen"
FROM_GROUPS = 50
"""From this many groups on a bootstrap covers well enough to be a check."""


@dataclass(frozen=True)
class Check:
    """A p value of one difference (``null``), or an interval."""

    name: str
    p_value: float | None = None
    low: float | None = None
    high: float | None = None
    direction: int = 0
    """On which side of ``null`` the test saw the difference: 1, 0 or -1."""
    advisory: bool = False
    """A test that asks of another quantity than the mean objects only when it is significant in the other direction; an
    interval is only told."""
    null: float = 0.0
    """The difference that ``p_value`` is of."""


@dataclass(frozen=True)
class Design:
    """How a comparison is tested. ``margin`` is a gate's: checks look at it as well as at no difference."""

    alpha: float
    seed: int
    margin: float = 0.0
    resamples: int = RESAMPLES

    @property
    def nulls(self) -> tuple[float, ...]:
        return (0.0, self.margin) if self.margin else (0.0,)


def checks_of(paired: Paired, e: Estimate, design: Design) -> tuple[Check, ...]:
    """What fits the sample, against every difference that matters."""
    if e.discordant is not None and isinstance(paired, MeanDifference):
        # The interval is exact; this is the same hypothesis by scipy's own binomial test, for those who look for it.
        return (Check("mcnemar-exact", p_value=statistics.mcnemar(paired.values), direction=_sign(e.difference)),)
    found: list[Check] = []
    for null in design.nulls:
        p_value = statistics.sign_flip(paired, design.seed, null, design.resamples)
        found.append(Check("sign-flip", p_value=p_value, direction=_sign(e.difference - null), null=null))
    if isinstance(paired, CorpusDifference) and e.groups >= FROM_GROUPS and e.deviation > 0.0:
        ends = bca_interval(paired, design.alpha, design.seed, design.resamples)
        found += [Check("bca-bootstrap", low=ends[0], high=ends[1], direction=_sign(e.difference))] if ends else []
    low, high = unseen(e.difference, e.groups, paired.bound, design.alpha)
    rare = unseen_share(e.groups, design.alpha) <= GUARDED_SHARE
    found.append(Check(UNSEEN, low=low, high=high, direction=_sign(e.difference), advisory=rare))
    if isinstance(paired, MeanDifference):
        # Of no difference only: beside a margin, every tie would count as a loss.
        p_value, shift = statistics.wilcoxon(paired.contributions(0.0))
        found.append(Check("wilcoxon-pratt", p_value=p_value, direction=shift, advisory=True))
    return tuple(found)


def objections(checks: tuple[Check, ...], null: float, side: int, alpha: float) -> tuple[Check, ...]:
    """Those that do not see the difference on this ``side`` (1: above, -1: below) of ``null``."""
    return tuple(check for check in checks if _objects(check, null, side, alpha))


def _objects(check: Check, null: float, side: int, alpha: float) -> bool:
    if check.low is not None and check.high is not None:
        return not check.advisory and not (check.low > null if side > 0 else check.high < null)
    if check.p_value is None:
        return False
    if check.advisory:
        # Whoever is worse than nothing is no better than a margin; being better than nothing says nothing of it.
        speaks = check.null == null or side > 0
        return speaks and check.direction == -side and check.p_value < alpha
    return check.null == null and not (check.p_value < alpha and check.direction == side)


def _sign(value: float) -> int:
    return int(np.sign(value))
