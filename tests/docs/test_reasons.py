"""Every reason that operator and images can give is explained on a page, and docs/reasons.md names no others."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable

import pytest

from kubetune.common.reasons import Shared
from kubetune.evaluation import api as evaluation
from kubetune.finetunejob.api.reasons import Reason as FineTuneJobReason
from kubetune.modeldeployment import api as modeldeployment
from tests.support.points import Record

from .markdown import ROOT

ENUMS: tuple[type[enum.StrEnum], ...] = (Shared, FineTuneJobReason, evaluation.Reason, modeldeployment.Reason)
_GIVEN = re.compile(r'ExitCode\.\w+,\s*"([A-Z][A-Za-z]+)"')


def given() -> set[str]:
    """Of the operator by its enumerations, of the images by the errors they raise."""
    found = {reason.value for reasons in ENUMS for reason in reasons}
    for path in sorted((ROOT / "images").rglob("*.py")):
        found |= set(_GIVEN.findall(path.read_text(encoding="utf-8")))
    return found


def explained(text: str) -> set[str]:
    """Words in code marks."""
    return set(re.findall(r"`([A-Z]\w+)`", text))


def _pages() -> Iterable[str]:
    return (path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))


@pytest.mark.walk("C14")
def test_every_reason_is_explained(record_property: Record) -> None:
    missing = given() - set().union(*map(explained, _pages()))
    assert not missing, f"say in docs/statuses.md or docs/reasons.md what these mean and what to do: {sorted(missing)}"
    record_property("point", f"docs: {len(given())} reasons, each explained on a page")


def test_the_page_names_no_reason_that_nobody_gives() -> None:
    text = (ROOT / "docs/reasons.md").read_text(encoding="utf-8")
    named = {name for row in re.findall(r"^\| (`[A-Z].*?`) \|", text, re.MULTILINE) for name in explained(row)}
    sources = "".join(
        path.read_text(encoding="utf-8") for top in ("operator", "images") for path in (ROOT / top).rglob("*.py")
    )
    gone = {name for name in named if f'"{name}"' not in sources}
    assert not gone, f"nobody gives these any more: {sorted(gone)}"
