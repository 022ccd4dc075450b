"""What a case is, and how its file is written."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data" / "rows"
LONG = "9" * 5000


@dataclass(frozen=True)
class RowCase:
    """One file; ``rows`` are what it holds in our form where it is read, ``said`` is part of the refusal."""

    kind: str
    what: str
    name: str
    content: str | bytes
    rows: tuple[dict[str, Any], ...] | None = None
    reason: str = "MalformedRow"
    said: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)
    confidence: float | None = None
    missing: int = 0

    def write(self, folder: Path) -> Path:
        """The file in ``folder``."""
        path = folder / self.name
        path.write_bytes(self.content if isinstance(self.content, bytes) else self.content.encode())
        return path


def lines(*rows: Any) -> str:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def file(name: str) -> bytes:
    return (DATA / name).read_bytes()


def pair(prompt: str, completion: str) -> dict[str, Any]:
    return {"prompt": prompt, "completion": completion}


ASKED, TOLD = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
AGAIN, B = {"role": "user", "content": "b"}, {"role": "assistant", "content": "B"}
WRONG = {"role": "assistant", "content": "WRONG"}
SAID = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
CHAT = {"messages": [ASKED, TOLD]}
FUSE = (pair("Where is the fuse box?", "In the cellar."), pair("b", "In the cellar."))
LEARNED_B = {"messages": [ASKED, {**WRONG, "weight": 0}, AGAIN, B]}


def flagged(**marks: Any) -> str:
    return lines({"messages": [ASKED, {**WRONG, **marks}, AGAIN, B]})


def called(arguments: Any, **beside: Any) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": "weather", "arguments": arguments}}
    return {"messages": [ASKED, {"role": "assistant", "content": "", "tool_calls": [call]}, *HEARD], **beside}


HEARD = [{"role": "tool", "content": "rain"}, TOLD]
NULLABLE = {"name": "weather", "parameters": {"type": "object", "properties": {"zone": {"type": ["string", "null"]}}}}
NULLS = "null members of calls and tools"
