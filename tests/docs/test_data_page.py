"""docs/data.md beside the tables that rows are read with. KUBETUNE_UPDATE_GOLDEN=1 writes the table of names anew."""

from __future__ import annotations

import os
import re
from pathlib import Path

from kubetune_contract import RowFormat
from kubetune_shared.rows import ENOUGH, MEMBERS, SAMPLE, Told, names
from kubetune_shared.rows.chats import LEARNED, REASONING, ROLES, SPEAKERS
from kubetune_shared.rows.columns import KNOWN, LIKELY, OWN, USUAL
from kubetune_shared.rows.formats import BESIDE, SHAPES
from kubetune_shared.rows.howread import REASONS
from kubetune_shared.rows.preference import BETTER, MARKS, WORSE

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
MARKED = re.compile(r"(?<=<!-- names -->\n).*?(?=<!-- /names -->)", re.DOTALL)


def shown(found: frozenset[str] | tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in (sorted(found) if isinstance(found, frozenset) else found))


def table() -> str:
    pairs = ", ".join(f"`{asked}`/`{told}`" for asked, told in names.PAIRS)
    lines = (
        ("usual pairs", pairs),
        ("questions", shown(names.QUESTIONS)),
        ("answers", shown(names.ANSWERS)),
        ("between", shown(names.CONTEXTS)),
        ("texts and labels", f"{shown(names.TEXTS)}; {shown(names.LABELS)}"),
        ("chats", shown(names.CHATS)),
        ("documents", shown(names.DOCUMENTS)),
        ("words of questions", shown(names.QUESTION_WORDS)),
        ("words of answers", shown(names.ANSWER_WORDS)),
        ("words of neither", shown(names.NO_CONTENT)),
    )
    rows = "".join(f"| {what} | {which} |\n" for what, which in lines)
    return f"\n| names | |\n|---|---|\n{rows}\n"


def test_the_table_of_names_is_the_codes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    if os.environ.get("KUBETUNE_UPDATE_GOLDEN"):
        page = MARKED.sub(lambda _: table(), page)
        PAGE.write_text(page, encoding="utf-8")
    found = MARKED.search(page)
    assert found
    assert found[0] == table()


def test_every_name_that_rows_are_read_by_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    members = {*MEMBERS, *LEARNED, *REASONING, *MARKS, "system_prompt", "functions"}
    members |= {name for needed in (*SHAPES.values(), *BESIDE.values()) for name in needed}
    missing = {name for name in members if not re.search(rf"`{name}\b", page)}
    missing |= {name for name in (*ROLES, *SPEAKERS) if not re.search(rf"\b{name}\b", page)}
    missing |= {kind for kind in RowFormat if kind is not RowFormat.AUTO and f"| `{kind}` |" not in page}
    missing |= {reason for reason in REASONS.values() if f"`{reason}`" not in page}
    assert not missing
    assert "chosen" in BETTER
    assert "rejected" in WORSE
    assert set(REASONS) == set(Told)


def test_the_numbers_of_the_confidence_are_the_codes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rule = page.partition("confidence = ")[2].partition("<!--")[0]
    for number in (OWN, USUAL, KNOWN, LIKELY):
        assert f"{number:g} for" in rule
    assert f"first {SAMPLE:,} rows" in rule
    assert f"Below {ENOUGH} nothing is guessed" in rule
