"""Lets pip inside a build reach what pip reaches on this machine, without a trace in the image.

The settings travel as build secrets: a pip.conf and the bundle of certificates.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_KEPT = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
_BUNDLE = "/run/secrets/ca-bundle"


def parse_config(listing: str) -> dict[str, str]:
    """Read `pip config list`; the environment, listed last, wins over the files."""
    settings: dict[str, str] = {}
    for line in listing.splitlines():
        key, separator, value = line.partition("=")
        if not separator:
            continue
        section, _, name = key.rpartition(".")
        if section not in ("global", "install", ":env:"):
            continue
        name = "timeout" if name == "default-timeout" else name
        try:
            settings[name] = str(ast.literal_eval(value))
        except (SyntaxError, ValueError):
            settings[name] = value
    return settings


def render(settings: Mapping[str, str], *, with_bundle: bool) -> str:
    """A pip.conf for the inside of a build."""
    lines = ["[global]", "disable-pip-version-check = true", "no-input = true"]
    if with_bundle:
        lines.append(f"cert = {_BUNDLE}")
    for name in _KEPT:
        if value := settings.get(name):
            lines.append(f"{name} = " + value.replace("\n", "\n    "))
    return "\n".join(lines) + "\n"


def host_settings() -> dict[str, str]:
    """pip's settings on this machine; empty where there is no pip."""
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        check=False,
        capture_output=True,
        text=True,
    )
    return parse_config(answer.stdout) if answer.returncode == 0 else {}


def _bundle(settings: Mapping[str, str]) -> Path | None:
    for candidate in (settings.get("cert"), os.environ.get("PIP_CERT")):
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    return None


def secrets(folder: Path) -> dict[str, Path]:
    """Write the secrets of a build into `folder`; the mapping is secret id to file."""
    settings = host_settings()
    bundle = _bundle(settings)
    configuration = folder / "pip.conf"
    configuration.write_text(render(settings, with_bundle=bundle is not None))
    found = {"pip-conf": configuration}
    if bundle:
        found["ca-bundle"] = bundle
    return found
