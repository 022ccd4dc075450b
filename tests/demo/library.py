"""The Python standard library's own sources: what the demo's and the small model's questions are made of.

Everything here is a pure function of the interpreter's library: one Python version gives one corpus on every machine.
"""

from __future__ import annotations

import ast
import enum
import sysconfig
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

EXCLUDED_FOLDERS = frozenset(
    {
        "__pycache__",
        "dist-packages",
        "encodings",  # character tables, hardly any code
        "idle_test",
        "pydoc_data",  # one huge table of help texts
        "site-packages",
        "test",
        "tests",
        "turtledemo",
    }
)


class Part(enum.StrEnum):
    """Which use a source file is reserved for; no file serves two."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class SourceFile:
    """One module: its path below the library's root, with ``/``, and its text."""

    path: str
    text: str

    @property
    def package(self) -> str | None:
        """Top-level package it belongs to; None for a module outside any package."""
        head, slash, _ = self.path.partition("/")
        return head if slash else None


@dataclass(frozen=True)
class Function:
    """One function or method, dedented, with where it came from."""

    path: str
    name: str
    source: str


def library_root() -> Path:
    """Folder of the running interpreter's standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


def read_library(root: Path) -> list[SourceFile]:
    """Every readable module below ``root`` that holds hand-written code, sorted by path, copies left out."""
    files: list[SourceFile] = []
    seen: set[str] = set()
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if EXCLUDED_FOLDERS.intersection(relative.parts[:-1]):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if text.strip() and text not in seen:
            seen.add(text)
            files.append(SourceFile(relative.as_posix(), text))
    return files


def functions(file: SourceFile) -> Iterator[Function]:
    """Functions and methods of ``file`` in the order they are written; none when it does not parse."""
    try:
        tree = ast.parse(file.text)
    except (SyntaxError, ValueError):
        return
    # Not ast.get_source_segment: it splits the whole file again for every function.
    lines = file.text.split("\n")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            source = "\n".join(lines[node.lineno - 1 : node.end_lineno])
            yield Function(file.path, node.name, textwrap.dedent(source))
