"""Carries images from the builder's store into archives and into a cluster's containerd.

An archive is an OCI layout in a tar file: a layer that several images share is in it once. Layers
are left uncompressed, since compressing them takes longer than anything else on the way. What the
cluster holds already is left out, so that a change of code carries kilobytes.
"""

import io
import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from images.build.engine import Engine
from images.build.errors import ImageBuildError

_NAME = "io.containerd.image.name"
_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def _blob(layout: Path, digest: str) -> Path:
    algorithm, _, value = digest.partition(":")
    return layout / "blobs" / algorithm / value


def layers(manifest_text: str) -> dict[str, int]:
    """Layers of an image manifest: digest to size in bytes."""
    manifest: dict[str, Any] = json.loads(manifest_text)
    return {layer["digest"]: int(layer["size"]) for layer in manifest["layers"]}


def _stored_layers(engine: Engine, reference: str) -> dict[str, int]:
    answer = engine.ask("inspect", "--type", "image", "--format", "{{.Manifest}}", reference)
    if answer.returncode != 0:
        raise ImageBuildError(f"{engine.name} does not know {reference}: {answer.stderr.strip()}")
    return layers(answer.stdout)


def _stand_in(layout: Path, digest: str, size: int) -> None:
    """A file of the right size without content: the tool takes the layer as written already."""
    path = _blob(layout, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)


def _copy(engine: Engine, reference: str, target: str) -> None:
    """Copy an image out of buildah's store with skopeo: buildah itself compresses every layer."""
    line = ["skopeo", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers"]
    line += [f"containers-storage:{reference}", target]
    environment = {**os.environ, **engine.environment}
    try:
        answer = subprocess.run(line, env=environment, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        raise ImageBuildError("Taking images out of buildah's store needs skopeo (apt-get install skopeo).") from None
    if answer.returncode != 0:
        raise ImageBuildError(f"skopeo cannot copy {reference}:\n{answer.stderr.strip()}")


def _write_layout(engine: Engine, references: Sequence[str], layout: Path, present: Collection[str]) -> set[Path]:
    """Write an OCI layout with skopeo; returns the stand-ins, which must not travel."""
    stand_ins: set[Path] = set()
    for reference in references:
        for digest, size in _stored_layers(engine, reference).items():
            if digest in present:
                _stand_in(layout, digest, size)
                stand_ins.add(_blob(layout, digest))
    descriptors: list[dict[str, Any]] = []
    for reference in references:
        target = f"oci:{layout}:{reference}"
        _copy(engine, reference, target)
    for entry in json.loads((layout / "index.json").read_text())["manifests"]:
        name = entry["annotations"]["org.opencontainers.image.ref.name"]
        descriptors.append({**entry, "annotations": {_NAME: name}})
    index = {"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": descriptors}
    (layout / "index.json").write_text(json.dumps(index))
    return stand_ins


def _stream_layout(layout: Path, stand_ins: Collection[Path], out: IO[bytes]) -> None:
    """Write the layout as a tar stream, giving each file's space back once it is through."""
    with tarfile.open(fileobj=out, mode="w|", bufsize=1 << 20) as archive:
        for path in sorted(layout.rglob("*")):
            if path.is_file() and path not in stand_ins:
                archive.add(path, arcname=path.relative_to(layout).as_posix())
                path.unlink()


def thin(source: IO[bytes], present: Collection[str], out: IO[bytes]) -> None:
    """Copy a tar stream of an OCI layout without the layers that the target holds."""
    left_out = {f"blobs/{digest.replace(':', '/')}" for digest in present}
    with (
        tarfile.open(fileobj=source, mode="r|", bufsize=1 << 20) as incoming,
        tarfile.open(fileobj=out, mode="w|", bufsize=1 << 20) as outgoing,
    ):
        for member in incoming:
            if member.isfile() and member.name in left_out:
                continue
            content = incoming.extractfile(member) if member.isfile() else io.BytesIO()
            outgoing.addfile(member, content)


def _write(engine: Engine, references: Sequence[str], present: Collection[str], out: IO[bytes]) -> None:
    if engine.name == "buildah":
        with tempfile.TemporaryDirectory(prefix="kubetune-layout-", dir="/var/tmp") as folder:
            layout = Path(folder, "layout")
            stand_ins = _write_layout(engine, references, layout, present)
            _stream_layout(layout, stand_ins, out)
        return
    several = ["--multi-image-archive"] if engine.name == "podman" else []
    with engine.stream("save", *several, *references) as saved:
        thin(saved, present, out)


def export(engine: Engine, references: Sequence[str], target: Path, present: Collection[str] = ()) -> None:
    """Write one archive with all the images, without the blobs named in `present`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(target.name + ".part")
    try:
        with unfinished.open("wb") as out:
            _write(engine, references, present, out)
        unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _ask_ctr(ctr: Sequence[str], *arguments: str) -> set[str]:
    try:
        answer = subprocess.run([*ctr, *arguments], check=False, capture_output=True, text=True)
    except FileNotFoundError:
        raise ImageBuildError(
            f"{ctr[0]} is not on PATH. Name the command that reaches the cluster's containerd with --ctr."
        ) from None
    if answer.returncode != 0:
        raise ImageBuildError(
            f"`{' '.join(ctr)}` cannot reach containerd (is it running, and are you root?): {answer.stderr.strip()}"
        )
    return set(answer.stdout.split())


def _import(engine: Engine, names: Sequence[str], present: Collection[str], ctr: Sequence[str]) -> bool:
    command = [*ctr, "images", "import", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        pipe = cast("IO[bytes]", process.stdin)
        # An import that gives up closes the pipe; its status tells.
        with suppress(BrokenPipeError):
            _write(engine, names, present, pipe)
        with suppress(BrokenPipeError):
            pipe.close()
        return process.wait() == 0


def load(engine: Engine, references: Sequence[str], ctr: Sequence[str]) -> list[str]:
    """Import into a containerd the images it lacks; returns their names.

    Layers it holds already are not sent. Should it have dropped one meanwhile, everything is sent.
    """
    there = _ask_ctr(ctr, "images", "ls", "--quiet")
    missing = [name for name in references if name not in there]
    if not missing:
        return []
    for name in missing:
        print(f"importing {name}", flush=True)
    present = _ask_ctr(ctr, "content", "ls", "--quiet")
    if _import(engine, missing, present, ctr):
        return missing
    if present and _import(engine, missing, (), ctr):
        return missing
    raise ImageBuildError(f"`{' '.join(ctr)} images import` failed; its message is above.")
