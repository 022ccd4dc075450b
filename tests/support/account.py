"""A service account's way to the API server: its own token, and so its own rights and no others."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster.api import Api


def account_kubeconfig(admin: Api, pki: Path, namespace: str, account: str, target: Path) -> Path:
    """Writes a kubeconfig for the account to ``target``; its token is good for an hour."""
    token = admin.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", {"spec": {}})
    server = {"server": f"https://{admin.host}:6443", "certificate-authority": str(pki / "ca.crt")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "own",
        "clusters": [{"name": "own", "cluster": server}],
        "users": [{"name": "own", "user": {"token": token["status"]["token"]}}],
        "contexts": [{"name": "own", "context": {"cluster": "own", "user": "own"}}],
    }
    target.write_text(json.dumps(config))
    return target
