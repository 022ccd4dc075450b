"""Results as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tests.bench import markdown
from tests.bench.markdown import or_dash

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


def table(results: Iterable[Result]) -> str:
    """A Markdown table."""
    return markdown.table(_COLUMNS, results)


def requests(result: Result) -> str:
    """One line: requests by verb and resource."""
    return ", ".join(f"{name}: {count}" for name, count in result.requests.items())
