"""The termination message, within its limit, and the same for people. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from kubetune_contract import Fit, PreflightSummary, Range, Suggestion
from kubetune_trainer.publishing.fitting import within_limit

LONGEST = (700, 350)
"""Characters of a message."""


def fitted(summary: PreflightSummary) -> PreflightSummary:
    """At most TERMINATION_LIMIT bytes: long messages are cut, then the last suggestions left out, then cut again."""
    return within_limit(_shorter(summary))


def _shorter(summary: PreflightSummary) -> Iterator[PreflightSummary]:
    for longest in LONGEST:
        suggestions = tuple(Suggestion(one.reason, _cut(one.message, longest // 2)) for one in summary.suggestions)
        cut = dataclasses.replace(summary, fit_message=_cut(summary.fit_message, longest))
        for kept in reversed(range(len(suggestions) + 1)):
            yield dataclasses.replace(cut, suggestions=suggestions[:kept])
    cut = dataclasses.replace(summary, fit_message=_cut(summary.fit_message, LONGEST[-1]), suggestions=())
    if cut.settings:
        cut = dataclasses.replace(cut, settings=dataclasses.replace(cut.settings, reason=""))
    yield cut
    yield dataclasses.replace(cut, histogram={}, token_lengths={})


def rounded(value: Range | None) -> Range | None:
    """To three significant figures, more than an estimate deserves."""
    if value is None:
        return None
    return Range(*(float(f"{part:.3g}") for part in (value.low, value.estimate, value.high)))


def table(summary: PreflightSummary, currency: str) -> str:
    """One line per finding."""
    lines = [f"  {name:<12} {said}" for name, said in _findings(summary, currency)]
    lines += [f"  {'!':<12} {one.reason}: {one.message}" for one in summary.suggestions]
    return "\n".join(lines)


def _findings(summary: PreflightSummary, currency: str) -> Iterator[tuple[str, str]]:
    lengths, train = summary.token_lengths, summary.train_rows
    yield "rows", f"{train} training, {summary.validation_rows} validation"
    yield (
        "left out",
        f"{summary.truncated_rows} cut, {summary.dropped_rows} with nothing to learn; "
        f"{summary.duplicate_rows} duplicates, {summary.leaked_rows} leaks; {summary.missing_rows} with a missing cell",
    )
    if summary.columns:
        read_as = ", ".join(f"{column} as {member}" for member, column in summary.columns.items())
        yield "columns", f"{read_as} (confidence {summary.columns_confidence:.2f})"
    if summary.unused_members:
        yield "not used", ", ".join(f"{name} ({count})" for name, count in summary.unused_members.items())
    if lengths:
        yield "lengths", ", ".join(f"{name} {value}" for name, value in lengths.items()) + " tokens"
        yield "histogram", ", ".join(f"<={bound}: {rows}" for bound, rows in summary.histogram.items())
    yield (
        "plan",
        f"{summary.steps} steps, {summary.tokens_per_epoch} tokens per epoch, {summary.masked_share:.0%} without loss",
    )
    if summary.settings:
        yield "settings", summary.settings.reason
    yield "fit", f"{summary.fit}: {summary.fit_message}" if summary.fit is not Fit.FITS else summary.fit_message
    if summary.memory:
        parts = {name: getattr(summary.memory, name) for name in _PARTS}
        yield "memory", ", ".join(f"{name} {size / 2**30:.2f}" for name, size in parts.items()) + " GiB"
    yield "disk", f"{_size(summary.disk_bytes)} of scratch space, {_size(summary.checkpoint_bytes)} per checkpoint"
    if summary.upload_bytes_per_second:
        yield "upload", f"{_size(summary.upload_bytes_per_second)}/s"
    if summary.seconds:
        yield "time", _range(summary.seconds, _duration)
    if summary.cost:
        yield "cost", _range(summary.cost, lambda value: f"{value:.2f} {currency}".strip())
    if summary.kwh:
        yield "energy", _range(summary.kwh, lambda value: f"{value:.3g} kWh")


_PARTS = ("weights", "adapter", "gradients", "optimizer", "activations", "overhead", "total")


def _range(value: Range, show: Callable[[float], str]) -> str:
    return f"{show(value.estimate)} (between {show(value.low)} and {show(value.high)})"


def _duration(value: float) -> str:
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def _size(value: float) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} bytes"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
