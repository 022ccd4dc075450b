"""What may import what: the pure part of every kind stays free of I/O, and nothing shadows the standard library."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "operator"
PACKAGE = SOURCE / "kubetune"
KINDS = ("finetunejob", "evaluation", "modeldeployment")
EFFECTFUL = ("kopf", "aiohttp", "kubernetes", "asyncio", "prometheus_client", "kubetune.kube", "kubetune.runtime")
CLOCKS = {"now", "utcnow", "today", "monotonic", "perf_counter", "random", "uuid4"}
WITH_IO = {"controller.py", "series.py", "slots.py"}
PURE = sorted(
    [
        *(path for kind in KINDS for path in (PACKAGE / kind).glob("*.py") if path.name not in WITH_IO),
        *(PACKAGE / "common").glob("*.py"),
        *(PACKAGE / "workload").glob("*.py"),
        PACKAGE / "settings.py",
    ]
)


def imports(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports."""
    package = ["kubetune", *path.relative_to(PACKAGE).parts[:-1]]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            found.add(".".join([*base, *([node.module] if node.module else [])]))
    return found


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_pure_modules_have_no_io(path: Path) -> None:
    bad = {module for module in imports(path) for package in EFFECTFUL if is_within(module, package)}
    assert not bad


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_pure_modules_have_no_clock(path: Path) -> None:
    calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    assert not {call.attr for call in calls if isinstance(call, ast.Attribute)} & CLOCKS


def test_a_kind_imports_another_kinds_api_only() -> None:
    for kind in KINDS:
        others = [f"kubetune.{other}" for other in KINDS if other != kind]
        for path in (PACKAGE / kind).glob("*.py"):
            crossing = {m for m in imports(path) for other in others if is_within(m, other) and m != f"{other}.api"}
            assert not crossing, f"{path.relative_to(SOURCE)} imports {crossing}"


def test_only_handlers_knows_kopf() -> None:
    users = {path.name for path in PACKAGE.rglob("*.py") if any(is_within(m, "kopf") for m in imports(path))}
    assert users == {"handlers.py"}


def test_the_source_root_does_not_shadow_the_standard_librarys_operator() -> None:
    assert not (SOURCE / "__init__.py").exists()
