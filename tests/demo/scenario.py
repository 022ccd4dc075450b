"""The demo's story: train, evaluate, gate, serve, ask. Each step checks what it claims."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from .ask import EXAMPLE, EXPECTED, ask
from .kube import KINDS, Kube, Object, is_true
from .seed import Seeder
from .shell import ROOT, DemoError
from .watch import deployment_line, evaluation_line, follow, job_line

MANIFESTS = ROOT / "manifests" / "examples" / "demo"
FINISHED = "kubetune.io/demo-finished"
TRAIN_SECONDS = 1800.0
EVALUATE_SECONDS = 1200.0
SERVE_SECONDS = 900.0
ANSWER_TOKENS = 16
SERVE_PORT = 8000


def read_manifests(folder: Path, gpu: bool) -> list[Object]:
    """The example's objects; each asks for a GPU when ``gpu`` says that a node has one."""
    objects = [
        found for path in sorted(folder.glob("*.yaml")) for found in yaml.safe_load_all(path.read_text()) if found
    ]
    if gpu:
        for found in objects:
            found["spec"].setdefault("resources", {})["gpu"] = 1
    return objects


class Scenario:
    """The three resources of manifests/examples/demo in one namespace."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self.kube = kube
        self.namespace = namespace
        self.objects = read_manifests(MANIFESTS, kube.has_gpu())
        self.job: Object = {}
        self.evaluation: Object = {}
        self.deployment: Object = {}

    def name(self, kind: str) -> str:
        """Name of the example's object of that kind; an inline evaluation is named like its job."""
        for found in self.objects:
            if found["kind"] == kind:
                return str(found["metadata"]["name"])
        return self.name("FineTuneJob")

    def start_over_if_finished(self) -> None:
        """Removes the objects of a demo that ran to its end, so that this one measures everything anew."""
        namespace = self.kube.get(self.namespace, "namespace", self.namespace)
        if namespace and FINISHED in namespace["metadata"].get("annotations", {}):
            print("   an earlier demo ran to its end here: its objects are removed and made anew", flush=True)
            self.kube.run("delete", ",".join(KINDS), "--all", "-n", self.namespace, "--wait", timeout=300)
            self.kube.run("annotate", "namespace", self.namespace, f"{FINISHED}-")

    def apply(self) -> None:
        """Creates the three objects; what an interrupted run left goes on."""
        for found in self.objects:
            print(f"   kubectl apply: {found['kind']} {found['metadata']['name']}", flush=True)
        self.kube.apply(self.namespace, self.objects)

    def train(self) -> None:
        """Follows the FineTuneJob to its result."""
        name = self.name("FineTuneJob")
        self.job = follow(self.kube, self.namespace, "finetunejob", name, job_line, TRAIN_SECONDS)
        results, artifact = self.job["status"].get("results", {}), self.job["status"]["artifact"]
        print(
            f"   trained {results.get('steps')} steps on {results.get('trainRows')} rows in "
            f"{results.get('durationSeconds', 0):.0f} s, loss {results.get('trainLoss', float('nan')):.3f}"
        )
        print(f"   {artifact['kind']} {artifact['uri']} ({artifact['bytes'] / 1e6:.1f} MB)")

    def evaluate(self) -> None:
        """Follows the Evaluation to its verdict; raises DemoError unless it is Go."""
        name = self.name("Evaluation")
        self.kube.wait("the Evaluation was created", lambda: self.kube.get(self.namespace, "evaluation", name), 60)
        self.evaluation = follow(self.kube, self.namespace, "evaluation", name, evaluation_line, EVALUATE_SECONDS)
        status = self.evaluation["status"]
        for line in score_lines(status):
            print(f"   {line}")
        if status.get("verdict") != "Go":
            raise DemoError(f"the verdict is {status.get('verdict')}: {status.get('verdictMessage')}")

    def serve(self) -> None:
        """Follows the ModelDeployment until it is Ready."""
        name = self.name("ModelDeployment")
        self.deployment = follow(self.kube, self.namespace, "modeldeployment", name, deployment_line, SERVE_SECONDS)
        print(f"   {name} is Ready at {self.deployment['status']['endpoint']}")

    def ask(self) -> None:
        """Asks the tuned model, then its base; raises DemoError unless the tuned one knows."""
        status = self.deployment["status"]
        print("   " + EXAMPLE.replace("\n", "\n   ").rstrip() + "\n\n   Which package is this function from?\n")
        with self.kube.forward(self.namespace, f"svc/{self.name('ModelDeployment')}", SERVE_PORT) as port:
            url = f"http://127.0.0.1:{port}/v1"
            tuned = ask(url, status["modelName"], EXAMPLE, ANSWER_TOKENS)
            print(f"   {status['modelName']} (tuned): {tuned}")
            if base := status.get("baseModelName"):
                print(f"   {base}: {shown(ask(url, base, EXAMPLE, ANSWER_TOKENS))}")
        if tuned.strip() != EXPECTED:
            raise DemoError(f"the tuned model answered {tuned!r}, and {EXPECTED!r} would have been right")

    def report(self, seeder: Seeder) -> None:
        """The closing tables; marks the demo as finished."""
        print("\n== result")
        for line in score_lines(self.evaluation["status"]):
            print(f"   {line}")
        facts = json.loads((seeder.cache / "data" / "facts.json").read_text()) if seeder.cache.exists() else {}
        if facts:
            print(f"   (always answering with the commonest package would score {facts['majorityShare']:.2f})")
        for kind in ("finetunejobs", "evaluations", "modeldeployments"):
            print(f"\n$ kubectl -n {self.namespace} get {kind}")
            print(self.kube.run("get", kind, "-n", self.namespace).rstrip())
        current = self.kube.get(self.namespace, "modeldeployment", self.name("ModelDeployment"))
        if not is_true(current, "Ready"):
            raise DemoError("the ModelDeployment is not Ready any more: `kubectl describe` says why")
        self.kube.run("annotate", "namespace", self.namespace, f"{FINISHED}=true", "--overwrite")


def score_lines(status: dict[str, Any]) -> list[str]:
    """Each metric's two values with the difference's interval, then the verdict."""
    lines = [
        f"{one['metric']} on {one['n']} held-out items: tuned {one['candidateValue']:.2f}, {one['baseline']} "
        f"{one['baselineValue']:.2f}, difference {one['difference']:+.2f} (95 % interval {one['low']:.2f} to "
        f"{one['high']:.2f}, {one['method']})"
        for one in status.get("metrics") or ()
    ]
    return [*lines, f"verdict {status.get('verdict')}: {status.get('verdictMessage')}"]


def shown(answer: str) -> str:
    """An untuned model's answer on one line."""
    return json.dumps(answer[:80], ensure_ascii=False)
