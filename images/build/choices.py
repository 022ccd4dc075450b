"""Finds out what this machine offers: a base image, a build of torch, a compiled object store."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from images.build import rootfs
from images.build.catalog import CPU_TORCH_INDEX, PUBLIC_BASE, Choices
from images.build.engine import Engine
from images.build.errors import ImageBuildError

VERSITYGW_VERSION = "v1.8.0"
_VERSITYGW = "github.com/versity/versitygw/cmd/versitygw"
_CPU_TORCH = re.compile(r"^torch-.+\+cpu-.+\.whl$")


@dataclass(frozen=True)
class Wishes:
    """The command line's options; None means "decide by what is there"."""

    base: str | None = None
    torch: str | None = None
    find_links: Path | None = None
    versitygw: Path | None = None


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Where heavy things that outlive a checkout are kept."""
    return Path(environment.get("KUBETUNE_CACHE") or Path.home() / ".cache/kubetune")


def find_wheels(wish: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The folder of wheels to offer to pip: the option, KUBETUNE_WHEELS or PIP_FIND_LINKS."""
    if wish and not wish.is_dir():
        raise ImageBuildError(f"--find-links {wish}: there is no such folder.")
    named = [environment.get("KUBETUNE_WHEELS"), environment.get("PIP_FIND_LINKS")]
    for folder in [wish, *(Path(name) for name in named if name)]:
        if folder and folder.is_dir() and any(folder.glob("*.whl")):
            return folder.resolve()
    return None


def torch_variant(wish: str | None, wheels: Path | None) -> str:
    """`cpu` where asked for or where the wheels hold the CPU build, else `cuda`."""
    if wish:
        return wish
    offered = wheels.iterdir() if wheels else ()
    return "cpu" if any(_CPU_TORCH.match(path.name) for path in offered) else "cuda"


def compiled_versitygw(environment: Mapping[str, str]) -> Path:
    """Where this tool keeps a versitygw that it compiled itself."""
    return cache_folder(environment) / "images" / f"versitygw-{VERSITYGW_VERSION}"


def find_versitygw(wish: Path | None, environment: Mapping[str, str]) -> Path | None:
    """A compiled versitygw, or None to compile it in the build."""
    if wish and not wish.is_file():
        raise ImageBuildError(f"--versitygw {wish}: there is no such file.")
    for path in (wish, cache_folder(environment) / "bin/versitygw", compiled_versitygw(environment)):
        if path and path.is_file():
            return path.resolve()
    return None


def _compile_versitygw(target: Path) -> Path:
    """Compile the object store with this machine's Go, for where Go's image cannot be fetched."""
    if shutil.which("go") is None:
        raise ImageBuildError(
            "The versitygw image is compiled with the image of Go, which cannot be fetched here. Install Go, or "
            "name a compiled versitygw with --versitygw FILE."
        )
    print(f"compiling versitygw {VERSITYGW_VERSION} with this machine's Go (a few minutes)", flush=True)
    with tempfile.TemporaryDirectory(prefix="kubetune-go-") as folder:
        line = ["go", "install", "-trimpath", "-ldflags", "-s -w", f"{_VERSITYGW}@{VERSITYGW_VERSION}"]
        environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": folder}
        if subprocess.run(line, env=environment, check=False).returncode != 0:
            raise ImageBuildError("Compiling versitygw failed; Go's message is above.")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(Path(folder, "versitygw"), target)
    return target


def base_image(wish: str | None, engine: Engine, *, provide: bool) -> str:
    """The base image: the one asked for, the public one if it can be had, else one made here.

    Without `provide` nothing is fetched or made: the answer is what an earlier build settled on.
    """
    if wish == "local":
        return rootfs.make(engine) if provide else rootfs.reference()
    if wish and wish != "public":
        return wish
    if wish == "public" or engine.exists(PUBLIC_BASE):
        return PUBLIC_BASE
    if engine.exists(rootfs.reference()):
        return rootfs.reference()
    if not provide or engine.pull(PUBLIC_BASE):
        return PUBLIC_BASE
    return rootfs.make(engine)


def choose(wishes: Wishes, engine: Engine, *, provide: bool = True) -> Choices:
    """Settle everything that differs between machines; `provide` as for `base_image`."""
    wheels = find_wheels(wishes.find_links, os.environ)
    variant = torch_variant(wishes.torch, wheels)
    has_cpu_torch = torch_variant(None, wheels) == "cpu"
    index = CPU_TORCH_INDEX if variant == "cpu" and not has_cpu_torch else ""
    base = base_image(wishes.base, engine, provide=provide)
    versitygw = find_versitygw(wishes.versitygw, os.environ)
    if provide and versitygw is None and base == rootfs.reference():
        versitygw = _compile_versitygw(compiled_versitygw(os.environ))
    return Choices(
        base_image=base,
        torch_variant=variant,
        torch_index_url=os.environ.get("KUBETUNE_TORCH_INDEX_URL", index),
        # pip would prefer the CPU wheel over the CUDA build it was told to take.
        wheels=None if variant == "cuda" and has_cpu_torch else wheels,
        versitygw=versitygw,
    )
