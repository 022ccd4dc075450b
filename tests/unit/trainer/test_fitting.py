"""Summaries fit a termination message, whatever is in them: no published result is lost over its words."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune_contract import (
    Artifact,
    Fit,
    FoundResult,
    PreflightSummary,
    RecoveryStep,
    RowSettings,
    Suggestion,
    TrainSummary,
    dumps,
)
from kubetune_contract.paths import TERMINATION_LIMIT
from kubetune_trainer.preflight.summary import fitted
from kubetune_trainer.publishing.fitting import fitting
from tests.support.points import Record

URI = "s3://" + "b" * 63 + "/" + "k" * 1000
WORDS = st.text(st.sampled_from('aé漢\U0001f600"\\\n\x00'), max_size=700)
SUGGESTIONS = st.lists(st.builds(Suggestion, st.sampled_from(["FlatLoss", "ExportFailed"]), WORDS), max_size=9)
STEP = RecoveryStep("OutOfMemory", "halveBatch", "", 1.0, 7, 2, 8, False, "adamw_torch", 1e-4)
STEPS = st.lists(WORDS.map(lambda said: dataclasses.replace(STEP, message=said)), max_size=14)
ROW_SETTINGS = st.builds(lambda reason: RowSettings(reason, 3.0, 4, 0.03, 10), WORDS)
SUMMARY = TrainSummary(
    1, Artifact(URI, "adapter", "0" * 64, 1), 8, 9, 0, 1.0, dataset_sha256="1" * 64, run_sha256="2" * 64
)
PREFLIGHT = PreflightSummary(1, Fit.FITS, "", 8, 9, "0" * 64, 8, 9)


@given(
    SUGGESTIONS,
    STEPS,
    st.lists(st.sampled_from(["merged", "gguf"]), max_size=2, unique=True),
    st.one_of(st.none(), ROW_SETTINGS),
    st.one_of(st.none(), WORDS),
)
@settings(max_examples=200, deadline=None)
def test_a_result_is_always_told(
    suggestions: list[Suggestion],
    steps: list[RecoveryStep],
    exports: list[str],
    decided: RowSettings | None,
    version: str | None,
) -> None:
    summary = dataclasses.replace(
        SUMMARY,
        suggestions=tuple(suggestions),
        recovery=tuple(steps),
        exports=tuple(Artifact(URI, kind, "0" * 64, 1) for kind in exports),
        found=FoundResult(1.0, "uid", decided) if decided else None,
        model_version=version,
    )
    short = fitting(summary)
    assert len(dumps(short).encode()) <= TERMINATION_LIMIT
    figures = {"suggestions": (), "recovery": (), "exports": (), "found": None, "model_version": None}
    assert dataclasses.replace(short, **figures) == SUMMARY  # type: ignore[arg-type]
    if len(dumps(summary).encode()) <= TERMINATION_LIMIT:
        assert short == summary


def test_what_goes_first(record_property: Record) -> None:
    """The exports are kept as long as the suggestions, which an Event has told already, can go."""
    failed = Suggestion("ExportFailed", "漢" * 600)
    exports = tuple(Artifact(URI[:300], kind, "0" * 64, 1) for kind in ("merged", "gguf"))
    summary = dataclasses.replace(SUMMARY, suggestions=(failed,) * 5, recovery=(STEP,) * 9, exports=exports)
    short = fitting(summary)
    assert short.exports == exports
    assert short.suggestions
    assert short.recovery[-1] == STEP
    record_property("point", f"a summary of {len(dumps(summary))} characters is told in {len(dumps(short))}")


@given(SUGGESTIONS, WORDS, st.one_of(st.none(), ROW_SETTINGS), st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_a_preflight_is_always_told(
    suggestions: list[Suggestion], message: str, decided: RowSettings | None, bins: int
) -> None:
    summary = dataclasses.replace(
        PREFLIGHT,
        fit_message=message,
        suggestions=tuple(suggestions),
        settings=decided,
        histogram={str(2**number): number for number in range(bins)},
    )
    short = fitted(summary)
    assert len(dumps(short).encode()) <= TERMINATION_LIMIT
    assert short.fit_message[:100] == message[:100]
