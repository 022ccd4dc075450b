"""The operator as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from prometheus_client.parser import text_string_to_metric_families

from .kube import wait_for
from .ports import free_port

ROOT = Path(__file__).resolve().parents[2]
RESTART_SECONDS = 1.0


class Operator:
    """``python -m kubetune`` against the API server of a kubeconfig; use as a context manager."""

    def __init__(self, kubeconfig: Path, log: Path, **settings: str) -> None:
        self.kubeconfig = kubeconfig
        self.log = log
        self.port = free_port()
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("KUBETUNE_")},
            "PYTHONPATH": _sources(ROOT),
            "KUBECONFIG": str(kubeconfig),
            "NO_PROXY": "*",
            "KUBETUNE_HTTP_PORT": str(self.port),
            # As a container that is started again in its pod: one that was killed goes on at once.
            "KUBETUNE_POD_NAME": f"operator-{self.port}",
            **{f"KUBETUNE_{name.upper()}": value for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._restarts = self._is_stopped = False

    def of(self, root: Path) -> Operator:
        """That of another checkout; to be said before it starts."""
        self._env["PYTHONPATH"] = _sources(root)
        return self

    def kept(self) -> Operator:
        """The same that is started again a second after it has ended by itself, as by a kubelet: without its lease it
        ends."""
        self._restarts = True
        return self

    def __enter__(self) -> Operator:
        self.start()
        self.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self._is_stopped = False
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "kubetune"]
            self._process = process = subprocess.Popen(command, env=self._env, stdout=log, stderr=log)
        if self._restarts:
            Thread(target=self._keep, args=(process,), daemon=True).start()

    def _keep(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        time.sleep(RESTART_SECONDS)
        if self._process is process and not self._is_stopped:
            self.start()

    def wait_ready(self, seconds: float = 60) -> None:
        self._wait("/readyz", seconds)

    def wait_alive(self, seconds: float = 60) -> None:
        self._wait("/healthz", seconds)

    def is_ready(self) -> bool:
        return self._is_ok("/readyz")

    def _wait(self, path: str, seconds: float) -> None:
        def look() -> bool:
            assert self._process is not None
            assert self._restarts or self._process.poll() is None, f"the operator ended: {self.log.read_text()[-2000:]}"
            return self._is_ok(path)

        wait_for(look, seconds, lambda: f"{path} of the operator is not ok: {self.log.read_text()[-2000:]}")

    def _is_ok(self, path: str) -> bool:
        try:
            return self._get(path) == "ok"
        except urllib.error.URLError:
            return False

    def stop(self, seconds: float = 30) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        self._is_stopped = True
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL: no chance to finish anything."""
        assert self._process is not None
        self._is_stopped = True
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: what it has sent arrives, and nothing follows until ``thaw``."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def wait_end(self, seconds: float) -> int:
        assert self._process is not None
        return self._process.wait(seconds)

    def metrics(self) -> dict[tuple[str, ...], float]:
        """(name, label values in the order of the labels' names...) -> value."""
        found: dict[tuple[str, ...], float] = {}
        for family in text_string_to_metric_families(self._get("/metrics")):
            for sample in family.samples:
                values = tuple(sample.labels[label] for label in sorted(sample.labels))
                found[(sample.name, *values)] = sample.value
        return found

    def total(self, name: str, *labels: str) -> float:
        """Sum over all series of that name that have all these label values."""
        return sum(v for key, v in self.metrics().items() if key[0] == name and set(labels) <= set(key[1:]))

    def _get(self, path: str) -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
        return text


def _sources(root: Path) -> str:
    return f"{root / 'operator'}:{root / 'images' / 'contract'}"


@contextmanager
def instead(usual: Operator, **settings: str) -> Iterator[Operator]:
    """Another operator with other settings in the place of ``usual``, which gives its lease back."""
    usual.stop()
    try:
        with Operator(usual.kubeconfig, usual.log, **settings) as other:
            yield other
    finally:
        usual.start()
        usual.wait_ready()
