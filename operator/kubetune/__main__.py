"""``python -m kubetune`` runs the operator."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys

from kubernetes.aio.config import ConfigException

from kubetune.handlers import WatchError
from kubetune.main import HelperError, StartError, run
from kubetune.runtime.logs import set_up
from kubetune.settings import Settings, SettingsError

GC_THRESHOLD = 5000
"""New objects before the youngest are searched for garbage; one watch event is a few hundred."""


def main() -> int:
    """Exit status 0 after a signal, 1 when the cluster or a watch failed, 64 for unusable settings."""
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"kubetune: {error}\n")
        return 64
    set_up(settings.log_level)
    _spare_the_collector()
    try:
        asyncio.run(_run(settings))
    except (StartError, ConfigException) as error:
        logging.getLogger("kubetune").error("%s", error)
        return 1
    except Exception:
        logging.getLogger("kubetune").exception("the operator stopped; it is to be restarted")
        return 1
    return 0


def _spare_the_collector() -> None:
    """What has been imported stays for good; to search it for garbage over and over takes a tenth of the CPU time."""
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


async def _run(settings: Settings) -> None:
    """Ends the process at once when the watches or a helper have: what is left of kopf would not let the loop close."""
    try:
        await run(settings)
    except (HelperError, WatchError):
        logging.getLogger("kubetune").exception("the operator stopped; it is to be restarted")
        logging.shutdown()
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
