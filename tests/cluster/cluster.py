"""One cluster: bring it up, ask after it, end it. Every step may be repeated."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from . import build, config, manifests, namespaces, node, render, slots
from .api import Api, wait_for
from .layout import NODE_NAME, Addresses, cache_root, layout
from .namespaces import ClusterError

STOP_SECONDS = 5.0
GPU = "nvidia.com/gpu"


@dataclass(frozen=True)
class Record:
    """What is known of a started cluster, kept in its state folder."""

    pid: int
    started: int
    index: int
    control_plane: bool
    slot: str | None


class Cluster:
    """A cluster by name; as a context manager it is up inside and gone after.

    gpus: number of nvidia.com/gpu that the node advertises; None leaves it as it is (0 at first).
    tied: the cluster ends with this process, however that ends (for test fixtures).
    """

    def __init__(
        self,
        name: str = "default",
        control_plane: bool = False,
        gpus: int | None = None,
        tied: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.layout = layout(name)
        self.control_plane = control_plane
        self.gpus = gpus
        self.tied = tied
        self.say = say
        self._supervisor: namespaces.Supervisor | None = None

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.layout.name

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; it exists while the cluster is up."""
        return self.layout.kubeconfig

    @property
    def env(self) -> dict[str, str]:
        """Variables with which kubectl, helm and client libraries reach this cluster."""
        ours = str(self.addresses.block)
        bypass = [p for p in os.environ.get("NO_PROXY", "").split(",") if p and p != ours]
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": f"{self.layout.bin}:{os.environ.get('PATH', os.defpath)}",
            "NO_PROXY": ",".join([*bypass, ours]),
        }

    @property
    def addresses(self) -> Addresses:
        """The cluster's addresses; raise ClusterError if it is not up."""
        return Addresses(self._running().index)

    @property
    def is_up(self) -> bool:
        """Whether the cluster runs and was brought up completely."""
        record = self._record()
        return bool(record and self._alive(record) and self.kubeconfig.exists())

    def up(self) -> Cluster:
        """Bring the cluster up unless it is; return it ready to use.

        Builds first what the cache lacks. Raises ClusterError with what to do about it.
        """
        sweep()
        with self._exclusively():
            record = self._record()
            if record and self._alive(record) and self.kubeconfig.exists():
                self._check_mode(record)
                if self.gpus is not None:
                    self.set_gpus(self.gpus)
                return self
            build.build(build.needed(self.control_plane), self.say)
            self._end(record)
            try:
                self._start()
            except BaseException:
                # Ctrl-C included: half a cluster would be of no use to anybody.
                self._keep_logs()
                self._end(self._record())
                raise
        return self

    def sweep(self) -> None:
        """Remove what the cluster left if its supervisor ended without a ``down``."""
        descriptor = slots.lock(self._lock)
        if descriptor is None:
            return
        try:
            record = self._record()
            if self.layout.state.exists() and not (record and self._alive(record)):
                self._end(record)
        finally:
            slots.release(self._lock, descriptor, self.layout.state)

    def down(self) -> bool:
        """End the cluster and remove everything it left; False if there was nothing."""
        with self._exclusively():
            existed = self.layout.state.exists()
            self._end(self._record())
        return existed

    def __enter__(self) -> Cluster:
        return self.up()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    def pid(self, component: str) -> int:
        """Pid on the machine of a running component, for /proc accounting."""
        self._check_component(component)
        record = self._running()
        inner = self.accounts().get(component, {}).get("pid")
        outer = namespaces.outer_pid(record.pid, inner) if inner else None
        if outer is None:
            raise ClusterError(f"{component} does not run in cluster {self.name}")
        return outer

    def accounts(self) -> dict[str, Any]:
        """The supervisor's account of each component: pid (inside), restarts, last exit status."""
        self._running()
        accounts: dict[str, Any] = json.loads(self.layout.components.read_text())
        return accounts

    def stop(self, component: str) -> None:
        """Stop one component and keep it stopped."""
        pid = self.pid(component)
        self._tell("stop", component)

        def stopped() -> bool:
            return self.accounts()[component]["pid"] is None

        try:
            wait_for(f"end of {component}", stopped, STOP_SECONDS, component)
        except ClusterError:
            # The API server waits a minute for its watchers to leave by themselves.
            os.kill(pid, signal.SIGKILL)
            wait_for(f"end of {component}", stopped, STOP_SECONDS, component)

    def start(self, component: str) -> None:
        """Start one component that was stopped; the API server is waited for."""
        self.start_component(component)
        if component == "kube-apiserver":
            self._wait_for_api()

    def start_component(self, component: str) -> None:
        """Start one component without waiting for it; nothing happens if it runs."""
        self._tell("start", component)

    def restart(self, component: str) -> None:
        """Stop and start one component."""
        self.stop(component)
        self.start(component)

    def enter(self, command: Sequence[str]) -> list[str]:
        """Command line that runs the command among the cluster's processes and networks."""
        return namespaces.enter_command(self._running().pid, command)

    def set_gpus(self, count: int) -> None:
        """Make the node advertise count units of nvidia.com/gpu."""
        if not 0 <= count <= 64:
            raise ClusterError(f"{count} GPUs: take a number from 0 to 64")
        patch = manifests.extended_resource(GPU, count)
        path = f"/api/v1/nodes/{NODE_NAME}/status"
        self._api().request("PATCH", path, patch, "application/merge-patch+json")

    def _api(self) -> Api:
        return Api(self.addresses, self.layout.pki)

    def _check_mode(self, record: Record) -> None:
        if record.control_plane and not self.control_plane:
            raise ClusterError(
                f"cluster {self.name} is up as a control plane without a node: end it first with "
                f"'python3 -m tests.cluster down --name {self.name}', or take another name"
            )

    def _start(self) -> None:
        self.layout.state.mkdir(parents=True, mode=0o700)
        self.layout.logs.mkdir()
        os.mkfifo(self.layout.control, 0o600)
        slot = None if self.control_plane else slots.take(self.layout.root / "containerd")
        locks = [slot.descriptor] if slot else []
        try:
            with open(self.layout.logs / "supervisor.log", "ab") as log:
                plan = self.layout.state / "plan.json"
                supervisor = self._supervisor = namespaces.spawn(plan, log, locks)
        finally:
            for descriptor in locks:
                os.close(descriptor)
        addresses = self._prepare(supervisor.pid, slot)
        if not supervisor.go():
            raise ClusterError("the cluster's namespaces could not be set up; see supervisor.log")
        self._start_components(addresses, slot.path if slot else None)
        render.write_kubeconfig(self.layout, addresses)
        if not self.tied:
            self._let_go()

    def _prepare(self, pid: int, slot: slots.Slot | None) -> Addresses:
        """Connect the new namespaces and write everything that is read inside them."""
        started = namespaces.start_time(pid)
        if started is None:
            raise ClusterError("the supervisor ended; see supervisor.log")
        record = {
            "pid": pid,
            "started": started,
            "control_plane": self.control_plane,
            "slot": str(slot.path) if slot else None,
        }
        addresses = namespaces.connect(pid)
        render.write_private(self.layout.state / "record.json", json.dumps({**record, "index": addresses.index}))
        path = slot.path if slot else None
        if slot:
            namespaces.create_cgroups(self.layout.cgroup)
            self.layout.storage.mkdir(mode=0o755, exist_ok=True)
            for folder in render.NODE_FOLDERS:
                os.makedirs(folder, exist_ok=True)
        render.write(self.layout, addresses, path)
        locks = [slot.descriptor] if slot else []
        plan = render.plan(self.layout, addresses, path, locks, self.tied)
        render.write_private(self.layout.state / "plan.json", json.dumps(plan, indent=1))
        return addresses

    def _let_go(self) -> None:
        if self._supervisor:
            self._supervisor.let_go()
            self._supervisor = None

    def _keep_logs(self) -> None:
        """Put a failed start's logs where the next start does not remove them, and say where."""
        kept = self.layout.root / "failed" / self.name
        if self.layout.logs.exists():
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(self.layout.logs, kept)
            self.say(f"logs of the failed start are in {kept}")

    def _start_components(self, addresses: Addresses, slot: Path | None) -> None:
        for name in config.CONTROL_PLANE:
            self.start_component(name)
        if slot:
            # While the API server starts.
            node.clear_slot(self, slot)
            self.start_component("containerd")
        self._wait_for_api()
        if slot:
            node.start(self, addresses, self._api())
            self.set_gpus(self.gpus or 0)

    def _wait_for_api(self) -> None:
        hint = "kube-apiserver.log"
        api = self._api()
        wait_for("API server", api.ready, 60, hint)
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        wait_for("default service account", lambda: bool(api.request("GET", account)), 30, hint)

    def _tell(self, verb: str, component: str) -> None:
        self._running()
        self._check_component(component)
        descriptor = os.open(self.layout.control, os.O_WRONLY | os.O_NONBLOCK)
        with open(descriptor, "w") as control:
            control.write(f"{verb} {component}\n")

    def _check_component(self, component: str) -> None:
        components = config.CONTROL_PLANE + config.NODE
        if component not in components:
            raise ClusterError(f"no component {component!r}: take one of {', '.join(components)}")

    def _record(self) -> Record | None:
        try:
            return Record(**json.loads((self.layout.state / "record.json").read_text()))
        except (FileNotFoundError, ValueError):
            return None

    def _alive(self, record: Record) -> bool:
        return namespaces.start_time(record.pid) == record.started

    def _running(self) -> Record:
        record = self._record()
        if not record or not self._alive(record):
            raise ClusterError(f"cluster {self.name} is not up: run 'python3 -m tests.cluster up --name {self.name}'")
        return record

    def _end(self, record: Record | None) -> None:
        # Ends a supervisor that no record names yet.
        self._let_go()
        # The interface is waited for only if this ended it: its number may be another's otherwise.
        if record and namespaces.end(record.pid, record.started):
            namespaces.wait_for_interface_end(Addresses(record.index))
        namespaces.remove_cgroups(self.layout.cgroup)
        if self.layout.state.exists():
            shutil.rmtree(self.layout.state)

    @property
    def _lock(self) -> Path:
        return self.layout.root / "clusters" / f"{self.name}.lock"

    def _exclusively(self) -> contextlib.AbstractContextManager[None]:
        """One up or down of one cluster at a time; others wait."""

        def waiting() -> None:
            self.say(f"waiting for another command on cluster {self.name}")

        return slots.held(self._lock, waiting, self.layout.state)


def known() -> list[Cluster]:
    """Every cluster of this cache that has state, or had until just now: its lock file outlasts it."""
    return [Cluster(path.stem) for path in sorted((cache_root() / "clusters").glob("*.lock"))]


def sweep() -> None:
    """Remove what ended clusters left behind: their owners were killed before a ``down``."""
    for cluster in known():
        cluster.sweep()
