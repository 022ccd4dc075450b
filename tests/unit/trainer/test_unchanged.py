"""Rows that changed under a run are told by both digests and refused; the same rows never are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune_contract import Dataset, ExitCode, KubeTuneError
from kubetune_trainer.data.unchanged import check_unchanged

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(DIGESTS)
def test_the_same_rows_and_unknown_ones_pass(rows: str) -> None:
    check_unchanged(Dataset("s3://data/x"), rows, rows, "the preflight counted them")
    check_unchanged(Dataset("s3://data/x"), rows, None, "the preflight counted them")


@pytest.mark.walk("W1")
def test_others_are_refused_with_both_digests_and_what_to_do() -> None:
    with pytest.raises(KubeTuneError) as found:
        check_unchanged(Dataset("s3://data/x", validation_uri="s3://data/v"), "ab" * 32, "cd" * 32, "this run began")
    error = found.value
    assert (error.code, error.reason) == (ExitCode.BAD_DATA, "DataChanged")
    for said in (
        "s3://data/x and s3://data/v",
        "cdcdcdcdcdcdcdcd",
        "abababababababab",
        "this run began",
        "delete this",
    ):
        assert said in error.message
