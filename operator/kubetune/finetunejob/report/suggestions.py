"""What could be done better, told once."""

from __future__ import annotations

from collections.abc import Iterable

from kubetune.common.decision import Event
from kubetune.finetunejob.api.status_types import Suggestion

REASON_LIMIT = 128
"""Characters the API server takes (core/v1 Event validation)."""


def news(old: Iterable[Suggestion] | None, new: Iterable[Suggestion] | None) -> tuple[Event, ...]:
    """An Event for every reason that the status has not had before; later words of the same reason are not news."""
    told = {one.reason for one in old or ()}
    return tuple(Event(one.reason[:REASON_LIMIT], one.message) for one in new or () if one.reason not in told)
