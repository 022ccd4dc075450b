"""The summary within the limit of a termination message. Pure."""

from __future__ import annotations

import dataclasses

from kubetune_contract import Suggestion, TrainSummary, dumps
from kubetune_contract.paths import TERMINATION_LIMIT

SUGGESTION_CHARACTERS = 200


def fitting(summary: TrainSummary) -> TrainSummary:
    """``summary`` with as much of its recovery as a termination message has room for, the newest kept longest.

    Long suggestions are cut first: their beginning says what is the matter.
    """
    if len(dumps(summary).encode()) > TERMINATION_LIMIT:
        cut = tuple(Suggestion(one.reason, one.message[:SUGGESTION_CHARACTERS]) for one in summary.suggestions)
        summary = dataclasses.replace(summary, suggestions=cut)
    kept = list(summary.recovery)
    for number, step in enumerate(kept):
        if len(dumps(dataclasses.replace(summary, recovery=tuple(kept))).encode()) <= TERMINATION_LIMIT:
            break
        kept[number] = dataclasses.replace(step, message="")
    while kept and len(dumps(dataclasses.replace(summary, recovery=tuple(kept))).encode()) > TERMINATION_LIMIT:
        del kept[0]
    return dataclasses.replace(summary, recovery=tuple(kept))
