"""``python -m tests.bench.reconcile --count 1,100,1000``: table on standard error, JSON on standard output."""

from __future__ import annotations

import argparse
import json
import sys

from .runs import Bench, Result
from .table import requests, table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.reconcile", description=__doc__)
    parser.add_argument("--count", default="1000", metavar="N,N", help="numbers of custom resources (default 1000)")
    counts = [int(text) for text in parser.parse_args().count.split(",")]
    results: list[Result] = []
    for count in counts:
        bench = Bench(count)
        existing = _say(bench.floor_existing())
        created = _say(bench.floor_created())
        results += [existing, _say(bench.operator_existing(existing))]
        results += [created, _say(bench.operator_created(created))]
    print(table(results), file=sys.stderr)
    json.dump([result.to_json() for result in results], sys.stdout, indent=2)
    print()


def _say(result: Result) -> Result:
    text = f"{result.run}: {result.count} in {result.seconds:.1f} s"
    print(f"{text}; {requests(result)}" if result.requests else text, file=sys.stderr, flush=True)
    return result


if __name__ == "__main__":
    main()
