"""What may import what: the pure part of every kind stays free of I/O, and nothing shadows the standard library."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "operator"
PACKAGE = SOURCE / "kubetune"
KINDS = ("finetunejob", "evaluation", "modeldeployment")
EFFECTFUL = ("kopf", "aiohttp", "kubernetes", "asyncio", "prometheus_client", "kubetune.kube", "kubetune.runtime")
CLOCKS = {"now", "utcnow", "today", "monotonic", "perf_counter", "random", "uuid4"}
WITH_IO = {
    "workload/reads.py",
    "runs/observe.py",
    "finetunejob/queue/slots.py",
    "finetunejob/report/series.py",
    *(f"{kind}/controller.py" for kind in KINDS),
}
PURE = sorted(
    path
    for room in (*KINDS, "common", "workload", "runs", "settings.py", "prices.py", "lineage.py")
    for path in ((PACKAGE / room).rglob("*.py") if (PACKAGE / room).is_dir() else [PACKAGE / room])
    if str(path.relative_to(PACKAGE)) not in WITH_IO
)
ROOMS = (
    ("common",),
    ("prices",),
    ("settings",),
    ("kube",),
    ("workload",),
    ("runs",),
    ("runtime",),
    ("finetunejob",),
    ("lineage",),
    ("evaluation",),
    ("modeldeployment",),
    ("registry", "apidoc", "preset_docs"),
    ("handlers", "crdgen"),
    ("main",),
    ("__main__",),
)
"""From the ground up: a room imports from those before its own floor only, and kube from common alone."""
FLOORS = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}


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
        for path in (PACKAGE / kind).rglob("*.py"):
            crossing = {m for m in imports(path) for other in others if is_within(m, other) and m != f"{other}.api"}
            assert not crossing, f"{path.relative_to(SOURCE)} imports {crossing}"


def test_only_handlers_knows_kopf() -> None:
    users = {path.name for path in PACKAGE.rglob("*.py") if any(is_within(m, "kopf") for m in imports(path))}
    assert users == {"handlers.py"}


def test_the_source_root_does_not_shadow_the_standard_librarys_operator() -> None:
    assert not (SOURCE / "__init__.py").exists()


def room_of(module: str) -> str | None:
    """The folder, or the file, below the package; None for what is not ours."""
    parts = module.split(".")
    return parts[1] if parts[0] == "kubetune" and len(parts) > 1 else None


def test_no_arrow_of_the_import_picture_runs_back_up() -> None:
    seen = 0
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for module in imports(path) - {"kubetune"}:
            other = room_of(module)
            if other and room not in {other, "__init__"}:
                seen += 1
                assert FLOORS[other] < FLOORS[room], f"{path.relative_to(SOURCE)} imports {module}, which stands above"
    assert seen > 200


def test_kube_depends_on_common_alone() -> None:
    for path in (PACKAGE / "kube").glob("*.py"):
        assert {room_of(module) for module in imports(path)} <= {None, "common", "kube"}, path.name


@pytest.mark.parametrize("kind", KINDS)
def test_the_rooms_of_a_kind_have_no_circle(kind: str) -> None:
    """Its folders and the files beside them are the rooms."""
    home = PACKAGE / kind
    arrows: dict[str, set[str]] = {}
    for path in home.rglob("*.py"):
        room = path.relative_to(home).parts[0].removesuffix(".py")
        within = (module.split(".")[2] for module in imports(path) if module.startswith(f"kubetune.{kind}."))
        arrows.setdefault(room, set()).update(other for other in within if other != room)
    tuple(TopologicalSorter(arrows).static_order())
