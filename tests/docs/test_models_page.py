"""docs/models.md says what the tables say that the images judge a base by."""

from __future__ import annotations

from .models_page import PAGE, page


def test_the_page_of_models_is_that_of_the_tables() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "run `make generate`"
