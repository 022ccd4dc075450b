"""What a run of the demo leaves on this machine: the Evaluation's report and the answers, below the cache folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cluster.layout import cache_root

from .kube import Kube, Object
from .seed import connect
from .settings import Settings
from .story import Answered, Facts, Story

REPORT = "report.html"
OUTCOME = "outcome.json"


@dataclass(frozen=True)
class Outcome:
    """What was asked and answered, and how both models scored."""

    about: str
    rows: dict[str, int]
    scores: list[str]
    answers: list[dict[str, str]]
    """``question``, ``tuned`` and, where it was asked, ``base``."""

    @classmethod
    def of(cls, story: Story, facts: Facts, scores: Sequence[str], answers: Sequence[Answered]) -> Outcome:
        """Of a run that came to its end."""
        told = [
            {"question": one.question.text, "tuned": one.tuned} | ({"base": one.base} if one.base is not None else {})
            for one in answers
        ]
        return cls(story.about, facts["items"], list(scores), told)


def folder() -> Path:
    """Where the latest run's files lie."""
    return cache_root() / "demo" / "latest"


def keep(kube: Kube, settings: Settings, evaluation: Object, outcome: Outcome) -> Path:
    """Fetches the Evaluation's report and writes the outcome beside it; returns the report's path."""
    folder().mkdir(parents=True, exist_ok=True)
    path = folder() / REPORT
    with connect(kube, settings) as store:
        path.write_bytes(store.read(f"{evaluation['status']['report']['uri']}/{REPORT}"))
    (folder() / OUTCOME).write_text(json.dumps(asdict(outcome), indent=1, ensure_ascii=False), encoding="utf-8")
    return path


def read() -> Outcome:
    """Of the latest run. Raises OSError when there was none."""
    return Outcome(**json.loads((folder() / OUTCOME).read_text(encoding="utf-8")))
