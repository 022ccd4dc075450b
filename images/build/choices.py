"""Settles what differs from machine to machine: a base image, a build of torch, a server, a compiled object store."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from images.build import rootfs, surroundings
from images.build.builder import reference
from images.build.catalog import CPU_TORCH_INDEX, PUBLIC_BASE, ROOT, Choices, ground
from images.build.digest import tags
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
    gpu: bool | None = None
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


def has_cpu_torch(wheels: Path | None) -> bool:
    """Whether the folder holds torch's CPU build."""
    return wheels is not None and any(_CPU_TORCH.match(path.name) for path in wheels.iterdir())


@dataclass(frozen=True)
class Facts:
    """What decides about torch and the server. `built` and `index_answers` are asked only where it matters."""

    gpu: tuple[bool, str]
    """Whether there is a GPU, and the words that say where, or that there is none."""
    has_wheel: bool
    built: Callable[[str], bool]
    index_answers: Callable[[], bool]


@dataclass(frozen=True)
class Settled:
    """The build of torch, which server, and the one line that says why."""

    torch: str
    gpu: bool
    from_index: bool
    why: str


_PYPI = "PyPI's build, which brings CUDA's libraries along"


def settle(wishes: Wishes, facts: Facts) -> Settled:
    """Decide by what is asked for, then by what the machine has.

    With a GPU torch is PyPI's build. Without one it is the CPU build, where that can be had: from the folder of wheels
    that is named, or from PyTorch's index when it answers; else PyPI's build, which runs on a CPU as well. What was
    built before is kept, so that an index that comes and goes rebuilds nothing.
    """
    gpu, reason = facts.gpu
    if wishes.gpu is not None:
        gpu, reason = wishes.gpu, "--gpu" if wishes.gpu else "--no-gpu"

    def settled(torch: str, words: str, *, from_index: bool = False) -> Settled:
        return Settled(torch, gpu, from_index, f"torch is {words}; {reason}")

    if wishes.torch == "cuda" or (gpu and wishes.torch is None):
        return settled("cuda", _PYPI)
    if facts.has_wheel:
        return settled("cpu", "the CPU build from the folder of wheels")
    if wishes.torch == "cpu" or facts.built("cpu"):
        return settled("cpu", "the CPU build", from_index=True)
    if facts.built("cuda"):
        return settled("cuda", f"{_PYPI} (built here before)")
    if facts.index_answers():
        return settled("cpu", "the CPU build from PyTorch's index", from_index=True)
    return settled("cuda", f"{_PYPI} (PyTorch's index of CPU builds does not answer)")


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


def choose(wishes: Wishes, engine: Engine, names: Sequence[str] = (), *, provide: bool = True) -> Choices:
    """Settle everything that differs between machines, for the images named or all; `provide` as for `base_image`."""
    wheels = find_wheels(wishes.find_links, os.environ)
    base = base_image(wishes.base, engine, provide=provide)
    index = os.environ.get("KUBETUNE_TORCH_INDEX_URL", CPU_TORCH_INDEX)

    def built(variant: str) -> bool:
        steps = ground("torch", Choices(base_image=base, torch_variant=variant))
        return engine.exists(reference("torch", tags(ROOT, steps)["torch"]))

    settled = settle(
        wishes,
        Facts(
            gpu=surroundings.look(),
            has_wheel=has_cpu_torch(wheels),
            built=built,
            index_answers=lambda: provide and surroundings.index_answers(index),
        ),
    )
    versitygw = find_versitygw(wishes.versitygw, os.environ)
    is_wanted = not names or "versitygw" in names
    if provide and is_wanted and versitygw is None and base == rootfs.reference():
        versitygw = _compile_versitygw(compiled_versitygw(os.environ))
    return Choices(
        base_image=base,
        gpu=settled.gpu,
        torch_variant=settled.torch,
        torch_index_url=index if settled.from_index else "",
        # pip would prefer the CPU wheel over the CUDA build it was told to take.
        wheels=None if settled.torch == "cuda" and has_cpu_torch(wheels) else wheels,
        versitygw=versitygw,
        why=settled.why,
    )
