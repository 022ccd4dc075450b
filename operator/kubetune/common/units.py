"""Numbers as people read them in ``kubectl get``."""

from __future__ import annotations

import math

MOST_DIGITS = 6
"""After the point; what differs by less is a rounding error."""
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def format_progress(step: int, total: int) -> str:
    """``62% 310/500``; an unknown total (0) shows the step alone."""
    if total <= 0:
        return str(step)
    return f"{format_percent(step, total)}% {step}/{total}"


def format_percent(step: int, total: int) -> int:
    """Whole percent, rounded down so that 100 means done; 0 while the total is unknown."""
    return max(0, min(100, step * 100 // total)) if total > 0 else 0


def format_duration(seconds: float) -> str:
    """The two largest units, as kubectl shows ages: ``45s``, ``12m``, ``3h20m``, ``2d4h``."""
    left = max(0, round(seconds))
    if left >= 600 and left < 3_600:
        left = left // 60 * 60
    parts = []
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
        if len(parts) == 2 or (parts and not count):
            break
    return "".join(parts) or "0s"


def format_memory(count: int) -> str:
    """``12 GiB``, and in MiB what is no whole number of GiB, so that two sizes that differ read differently."""
    gibibyte, mebibyte = 1024**3, 1024**2
    return f"{count // gibibyte} GiB" if count % gibibyte == 0 else f"{-(-count // mebibyte)} MiB"


def format_delta(difference: float, low: float, high: float) -> str:
    """``+0.41 [0.34, 0.48]``: a difference and its interval, which spans at least five units of the last digit, so that
    a small one does not look like nothing."""
    digits = 1 if max(abs(difference), abs(low), abs(high)) >= 10 else 2
    width = high - low
    if 0 < width < math.inf:
        digits = max(digits, min(MOST_DIGITS, math.ceil(-math.log10(width / 5))))
    return f"{difference:+.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
