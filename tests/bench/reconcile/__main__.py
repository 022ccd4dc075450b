"""``python -m tests.bench.reconcile --count 1,100,1000`` or ``--running 200,1000``: table on standard error, JSON on
standard output."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from . import running
from .running import Running
from .runs import Bench, Result
from .table import requests, running_table, table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.reconcile", description=__doc__)
    parser.add_argument("--count", default="1000", metavar="N,N", help="numbers of custom resources (default 1000)")
    parser.add_argument("--running", default="", metavar="N,N", help="instead: numbers of those that run")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long those that run are watched (default 60)")
    chosen = parser.parse_args()
    if chosen.running:
        _run([int(text) for text in chosen.running.split(",")], chosen.seconds)
    else:
        _throughput([int(text) for text in chosen.count.split(",")])


def _run(counts: list[int], seconds: float) -> None:
    rows = [running.measure(count, seconds) for count in counts]
    print(running_table(rows), file=sys.stderr)
    _dump(rows)


def _throughput(counts: list[int]) -> None:
    results: list[Result] = []
    for count in counts:
        bench = Bench(count)
        existing = _say(bench.floor_existing())
        created = _say(bench.floor_created())
        results += [existing, _say(bench.operator_existing(existing))]
        results += [created, _say(bench.operator_created(created))]
    print(table(results), file=sys.stderr)
    _dump(results)


def _dump(rows: Sequence[Result | Running]) -> None:
    json.dump([row.to_json() for row in rows], sys.stdout, indent=2)
    print()


def _say(result: Result) -> Result:
    text = f"{result.run}: {result.count} in {result.seconds:.1f} s"
    print(f"{text}; {requests(result)}" if result.requests else text, file=sys.stderr, flush=True)
    return result


if __name__ == "__main__":
    main()
