"""Keys and certificates of one cluster, made with openssl: one authority signs everything."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .layout import DNS_DOMAIN, NODE_NAME, Addresses

DAYS = "365"
_EC_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


@dataclass(frozen=True)
class Identity:
    """A certificate to make: its file name, its user and group, and what it may be used for."""

    name: str
    user: str
    group: str = ""
    server_names: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """Subject as openssl wants it: the API server reads O as group and CN as user."""
        return (f"/O={self.group}" if self.group else "") + f"/CN={self.user}"

    @property
    def extensions(self) -> list[str]:
        """X.509 extensions, as openssl's ``-addext`` takes them."""
        usage = "serverAuth,clientAuth" if self.server_names else "clientAuth"
        names = [f"subjectAltName={','.join(self.server_names)}"] if self.server_names else []
        return ["basicConstraints=critical,CA:FALSE", f"extendedKeyUsage={usage}", *names]


def identities(addresses: Addresses) -> list[Identity]:
    """Every certificate that a cluster at these addresses needs."""
    api_names = [
        "DNS:localhost",
        "DNS:kubernetes",
        "DNS:kubernetes.default",
        "DNS:kubernetes.default.svc",
        f"DNS:kubernetes.default.svc.{DNS_DOMAIN}",
        "IP:127.0.0.1",
        f"IP:{addresses.node}",
        f"IP:{addresses.services[1]}",
    ]
    node_names = (f"DNS:{NODE_NAME}", f"IP:{addresses.node}")
    return [
        Identity("admin", "kubetune-admin", "system:masters"),
        Identity("apiserver", "kube-apiserver", server_names=tuple(api_names)),
        Identity("apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
        Identity("controller-manager", "system:kube-controller-manager"),
        Identity("scheduler", "system:kube-scheduler"),
        Identity("proxy", "system:kube-proxy"),
        Identity("kubelet", f"system:node:{NODE_NAME}", "system:nodes", node_names),
        Identity("coredns", "system:coredns"),
        Identity("provisioner", "system:persistent-volume-provisioner"),
    ]


def create(folder: Path, wanted: Iterable[Identity]) -> None:
    """Write ca, service-account and one NAME.crt, NAME.key per identity into the folder."""
    folder.mkdir(parents=True, mode=0o700)
    _request(folder, "ca", "/CN=kubetune-test-cluster", ["keyUsage=critical,keyCertSign,digitalSignature"])
    account = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(_openssl, [*account, "-out", "service-account.key"], folder)]
        jobs += [pool.submit(_sign, identity, folder) for identity in wanted]
        for job in jobs:
            job.result()


def _sign(identity: Identity, folder: Path) -> None:
    signer = ["-CA", "ca.crt", "-CAkey", "ca.key"]
    _request(folder, identity.name, identity.subject, identity.extensions, signer)


def _request(folder: Path, name: str, subject: str, extensions: Iterable[str], signer: Sequence[str] = ()) -> None:
    """Make a key and its certificate, signed by itself unless a signer is given."""
    added = [part for extension in extensions for part in ("-addext", extension)]
    out = ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
    _openssl(["req", "-x509", *signer, *_EC_KEY, "-days", DAYS, "-subj", subject, *added, *out], folder)


def _openssl(arguments: list[str], folder: Path) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
