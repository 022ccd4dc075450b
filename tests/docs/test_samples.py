"""The messages that the docs show are what the code says."""

from __future__ import annotations

import re

import pytest

from kubetune.workload.secrets import copy_command
from tests.support.points import Record

from .markdown import ROOT
from .samples import SAMPLES, Sample
from .walk import words


@pytest.mark.walk("W15")
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.made.__name__)
def test_sample(sample: Sample, record_property: Record) -> None:
    shown = sample.find((ROOT / sample.page).read_text(encoding="utf-8"))[1]
    assert shown == sample.made(), "`python -m tests.docs.samples` writes it anew"
    record_property("point", f"{sample.page} shows what the code says: {shown[:90]}")


@pytest.mark.walk("C1", "Q1")
@pytest.mark.parametrize(("page", "namespace"), [("docs/first-model.md", "my-team"), ("docs/install.md", "team-a")])
def test_keys_are_copied_by_the_command_that_the_message_names(page: str, namespace: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    assert words(copy_command("kubetune-object-store", "kubetune", namespace)) in words(text)


def test_every_message_in_the_readme_is_a_sample() -> None:
    rows = re.findall(r"^\| [^|]+ \| `(\w+: .*)` \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(rows) == sum(sample.page == "README.md" for sample in SAMPLES)
