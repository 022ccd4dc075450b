"""Every row of the first day's walk is answered by a test or by a sentence of the docs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.points import Record

from .walk import ROWS, SENTENCES, marked_tests, stands_there

MARKED = marked_tests()
SHOWN = 3


@pytest.mark.parametrize("row", ROWS)
def test_row(row: str, record_property: Record) -> None:
    tests, sentences = MARKED.get(row, []), SENTENCES.get(row, ())
    assert tests or sentences, f"{row}: no test is marked with it, and no sentence in walk.py answers it"
    for page, text in sentences:
        assert stands_there((page, text)), f"{row}: {page} does not say: {text}"
    said = [f"{page}: {text}" for page, text in sentences] + tests
    more = f" and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
    record_property("point", f"{row}: {'; '.join(said[:SHOWN])}{more}")


def test_only_rows_that_exist_are_named() -> None:
    assert set(MARKED) <= set(ROWS), "a test's mark names a row that the walk does not have"
    assert set(SENTENCES) <= set(ROWS)


def test_marks_are_read_from_sources(tmp_path: Path) -> None:
    source = (
        "import pytest\n@pytest.mark.walk('W1', 'C2')\nasync def test_a(): ...\n"
        "class TestB:\n    @pytest.mark.walk('C2')\n    def test_c(self): ...\n"
        "@pytest.mark.parametrize('x', ['W3'])\ndef test_d(x): ...  # mark.walk('W4')\n"
    )
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_x.py").write_text(source)
    assert marked_tests(tmp_path / "tests") == {
        "W1": ["tests/test_x.py::test_a"],
        "C2": ["tests/test_x.py::test_a", "tests/test_x.py::TestB::test_c"],
    }


def test_a_sentence_that_is_gone_is_noticed() -> None:
    assert not stands_there(("README.md", "This is nowhere."))
    assert not stands_there(("docs/no-such-page.md", "x"))
    assert stands_there(("README.md", "Everything\n is a Kubernetes   resource"))
