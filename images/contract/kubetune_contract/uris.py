"""URIs of models and data: ``s3://bucket/key``, ``pvc://claim/path``, ``configmap://name/key``, ``hf://owner/name@revision``."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from .errors import ExitCode, KubeTuneError

SCHEMES = ("s3", "pvc", "configmap", "hf")

# RFC 1123 subdomain, as Kubernetes names objects.
_NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_PATTERNS = {
    "s3": re.compile(r"s3://(?P<authority>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<path>\S+)"),
    "pvc": re.compile(rf"pvc://(?P<authority>{_NAME})/(?P<path>\S*)"),
    "configmap": re.compile(rf"configmap://(?P<authority>{_NAME})/(?P<path>[-._a-zA-Z0-9]+)"),
    "hf": re.compile(r"hf://(?P<authority>[\w.-]+)/(?P<path>[\w.-]+)(@(?P<revision>[\w./-]+))?"),
}


class UriError(KubeTuneError):
    """The text is no URI this project knows."""

    def __init__(self, uri: str, problem: str) -> None:
        super().__init__(ExitCode.BAD_CONFIG, "InvalidURI", f"{uri!r}: {problem}")


@dataclass(frozen=True)
class Uri:
    """A parsed URI. ``authority`` is the bucket, claim, ConfigMap or owner; ``path`` never starts or ends with '/'."""

    scheme: str
    authority: str
    path: str
    revision: str | None = None

    def __str__(self) -> str:
        tail = f"@{self.revision}" if self.revision else ""
        return f"{self.scheme}://{self.authority}/{self.path}{tail}"

    def child(self, name: str) -> Uri:
        """The URI of ``name`` below this one."""
        return Uri(self.scheme, self.authority, f"{self.path}/{name}" if self.path else name)


def parse(uri: str) -> Uri:
    """Raises UriError for an unknown scheme, an empty part or a path that climbs with ``..``."""
    scheme = uri.partition("://")[0]
    if scheme not in _PATTERNS:
        raise UriError(uri, f"unknown scheme; use one of {', '.join(s + '://' for s in SCHEMES)}")
    match = _PATTERNS[scheme].fullmatch(uri)
    if not match:
        raise UriError(uri, f"is not a valid {scheme}:// URI")
    parts = match.groupdict()
    path = parts["path"].strip("/")
    if any(unicodedata.category(character) == "Cc" for character in uri):
        raise UriError(uri, "must not contain control characters")
    if ".." in path.split("/") or ".." in (parts.get("revision") or ""):
        raise UriError(uri, "must not contain '..'")
    if scheme == "s3" and not path:
        raise UriError(uri, "needs a key after the bucket")
    return Uri(scheme, parts["authority"], path, parts.get("revision"))


def bucket(uri: str) -> str:
    """The bucket of an s3:// URI, or of the beginning of one."""
    return uri.partition("://")[2].partition("/")[0]
