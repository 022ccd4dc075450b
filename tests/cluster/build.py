"""Builds the cluster's programs once, from their pinned Go modules and Debian packages.

Every program is stored under a key of what it is built from (``store/NAME-KEY``), and ``bin`` is a
folder of links to the programs of the current versions. So a changed version rebuilds only itself,
and an interrupted build goes on where it was.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from . import packages, preflight, slots
from .layout import cache_root
from .namespaces import ClusterError

COMPONENTS = Path(__file__).parent / "components"
KUBERNETES = "v1.36.3"
FORGET_SECONDS = 14 * 24 * 3600
_KUBE_VERSION = "k8s.io/component-base/version"
KUBE_FLAGS = f"-X {_KUBE_VERSION}.gitVersion={KUBERNETES} -X {_KUBE_VERSION}.gitMajor=1 -X {_KUBE_VERSION}.gitMinor=36"


@dataclass(frozen=True)
class Program:
    """A Go program: a package that a module in ``components`` has or requires, or one of a published version.

    The modules in ``components`` are there to compile less than the published programs do: fewer plugins, and the
    programs of one module share one version of each library.
    """

    name: str
    package: str
    version: str
    module: str | None = None
    links: tuple[str, ...] = ()
    tags: str = ""
    ld_flags: str = ""
    keeps_cache: bool = True
    """Whether what is compiled for it goes into Go's cache of this machine. Of one that shares no version of a library
    with the others nothing is used again, and it is removed."""

    @property
    def key(self) -> str:
        """Digest of everything that the program is made from."""
        digest = hashlib.sha256(repr((self.package, self.version, self.module, self.tags)).encode())
        digest.update(self.ld_flags.encode())
        if self.module:
            folder = COMPONENTS / self.module
            for source in sorted(path for path in folder.rglob("*") if path.is_file()):
                digest.update(str(source.relative_to(folder)).encode() + source.read_bytes())
        return digest.hexdigest()[:12]

    @property
    def command(self) -> tuple[str, ...]:
        """What builds it, without the output's place and the packages: programs that share it are built at once."""
        # -s -w leave debugging data out of the program; without -dwarf=false it would be compiled first.
        flags: tuple[str, ...] = ("-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false")
        flags += (f"-ldflags={' '.join(['-s', '-w', self.ld_flags]).strip()}", f"-tags={self.tags}")
        return ("go", "build" if self.module else "install", *flags)

    @property
    def source(self) -> str:
        """Programs of one source and one ``command`` can be built at once."""
        return self.module or f"{self.package.partition('/cmd/')[0]}@{self.version}"


_CONTAINERD = "github.com/containerd/containerd/v2/cmd/"
_CONTAINERD_TAGS = "no_btrfs,no_devmapper,no_zfs"

KUBE = Program(
    "kube",
    ".",
    KUBERNETES,
    "kube",
    links=(
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kube-proxy",
        "local-path-provisioner",
    ),
    ld_flags=KUBE_FLAGS,
)
KUBECTL = Program("kubectl", "k8s.io/kubernetes/cmd/kubectl", KUBERNETES, "kube", ld_flags=KUBE_FLAGS)
VERSITYGW = Program("versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0")
HELM = Program("helm", "helm.sh/helm/v4/cmd/helm", "v4.2.4", "kube", ld_flags=KUBE_FLAGS)
KUBECONFORM = Program("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform", "v0.8.0")
COREDNS = Program("coredns", "./coredns", "v1.14.7", "kube", ld_flags=KUBE_FLAGS)
PAUSE = Program("pause", ".", "1", "pause")
CONTAINERD = tuple(
    Program(name, _CONTAINERD + name, "v2.4.2", tags=_CONTAINERD_TAGS)
    for name in ("containerd", "containerd-shim-runc-v2", "ctr")
)
KUEUE = Program(
    "kueue",
    "sigs.k8s.io/kueue/cmd/kueue",
    "v0.15.2",
    "kueue",
    ld_flags="-X sigs.k8s.io/kueue/pkg/version.GitVersion=v0.15.2",
    keeps_cache=False,
)

GROUPS: dict[str, tuple[Program, ...]] = {
    "control-plane": (KUBECTL, KUBE),
    "tools": (VERSITYGW, HELM, KUBECONFORM),
    "node": (*CONTAINERD, PAUSE, COREDNS),
    "kueue": (KUEUE,),
}
EVERYTHING = tuple(program for group in GROUPS.values() for program in group)
USUAL = tuple(program for program in EVERYTHING if program is not KUEUE)
"""What is built unless a group is named: Kueue takes minutes, and few tests need it."""

Say = Callable[[str], None]


def needed(control_plane: bool) -> tuple[Program, ...]:
    """Programs that a cluster of this mode needs."""
    return GROUPS["control-plane"] + (() if control_plane else GROUPS["node"])


def stored(program: Program) -> Path:
    """Where the program is, or will be, in the cache."""
    return cache_root() / "store" / f"{program.name}-{program.key}"


def build(wanted: Iterable[Program], say: Say) -> None:
    """Install missing packages, build missing programs, and link ``bin`` to what is there.

    Raises ClusterError before anything is changed if this machine cannot do it.
    """
    wanted = tuple(wanted)
    preflight.check(bool(_missing(wanted)), absent_packages(wanted))
    with slots.held(cache_root() / "build.lock", lambda: say("waiting for another build to end")):
        packages.install(absent_packages(wanted), say)
        fetch_etcd(say)
        _compile_all(_missing(wanted), say)
        link()


def _missing(programs: Iterable[Program]) -> list[Program]:
    return [program for program in programs if not stored(program).exists()]


def _compile_all(todo: Iterable[Program], say: Say) -> None:
    """Build what one command can build at once; two commands at a time, as downloading and linking leave cores idle."""
    parts: defaultdict[tuple[str, ...], list[Program]] = defaultdict(list)
    for program in todo:
        parts[program.source, *program.command].append(program)
    with ThreadPoolExecutor(max_workers=2) as pool:
        futures = [pool.submit(_compile_part, part, say) for part in parts.values()]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _compile_part(programs: Sequence[Program], say: Say) -> None:
    started = time.monotonic()
    names = ", ".join(f"{program.name} {program.version}" for program in programs)
    say(f"building {names} ...")
    _compile(programs)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    say(f"built {names} in {minutes}m{seconds:02d}s")


def link() -> None:
    """Point ``bin`` at the stored programs of the current versions, in one step."""
    root = cache_root()
    stored_now = [p for p in EVERYTHING if stored(p).exists()]
    names = [f"{p.name}-{p.key}" for p in stored_now] + [str(etcd_stored().exists())]
    digest = hashlib.sha256(" ".join(names).encode())
    folder = root / f"bin-{digest.hexdigest()[:12]}"
    if not folder.exists():
        made = Path(tempfile.mkdtemp(prefix="bin-new-", dir=root))
        made.chmod(0o755)
        if etcd_stored().exists():
            (made / "etcd").symlink_to("../store/etcd/usr/bin/etcd")
        for program in stored_now:
            (made / program.name).symlink_to(f"../store/{stored(program).name}")
            for name in program.links:
                (made / name).symlink_to(program.name)
        try:
            made.rename(folder)
        except OSError:
            # Another build made the same folder in the meantime.
            shutil.rmtree(made)
    current = root / f"bin-link-{os.getpid()}"
    current.unlink(missing_ok=True)
    current.symlink_to(folder.name)
    current.replace(root / "bin")
    _forget(root, folder, stored_now)


def _forget(root: Path, current: Path, used: Iterable[Program]) -> None:
    """Remove old folders of links, and stored programs that no checkout has used for long."""
    for program in used:
        os.utime(stored(program))
    for folder in root.glob("bin-*"):
        if folder != current and re.fullmatch(r"bin-[0-9a-f]{12}", folder.name):
            shutil.rmtree(folder, ignore_errors=True)
    for place in (root / "store").glob("*-*"):
        if place.is_file() and time.time() - place.stat().st_mtime > FORGET_SECONDS:
            place.unlink(missing_ok=True)


def absent_packages(programs: Iterable[Program]) -> list[str]:
    """Debian packages that the programs' cluster needs and that this machine lacks."""
    return packages.absent(node=any(program in CONTAINERD for program in programs))


def etcd_stored() -> Path:
    """Where etcd is when it came from its package without being installed."""
    return cache_root() / "store" / "etcd" / "usr" / "bin" / "etcd"


def fetch_etcd(say: Say) -> None:
    """Take etcd out of its Debian package, unless the machine has it.

    Installed, the package would start an etcd of its own on the machine.
    """
    if shutil.which("etcd") or etcd_stored().exists():
        return
    say("fetching Debian package: etcd-server ...")
    store = cache_root() / "store"
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=store) as folder:
        fetch = ["apt-get", "download", "--quiet", "etcd-server"]
        for command in (fetch, ["apt-get", "update", "--quiet"], fetch):
            done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
            if command is fetch and done.returncode == 0:
                break
        package = next(Path(folder).glob("*.deb"), None)
        if package is None:
            raise ClusterError(
                f"apt-get could not fetch etcd-server: {done.stderr.strip()[-500:]}; "
                "put etcd 3.4 or newer on the PATH and run the command again"
            )
        subprocess.run(["dpkg-deb", "--extract", package, f"{folder}/etcd"], check=True)
        Path(folder, "etcd").rename(store / "etcd")


def _compile(programs: Sequence[Program]) -> None:
    """Build programs of one source next to their place in the store and move them there when they are whole."""
    first = programs[0]
    target = stored(first).parent
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=target) as folder:
        # The compiler is a short process for each package; collecting its garbage often takes a tenth of its time.
        env = {**os.environ, "CGO_ENABLED": "0", "GOGC": "400", "GOBIN": folder}
        if first.module:
            command = [*first.command, "-o", f"{folder}/", *(program.package for program in programs)]
        else:
            command = [*first.command, *(f"{program.package}@{program.version}" for program in programs)]
        if not first.keeps_cache:
            env["GOCACHE"] = f"{folder}/cache"
        source = COMPONENTS / first.module if first.module else Path(folder)
        done = subprocess.run(command, env=env, cwd=source, check=False, capture_output=True, text=True)
        if done.returncode:
            raise ClusterError(
                f"building {', '.join(p.name for p in programs)} failed: {done.stderr.strip()[-2000:]}\n"
                "run the command again once the cause is gone; what is built stays"
            )
        for program in programs:
            Path(folder, program.name).rename(stored(program))
