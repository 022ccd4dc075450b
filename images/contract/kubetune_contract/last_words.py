"""What a program's log says at its end, without the traceback around it. Pure.

The kubelet hands on the end of a log as it is; a person needs the sentence in it that names the cause.
"""

from __future__ import annotations

import re

LIMIT = 600
"""Characters of the whole."""
SENTENCES = 3

# Colours; vLLM's "(EngineCore pid=12) " and "ERROR 11-29 10:00:00 [core.py:900] "; logging's time, level and name.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_PREFIXES = (
    re.compile(r"^\([A-Za-z]\w* pid=\d+\) ?"),
    re.compile(r"^(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? (?:\[[^\]]*\] ?)?"),
    re.compile(r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.,]?\d*Z? (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \S+ ?"),
)
_EXCEPTION = re.compile(
    r"^(?:[A-Za-z_]\w*\.)*(?P<name>(?:[A-Z]\w*)?(?:Error|Exception|Exit|Interrupt|Failure|Timeout))(?:: (?P<said>.*))?$"
)
_POINTERS = re.compile(r"root cause|initialization failed|engine(?:core)? (?:is )?dead|failed to start", re.I)
"""Exceptions that only say that there was another one."""
_ECHOES = frozenset(
    {"SystemExit", "KeyboardInterrupt", "CancelledError", "EngineDeadError", "BrokenPipeError", "ConnectionResetError"}
)
_NOISE = re.compile(r"^\s|^$|^Traceback |^[~^]+$|^During handling of|^The above exception|^\[rank\d+\]:")
_USAGE = re.compile(r"^\S.*: error: (?P<said>.+)$")
_ENVIRONMENT = re.compile(
    r"(?i:\benv(?:ironment)?[ -]?var)|\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\s*=|\b(?:VLLM|PYTORCH|CUDA|NCCL|HF)_[A-Z_]+"
)
_WARNING = re.compile(r"Warning: |^warnings?\.warn", re.I)


def last_words(log: str) -> str:
    """One to three sentences of ``log``: its last exception that is a cause, else its last lines. Empty for none.

    Remedies by environment variables are left out: an object of ours has no field for them.
    """
    lines = [_bare(line) for line in log.splitlines()]
    return _readable(_cause(lines) or _usage(lines) or _last_lines(lines))


def _bare(line: str) -> str:
    line = _COLOURS.sub("", line).rstrip()
    for prefix in _PREFIXES:
        line = prefix.sub("", line)
    return line


def _cause(lines: list[str]) -> str:
    found = [(index, match) for index, line in enumerate(lines) if (match := _EXCEPTION.match(line))]
    causes = [
        (index, match)
        for index, match in found
        if match["name"] not in _ECHOES and not _POINTERS.search(match["said"] or "")
    ]
    for index, match in reversed(causes or found):
        return _said(match, lines[index + 1 :])
    return ""


def _said(match: re.Match[str], after: list[str]) -> str:
    said = match["said"] or ""
    if re.match(r"\d+ validation errors? for", said):
        # pydantic: the member and what is wrong with it are in the indented lines below.
        details = []
        for line in after:
            if not line.startswith(" ") or line.lstrip().startswith("For further information"):
                break
            details.append(re.sub(r"^(?:Value|Assertion) error, ", "", line.strip()))
        text = re.sub(r"\s*\[type=.*$", "", " ".join(details), flags=re.DOTALL)
        return text or said
    for line in after:
        if not line.strip() or _NOISE.match(line) or _EXCEPTION.match(line):
            break
        said = f"{said} {line}".strip()
    # "KeyError: 'q'" says nothing without its name.
    return said if " " in said else f"{match['name']}: {said}".removesuffix(": ")


def _usage(lines: list[str]) -> str:
    return next((match["said"] for line in reversed(lines) if (match := _USAGE.match(line))), "")


def _last_lines(lines: list[str]) -> str:
    telling = [line for line in lines if not _NOISE.match(line) and not _WARNING.search(line)]
    return " ".join(telling[-2:])


def _readable(text: str) -> str:
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z(])", " ".join(text.split()))
    useful = [sentence for sentence in sentences if not _ENVIRONMENT.search(sentence)] or sentences[:1]
    said = " ".join(useful[:SENTENCES])
    return said if len(said) <= LIMIT else said[: LIMIT - 4].rsplit(" ", 1)[0] + " ..."
