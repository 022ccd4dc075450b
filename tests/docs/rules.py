"""How each command of the docs is checked: as printed, in a form that changes nothing, or not here, and why. Pure.

The first rule whose pattern is found at the beginning of the command decides. A command that no rule knows fails
the test: add a rule, or say in the line before its block why it cannot be run (``<!-- not run: reason -->``).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from .markdown import Command

SCRIPT = "docs/first-model.md"
"""The page that is run from its first command to its last on a node (test_first_model.py)."""
ON_NODE = "run: node"
"""Mark of blocks on other pages that the same test runs behind it."""
RESTORE = "run: restore"
"""Mark of the blocks that tests/integration/test_restore.py runs, in one cluster and then in another."""
WATCH_SECONDS = 60
"""After which nobody is left behind."""


@dataclass(frozen=True)
class Check:
    """What the test does. ``argv`` is given to bash; without it the command is not run and ``how`` says why."""

    how: str
    shell: str = ""
    parser: tuple[str, ...] = ()
    """Module and arguments: its argument parser must accept them."""


_POD = f"needs a running pod; {SCRIPT} runs its like on a node"
_NOT_HERE: tuple[tuple[str, str], ...] = (
    (r"kubectl (logs|port-forward)\b", _POD),
    (r"curl .*localhost", _POD),
    (r"kubectl get workloads|kubectl get localqueues", "needs Kueue; tests/integration/test_kueue.py has it"),
    (r"kubectl patch configmap argocd-cm\b", "needs Argo CD; tests/unit/test_argo_health.py runs the file's Lua"),
    (r"helm install nvidia-device-plugin\b", "needs a network and a GPU"),
    (r"helm uninstall\b", "needs the installed release; tests/e2e/test_uninstall.py runs it"),
    (r"helm (history|rollback)\b", "needs the installed release; tests/integration/test_upgrade.py goes back"),
    (r"nvidia-smi\b", "needs an NVIDIA GPU"),
    (r"docker build\b", "needs Docker; python3 -m images.build builds from the same Dockerfiles"),
    (
        r"(llama-server|ollama)\b",
        "llama.cpp and Ollama are no part of KubeTune; tests/trainer/test_export.py reads the files",
    ),
    (r"python -m kubetune_(trainer|evaluator)\b", "needs torch; the tests inside the images run it"),
    (r"eval \"\$\(python3 -m tests\.cluster env\)\"", "needs a cluster of that name; make cluster-up prints it"),
)
_CHANGING = r"(create|apply|patch|delete|label|annotate|scale)"


def rule(command: Command) -> Check | None:
    """None when no rule knows the command."""
    if command.mark.startswith("not run:"):
        return Check(command.mark)
    if command.page == SCRIPT or command.mark == ON_NODE:
        return Check("run on a node, in order, by test_first_model.py")
    if command.mark == RESTORE:
        return Check("run in order, in one cluster and then in another, by tests/integration/test_restore.py")
    plain = without_comment(command.text)
    for pattern, reason in _NOT_HERE:
        if re.match(pattern, plain):
            return Check(f"not run: {reason}")
    return _make(plain) or _parsed(plain) or _helm(plain) or _kubectl(plain) or _environment(plain)


def without_comment(text: str) -> str:
    """The command without the remark behind it."""
    if "\n" in text:
        return text
    kept = re.sub(r"\s+#\s.*$", "", text)
    return kept.strip()


def _make(text: str) -> Check | None:
    if not re.match(r"([A-Z_]+=\S+ )*make\b", text):
        return None
    return Check("dry-run: make -n", re.sub(r"\bmake\b", "make -n", text, count=1))


def _parsed(text: str) -> Check | None:
    found = re.match(r"(?:sudo )?python3 -m (images\.build|tests\.cluster) |manifests/plugin/(kubectl-tune) ", text)
    if not found:
        return None
    words = tuple(shlex.split(text[found.end() :]))
    return Check("dry-run: its own parser takes the arguments", parser=(found[1] or found[2], *words))


def _helm(text: str) -> Check | None:
    found = re.match(r"helm (install|upgrade(?: --install)?) ", text)
    if not found:
        return None
    rest = re.sub("--(reset-then-)?reuse-values|--create-namespace", "", text[found.end() :])
    shell = f"helm template {rest} | kubectl apply --dry-run=server -f -"
    return Check("dry-run: helm template, given to kubectl apply --dry-run=server", shell)


def _kubectl(text: str) -> Check | None:
    if not text.startswith("kubectl "):
        return None
    if re.search(r" (-w|--watch)\b", text):
        # Its own log says when the server has taken the watch; a refusal ends it without.
        return Check("run until it watches", f"grep -q watch=true < <(timeout {WATCH_SECONDS} {text} -v=6 2>&1)")
    if text.startswith("kubectl wait "):
        asked = re.sub(r"--timeout=\S+", "--timeout=1s", text)
        said = "condition met|timed out waiting for the condition"
        return Check("run for 1 s, since it waits", f"{{ {asked} || true; }} 2>&1 | grep -E '{said}'")
    text = re.sub(r" --(server-side|force-conflicts)\b", "", text)
    # What a page applies may be there from another page, with other settings, which an update would refuse.
    text = re.sub(r"^kubectl( -n \S+)? apply\b", r"kubectl\1 create", text)
    tried = re.sub(rf"\bkubectl( -n \S+)? {_CHANGING}\b", r"kubectl\1 \2 --dry-run=server", text)
    return Check("dry-run: --dry-run=server" if tried != text else "run", tried)


def _environment(text: str) -> Check | None:
    return Check("run", text) if text.startswith("export ") else None
