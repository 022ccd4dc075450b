"""The summary within the limit of a termination message, whatever is in it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TypeVar

from kubetune_contract import Suggestion, TrainSummary, dumps
from kubetune_contract.paths import TERMINATION_LIMIT

S = TypeVar("S")

SUGGESTION_CHARACTERS = (200, 60)
"""Of a message: its beginning says what is the matter."""


def fitting(summary: TrainSummary) -> TrainSummary:
    """``summary`` with as much of what a person reads as there is room for.

    What is shortened, in this order: suggestions, what was done to save the run (the newest is kept longest), the
    suggestions altogether (the last first), the reason for settings that the rows have decided, names given by the
    tracker, and at last the exports, which the store has all the same. What has been published is always told.
    """
    return within_limit(_shorter(summary))


def within_limit(shorter: Iterator[S]) -> S:
    """The first of the summaries that is at most TERMINATION_LIMIT bytes, or the last one there is."""
    for short in shorter:
        if len(dumps(short).encode()) <= TERMINATION_LIMIT:
            break
    return short


def _shorter(summary: TrainSummary) -> Iterator[TrainSummary]:
    yield summary
    summary = _cut(summary, SUGGESTION_CHARACTERS[0])
    yield summary
    steps = list(summary.recovery)
    for number, step in enumerate(steps):
        steps[number] = dataclasses.replace(step, message="")
        yield dataclasses.replace(summary, recovery=tuple(steps))
    # The last one's settings are those that the result was made with.
    for number in range(1, len(steps)):
        yield dataclasses.replace(summary, recovery=tuple(steps[number:]))
    summary = dataclasses.replace(_cut(summary, SUGGESTION_CHARACTERS[1]), recovery=tuple(steps[-1:]))
    yield summary
    for kept in reversed(range(len(summary.suggestions))):
        yield dataclasses.replace(summary, suggestions=summary.suggestions[:kept])
    summary = dataclasses.replace(summary, suggestions=(), recovery=())
    if summary.found and summary.found.settings:
        settings = dataclasses.replace(summary.found.settings, reason="")
        summary = dataclasses.replace(summary, found=dataclasses.replace(summary.found, settings=settings))
        yield summary
    summary = dataclasses.replace(summary, model_version=None, mlflow_run_id=None)
    yield summary
    for kept in reversed(range(len(summary.exports))):
        yield dataclasses.replace(summary, exports=summary.exports[:kept])


def _cut(summary: TrainSummary, characters: int) -> TrainSummary:
    cut = tuple(Suggestion(one.reason, one.message[:characters]) for one in summary.suggestions)
    return dataclasses.replace(summary, suggestions=cut)
