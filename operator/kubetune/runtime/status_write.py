"""What of a decided status is written, so that neither another release nor a refusal can lose it."""

from __future__ import annotations

import re
from typing import Any

Object = dict[str, Any]

TEXT_LIMIT = 512
_MEMBER = re.compile(r"\bstatus\.([A-Za-z]\w*)")
_KEPT = ("observedGeneration", "phase", "completionTime", "conditions", "artifact", "candidate", "verdict", "report")
_RESULTS = {"artifact", "verdict"}


def over(stored: Object | None, decided: Object) -> Object:
    """``decided`` as it is written. A finished object loses nothing any more: members that only another release knows,
    or that this one cannot read, stay."""
    return {**stored, **decided} if stored and stored.get("completionTime") else decided


def smaller(decided: Object, refusal: str) -> Object:
    """``decided`` without what the API server's ``refusal`` names; where it names nothing that can be left out, only
    how far the object is, in shorter words."""
    named = (set(_MEMBER.findall(refusal)) & decided.keys()) - {"conditions"}
    if named & _RESULTS:
        # Without its result it has not ended: it is looked at again.
        named.add("completionTime")
    if named:
        return {member: value for member, value in decided.items() if member not in named}
    kept = {member: decided[member] for member in _KEPT if member in decided}
    if "conditions" in kept:
        kept["conditions"] = [{**one, "message": _plain(one.get("message", ""))} for one in kept["conditions"]]
    return kept


def _plain(text: str) -> str:
    return text.encode("ascii", "replace").decode()[:TEXT_LIMIT]
