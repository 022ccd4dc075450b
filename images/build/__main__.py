"""Command line: `python3 -m images.build VERB`."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from images.build import rootfs, transfer, values
from images.build.builder import build_all, only_one, reference, references
from images.build.catalog import IMAGES, Choices, Image, plan, select
from images.build.choices import Wishes, cache_folder, choose
from images.build.digest import tags
from images.build.engine import Engine, detect
from images.build.errors import ImageBuildError
from images.build.lock import lock_all
from images.build.prune import prune

ROOT = Path(__file__).resolve().parents[2]
_BUILDING = frozenset({"build", "export", "import", "import-k3s", "push"})
_NAMES = ", ".join(image.name for image in IMAGES)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m images.build",
        description=f"Build KubeTune's images and hand them to a cluster or a registry. The images: {_NAMES}.",
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--engine", choices=["docker", "podman", "buildah"])
    shared.add_argument("--base", help="'public', 'local' (made by mmdebstrap) or an image name")
    shared.add_argument("--torch", choices=["cpu", "cuda"], help="which build of torch")
    shared.add_argument("--find-links", type=Path, help="folder of wheels (or KUBETUNE_WHEELS)")
    shared.add_argument("--versitygw", type=Path, help="a compiled versitygw to put into its image")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("names", nargs="*", metavar="NAME", help="all that this machine needs if none")
    verbs = parser.add_subparsers(dest="verb", required=True)
    build = verbs.add_parser("build", parents=[shared, named], help="build what is missing")
    build.add_argument("--keep", type=int, default=1, help="superseded versions to keep of each")
    export = verbs.add_parser("export", parents=[shared, named], help="write one archive of images")
    export.add_argument("--output", type=Path, required=True, metavar="FILE")
    load = verbs.add_parser("import", parents=[shared, named], help="load into a containerd")
    load.add_argument("--ctr", default="ctr --namespace k8s.io", help="command that runs its ctr")
    verbs.add_parser("import-k3s", parents=[shared, named], help="load into this machine's k3s")
    push = verbs.add_parser("push", parents=[shared], help="push to a registry")
    push.add_argument("registry", help="for example registry.home:5000 or ghcr.io/me")
    push.add_argument("names", nargs="*", metavar="NAME")
    show = verbs.add_parser("values", parents=[shared, named], help="print the chart's values")
    show.add_argument("--registry", help="the registry pushed to; local names if not given")
    show.add_argument("--output", type=Path, metavar="FILE")
    verbs.add_parser("list", parents=[shared, named], help="print references and what is built")
    remove = verbs.add_parser("prune", parents=[shared], help="remove superseded images")
    remove.add_argument("--keep", type=int, default=0)
    remove.add_argument("--all", action="store_true", help="remove the current ones too")
    lock = verbs.add_parser("lock", help="pin the images' Python packages again")
    lock.add_argument("--upgrade", action="store_true", help="take newer versions where allowed")
    return parser


class _Session:
    """What every verb but `lock` needs: the engine, the choices, the images asked for."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.engine: Engine = detect(options.engine)
        wishes = Wishes(options.base, options.torch, options.find_links, options.versitygw)
        self.choices: Choices = choose(wishes, self.engine, provide=options.verb in _BUILDING)
        self.images: Sequence[Image] = select(getattr(options, "names", ()), self.choices)

    def built(self) -> dict[str, str]:
        """References of the images, after building those that are missing."""
        return build_all(self.engine, ROOT, self.images, self.choices)

    def current(self) -> set[str]:
        """Everything a build of all images with these choices leaves in the store."""
        steps = plan(IMAGES, self.choices)
        names = {reference(name, tag) for name, tag in tags(ROOT, steps).items()}
        return names | {rootfs.reference()}


def _build(session: _Session) -> None:
    for name in session.built().values():
        print(name)
    _report_pruned(prune(session.engine, session.current(), keep=session.options.keep))


def _report_pruned(names: Sequence[str]) -> None:
    for name in names:
        print(f"removed {name}")


def _export(session: _Session) -> None:
    built = session.built()
    transfer.export(session.engine, list(built.values()), session.options.output)
    print(session.options.output)


def _import(session: _Session) -> None:
    command = getattr(session.options, "ctr", "k3s ctr --namespace k8s.io")
    transfer.load(session.engine, list(session.built().values()), command.split())


def _push(session: _Session) -> None:
    pushed = {}
    for name, local in session.built().items():
        pushed[name] = values.pushed_reference(local, session.options.registry)
        print(f"pushing {pushed[name]}", flush=True)
        session.engine.push(local, pushed[name])
    print(values.render(pushed), end="")


def _values(session: _Session) -> None:
    found = references(ROOT, session.images, session.choices)
    if registry := session.options.registry:
        found = {name: values.pushed_reference(local, registry) for name, local in found.items()}
    elif missing := [name for name in found.values() if not session.engine.exists(name)]:
        raise ImageBuildError(f"Not built yet: {', '.join(missing)}. Run `python3 -m images.build build` first.")
    text = values.render(found)
    if session.options.output:
        session.options.output.write_text(text)
    else:
        print(text, end="")


def _list(session: _Session) -> None:
    for name in references(ROOT, session.images, session.choices).values():
        print(f"{'built  ' if session.engine.exists(name) else 'missing'} {name}")


def _prune(session: _Session) -> None:
    current = set() if session.options.all else session.current()
    _report_pruned(prune(session.engine, current, keep=session.options.keep))


_VERBS: dict[str, Callable[[_Session], None]] = {
    "build": _build,
    "export": _export,
    "import": _import,
    "import-k3s": _import,
    "push": _push,
    "values": _values,
    "list": _list,
    "prune": _prune,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.verb == "lock":
            lock_all(ROOT, upgrade=options.upgrade)
            return 0
        with only_one(cache_folder(os.environ)):
            _VERBS[options.verb](_Session(options))
    except ImageBuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
