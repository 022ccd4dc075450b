"""``make demo``: from nothing to a tuned model that is measurably better than its base and answers a question.

Everything printed was measured in this run. Exit status 0 means that all of it came true.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from kubetune_contract import KubeTuneError
from tests.cluster.layout import cache_root

from .environment import Environment, install, load_images, local_cluster, user_cluster
from .measure import Peaks, Steps, summary
from .provision import provide
from .scenario import Scenario
from .seed import Seeder
from .settings import read_settings
from .shell import DemoError

CLUSTER_NAME = "demo"
NAMESPACE = "kubetune-demo"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(prog="python3 -m tests.demo", description=__doc__)
    root.add_argument("--values", type=Path, action="append", default=[], help="values file for the chart; may repeat")
    root.add_argument("--namespace", default=NAMESPACE, help=f"where the demo's objects live (default {NAMESPACE})")
    root.add_argument("--down", action="store_true", help="end the cluster that the demo brought up")
    return root


def demonstrate(arguments: argparse.Namespace, steps: Steps) -> Environment:
    """All steps up to the answered question; returns where it ran."""
    environment = prepare(arguments.values, steps)
    kube = environment.kube
    settings = read_settings(kube)
    scenario = Scenario(kube, arguments.namespace)
    with steps.step("base model and data"):
        scenario.start_over_if_finished()
        kube.make_namespace(arguments.namespace)
        kube.copy_secret(settings.secret, "kubetune", arguments.namespace)
        seeder = Seeder(kube, settings, arguments.namespace)
        print(f"   {seeder.run()}", flush=True)
    scenario.apply()
    with steps.step("train"):
        scenario.train()
    with steps.step("evaluate"):
        scenario.evaluate()
    with steps.step("serve"):
        scenario.serve()
    with steps.step("ask"):
        scenario.ask()
    scenario.report(seeder)
    return environment


def prepare(values: list[Path], steps: Steps) -> Environment:
    """A cluster with KubeTune installed and ready."""
    if kubeconfig := os.environ.get("KUBECONFIG"):
        print(f"Using the cluster that KUBECONFIG names ({kubeconfig}), with the images that the values name.")
        environment = user_cluster(kubeconfig)
    else:
        print("KUBECONFIG is not set: bringing up a single-node cluster on this machine.")
        with steps.step("tools and images", tick=True):
            provide()
        with steps.step("cluster"):
            environment = local_cluster(CLUSTER_NAME)
    with tempfile.TemporaryDirectory() as scratch:
        if environment.local:
            named = Path(scratch, "images.yaml")
            with steps.step("images into the cluster", tick=True):
                named.write_text(load_images(environment.local))
            values = [named, *values]
        with steps.step("install the chart", tick=True):
            install(environment, values)
    return environment


def say_what_next(environment: Environment, namespace: str) -> None:
    """How to look around and how to clean up."""
    cluster = environment.local
    print("\nLook around:")
    if cluster:
        print(f"  eval $(python3 -m tests.cluster env --name {cluster.name})")
    print(f"  kubectl -n {namespace} get kubetune")
    print(f"  kubectl -n {namespace} describe evaluation")
    print("Clean up:")
    if cluster:
        print("  make cluster-down")
    else:
        print(f"  kubectl delete namespace {namespace}; helm -n kubetune uninstall kubetune")


def main() -> int:
    """Runs the demo; what went wrong is one sentence and status 1."""
    arguments = parser().parse_args()
    steps = Steps()
    cache_root().mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        local = not os.environ.get("KUBECONFIG")
        peaks = stack.enter_context(Peaks(cache_root())) if local else None
        try:
            environment = demonstrate(arguments, steps)
        except (DemoError, KubeTuneError) as error:
            print(f"\nThe demo stopped: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nInterrupted; `make demo` goes on from here.", file=sys.stderr)
            return 130
        print(f"\n{summary(steps, peaks)}")
        if arguments.down and environment.local:
            environment.local.down()
            print("The cluster is gone.")
        else:
            say_what_next(environment, arguments.namespace)
    return 0


if __name__ == "__main__":
    sys.exit(main())
