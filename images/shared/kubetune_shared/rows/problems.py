"""A file's malformed rows, told in one message that fits a termination message. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_ERRORS = 5
"""Different reasons named in one message."""
_POSITIONS = 12
"""Rows named for one reason."""
_REASON = 340
"""Characters of one reason; values that users wrote are part of it."""
_MESSAGE = 3000
"""Bytes of the whole: the kubelet keeps 4096, of which JSON and escapes take their share."""


@dataclass
class Problems:
    """Collects what is wrong, by reason."""

    name: str
    unit: str
    count: int = 0
    missing: int = 0
    """Rows of ``count`` in which a cell is missing."""
    _by_reason: dict[str, list[str]] = field(default_factory=dict)
    _more: dict[str, int] = field(default_factory=dict)
    _untold: int = 0

    def add(self, position: str, reason: str, *, missing: bool = False) -> None:
        """One malformed row."""
        self.count += 1
        self.missing += missing
        reason = reason if len(reason) <= _REASON else reason[: _REASON - 3] + "..."
        if reason not in self._by_reason and len(self._by_reason) == MAX_ERRORS:
            self._untold += 1
            return
        positions = self._by_reason.setdefault(reason, [])
        if len(positions) < _POSITIONS:
            positions.append(position)
        else:
            self._more[reason] = self._more.get(reason, 0) + 1

    def message(self, rows: int) -> str:
        """How many of the ``rows`` looked at are malformed, where, and why."""
        parts = [self._part(reason, positions) for reason, positions in self._by_reason.items()]
        untold = self._untold
        while True:
            more = f"; and {untold} rows for other reasons" if untold else ""
            text = f"dataset {self.name} {'; '.join(parts)}{more}{self._end(rows)}"
            # A reason may hold half of a character pair of the file's, which cannot be written down.
            raw = text.encode("utf-8", "replace")
            if len(raw) <= _MESSAGE or len(parts) == 1:
                return raw.decode()
            parts.pop()
            reason = list(self._by_reason)[len(parts)]
            untold += len(self._by_reason[reason]) + self._more.get(reason, 0)

    def _end(self, rows: int) -> str:
        total = f" ({self.count} of {rows} rows are malformed)" if self.count > 1 else ""
        if not self.missing:
            return total
        cells = "a missing cell" if self.missing == 1 else "missing cells"
        which = "1 row" if self.missing == 1 else f"{self.missing} rows"
        return f"; missing: Drop in spec.dataset leaves out the {which} ({self.missing / rows:.1%}) with {cells}{total}"

    def _part(self, reason: str, positions: list[str]) -> str:
        more = self._more.get(reason, 0)
        shown = ", ".join(positions) + (f" and {more} more" if more else "")
        return f"{self.unit}{'s' if len(positions) > 1 else ''} {shown}: {reason}"
