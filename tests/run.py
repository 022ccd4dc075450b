"""Runs the named stages of the test suite one after the other and adds up what they counted.

``python -m tests.run STAGE``: check, integration, images, e2e, all, docs, operator, training, intake, generate. A stage
stops at its first failing step; the exit status is 0 only when every step passed and a test ran. What a test records
under the property ``point`` (what was tried, how often, what came out) is printed at the end, a line each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.etree import ElementTree

from images.build.catalog import Choices, default_names
from tests.support import laws

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable


@dataclass(frozen=True)
class Step:
    """One command. A pytest step is counted; ``argv`` of the others only has to succeed.

    ``tells_points``: what its tests record is printed.
    """

    title: str
    argv: tuple[str, ...]
    is_pytest: bool = False
    tells_points: bool = True


@dataclass
class Count:
    """Tests seen so far."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    points: list[str] = field(default_factory=list)
    laws: list[str] = field(default_factory=list)
    """Rows of ``tests.support.laws``, one for every test of a row that has passed."""


def _python(*argv: str) -> tuple[str, ...]:
    return (PYTHON, "-m", *argv)


def _pytest(title: str, *argv: str) -> Step:
    return Step(title, _python("pytest", "-q", *argv), is_pytest=True)


PARALLEL = "-n2"
"""Two at a time, each with a control plane of its own: most tests wait for something."""


OPERATORS_PART = (
    "finetunejob",
    "preflight",
    "interruptions",
    "quota",
    "cost",
    "deadline",
    "kueue",
    "gpu",
    "result_found",
)
"""Integration tests that are about training."""

DOCS_ALONE = _pytest(
    "the docs by themselves",
    *(f"tests/docs/test_{part}.py" for part in ("pages", "samples", "reasons", "walk", "models_page")),
)
DOCS_COMMANDS = _pytest("the docs' commands against a real API server", "tests/docs/test_commands.py")
_IMAGES = Step("build what changed", _python("images.build", "build", *default_names(Choices(gpu=False))))
"""The tests run on the CPU, whatever the machine has."""

STAGES: dict[str, tuple[Step, ...]] = {
    "provide": (Step("the cluster's programs and the images, side by side", _python("tests.demo.provision")),),
    "generate": (
        Step("CRDs and API reference from the models", _python("kubetune.crdgen")),
        Step("the page of models from the tables that judge them", _python("tests.docs.models_page")),
    ),
    "check": (
        Step("format", _python("ruff", "format", "--check", ".")),
        Step("lint", _python("ruff", "check", ".")),
        Step("types", _python("mypy")),
        Step("generated files in step", _python("kubetune.crdgen", "--check")),
        _pytest("unit, golden, contract and chart tests", "-nauto", "tests/unit", "tests/contract", "tests/chart"),
        replace(DOCS_ALONE, tells_points=False),
    ),
    "integration": (
        _pytest("the operator against a real API server", PARALLEL, "tests/integration", "-m", "not training"),
        replace(DOCS_COMMANDS, tells_points=False),
    ),
    "images": (
        _IMAGES,
        Step(
            "real training, evaluation and vLLM inside the images",
            _python("tests.inside", "all", "--durations=5", "-m", "not training"),
            is_pytest=True,
        ),
    ),
    "e2e": (_pytest("train, evaluate, gate, serve on a full node", "tests/e2e", "-s", "-m", "not training"),),
    "docs": (
        DOCS_ALONE,
        DOCS_COMMANDS,
        _pytest("the first model, as a script on a full node", "tests/docs/test_first_model.py", "-s"),
    ),
    "operator": (
        _pytest(
            "laws of the operator, and faults that were found",
            PARALLEL,
            "-p",
            "tests.support.laws",
            "-m",
            "law",
            *(f"tests/{suite}" for suite in ("unit", "chart", "integration")),
        ),
    ),
    "training": (
        _IMAGES,
        Step("Kueue, once for each version of it", _python("tests.cluster", "build", "--only", "kueue")),
        _pytest("estimates, ladder, guards: the pure parts", "-nauto", "tests/unit/trainer"),
        _pytest(
            "the operator's part against a real API server",
            PARALLEL,
            *(f"tests/integration/test_{part}.py" for part in OPERATORS_PART),
        ),
        Step("real processes, real S3, a tiny model", _python("tests.inside", "trainer"), is_pytest=True),
        _pytest("real pods on a full node", "tests/e2e", "-s", "-k", "training or gpu or faults"),
    ),
    "intake": (
        _IMAGES,
        _pytest("what files alone tell", "-nauto", "tests/unit", "-m", "intake"),
        Step(
            "real families and real inputs inside the images",
            _python("tests.inside", "all", "-m", "intake"),
            is_pytest=True,
        ),
    ),
}
ALL = ("provide", "check", "integration", "images", "e2e")


def run_step(step: Step, count: Count) -> bool:
    """Runs one step with its output on the terminal; adds a pytest step's results to ``count``."""
    print(f"\n--- {step.title}: {' '.join(step.argv).replace(PYTHON, 'python')}", flush=True)
    source_roots = [ROOT / "operator", *(ROOT / "images").glob("*/"), ROOT]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, source_roots))}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "junit.xml")
        argv = [*step.argv, f"--junit-xml={report}"] if step.is_pytest else list(step.argv)
        started = time.monotonic()
        code = subprocess.run(argv, cwd=ROOT, env=environment, check=False).returncode
        outcome = "ok" if code == 0 else f"FAILED ({code})"
        print(f"--- {step.title}: {outcome} in {time.monotonic() - started:.0f} s", flush=True)
        if report.exists():
            add(report, count, step.tells_points)
    return code == 0


def add(report: Path, count: Count, tells_points: bool = True) -> None:
    """Adds a JUnit report's totals to ``count``, and its points when they are to be told."""
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        count.failed += failed
        count.skipped += skipped
        count.passed += int(suite.get("tests", 0)) - failed - skipped
        told = [found.get("value", "") for found in suite.iter("property") if found.get("name") == "point"]
        count.points += told if tells_points else []
        for case in suite.iter("testcase"):
            if all(case.find(bad) is None for bad in ("failure", "error", "skipped")):
                count.laws += [found.get("value", "") for found in case.iter("property") if found.get("name") == "law"]


def main(names: list[str]) -> int:
    """Runs the stages named, or all of them."""
    unknown = [name for name in names if name != "all" and name not in STAGES]
    if unknown or not names:
        print(f"unknown stage {unknown}; known: all, {', '.join(STAGES)}", file=sys.stderr)
        return 2
    stages = ALL if "all" in names else tuple(names)
    count, started = Count(), time.monotonic()
    good = all(run_step(step, count) for name in stages for step in STAGES[name])
    if count.points:
        print("\n" + "\n".join(f"- {point}" for point in count.points))
        print(f"{len(count.points)} points shown")
    if count.laws:
        rows = laws.told(count.laws)
        print("\n" + "\n".join(f"- {row}" for row in rows))
        print(f"{len(set(count.laws))} of {len(rows)} rows shown by {len(count.laws)} tests")
    print(f"\n{' + '.join(stages)} took {time.monotonic() - started:.0f} s")
    if set(stages) - {"generate", "provide"}:
        print(f"{count.passed} passed, {count.failed} failed, {count.skipped} skipped", flush=True)
    return 0 if good and not count.failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
