"""Command line: ``python3 -m tests.cluster VERB``, run from the repository's root as root."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from . import build, images, packages
from .cluster import Cluster, known
from .layout import cache_root
from .namespaces import ClusterError


def say(message: str) -> None:
    """Progress goes to standard error, so that standard output can be used by programs."""
    print(message, file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    root = argparse.ArgumentParser(prog="python3 -m tests.cluster", description=__doc__)
    verbs = root.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, run: Callable[[argparse.Namespace], int], text: str, named: bool = True):  # type: ignore[no-untyped-def]
        sub = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        if named:
            sub.add_argument("--name", default="default", help="the cluster's name")
        return sub

    sub = verb("build", _build, "build what a cluster needs, once", named=False)
    sub.add_argument("--only", choices=sorted(build.GROUPS), help="only this part; without it, all but kueue")
    sub = verb("packages", _packages, "install the Debian packages that are missing", named=False)
    sub.add_argument("--only", choices=["images", "venv"], help="for this only; without it, for everything")
    sub = verb("up", _up, "bring a cluster up, building first what is missing")
    sub.add_argument("--control-plane", action="store_true", help="without a node: no pods run")
    sub.add_argument("--gpus", type=int, help="nvidia.com/gpu that the node advertises")
    verb("down", _down, "end a cluster and remove everything it left").add_argument(
        "--all", action="store_true", help="every cluster of this cache"
    )
    verb("status", _status, "say whether a cluster is up and how its components fare")
    verb("env", _env, "print the shell variables that lead to a cluster: eval $(... env)")
    verb("kubeconfig", _kubeconfig, "print the path of a cluster's kubeconfig")
    sub = verb("gpus", _gpus, "change the number of nvidia.com/gpu that the node advertises")
    sub.add_argument("count", type=int)
    sub = verb("load", _load, "import image archives (docker-archive or OCI) unless they are there")
    sub.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE")
    verb("images", _images, "list the images that pods can use")
    sub = verb("prune", _prune, "remove images")
    sub.add_argument("--keep", nargs="*", default=[], metavar="TAG", help="images that stay")
    sub = verb("restart", _restart, "restart one component")
    sub.add_argument("component")
    sub = verb("exec", _exec, "run a command where pod and service addresses are reachable")
    sub.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    return root


def _build(arguments: argparse.Namespace) -> int:
    build.build(build.GROUPS[arguments.only] if arguments.only else build.USUAL, say)
    print(cache_root() / "bin")
    return 0


def _packages(arguments: argparse.Namespace) -> int:
    parts = {"images": packages.absent_for_images, "venv": packages.absent_for_venv}
    packages.install(parts[arguments.only]() if arguments.only else packages.absent(node=True), say)
    return 0


def _up(arguments: argparse.Namespace) -> int:
    cluster = Cluster(arguments.name, arguments.control_plane, arguments.gpus, say=say)
    was_up = cluster.is_up
    started = time.monotonic()
    cluster.up()
    say(f"cluster {cluster.name} is up " + ("already" if was_up else f"after {time.monotonic() - started:.1f} s"))
    print(cluster.kubeconfig)
    return 0


def _down(arguments: argparse.Namespace) -> int:
    for cluster in known() if arguments.all else [Cluster(arguments.name, say=say)]:
        gone = cluster.down()
        say(f"cluster {cluster.name} " + ("is gone" if gone else "was not up"))
    return 0


def _status(arguments: argparse.Namespace) -> int:
    cluster = Cluster(arguments.name)
    if not cluster.is_up:
        print(f"cluster {cluster.name} is not up")
        return 1
    print(f"cluster {cluster.name} is up at {cluster.addresses.api_url}")
    for name, account in cluster.accounts().items():
        state = f"pid {cluster.pid(name)}" if account["pid"] else "stopped"
        print(f"  {name:26} {state:12} restarts {account['restarts']}")
    return 0


def _env(arguments: argparse.Namespace) -> int:
    for name, value in Cluster(arguments.name).env.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _kubeconfig(arguments: argparse.Namespace) -> int:
    cluster = Cluster(arguments.name)
    if not cluster.is_up:
        raise ClusterError(f"cluster {cluster.name} is not up: run 'python3 -m tests.cluster up'")
    print(cluster.kubeconfig)
    return 0


def _gpus(arguments: argparse.Namespace) -> int:
    Cluster(arguments.name).set_gpus(arguments.count)
    return 0


def _load(arguments: argparse.Namespace) -> int:
    images.load(Cluster(arguments.name), arguments.archives, say)
    return 0


def _images(arguments: argparse.Namespace) -> int:
    for name in sorted(images.present(Cluster(arguments.name))):
        print(name)
    return 0


def _prune(arguments: argparse.Namespace) -> int:
    for name in images.prune(Cluster(arguments.name), arguments.keep):
        say(f"removed {name}")
    return 0


def _restart(arguments: argparse.Namespace) -> int:
    Cluster(arguments.name).restart(arguments.component)
    return 0


def _exec(arguments: argparse.Namespace) -> int:
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    cluster = Cluster(arguments.name)
    return subprocess.call(cluster.enter(command or ["/bin/sh"]), env={**os.environ, **cluster.env})


def main() -> int:
    """Run the verb; what went wrong is one sentence and status 1."""
    arguments = parser().parse_args()
    try:
        return int(arguments.run(arguments))
    except (RuntimeError, ValueError) as error:
        say(f"{error}")
    except subprocess.CalledProcessError as error:
        detail = (error.stderr or b"").strip()
        text = detail.decode(errors="replace") if isinstance(detail, bytes) else detail
        say(f"{shlex.join(map(str, error.cmd))} failed with {error.returncode} {text}".rstrip())
    except KeyboardInterrupt:
        say("interrupted; run the same command again to go on")
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
