"""Results as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .runs import Result

_COLUMNS: tuple[tuple[str, Callable[[Result], str]], ...] = (
    ("run", lambda r: r.run),
    ("N", lambda r: str(r.count)),
    ("seconds", lambda r: f"{r.seconds:.1f}"),
    ("objects/s", lambda r: f"{r.per_second:.0f}"),
    ("start s", lambda r: _or_dash(r.start_seconds, ".1f")),
    ("of floor", lambda r: _or_dash(r.of_floor, ".2f")),
    ("writes/obj", lambda r: _or_dash(r.writes_per_object, ".2f")),
    ("reconciles/obj", lambda r: _or_dash(r.reconciles_per_object, ".2f")),
    ("own CPU s", lambda r: f"{r.client_cpu_seconds:.1f}"),
    ("peak RSS MiB", lambda r: _or_dash(r.peak_rss_mib, ".0f")),
    ("API server CPU s", lambda r: f"{r.api_cpu_seconds:.1f}"),
    ("stolen", lambda r: f"{r.stolen_share:.0%}"),
    ("busy", lambda r: f"{r.busy_share:.0%}"),
)


def table(results: Iterable[Result]) -> str:
    """A Markdown table."""
    rows = [[title for title, _ in _COLUMNS], *([show(result) for _, show in _COLUMNS] for result in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def requests(result: Result) -> str:
    """One line: requests by verb and resource."""
    return ", ".join(f"{name}: {count}" for name, count in result.requests.items())


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
