"""Rows that mean what they meant keep their name, so that an upgrade makes no run another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.former_rows import FILES, digest_of

FORMER = {
    "pairs": "9ec42c232fb00b3045c68adacc897465a13e5f7a5d7c550a62dc2de2e08b92d8",
    "pairs with more": "06a6a5b00895b797835542aef6f1f11c293d0765d8c6b68e8c2d4e0e1c4d99fd",
    "pairs in an array": "93bf74340026e047a885f51560634e67aaff8297d072d008f1e9e84f6ea93928",
    "pairs in CSV": "e2577f40686c4e2731bc6cb99da4b90c93c855eaff8d5d14f758128e5001cde9",
    "pairs in TSV": "06a6a5b00895b797835542aef6f1f11c293d0765d8c6b68e8c2d4e0e1c4d99fd",
    "other columns": "e83dec6988748864e9fa2025be6129089301af589c99bd6e8465e56094554f8e",
    "instructions": "7907c78033776f8f4b2b9d7893e7444c052cf4ee8ebb9028d85e7a67e9fd3425",
    "text": "9b2712498fffc0544ebb2a1b30ee3f7468057d8e54970ee14e315014cfedfaad",
    "chats": "c0a38bf15a6a65b17aeafdc4506fff80e7ec92b8335ab4537848c58fe301dbff",
    "chats with tools": "291590856f99bf7f62e04ff5c52579ee33ae5cd6a796012bb867ab10f7f013ee",
    "ShareGPT": "57c14c6a212bd2c5f04fdbf4b7f3e24eb95bdb91f75741239b0f86e34b88ef21",
}
"""As the release before members were counted and columns recognised gave them."""


@pytest.mark.parametrize("what", FILES)
def test_rows_keep_their_digest(tmp_path: Path, what: str) -> None:
    name, text, settings = FILES[what]
    assert digest_of(name, text, settings, tmp_path) == FORMER[what]


def test_every_file_has_a_former_digest() -> None:
    assert set(FORMER) == set(FILES)
