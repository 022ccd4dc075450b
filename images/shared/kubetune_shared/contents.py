"""What a model's folder holds, as one word that is equal for equal files: see kubetune_contract.Contents."""

from __future__ import annotations

import hashlib

from kubetune_contract import ExitCode, KubeTuneError, dumps, uris

from . import manifest as manifests
from .sources import LocalModel

MANIFEST, FILES, COMMIT = "manifest", "files", "commit"


def content_of(uri: str, local: LocalModel) -> str:
    """The content of the folder that ``resolve_model`` brought or found for ``uri``.

    What was downloaded has been checked against its manifest on the way. A mounted folder is read through, as nobody
    has checked it; so is one without a manifest. Raises KubeTuneError (BAD_DATA, ChecksumMismatch) when a mounted file
    is not what its manifest says.
    """
    if local.revision:
        return f"{COMMIT}:{local.revision}"
    if local.manifest_sha256 and uris.parse(uri).scheme != "pvc":
        return f"{MANIFEST}:{local.manifest_sha256}"
    files = manifests.describe(local.path)
    if local.manifest and _agree(uri, local.manifest, files):
        return f"{MANIFEST}:{local.manifest_sha256}"
    return f"{FILES}:{hashlib.sha256(dumps({'files': files}).encode()).hexdigest()}"


def changed(uri: str, admitted: str, found: str) -> KubeTuneError:
    """The refusal of a folder that holds something else than what was admitted."""
    return KubeTuneError(
        ExitCode.CHANGED,
        "ContentChanged",
        f"{uri} does not hold what was admitted: that was {admitted}, there is {found} now, which is another model. "
        "Put the files back, or evaluate what is there now and deploy it with that verdict.",
    )


def _agree(uri: str, manifest: manifests.Manifest, files: tuple[manifests.FileEntry, ...]) -> bool:
    """Whether the folder holds what its manifest lists and nothing else."""
    found = {entry.path: entry for entry in files}
    for entry in manifest.files:
        if found.get(entry.path) != entry:
            raise KubeTuneError(
                ExitCode.BAD_DATA,
                "ChecksumMismatch",
                f"{uri}/{entry.path} is not the file that the folder's manifest lists; put that back, or publish the "
                "folder again",
            )
    return len(found) == len(manifest.files)
