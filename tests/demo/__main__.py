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
from tests.smallmodel.story import PACKAGES

from .docstring_story import DOCSTRINGS
from .environment import Environment, install, load_images, local_cluster, user_cluster
from .kube import Kube
from .measure import Peaks, Steps, summary
from .outcome import Outcome, keep
from .provision import provide
from .scenario import Scenario, score_lines, start_over_if_finished
from .seed import Seeder
from .settings import Settings, read_settings
from .shell import DemoError
from .source import NotToBeHadError
from .story import Facts, Story, rows_line

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
    """All steps up to the answered questions; returns where it ran."""
    environment = prepare(arguments.values, steps)
    kube, namespace = environment.kube, arguments.namespace
    settings = read_settings(kube)
    with steps.step("base model and data"):
        start_over_if_finished(kube, namespace)
        kube.make_namespace(namespace)
        kube.copy_secret(settings.secret, "kubetune", namespace)
        story, facts = seed(kube, settings, namespace)
    scenario = Scenario(kube, namespace, story, settings.bucket)
    scenario.apply()
    with steps.step("train"):
        scenario.train()
    with steps.step("evaluate"):
        scenario.evaluate()
    with steps.step("serve"):
        scenario.serve()
    with steps.step("ask"):
        answers = scenario.ask()
    print("\n== result")
    scores = score_lines(scenario.evaluation["status"])
    for line in [*scores, *([story.remark(facts)] if story.remark else [])]:
        print(f"   {line}")
    kept = keep(kube, settings, scenario.evaluation, Outcome.of(story, facts, scores, answers))
    print(f"   the report, item by item: {kept} (open it in a browser)")
    scenario.conclude()
    return environment


def seed(kube: Kube, settings: Settings, namespace: str) -> tuple[Story, Facts]:
    """Base model and data in the store: those of the real model, or of the small one where that cannot be had."""
    story = DOCSTRINGS
    seeder = Seeder(kube, settings, namespace, story.source)
    try:
        said = seeder.run()
    except NotToBeHadError as error:
        print(f"   the real model cannot be had ({error}): a small one is pretrained here in its place", flush=True)
        story = PACKAGES
        seeder = Seeder(kube, settings, namespace, story.source)
        said = seeder.run()
    facts = seeder.facts()
    print(f"   {story.about}\n   {said}\n   {rows_line(facts)}", flush=True)
    return story, facts


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
