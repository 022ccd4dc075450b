"""docs/operations.md has every reason and condition that can be given, with its remedy, and no others."""

from __future__ import annotations

import enum
import re

import pytest

from kubetune.common.job_status import JobCondition
from kubetune.common.reasons import Shared
from kubetune.evaluation import api as evaluation
from kubetune.finetunejob.api.reasons import Reason as FineTuneJobReason
from kubetune.finetunejob.report.series import ProgressSeries
from kubetune.modeldeployment import api as modeldeployment
from kubetune.runtime.metrics import Metrics
from kubetune.runtime.queue import WorkQueue
from tests.support.points import Record

from .markdown import ROOT

PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
REASONS: tuple[type[enum.StrEnum], ...] = (Shared, FineTuneJobReason, evaluation.Reason, modeldeployment.Reason)
CONDITIONS: tuple[type[enum.StrEnum], ...] = (JobCondition, modeldeployment.DeploymentCondition)
_GIVEN = re.compile(r'ExitCode\.\w+,\s*"([A-Z][A-Za-z]+)"')


def given() -> set[str]:
    """Of the operator by its enumerations, of the images by the errors they raise."""
    found = {reason.value for reasons in REASONS for reason in reasons}
    for path in sorted((ROOT / "images").rglob("*.py")):
        found |= set(_GIVEN.findall(path.read_text(encoding="utf-8")))
    return found


def explained(text: str) -> set[str]:
    """Words in code marks."""
    return set(re.findall(r"`([A-Z]\w+)`", text))


def rows(text: str, header: str) -> list[list[str]]:
    """Cells of all tables whose first column has that header."""
    tables = re.findall(rf"^\| {re.escape(header)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for one in tables for row in one.splitlines()]


def section(page: str, anchor: str) -> str:
    """The page's part below the heading of that anchor."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for found in re.split(r"^## ", text, flags=re.MULTILINE):
        title = found.partition("\n")[0].lower()
        if re.sub(r"[^\w -]", "", title).replace(" ", "-") == anchor:
            return found
    raise AssertionError(f"docs/{page} has no heading for #{anchor}")


def remedied() -> set[str]:
    """Reasons of which the page says itself what to do."""
    return set().union(*(explained(reason) for reason, _, remedy in rows(PAGE, "reason") if remedy))


@pytest.mark.walk("C14")
def test_every_reason_has_its_remedy(record_property: Record) -> None:
    elsewhere = set().union(*(explained(reasons) for _, reasons in rows(PAGE, "explained in")))
    missing = given() - remedied() - elsewhere
    assert not missing, f"say in docs/operations.md what these mean and what to do: {sorted(missing)}"
    twice = remedied() & elsewhere
    assert not twice, f"docs/operations.md explains these itself: {sorted(twice)}"
    record_property(
        "point",
        f"docs/operations.md: {len(given())} reasons, {len(remedied())} with their remedy, the others with a link",
    )


@pytest.mark.parametrize("link", [link for link, _ in rows(PAGE, "explained in")])
def test_what_is_explained_elsewhere_is_explained_there(link: str) -> None:
    (reasons,) = (reasons for one, reasons in rows(PAGE, "explained in") if one == link)
    page, _, anchor = link.partition("(")[2].rstrip(")").partition("#")
    missing = explained(reasons) - explained(section(page, anchor))
    assert not missing, f"docs/{page} does not explain {sorted(missing)}"


def test_every_condition_has_its_remedy() -> None:
    told = {condition.strip("`"): remedy for condition, _, _, remedy in rows(PAGE, "condition")}
    wanted = {condition.value for conditions in CONDITIONS for condition in conditions}
    assert told.keys() == wanted
    assert all(told.values())


def test_the_page_names_no_reason_that_nobody_gives() -> None:
    named = set().union(*(explained(row[-1]) for row in rows(PAGE, "explained in"))) | remedied()
    sources = "".join(
        path.read_text(encoding="utf-8") for top in ("operator", "images") for path in (ROOT / top).rglob("*.py")
    )
    gone = {name for name in named if f'"{name}"' not in sources}
    assert not gone, f"nobody gives these any more: {sorted(gone)}"


def test_series_to_watch_exist() -> None:
    metrics = Metrics(["FineTuneJob", "Evaluation", "ModelDeployment"])
    metrics.watch_queue(WorkQueue(lambda: 0.0))
    ProgressSeries(metrics.registry)
    made = {family.name for family in metrics.registry.collect()}
    named = {name for _, series, _ in rows(PAGE, "when") for name in re.findall(r"\bkubetune_\w+", series)}
    assert len(named) > 5
    assert not {name for name in named if name.removesuffix("_total") not in made}
