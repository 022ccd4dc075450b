"""The gate's error rates on a few of the bench's families; ``make bench-gate`` has all of them, at length."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kubetune_contract import Gate, GateRule, MetricName, Verdict
from kubetune_evaluator.verdict import POINTS
from tests.bench import former_gate
from tests.bench.families import Family, at, better, f1_like, f1_mean
from tests.bench.gate import judged, measured, tasks, told

RUNS = 400
MOST = 0.025 + 3 * (0.025 * 0.975 / RUNS) ** 0.5
"""What 2.5 % can look like in RUNS evaluations: three standard errors above."""


def named(families: tuple[Family, ...], name: str) -> Family:
    return next(family for family in families if family.name.startswith(name))


def rate(family: Family, n: int, gate: Gate, verdict: Verdict, runs: int = RUNS) -> float:
    draws = family.draw(np.random.default_rng(5), runs, n)
    return float(np.mean([judged(values, family, gate, 1, resamples=200)[1] is verdict for values in draws]))


def former_rate(family: Family, n: int, verdict: Verdict, margin: float = 0.0) -> float:
    draws = family.draw(np.random.default_rng(5), RUNS, n)
    asked = {"binary": family.binary, "margin": margin, "alpha": 0.05, "seed": 1, "resamples": 200}
    return float(np.mean([former_gate.verdict(values, **asked) is verdict for values in draws]))  # type: ignore[arg-type]


def gate_of(family: Family, margin: float = 0.0, rule: GateRule = GateRule.GAIN) -> Gate:
    return Gate(MetricName.EXACT_MATCH if family.binary else MetricName.TOKEN_F1, margin, rule=rule)


@pytest.mark.parametrize(
    ("name", "n", "former_errs"),
    [
        ("binary, 30 %", 30, False),
        ("F1-like", 30, False),
        ("skewed left", 15, True),
        ("skewed left", 30, True),
        ("A:", 15, True),
        ("A:", 50, True),
        ("A:", 75, False),
        ("clusters of 5, ICC .5", 75, True),
        ("clusters of 5, ICC .9", 300, True),
    ],
)
def test_no_effect_is_seldom_a_go(
    name: str, n: int, former_errs: bool, record_property: Callable[[str, object], None]
) -> None:
    family = named(at(0.0), name)
    before, now = former_rate(family, n, Verdict.GO), rate(family, n, gate_of(family), Verdict.GO)
    assert now <= MOST
    assert (before > MOST) is former_errs
    record_property("point", f"false Go, {family.name}, n={n}: {100 * now:.1f} % (before {100 * before:.1f} %)")


@pytest.mark.parametrize(
    ("name", "n", "former_errs"),
    [
        ("binary, 2 %", 15, True),
        ("skewed right", 15, True),
        ("A mirrored", 30, True),
        ("clusters of 5, ICC .9", 75, True),
    ],
)
def test_an_effect_of_the_margin_is_seldom_a_no_go(
    name: str, n: int, former_errs: bool, record_property: Callable[[str, object], None]
) -> None:
    family = named(at(0.05), name)
    gate = gate_of(family, 0.05, GateRule.SUPERIOR)
    before, now = former_rate(family, n, Verdict.NO_GO, 0.05), rate(family, n, gate, Verdict.NO_GO)
    assert now <= MOST
    assert (before > MOST) is former_errs
    assert rate(family, n, gate, Verdict.GO) <= MOST
    record_property("point", f"false NoGo, {family.name}, n={n}: {100 * now:.1f} % (before {100 * before:.1f} %)")


def test_large_gains_decide_with_few_items(record_property: Callable[[str, object], None]) -> None:
    binary = named(better(), "binary .45")
    found = rate(binary, 30, gate_of(binary), Verdict.GO)
    assert found >= 0.6
    f1 = Family("F1-like gain of .2", f1_mean(0.25), f1_like(0.25))
    assert f1.mean == pytest.approx(0.2, abs=0.01)
    also = rate(f1, 50, gate_of(f1), Verdict.GO, runs=200)
    assert also >= 0.8
    record_property(
        "point", f"Go at binary .45/.05, n=30: {100 * found:.0f} %; at an F1-like gain of .2, n=50: {100 * also:.0f} %"
    )


def test_families_have_the_means_they_say() -> None:
    for family in (*at(0.0), *at(0.05), *better()):
        values = family.draw(np.random.default_rng(2), 400, 300)
        error = 4 * float(values.std()) * (family.cluster / values.size) ** 0.5
        assert float(values.mean()) == pytest.approx(family.mean, abs=error), family.name


def test_the_bench_prints_every_family_and_size() -> None:
    cells = [measured(task) for task in tasks(runs=2, power_runs=1, sizes=(10, 15))]
    text = told(cells)
    assert text.count("| A mirrored") == 5
    assert text.count("| binary .45 / .05") == 1
    assert all("→" in line for line in text.splitlines() if line.startswith("| F1-like, gain"))


def test_metrics_of_points_are_bounded_by_a_hundred() -> None:
    assert {MetricName.CHRF, MetricName.BLEU} == POINTS
