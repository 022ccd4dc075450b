"""Runs other programs; what goes wrong becomes one sentence."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class DemoError(Exception):
    """Something the person at the keyboard has to know; the message says what to do."""


def run(argv: Sequence[str], env: Mapping[str, str], stdin: str | None = None, timeout: float = 120) -> str:
    """The program's standard output.

    Raises DemoError with the end of its standard error when it fails, is missing or takes longer than ``timeout``
    seconds.
    """
    try:
        done = subprocess.run(
            argv, env=dict(env), input=stdin, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
        )
    except FileNotFoundError as error:
        raise DemoError(f"{argv[0]} is not on PATH: install it and run the same command again") from error
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"`{' '.join(argv)}` did not end within {timeout:.0f} s: is the cluster well?") from error
    if done.returncode:
        raise DemoError(f"`{' '.join(argv)}` failed: {done.stderr.strip()[-1500:] or done.stdout.strip()[-1500:]}")
    return done.stdout


def run_visibly(argv: Sequence[str], env: Mapping[str, str], advice: str) -> None:
    """Lets the program write to the terminal; raises DemoError with ``advice`` when it fails."""
    code = subprocess.run(argv, env=dict(env), cwd=ROOT, check=False).returncode
    if code:
        raise DemoError(f"`{' '.join(argv)}` failed with status {code}: {advice}")
