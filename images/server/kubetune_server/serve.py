"""Makes the engine's command line, then becomes the small process that watches over it (watch.py)."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from kubetune_contract import ExitCode, KubeTuneError, ServeConfig, read_config
from kubetune_contract.paths import SERVE_PORT
from kubetune_shared.templates import chat_template

from .fetch import check_again, fetched_path
from .hardware import machine
from .serve_args import Fetched, command, environment

log = logging.getLogger(__name__)

_TEMPLATE = Path("/tmp/kubetune-chat-template.jinja")


def main() -> ExitCode:
    """Does not return unless the configuration cannot work; then it raises KubeTuneError."""
    config = read_config(ServeConfig)
    started = fetched_path().with_name("started")
    if started.exists():
        check_again(config)
    fetched = _with_template(_read_fetched())
    here = machine(config.gpus)
    port = int(os.environ.get("KUBETUNE_SERVE_PORT", SERVE_PORT))
    arguments = command(config, fetched, here, port)
    os.environ.update(environment(config, fetched, here))
    engine = [_executable(arguments[0]), *arguments[1:]]
    started.touch()
    log.info("starting %s", " ".join(arguments))
    sys.stderr.flush()
    # A fixed program with arguments of our own making; the user's were checked one by one. Anew, so that what was
    # imported here is out of memory while the engine runs.
    os.execv(sys.executable, [sys.executable, "-m", "kubetune_server.watch", *engine])  # noqa: S606


def _read_fetched() -> Fetched:
    path = fetched_path()
    try:
        return Fetched(**json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise KubeTuneError(
            ExitCode.BAD_CONFIG, "NotFetched", f"{path} is missing: run the fetch step first, on the same work folder"
        ) from error


def _with_template(fetched: Fetched) -> Fetched:
    """The adapter was trained on prompts made by its own template, so its clients must get the same."""
    template = chat_template(Path(fetched.adapter_path)) if fetched.adapter_path else None
    if template is None:
        return fetched
    _TEMPLATE.write_text(template, encoding="utf-8")
    return replace(fetched, chat_template=str(_TEMPLATE))


def _executable(name: str) -> str:
    """``name`` beside this Python, else on PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if not found:
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "EngineMissing",
            f"{name} is not installed in this image; use the project's server image",
        )
    return found
