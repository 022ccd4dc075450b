"""Tags that name content: the same inputs give the same tag on every machine and in every clone."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from images.build.catalog import Step
from images.build.dockerfile import copied, relevant
from images.build.errors import ImageBuildError

TAG_LENGTH = 12
_IGNORED_FOLDERS = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"})


def files_below(path: Path) -> Iterable[Path]:
    """Every file the build context takes below `path`, or `path` itself, in a fixed order."""
    if path.is_file():
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if name not in _IGNORED_FOLDERS)
        for name in sorted(names):
            if not name.endswith(".pyc"):
                yield Path(folder, name)


def _feed(digest: "hashlib._Hash", *parts: str | bytes) -> None:
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)


def _feed_file(digest: "hashlib._Hash", name: str, path: Path) -> None:
    executable = "x" if path.stat().st_mode & 0o100 else "-"
    _feed(digest, name, executable, path.read_bytes())


def replaced_stages(step: Step) -> frozenset[str]:
    """Stages of the step's Dockerfile that something else stands in for."""
    names = {"binary", *step.contexts} if step.binary else set(step.contexts)
    names |= step.optional
    if step.parent_argument == "DEPS_IMAGE":
        names.add("deps")
    return frozenset(names)


def step_tag(root: Path, step: Step, parent_tag: str) -> str:
    """The tag of one step: a digest of its instructions, files, arguments and parent.

    Where something is fetched from (`Step.sources`, a folder of wheels) does not count: its hash is pinned.
    """
    digest = hashlib.sha256()
    _feed(digest, step.name, parent_tag)
    for name, value in sorted(step.arguments.items()):
        _feed(digest, name, value)
    if step.binary:
        _feed_file(digest, "binary", step.binary)
    text = (root / step.dockerfile).read_text()
    for instruction in relevant(text, step.stage, replaced_stages(step)):
        _feed(digest, instruction)
        for source in copied(instruction):
            if not (root / source).exists():
                raise ImageBuildError(f"{step.dockerfile} copies {source}, which is not in this checkout ({root}).")
            for path in files_below(root / source):
                _feed_file(digest, path.relative_to(root).as_posix(), path)
    return digest.hexdigest()[:TAG_LENGTH]


def tags(root: Path, steps: Iterable[Step]) -> Mapping[str, str]:
    """The tag of every step, by name; parents must come before children, as `plan` gives them."""
    found: dict[str, str] = {}
    for step in steps:
        found[step.name] = step_tag(root, step, found[step.parent] if step.parent else "")
    return found
