"""The demo's story: train, evaluate, gate, serve, ask. Each step checks what it claims."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from .ask import ask
from .kube import KINDS, Kube, Object, is_false, is_true
from .shell import DemoError
from .story import Answered, Story
from .watch import deployment_line, evaluation_line, follow, job_line

EXAMPLE_BUCKET = "kubetune"
"""The bucket that the manifests name."""
FINISHED = "kubetune.io/demo-finished"
TRAIN_SECONDS = 1800.0
EVALUATE_SECONDS = 1200.0
SERVE_SECONDS = 900.0
SERVE_PORT = 8000


def read_manifests(folder: Path, gpu: bool, bucket: str = EXAMPLE_BUCKET) -> list[Object]:
    """The example's objects, with the installation's bucket; each asks for a GPU when ``gpu`` says a node has one."""
    texts = [
        path.read_text().replace(f"s3://{EXAMPLE_BUCKET}/", f"s3://{bucket}/") for path in sorted(folder.glob("*.yaml"))
    ]
    objects = [found for text in texts for found in yaml.safe_load_all(text) if found]
    if gpu:
        for found in objects:
            found["spec"].setdefault("resources", {})["gpu"] = 1
    return objects


def anew(objects: list[Object], live: Object | None, now: datetime) -> list[Object]:
    """``objects`` with a training that is made for this run of the demo, although an earlier one has left its result in
    the store; one that is under way (``live``) goes on."""
    rerun = live["spec"].get("rerun") if live else f"demo of {now:%Y-%m-%dT%H:%M:%SZ}"
    more = {"rerun": rerun} if rerun else {}
    return [found | {"spec": found["spec"] | more} if found["kind"] == "FineTuneJob" else found for found in objects]


class Scenario:
    """The three resources of a story in one namespace."""

    def __init__(self, kube: Kube, namespace: str, story: Story, bucket: str) -> None:
        self.kube = kube
        self.namespace = namespace
        self.story = story
        self.objects = read_manifests(story.manifests, kube.has_gpu(), bucket)
        self.job: Object = {}
        self.evaluation: Object = {}
        self.deployment: Object = {}

    def name(self, kind: str) -> str:
        """Name of the example's object of that kind; an inline evaluation is named like its job."""
        for found in self.objects:
            if found["kind"] == kind:
                return str(found["metadata"]["name"])
        return self.name("FineTuneJob")

    def apply(self) -> None:
        """Creates the three objects; what an interrupted run left goes on."""
        for found in self.objects:
            print(f"   kubectl apply: {found['kind']} {found['metadata']['name']}", flush=True)
        live = self.kube.get(self.namespace, "finetunejob", self.name("FineTuneJob"))
        try:
            self.kube.apply(self.namespace, anew(self.objects, live, datetime.now(UTC)))
        except DemoError as error:
            if "cannot be changed" not in str(error):
                raise
            text = (
                f"another version's demo is under way here: `kubectl delete namespace {self.namespace}`, then run again"
            )
            raise DemoError(text) from error

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

    def ask(self) -> list[Answered]:
        """Asks both models every question; raises DemoError unless the tuned one's answers will do."""
        status = self.deployment["status"]
        answers = []
        with self.kube.forward(self.namespace, f"svc/{self.name('ModelDeployment')}", SERVE_PORT) as port:
            url, tokens = f"http://127.0.0.1:{port}/v1", self.story.answer_tokens
            for question in self.story.questions:
                tuned = ask(url, status["modelName"], question.text, tokens)
                base = status.get("baseModelName")
                answers.append(Answered(question, tuned, ask(url, base, question.text, tokens) if base else None))
                for line in answer_lines(answers[-1]):
                    print(f"   {line}".rstrip(), flush=True)
        if found := self.story.objection(answers):
            raise DemoError(found)
        return answers

    def conclude(self) -> None:
        """The closing tables; marks the demo as finished."""
        for kind in ("finetunejobs", "evaluations", "modeldeployments"):
            print(f"\n$ kubectl -n {self.namespace} get {kind}")
            print(self.kube.run("get", kind, "-n", self.namespace).rstrip())
        current = self.kube.get(self.namespace, "modeldeployment", self.name("ModelDeployment"))
        if not is_true(current, "Ready"):
            raise DemoError("the ModelDeployment is not Ready any more: `kubectl describe` says why")
        self.kube.run("annotate", "namespace", self.namespace, f"{FINISHED}=true", "--overwrite")


def start_over_if_finished(kube: Kube, name: str) -> None:
    """Removes the objects of a demo that ran to its end or failed, so that this one measures everything anew."""
    namespace = kube.get(name, "namespace", name)
    if namespace is None:
        return
    has_failed = any(is_false(job, "Succeeded") for job in kube.list(name, "finetunejobs"))
    if has_failed or FINISHED in namespace["metadata"].get("annotations", {}):
        print("   an earlier demo has ended here: its objects are removed and made anew", flush=True)
        kube.run("delete", ",".join(KINDS), "--all", "-n", name, "--wait", timeout=300)
        kube.run("annotate", "namespace", name, f"{FINISHED}-")


def score_lines(status: dict[str, Any]) -> list[str]:
    """Each metric's two values with the difference's interval, then the verdict."""
    lines = [
        f"{one['metric']} on {one['n']} held-out items: tuned {one['candidateValue']:.2f}, {one['baseline']} "
        f"{one['baselineValue']:.2f}, difference {one['difference']:+.2f} (95 % interval {one['low']:.2f} to "
        f"{one['high']:.2f}, {one['method']})"
        for one in status.get("metrics") or ()
    ]
    return [*lines, f"verdict {status.get('verdict')}: {status.get('verdictMessage')}"]


def answer_lines(one: Answered) -> list[str]:
    """A question with the answers below it."""
    lines = [*one.question.text.splitlines(), "", f"  tuned: {shown(one.tuned)}"]
    if one.base is not None:
        lines.append(f"  base:  {shown(one.base)}")
    return [*lines, ""]


def shown(answer: str, most: int = 100) -> str:
    """A model's answer on one line, quoted where it is more than that."""
    plain = answer.strip()
    if "\n" not in plain and len(plain) <= most:
        return plain
    return json.dumps(plain if len(plain) <= most else f"{plain[:most]}...", ensure_ascii=False)
