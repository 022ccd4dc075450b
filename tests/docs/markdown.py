"""Reads the pages: fenced blocks and their commands, links, headings."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHELL = frozenset({"sh", "bash", "console"})
_FENCE = re.compile(r"^( *)```(\w*) *$")
_MARK = re.compile(r"<!-- *((?:run|not run):.*?) *-->")


@dataclass(frozen=True)
class Fence:
    """A fenced block; ``mark`` is what the comment in the line before says about running it."""

    page: str
    line: int
    language: str
    text: str
    mark: str = ""


@dataclass(frozen=True)
class Command:
    """One command as a reader would type it."""

    page: str
    line: int
    text: str
    mark: str = ""

    @property
    def place(self) -> str:
        """Page and line."""
        return f"{self.page}:{self.line}"

    @property
    def first_line(self) -> str:
        """Enough of it to know it again."""
        head, _, rest = self.text.partition("\n")
        return head.rstrip("\\ ") + (" ..." if rest else "")


def pages() -> list[Path]:
    """README and the guides."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "tests/cluster/README.md"]


def name(path: Path) -> str:
    """The page's path from the top of the checkout."""
    return str(path.relative_to(ROOT))


def fences(page: str, text: str) -> list[Fence]:
    """The fenced blocks of a page, without the indentation of a list they stand in."""
    found: list[Fence] = []
    body: list[str] | None = None
    start, indent, language, mark = 0, "", "", ""
    before = ""
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if fence and body is None:
            marked = _MARK.search(before)
            body, start, indent, language = [], number, fence[1], fence[2]
            mark = marked[1] if marked else ""
        elif fence and body is not None:
            found.append(Fence(page, start, language, "\n".join(body), mark))
            body = None
        elif body is not None:
            body.append(line.removeprefix(indent))
        if line.strip():
            before = line
    assert body is None, f"{page}:{start}: the block is never closed"
    return found


def commands(fence: Fence) -> list[Command]:
    """What the block has to be typed, one by one: lines that belong together are one command."""
    made: list[Command] = []
    kept: list[str] = []
    start = 0
    for number, line in enumerate(fence.text.splitlines(), fence.line + 1):
        if not kept and (not line.strip() or line.startswith("#")):
            continue
        start = start if kept else number
        kept.append(line)
        if is_whole("\n".join(kept)):
            made.append(Command(fence.page, start, "\n".join(kept), fence.mark))
            kept = []
    assert not kept, f"{fence.page}:{start}: bash does not understand {kept[0]!r}"
    return made


def is_whole(text: str) -> bool:
    """Whether bash takes it without waiting for more."""
    if text.endswith("\\"):
        return False
    done = subprocess.run(["bash", "-n"], input=text + "\n", capture_output=True, text=True, check=False)
    return done.returncode == 0 and not done.stderr


def shell_commands(path: Path) -> list[Command]:
    """Every command of a page's shell blocks."""
    found = fences(name(path), path.read_text(encoding="utf-8"))
    return [command for fence in found if fence.language in SHELL for command in commands(fence)]


def comment_commands(path: Path) -> list[Command]:
    """The commands in a manifest's comments: lines that stand in from the others."""
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line.removeprefix("#   ") if line.startswith("#   ") else "" for line in lines]
    # Prose that stands in from the rest, in a list for example, is no command.
    wanted = [line if re.match(r" |kubectl |helm |make |python3 ", line) else "" for line in kept]
    return commands(Fence(name(path), 0, "sh", "\n".join(wanted)))


def without_blocks(text: str) -> str:
    """The page's prose."""
    return re.sub(r"^( *)```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """What a link may name behind '#', as GitHub makes it of headings."""
    made: set[str] = set()
    for heading in re.findall(r"^#+ +(.*)$", without_blocks(text), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        made.add(slug if slug not in made else f"{slug}-1")
    return made


def links(text: str) -> Iterator[str]:
    """Targets of the page's links and pictures."""
    prose = re.sub(r"`[^`\n]*`", "", without_blocks(text))
    yield from re.findall(r"\]\(([^)\s]+)\)", prose)
