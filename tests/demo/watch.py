"""Follows the demo's custom resources and says what changes, until they are done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .kube import Kube, Object, condition, is_true
from .shell import DemoError

POLL_SECONDS = 1.0
REPEAT_SECONDS = 5.0
"""A line that only differs in its figures is printed this often at most."""

Status = dict[str, Any]


def job_line(status: Status) -> tuple[str, str]:
    """What a FineTuneJob is at, and its figures."""
    progress = status.get("progress") or {}
    parts = [progress["display"]] if progress.get("totalSteps") else []
    if progress.get("loss") is not None:
        parts.append(f"loss {progress['loss']:.3f}")
    if progress.get("tokensPerSecond"):
        parts.append(f"{progress['tokensPerSecond']:,.0f} tokens/s")
    if progress.get("eta"):
        parts.append(f"{progress['eta']} left")
    return _where(status), ", ".join(part for part in parts if part)


def evaluation_line(status: Status) -> tuple[str, str]:
    """What an Evaluation is at, and its figures."""
    progress = status.get("progress") or {}
    return _where(status), " ".join(filter(None, (progress.get("display"), progress.get("model"))))


def deployment_line(status: Status) -> tuple[str, str]:
    """What a ModelDeployment is at."""
    return _where(status, "Ready"), ""


def _where(status: Status, summary: str = "Succeeded") -> str:
    """The phase, with the reason behind it while it is not the good end."""
    found = condition({"status": status}, summary)
    waiting = next((one for one in status.get("conditions", ()) if one["status"] == "False"), found)
    if status.get("phase") in {None, "Running", "Succeeded", "Ready"}:
        return str(status.get("phase") or "Pending")
    return f"{status['phase']}: {waiting.get('message', '')}".rstrip(": ")


def follow(
    kube: Kube, namespace: str, kind: str, name: str, line: Callable[[Status], tuple[str, str]], seconds: float
) -> Object:
    """Prints the object's progress until its summary condition is True; returns the object.

    Raises DemoError with the object's own words when it failed, or after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    said, when = ("", ""), 0.0
    while True:
        found = kube.get(namespace, kind, name) or {}
        now = line(found.get("status") or {})
        if now[0] != said[0] or (now != said and time.monotonic() - when >= REPEAT_SECONDS):
            print(f"   {time.strftime('%H:%M:%S')} {name}: {' '.join(filter(None, now))}", flush=True)
            said, when = now, time.monotonic()
        if is_true(found, "Succeeded") or is_true(found, "Ready"):
            return found
        if (found.get("status") or {}).get("phase") == "Failed":
            raise DemoError(f"{kind} {namespace}/{name} failed: {failure(found)}")
        if time.monotonic() > deadline:
            raise DemoError(f"{kind} {namespace}/{name} is not done after {seconds:.0f} s: {' '.join(now)}")
        time.sleep(POLL_SECONDS)


def failure(resource: Object) -> str:
    """Why it failed, in the operator's words."""
    told = (resource.get("status") or {}).get("failure") or condition(resource, "Succeeded")
    return str(told.get("message", "no reason is given; look at its Events"))
