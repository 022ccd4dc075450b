"""helm and kubectl, as a person types them."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import yaml

from tests.chart.helm import tool
from tests.cluster import Cluster


class Shell:
    """helm and kubectl against one cluster, with one release in one namespace."""

    def __init__(self, cluster: Cluster, home: str, namespace: str) -> None:
        self.env = {**os.environ, **cluster.env, "HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home}
        self.namespace = namespace

    def run(self, *argv: str, text: str = "") -> str:
        """Raises AssertionError with what the command complained about."""
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False, env=self.env)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
        return done.stdout

    def helm(self, verb: str, *argv: str) -> str:
        """Without hooks: there is no node to run them."""
        return self.run(tool("helm"), verb, "kubetune", *argv, "--namespace", self.namespace, "--no-hooks")

    def namespace_keys(self) -> None:
        """What the chart's hooks do once the store knows the namespaces' keys: puts their Secrets there."""
        hooks = yaml.safe_load_all(self.run(tool("helm"), "get", "hooks", "kubetune", "--namespace", self.namespace))
        for hook in hooks:
            if hook and hook["kind"] == "Secret":
                self.run("kubectl", "apply", "-f", "-", text=yaml.safe_dump(hook))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object of the release's namespace; {} when there is none."""
        argv = ("kubectl", "get", kind, name, "-n", self.namespace, "-o", "yaml", "--ignore-not-found")
        return yaml.safe_load(self.run(*argv)) or {}
