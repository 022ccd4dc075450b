"""Kubernetes' quantities as numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest

from kubetune.common.quantity import parse_quantity, smaller


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2", 2),
        ("0.5", Decimal("0.5")),
        ("500m", Decimal("0.5")),
        ("1k", 1000),
        ("8Gi", 8 * 2**30),
        ("8G", 8 * 10**9),
        ("1e3", 1000),
        ("1E", 10**18),
        ("12Ei", 12 * 2**60),
    ],
)
def test_number(text: str, number: Decimal) -> None:
    assert parse_quantity(text) == number


@pytest.mark.parametrize("text", ["", "lots", "8GB", "Gi"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        parse_quantity(text)


def test_smaller_keeps_the_spelling() -> None:
    assert (smaller("512Mi", "1Gi"), smaller("512Mi", "100M")) == ("512Mi", "100M")
