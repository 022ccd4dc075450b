"""Writes the tables of docs/models.md from those that images judge bases by: ``python -m tests.docs.models_page``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kubetune_shared.intake.families import FAMILIES
from kubetune_shared.intake.quantisation import QUANTISATIONS

from .markdown import ROOT

PAGE = ROOT / "docs/models.md"


def page(text: str) -> str:
    """The page with its tables as they must be."""
    for name, table in (("families", _families()), ("quantised", _quantised())):
        before, start, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        assert end, f"docs/models.md has no place for the table of {name}"
        text = f"{before}{start}{table}\n{end}{after}"
    return text


def _families() -> str:
    head = ("model_type", "family", "trained", "merged", "GGUF", "served", "packed", "")
    rows = (
        (f"`{one.model_type}`", one.name, *_said(one.trained, one.merged, one.gguf, one.served, one.packed), one.note)
        for one in FAMILIES
    )
    return _table([head, *rows])


def _quantised() -> str:
    head = ("weights", "trained", "evaluated", "served")
    return _table([head, *((one.name, *_said(one.trained, one.evaluated, one.served)) for one in QUANTISATIONS)])


def _said(*why_not: str) -> Iterable[str]:
    return (reason.replace("|", "\\|") or "yes" for reason in why_not)


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ("| " + " | ".join(row).rstrip() + " |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
