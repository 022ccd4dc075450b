"""``python -m tests.bench.gate``: how often the gate errs, and what it finds, by kind of data and number of items.

Differences are drawn, and judged by the evaluator's own code. Beside it stands the rule that came before.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from kubetune_contract import Gate, GateRule, MetricName, Verdict
from kubetune_evaluator.checks import Design, checks_of
from kubetune_evaluator.intervals import Estimate, estimate
from kubetune_evaluator.paired import Floats, Groups, MeanDifference
from kubetune_evaluator.verdict import Contest, floor_of, judge
from tests.bench import former_gate
from tests.bench.families import Family, at, better
from tests.bench.markdown import table

SIZES = (15, 30, 50, 75, 300)
ALPHA, MARGIN = 0.05, 0.05
RESAMPLES = 400
"""Of the random checks; what they say differs from 10,000 by chance, and they are asked only where the interval would
decide."""


@dataclass(frozen=True)
class Cell:
    """Shares of ``runs`` evaluations of one family with ``n`` items; ``before``: by the former rule."""

    family: str
    mean: float
    margin: float
    rule: str
    n: int
    runs: int
    go: float
    no_go: float
    covered: float
    go_before: float
    no_go_before: float
    covered_before: float


@dataclass(frozen=True)
class Task:
    family: Family
    n: int
    runs: int
    margin: float = 0.0
    rule: GateRule = GateRule.GAIN


def judged(
    values: Floats, family: Family, gate: Gate, seed: int, resamples: int = RESAMPLES
) -> tuple[Estimate, Verdict]:
    """By the evaluator's own code; checks can only take a verdict away, so they are asked where there is one."""
    n = len(values)
    groups = Groups.named(np.arange(n) // family.cluster) if family.cluster > 1 else Groups.alone(n)
    paired = MeanDifference(values, groups)
    e = estimate(paired, gate.alpha, binary=family.binary)
    if e.low <= floor_of(gate) and e.high >= gate.margin:
        return e, Verdict.INCONCLUSIVE
    checks = checks_of(paired, e, Design(gate.alpha, seed, gate.margin, resamples))
    return e, judge(gate, Contest("base", e, checks, n)).verdict


def measured(task: Task) -> Cell:
    family = task.family
    seed = zlib.crc32(f"{family.name} {task.n} {task.margin} {task.rule}".encode())
    rng = np.random.default_rng(seed)
    gate = Gate(MetricName.EXACT_MATCH if family.binary else MetricName.TOKEN_F1, task.margin, ALPHA, task.rule)
    sums = np.zeros(6)
    for number, values in enumerate(family.draw(rng, task.runs, task.n)):
        e, verdict = judged(values, family, gate, number)
        low, high = former_gate.interval(values, ALPHA)
        before = former_gate.verdict(
            values, binary=family.binary, margin=task.margin, alpha=ALPHA, seed=number, resamples=RESAMPLES
        )
        sums += [
            verdict is Verdict.GO,
            verdict is Verdict.NO_GO,
            e.low <= family.mean <= e.high,
            before is Verdict.GO,
            before is Verdict.NO_GO,
            low <= family.mean <= high,
        ]
    return Cell(family.name, family.mean, task.margin, str(task.rule), task.n, task.runs, *map(float, sums / task.runs))


def tasks(runs: int, power_runs: int, sizes: Sequence[int] = SIZES) -> list[Task]:
    """No effect with margin 0; an effect of just the margin; true gains."""
    nulls = [Task(family, n, runs) for family in at(0.0) for n in sizes]
    edges = [Task(family, n, runs, MARGIN, GateRule.SUPERIOR) for family in at(MARGIN) for n in sizes]
    gains = [Task(family, n, power_runs) for family in better() for n in sizes]
    return [*nulls, *edges, *gains]


def _measured(runs: int, power_runs: int, number: int) -> Cell:
    """By number, because another process cannot be sent a family."""
    return measured(tasks(runs, power_runs)[number])


def _table(cells: Iterable[Cell], show: Callable[[Cell], str]) -> str:
    rows: dict[str, dict[int, str]] = {}
    for cell in cells:
        rows.setdefault(cell.family, {})[cell.n] = show(cell)
    sizes = sorted({n for row in rows.values() for n in row})
    columns: list[tuple[str, Callable[[tuple[str, dict[int, str]]], str]]] = [("differences", lambda row: row[0])]
    columns += [(str(n), lambda row, n=n: row[1][n]) for n in sizes]  # type: ignore[misc]
    return table(columns, rows.items())


def _both(before: float, now: float) -> str:
    return f"{100 * before:.1f} | {100 * now:.1f}".replace("|", "→")


def told(cells: Sequence[Cell]) -> str:
    """The tables, each number before and now, in percent."""
    nulls = [cell for cell in cells if cell.mean == 0.0]
    edges = [cell for cell in cells if cell.margin > 0.0]
    gains = [cell for cell in cells if cell.mean > 0.0 and cell.margin == 0.0]
    parts = (
        ("False Go: no true effect, margin 0 (nominal 2.5)", nulls, lambda c: _both(c.go_before, c.go)),
        ("NoGo at no true effect, margin 0", nulls, lambda c: _both(c.no_go_before, c.no_go)),
        (
            "Coverage of the interval at no true effect (nominal 95)",
            nulls,
            lambda c: _both(c.covered_before, c.covered),
        ),
        (f"False NoGo: the true effect is the margin, {MARGIN}", edges, lambda c: _both(c.no_go_before, c.no_go)),
        ("False Go by the rule superior there (before: no such rule)", edges, lambda c: f"{100 * c.go:.1f}"),
        ("Power: Go at a true gain, margin 0", gains, lambda c: _both(c.go_before, c.go)),
    )
    return "\n\n".join(f"**{title}**, %, before → now\n\n{_table(some, show)}" for title, some, show in parts)


def main() -> None:
    """Prints the tables, and writes the numbers as JSON where asked to."""
    parser = argparse.ArgumentParser(prog="tests.bench.gate", description=__doc__)
    parser.add_argument("--runs", type=int, default=4000, help="evaluations for each error rate")
    parser.add_argument("--power-runs", type=int, default=1000, help="evaluations for each power")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    started = time.monotonic()
    with ProcessPoolExecutor(asked.processes) as pool:
        one = partial(_measured, asked.runs, asked.power_runs)
        cells = list(pool.map(one, range(len(tasks(asked.runs, asked.power_runs)))))
    print(told(cells))
    error = 100 * 1.96 * (0.025 * 0.975 / asked.runs) ** 0.5
    print(
        f"\n{asked.runs} evaluations for each error rate (simulation error {error:.1f} at 2.5), "
        f"{asked.power_runs} for each power; {time.monotonic() - started:.0f} s, {asked.processes} processes"
    )
    if asked.json:
        asked.json.write_text(json.dumps([asdict(cell) for cell in cells], indent=1) + "\n")


if __name__ == "__main__":
    main()
