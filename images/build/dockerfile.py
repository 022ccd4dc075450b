"""What a Dockerfile says that decides whether its image must be built again. Pure text work."""

import re
import shlex

_FROM = re.compile(r"^FROM\s+(\S+)(?:\s+AS\s+(\S+))?\s*$", re.IGNORECASE)


def instructions(text: str) -> list[str]:
    """The instructions of a Dockerfile, one string each, without comments or continuations."""
    found: list[str] = []
    pending = ""
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        pending += " " + stripped.removesuffix("\\").rstrip()
        if not stripped.endswith("\\"):
            found.append(pending.strip())
            pending = ""
    return [*found, pending.strip()] if pending.strip() else found


def relevant(text: str, stage: str | None, replaced: frozenset[str]) -> list[str]:
    """The instructions that make `stage` (the last one if None), in order.

    Everything before the first FROM counts. `replaced` names stages whose content comes from
    elsewhere, such as `deps` when its image exists already: they do not count.
    """
    stages: list[tuple[str | None, list[str]]] = [(None, [])]
    for instruction in instructions(text):
        if match := _FROM.match(instruction):
            stages.append((match[2], []))
        stages[-1][1].append(instruction)
    names = [name for name, _ in stages]
    last = names.index(stage) if stage else len(stages) - 1
    kept = [body for name, body in stages[: last + 1] if name is None or name not in replaced]
    return [instruction for body in kept for instruction in body]


def copied(instruction: str) -> list[str]:
    """Paths of the build context that a COPY instruction takes; none for any other instruction."""
    words = shlex.split(instruction)
    if words[0].upper() != "COPY" or any(word.startswith("--from") for word in words):
        return []
    return [word for word in words[1:-1] if not word.startswith("--")]
