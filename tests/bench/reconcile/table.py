"""Results as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tests.bench import markdown
from tests.bench.markdown import or_dash

from .running import Running
from .runs import Result

_COLUMNS: tuple[tuple[str, Callable[[Result], str]], ...] = (
    ("run", lambda r: r.run),
    ("N", lambda r: str(r.count)),
    ("seconds", lambda r: f"{r.seconds:.1f}"),
    ("objects/s", lambda r: f"{r.per_second:.0f}"),
    ("start s", lambda r: or_dash(r.start_seconds, ".1f")),
    ("of floor", lambda r: or_dash(r.of_floor, ".2f")),
    ("writes/obj", lambda r: or_dash(r.writes_per_object, ".2f")),
    ("reconciles/obj", lambda r: or_dash(r.reconciles_per_object, ".2f")),
    ("own CPU s", lambda r: f"{r.client_cpu_seconds:.1f}"),
    ("peak RSS MiB", lambda r: or_dash(r.peak_rss_mib, ".0f")),
    ("API server CPU s", lambda r: f"{r.api_cpu_seconds:.1f}"),
    ("stolen", lambda r: f"{r.stolen_share:.0%}"),
    ("busy", lambda r: f"{r.busy_share:.0%}"),
)

_RUNNING: tuple[tuple[str, Callable[[Running], str]], ...] = (
    ("running", lambda r: str(r.count)),
    ("operator, cores", lambda r: f"{r.operator_cores:.3f}"),
    ("API server, cores", lambda r: f"{r.cores['kube-apiserver']:.3f}"),
    ("etcd, cores", lambda r: f"{r.cores['etcd']:.3f}"),
    ("operator, ms/s per job", lambda r: f"{1000 * r.operator_cores / r.count:.2f}"),
    ("API server, ms/s per job", lambda r: f"{1000 * r.cores['kube-apiserver'] / r.count:.2f}"),
    ("polls/s", lambda r: f"{r.polls_per_second:.0f}"),
    ("requests/s", lambda r: f"{sum(r.requests_per_second.values()):.1f}"),
    ("status writes/s", lambda r: f"{r.requests_per_second.get('apply finetunejobs', 0):.1f}"),
    ("metrics behind, s", lambda r: f"{r.series_lag_seconds:.1f}"),
    ("oldest progress, s", lambda r: f"{r.status_age_seconds:.0f}"),
    ("pod runs to status, ms (p50, p99, most)", lambda r: _three(r.to_running)),
    ("Job ends to status, ms (p50, p99, most)", lambda r: _three(r.to_succeeded)),
    ("peak RSS MiB", lambda r: f"{r.peak_rss_mib:.0f}"),
    ("stolen", lambda r: f"{r.stolen_share:.0%}"),
    ("busy", lambda r: f"{r.busy_share:.0%}"),
)


def _three(quantiles: tuple[float, float, float]) -> str:
    return ", ".join(f"{one:.0f}" for one in quantiles)


def running_table(rows: Iterable[Running]) -> str:
    """The same for those that run."""
    return markdown.table(_RUNNING, rows)


def table(results: Iterable[Result]) -> str:
    """A Markdown table."""
    return markdown.table(_COLUMNS, results)


def requests(result: Result) -> str:
    """One line: requests by verb and resource."""
    return ", ".join(f"{name}: {count}" for name, count in result.requests.items())
