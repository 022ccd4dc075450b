"""Makes the pictures of docs/demo.md from the latest run of the demo: its report page and the models' answers.

``python -m tests.demo.pictures [FOLDER]``, after ``make demo``. The page is photographed by Chromium (Debian's package
``chromium``).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from html import escape
from pathlib import Path

from . import outcome
from .outcome import Outcome
from .shell import ROOT, DemoError, run

PICTURES = ROOT / "docs" / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PAGE = (1000, 1300)
"""Width and height of the photograph in pixels."""
BROWSER_SECONDS = 120.0

WIDTH = 860
LINE = 20
MARGIN = 20
COLUMNS = 88
"""Characters of a line of the drawing."""
MOST_LINES = 5
"""Of one answer: an untuned model may go on for long."""
COLOURS = {"question": "#57606a", "tuned": "#116329", "base": "#82071e", "score": "#24292f"}


def drawing(found: Outcome) -> str:
    """Questions and answers as SVG."""
    lines = list(_lines(found))
    height = 2 * MARGIN + LINE * len(lines)
    texts = [
        f'<text x="{MARGIN}" y="{MARGIN + LINE * number + 14}" fill="{COLOURS[style]}">{escape(text)}</text>'
        for number, (style, text) in enumerate(lines)
        if text.strip()
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="ui-monospace, DejaVu Sans Mono, monospace" font-size="14" xml:space="preserve">'
    )
    frame = f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#f6f8fa" stroke="#d0d7de"/>'
    return "\n".join([head, frame, *texts, "</svg>", ""])


def _lines(found: Outcome) -> Sequence[tuple[str, str]]:
    """Every line of the drawing with its style."""
    lines: list[tuple[str, str]] = []
    for one in found.answers:
        lines += [("question", line) for line in one["question"].splitlines() if line.strip()]
        lines += [("tuned", line) for line in _wrapped("tuned  ", one["tuned"])]
        lines += [("base", line) for line in _wrapped("base   ", one["base"])] if "base" in one else []
        lines.append(("question", ""))
    lines += [("score", line) for score in found.scores for line in textwrap.wrap(score, COLUMNS)]
    return lines


def _wrapped(label: str, answer: str) -> list[str]:
    """An answer behind its label, in the lines that the model wrote, the long ones broken."""
    lines = [part for line in answer.strip().splitlines() for part in textwrap.wrap(line, COLUMNS - len(label)) or [""]]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], "..."]
    return [f"{label if number == 0 else ' ' * len(label)}{line}" for number, line in enumerate(lines)]


def photograph(page: Path, picture: Path) -> None:
    """What Chromium shows of ``page``. Raises DemoError where there is no Chromium."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise DemoError("no Chromium is installed: on Debian `apt-get install chromium`")
    with tempfile.TemporaryDirectory() as profile:
        argv = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={picture}"]
        argv += [f"--window-size={PAGE[0]},{PAGE[1]}", f"--user-data-dir={profile}", page.as_uri()]
        run(argv, os.environ, timeout=BROWSER_SECONDS)
    if not picture.is_file():
        raise DemoError(f"{browser} made no picture of {page}")


def main() -> int:
    """Writes both pictures."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.demo.pictures", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=PICTURES, help="default docs/pictures")
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        (folder / "demo-answers.svg").write_text(drawing(outcome.read()), encoding="utf-8")
        photograph(outcome.folder() / outcome.REPORT, folder / "demo-report.png")
    except OSError as error:
        print(f"no run of the demo is kept here ({error}): run `make demo` first", file=sys.stderr)
        return 1
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"demo-answers.svg and demo-report.png are in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
