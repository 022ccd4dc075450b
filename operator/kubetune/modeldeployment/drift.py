"""Whether a live child still is what was asked for."""

from __future__ import annotations

from typing import Any

from kubetune.workload.fingerprint import is_current

Object = dict[str, Any]

_REWRITTEN = frozenset({"resources", "sizeLimit"})
"""The API server writes quantities its own way (0.5 becomes 500m); the digest covers these."""


def is_in_step(desired: Object, live: Object | None) -> bool:
    """Whether ``live`` was made from ``desired`` and nobody has changed a field of ours since.

    Fields we do not set (defaults, other managers' annotations) are of no concern.
    """
    return live is not None and is_current(desired, live) and _covers(live, desired)


def _covers(live: Any, desired: Any) -> bool:
    if isinstance(desired, dict):
        if not isinstance(live, dict):
            return not desired and live is None
        return all(key in _REWRITTEN or _covers(live.get(key), value) for key, value in desired.items())
    if isinstance(desired, list):
        if not isinstance(live, list):
            return not desired and live is None
        return len(live) == len(desired) and all(map(_covers, live, desired))
    return bool(live == desired)
