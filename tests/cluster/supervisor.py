"""Process 1 of a cluster: owns its namespaces, starts components and restarts those that die.

Runs as ``python3 -m tests.cluster.supervisor PLAN`` inside new network, mount, pid, ipc and uts
namespaces. Killing this one process ends everything: the kernel kills what is left in the pid
namespace, and mounts, interfaces, routes and nft rules go with the last process that held them.

Commands arrive one per line on the FIFO named in the plan: ``start NAME`` and ``stop NAME``.
In a tied plan the end of standard input, the death of the process that started the cluster, is
the end of the cluster too.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESTART_DELAY_SECONDS = 0.5


@dataclass
class Component:
    """One daemon: how to start it and how it fares."""

    name: str
    argv: list[str]
    env: dict[str, str]
    wanted: bool = False
    process: subprocess.Popen[bytes] | None = None
    restarts: int = -1
    exit_status: int | None = None
    due: float = field(default=0.0)

    def account(self) -> dict[str, Any]:
        """What the outside may know; pid is the pid inside the namespace."""
        return {
            "pid": self.process.pid if self.process else None,
            "wanted": self.wanted,
            "restarts": max(self.restarts, 0),
            "exitStatus": self.exit_status,
        }


class Supervisor:
    """Keeps every wanted component running and reaps whatever is orphaned in the namespace."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.components = {
            name: Component(name, spec["argv"], {**os.environ, **spec.get("env", {})})
            for name, spec in plan["components"].items()
        }
        self.accounts = Path(plan["accounts"])
        self.logs = Path(plan["logs"])
        self.tied = bool(plan["tied"])
        # Both ends of the FIFO stay open here, so it never reports end of file.
        self.control = os.open(plan["control"], os.O_RDWR | os.O_NONBLOCK)
        self.wakeup, wakeup_writer = os.pipe()
        for descriptor in (self.wakeup, wakeup_writer):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wakeup_writer)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Serve commands and children until standard input ends while tied."""
        pending = b""
        while True:
            ready = self.wait()
            if self.wakeup in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.wakeup, 4096)
            if sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), 1):
                return
            if self.control in ready:
                *lines, pending = (pending + os.read(self.control, 4096)).split(b"\n")
                for line in lines:
                    self.obey(line.decode())
            self.reap()
            self.start_due()

    def wait(self) -> list[int]:
        """Descriptors with something to read; returns early when a restart is due."""
        dues = [c.due for c in self.components.values() if c.wanted and not c.process]
        timeout = max(0.0, min(dues) - time.monotonic()) if dues else None
        watched = [self.control, self.wakeup, *([sys.stdin.fileno()] if self.tied else [])]
        return select.select(watched, [], [], timeout)[0]

    def obey(self, line: str) -> None:
        """Carry out one command; an unknown one is reported in the log and ignored."""
        verb, _, name = line.partition(" ")
        component = self.components.get(name)
        if verb == "start" and component:
            component.wanted, component.due = True, 0.0
        elif verb == "stop" and component:
            component.wanted = False
            if component.process:
                component.process.terminate()
        else:
            print(f"ignored command {line!r}", file=sys.stderr, flush=True)
        self.publish()

    def reap(self) -> None:
        """Collect every dead child, adopted ones (containerd's shims) included."""
        changed = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid = 0
            if not pid:
                break
            for component in self.components.values():
                if component.process and component.process.pid == pid:
                    component.exit_status = os.waitstatus_to_exitcode(status)
                    # Popen must not wait for a child that is already collected.
                    component.process.returncode = component.exit_status
                    component.process = None
                    component.due = time.monotonic() + RESTART_DELAY_SECONDS
                    changed = True
        if changed:
            self.publish()

    def start_due(self) -> None:
        """Start what is wanted, not running and not waiting for its restart delay."""
        for component in self.components.values():
            if component.wanted and not component.process and component.due <= time.monotonic():
                self.start(component)
                self.publish()

    def start(self, component: Component) -> None:
        """Start one component with its output appended to its log file."""
        component.restarts += 1
        with open(self.logs / f"{component.name}.log", "ab") as log:
            component.process = subprocess.Popen(
                component.argv,
                env=component.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def publish(self) -> None:
        """Write the account of all components, replacing the old one in one step."""
        accounts = {name: c.account() for name, c in self.components.items()}
        temporary = self.accounts.with_suffix(".tmp")
        temporary.write_text(json.dumps(accounts, indent=1))
        temporary.replace(self.accounts)


def host_pid() -> int:
    """This process's pid outside its pid namespace: /proc is still the outer one at start."""
    return int(os.readlink("/proc/self"))


def mount(*arguments: str) -> None:
    """Run mount(8)."""
    subprocess.run(["mount", *arguments], check=True)


def set_up_mounts(binds: list[tuple[str, str]]) -> None:
    """Give the cluster its own /proc and /run and bind the given (source, target) pairs."""
    # Pods with mount propagation need shared mounts; private first, so that none reach the host.
    mount("--make-rprivate", "/")
    mount("--make-rshared", "/")
    mount("-t", "proc", "proc", "/proc")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    os.mkdir("/run/lock")
    for source, target in binds:
        mount("--bind", source, target)


def main() -> None:
    """Prepare the namespaces, report the pid, wait for the plan's network, then supervise."""
    plan_path = Path(sys.argv[1])
    print(host_pid(), flush=True)
    # The starter answers once the network is up and the plan is written; its death answers too.
    if os.read(sys.stdin.fileno(), 3) != b"go\n":
        return
    plan = json.loads(plan_path.read_text())
    for descriptor in plan["locks"]:
        os.set_inheritable(descriptor, False)
    subprocess.run(["hostname", plan["hostname"]], check=True)
    set_up_mounts([(source, target) for source, target in plan["binds"]])
    supervisor = Supervisor(plan)
    print("ready", flush=True)
    supervisor.run()


if __name__ == "__main__":
    main()
