"""Deals the library's files to training, validation and test, package by package. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from tests.demo.library import Part, SourceFile

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.05
LARGE = 0.3


def split_by_file(files: Iterable[SourceFile]) -> dict[Part, list[SourceFile]]:
    """Deals whole files to the parts, package by package, in the order of their paths' hashes.

    Modules outside any package are all for training: nothing is asked about them. A package's first files make up its
    share of the test text, the next ones that of the validation text; a file that alone is LARGE of its package stays
    with the training text, which would have too little of the package otherwise.
    """
    groups: dict[str | None, list[SourceFile]] = {}
    for file in files:
        groups.setdefault(file.package, []).append(file)
    parts: dict[Part, list[SourceFile]] = {part: [] for part in Part}
    parts[Part.TRAIN] += groups.pop(None, [])
    for group in groups.values():
        total = sum(len(file.text) for file in group)
        dealt = 0
        for file in sorted(group, key=lambda file: hashlib.sha256(file.path.encode()).digest()):
            if len(file.text) > LARGE * total or dealt >= (TEST_SHARE + VALIDATION_SHARE) * total:
                parts[Part.TRAIN].append(file)
                continue
            parts[Part.TEST if dealt < TEST_SHARE * total else Part.VALIDATION].append(file)
            dealt += len(file.text)
    return {part: sorted(chosen, key=lambda file: file.path) for part, chosen in parts.items()}
