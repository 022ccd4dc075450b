"""The messages that the docs show are what the code says."""

from __future__ import annotations

import re

import pytest

from tests.support.points import Record

from .markdown import ROOT
from .samples import SAMPLES, Sample


@pytest.mark.walk("W15")
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.made.__name__)
def test_sample(sample: Sample, record_property: Record) -> None:
    shown = sample.find((ROOT / sample.page).read_text(encoding="utf-8"))[1]
    assert shown == sample.made(), "`python -m tests.docs.samples` writes it anew"
    record_property("point", f"{sample.page} shows what the code says: {shown[:90]}")


def test_every_message_in_the_readme_is_a_sample() -> None:
    rows = re.findall(r"^\| [^|]+ \| `(\w+: .*)` \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(rows) == sum(sample.page == "README.md" for sample in SAMPLES)
