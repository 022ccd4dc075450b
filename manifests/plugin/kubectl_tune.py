#!/usr/bin/env python3
"""kubectl tune: takes what KubeTune made out of the cluster, with kubectl alone.

    kubectl tune take finetunejob/NAME [--what adapter|model|merged|gguf]   a model, into the folder NAME-WHAT
    kubectl tune take evaluation/NAME --open                                a report, opened in the browser

A Job of its own in the same namespace reads the object store, with image, keys and endpoint of the Job that wrote the
files; they come through `kubectl exec`. Every file is checked against the manifest, and the manifest against the
object's status. What broke off goes on where it broke; a second call fetches only what is missing. Needs Python 3.9,
and the rights to read Jobs, to create and delete them, and to exec into pods.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import secrets
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

CONFIG = "kubetune.io/config"
KINDS = {
    "finetunejob": "finetunejob", "finetunejobs": "finetunejob", "ftj": "finetunejob",
    "evaluation": "evaluation", "evaluations": "evaluation", "evl": "evaluation",
}  # fmt: skip
STORE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HOME")
IDLE_SECONDS = 600
"""After which the pod ends by itself, if this program was killed before it could remove it."""
LONGEST_SECONDS = 24 * 3600
READY_SECONDS = 300
PATIENCE = 10
"""Looks at a pod that is stuck, a second apart."""
ATTEMPTS = 5
"""For each file: connections through the API server break now and then."""
CHUNK = 1 << 20
MANIFEST = "manifest.json"
MANIFEST_LIMIT = 16 << 20


class TuneError(Exception):
    """Ends the program with a sentence."""


class Found(NamedTuple):
    """A published folder, as the status names it."""

    what: str
    uri: str
    sha256: str


def folder_of(obj: dict[str, Any], what: str | None) -> Found:
    """What to take of a FineTuneJob or an Evaluation. Raises TuneError, naming what there is."""
    kind, status, name = obj["kind"], obj.get("status") or {}, obj["metadata"]["name"]
    if kind == "Evaluation":
        published = [("report", status.get("report"))]
    else:
        folders = (status.get("artifact"), *(status.get("exports") or ()))
        published = [(folder["kind"], folder) for folder in folders if folder]
    there: dict[str, dict[str, Any]] = {key: folder for key, folder in published if folder}
    if not there:
        raise TuneError(f"{kind} {name} has published nothing (yet): its phase is {status.get('phase', 'unknown')}")
    chosen = what or next(iter(there))
    if chosen not in there:
        raise TuneError(f"{kind} {name} has no {chosen}; it has: {', '.join(there)}.{_how_to_export(chosen)}")
    uri, sha256 = there[chosen]["uri"], there[chosen].get("manifestSHA256")
    if not sha256:
        raise TuneError(f"{kind} {name} does not say what its {chosen} should be: status lacks manifestSHA256")
    return Found(chosen, uri.rstrip("/"), sha256)


def _how_to_export(what: str) -> str:
    fields = {"merged": "spec.export.merged: true", "gguf": "spec.export.gguf: f16, bf16 or q8_0"}
    return f" A FineTuneJob makes one with {fields[what]}." if what in fields else ""


def writer_of(obj: dict[str, Any], jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The pod template of the Job that wrote the object's results: it has the image, the keys and the endpoint."""
    uid = obj["metadata"]["uid"]
    for job in jobs:
        owners = job["metadata"].get("ownerReferences") or ()
        template: dict[str, Any] = job["spec"]["template"]
        is_preflight = (job["metadata"].get("labels") or {}).get("app.kubernetes.io/component") == "preflight"
        configured = CONFIG in ((template.get("metadata") or {}).get("annotations") or {})
        if configured and not is_preflight and any(owner.get("uid") == uid for owner in owners):
            return template
    raise TuneError(
        f"the Job that {obj['kind']} {obj['metadata']['name']} ran in has been deleted, and with it what is known of "
        "the store; read the folder with any S3 client instead"
    )


def job_to_take(template: dict[str, Any], name: str, image: str | None) -> dict[str, Any]:
    """A Job whose pod can read what ``template``'s pods wrote, and does nothing by itself."""
    spec, main = template["spec"], template["spec"]["containers"][0]
    kept = ("config", "work", "tmp")
    container = {
        "name": "take",
        "image": image or main["image"],
        "imagePullPolicy": main.get("imagePullPolicy", "IfNotPresent"),
        "command": ["python", "-m", "kubetune_shared.take", "hold", str(IDLE_SECONDS)],
        "env": [variable for variable in main.get("env") or () if variable["name"] in STORE_KEYS],
        "securityContext": main.get("securityContext") or {},
        "volumeMounts": [mount for mount in main.get("volumeMounts") or () if mount["name"] in kept],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 2,
        "securityContext": spec.get("securityContext") or {},
        "volumes": [volume for volume in spec.get("volumes") or () if volume["name"] in kept],
        "containers": [container],
        # The nodes that have the image: a home cluster may have imported it into some of them only.
        **{key: spec[key] for key in ("nodeSelector", "tolerations", "imagePullSecrets") if key in spec},
    }
    labels = {"app.kubernetes.io/name": "kubetune-take"}
    annotations = {CONFIG: template["metadata"]["annotations"][CONFIG]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": LONGEST_SECONDS,
            "ttlSecondsAfterFinished": 60,
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
        },
    }


def files_of(manifest: bytes, found: Found) -> list[dict[str, Any]]:
    """The files that ``manifest`` lists. Raises TuneError for one outside of the folder."""
    files: list[dict[str, Any]] = json.loads(manifest)["files"]
    for entry in files:
        path = PurePosixPath(entry["path"])
        if path.is_absolute() or ".." in path.parts or "\\" in entry["path"] or ":" in entry["path"] or not path.parts:
            raise TuneError(f"{found.uri}/{MANIFEST} names {entry['path']!r}, which lies outside its folder")
    return files


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class Kubectl:
    """kubectl with the options that say which cluster and namespace."""

    def __init__(self, options: Sequence[str]) -> None:
        self._base = ["kubectl", *options]

    def run(self, *arguments: str, given: str | None = None) -> str:
        """Its output. Raises TuneError with what it said."""
        done = subprocess.run([*self._base, *arguments], input=given, capture_output=True, text=True, check=False)
        if done.returncode:
            raise TuneError(done.stderr.strip() or f"kubectl {arguments[0]} ended with code {done.returncode}")
        return done.stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("get", *arguments, "-o", "json"))
        return found

    def pipe(self, out: Any, *arguments: str) -> str:
        """Its output into the file ``out``; returns what it said beside that, empty when all went well."""
        with tempfile.TemporaryFile() as said:
            code = subprocess.call([*self._base, *arguments], stdout=out, stderr=said, stdin=subprocess.DEVNULL)
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
        return (text or f"kubectl ended with code {code}") if code else ""


class Taking:
    """The pod that reads the store, and what comes out of it."""

    def __init__(self, kubectl: Kubectl, job: str) -> None:
        self._kubectl, self._job, self._pod = kubectl, job, ""

    def wait(self) -> None:
        """Until its pod is ready. Raises TuneError with what holds it up."""
        deadline, stuck, seen = time.monotonic() + READY_SECONDS, "", 0
        while time.monotonic() < deadline:
            pods = self._kubectl.get("pods", "-l", f"job-name={self._job}")["items"]
            self._pod = next((pod["metadata"]["name"] for pod in pods if is_ready(pod)), "")
            if self._pod:
                return
            stuck = why_not_ready(pods)
            # A pull may work the second time, a missing Secret does not come by itself.
            seen = seen + 1 if stuck else 0
            if seen >= PATIENCE:
                break
            time.sleep(1.0)
        raise TuneError(stuck or f"the pod that would read the store does not start: kubectl describe job {self._job}")

    def send(self, out: Any, uri: str, start: int, size: int) -> str:
        """Bytes ``start`` to ``size`` of the object, to the end of ``out``; what went wrong, else nothing."""
        command = ("python", "-m", "kubetune_shared.take", "send", uri, str(start), str(size))
        return self._kubectl.pipe(out, "exec", self._pod, "-c", "take", "--", *command)

    def manifest(self, found: Found) -> bytes:
        """The folder's manifest, the one that the status speaks of."""
        problem = ""
        for _ in range(ATTEMPTS):
            with tempfile.TemporaryFile() as out:
                problem = self.send(out, f"{found.uri}/{MANIFEST}", 0, MANIFEST_LIMIT)
                out.seek(0)
                data = out.read()
            if hashlib.sha256(data).hexdigest() == found.sha256:
                return data
        raise TuneError(
            explained(problem)
            or f"{found.uri}/{MANIFEST} is not the one that was published: its SHA-256 is not the status'"
        )

    def file(self, uri: str, entry: dict[str, Any], target: Path) -> None:
        """The file at ``target``, complete and with the right digest, or TuneError."""
        partial = target.with_name(f".{target.name}.partial")
        target.parent.mkdir(parents=True, exist_ok=True)
        size, problem = entry["size"], ""
        for _ in range(ATTEMPTS):
            with partial.open("ab") as out:
                if out.tell() < size:
                    problem = self.send(out, f"{uri}/{entry['path']}", out.tell(), size)
            have = partial.stat().st_size
            if have == size and sha256_of(partial) == entry["sha256"]:
                partial.replace(target)
                return
            if have >= size:
                problem = f"{entry['path']} is not what its manifest says (another SHA-256)"
                partial.unlink()
        raise TuneError(f"{explained(problem) or 'the connection broke again and again'}; call again to go on")


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def why_not_ready(pods: Sequence[dict[str, Any]]) -> str:
    """What holds the pod up, in the kubelet's or the scheduler's words."""
    for pod in pods:
        status = pod.get("status") or {}
        for container in status.get("containerStatuses") or ():
            for state in (container.get("state") or {}).values():
                reason, text = state.get("reason"), state.get("message", "")
                if reason and reason not in {"ContainerCreating", "PodInitializing"}:
                    return f"the pod that would read the store does not start: {reason}: {text}"
        for condition in status.get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] != "True":
                return f"no node takes the pod that would read the store: {condition.get('message', '')}"
    return ""


def explained(problem: str) -> str:
    """The line that says it, without what kubectl adds about the exit code."""
    lines = [line for line in problem.splitlines() if line and not line.startswith("command terminated with")]
    text = lines[-1] if lines else problem
    if "No module named" in text:
        return "the image is of an older release, which cannot send files: name a newer trainer image with --image"
    return text


@contextlib.contextmanager
def reading(kubectl: Kubectl, obj: dict[str, Any], image: str | None) -> Iterator[Taking]:
    """A pod that reads the object's store, for as long as it is needed."""
    jobs = kubectl.get("jobs", "-l", "app.kubernetes.io/managed-by=kubetune")["items"]
    name = f"kubetune-take-{secrets.token_hex(4)}"
    kubectl.run("create", "-f", "-", given=json.dumps(job_to_take(writer_of(obj, jobs), name, image)))
    try:
        taking = Taking(kubectl, name)
        taking.wait()
        yield taking
    finally:
        kubectl.run("delete", "job", name, "--cascade=background", "--ignore-not-found", "--wait=false")


def take(kubectl: Kubectl, options: argparse.Namespace) -> Path:
    """The folder with everything in it."""
    kind, _, name = options.object.partition("/")
    if kind.lower() not in KINDS or not name:
        raise TuneError(f"{options.object!r}: name a finetunejob/NAME or an evaluation/NAME")
    obj = kubectl.get(f"{KINDS[kind.lower()]}s.kubetune.io", name)
    found = folder_of(obj, options.what)
    dest = Path(options.to or f"{name}-{found.what}")
    with reading(kubectl, obj, options.image) as taking:
        manifest = taking.manifest(found)
        files = files_of(manifest, found)
        for number, entry in enumerate(files, 1):
            target = dest / entry["path"]
            if not (
                target.is_file() and target.stat().st_size == entry["size"] and sha256_of(target) == entry["sha256"]
            ):
                print(f"[{number}/{len(files)}] {entry['path']} ({entry['size']:,} bytes)", file=sys.stderr)
                taking.file(found.uri, entry, target)
    # Last, so that a folder with a manifest is a whole one.
    dest.mkdir(parents=True, exist_ok=True)
    (dest / MANIFEST).write_bytes(manifest)
    print(f"{found.what} of {options.object}: {len(files)} files in {dest}/, all digests right")
    return dest


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kubectl tune", description="Takes what KubeTune made out of the cluster.")
    commands = parser.add_subparsers(dest="command", required=True)
    taking = commands.add_parser("take", help="a model or a report, with every digest checked")
    taking.add_argument("object", help="finetunejob/NAME or evaluation/NAME")
    taking.add_argument(
        "--what", choices=("adapter", "model", "merged", "gguf", "report"), help="default: the result itself"
    )
    taking.add_argument("--to", metavar="FOLDER", help="default: NAME-WHAT here; what is there already is kept")
    taking.add_argument("--open", action="store_true", help="show an evaluation's report in the browser")
    taking.add_argument("--image", help="instead of the one that wrote the files")
    for short, name in (("-n", "--namespace"), (None, "--context"), (None, "--kubeconfig")):
        taking.add_argument(*filter(None, (short, name)), help="as for kubectl")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    chosen = {name: getattr(options, name) for name in ("namespace", "context", "kubeconfig")}
    kubectl = Kubectl([f"--{name}={value}" for name, value in chosen.items() if value])
    try:
        dest = take(kubectl, options)
    except (TuneError, OSError, KeyError, ValueError) as error:
        print(f"kubectl tune: {error}", file=sys.stderr)
        return 1
    if options.open and (dest / "report.html").is_file():
        webbrowser.open((dest / "report.html").resolve().as_uri())
    elif (dest / "Modelfile").is_file():
        print(f"for Ollama: ollama create {options.object.partition('/')[2]} -f {dest}/Modelfile")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
