"""Command line: `python3 -m images.build VERB`."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from images.build import run, values
from images.build.catalog import IMAGES, ROOT
from images.build.choices import Wishes
from images.build.errors import ImageBuildError
from images.build.lock import lock_all
from images.build.session import KEPT, Session

_BUILDING = frozenset({"build", "export", "import", "import-k3s", "push", "run"})
_EPILOG = "Images: " + ", ".join(image.name for image in IMAGES)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m images.build",
        description="Build KubeTune's images and hand them to a cluster or a registry.",
        epilog=_EPILOG,
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--engine", choices=["docker", "podman", "buildah"])
    shared.add_argument("--base", help="'public', 'local' (made by mmdebstrap) or an image name")
    shared.add_argument("--torch", choices=["cpu", "cuda"], help="which build of torch; default: what the machine has")
    shared.add_argument(
        "--gpu", action=argparse.BooleanOptionalAction, help="serve on GPUs; default: where a GPU is found"
    )
    shared.add_argument("--find-links", type=Path, help="folder of wheels (or KUBETUNE_WHEELS)")
    shared.add_argument("--versitygw", type=Path, help="a compiled versitygw to put into its image")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("names", nargs="*", metavar="NAME", help="default: what this machine needs")
    verbs = parser.add_subparsers(dest="verb", required=True)
    build = verbs.add_parser("build", parents=[shared, named], help="build what is missing")
    build.add_argument("--keep", type=int, default=KEPT, help="superseded versions to keep of each")
    export = verbs.add_parser("export", parents=[shared, named], help="write one archive of images")
    export.add_argument("--output", type=Path, required=True, metavar="FILE")
    load = verbs.add_parser("import", parents=[shared, named], help="load into a containerd")
    load.add_argument("--ctr", default="ctr --namespace k8s.io", help="command that runs its ctr")
    k3s = verbs.add_parser("import-k3s", parents=[shared, named], help="load into this node's k3s")
    k3s.set_defaults(ctr="k3s ctr --namespace k8s.io")
    push = verbs.add_parser("push", parents=[shared], help="push to a registry")
    push.add_argument("registry", help="for example registry.home:5000 or ghcr.io/me")
    push.add_argument("names", nargs="*", metavar="NAME")
    inside = verbs.add_parser("run", parents=[shared], help="run a command in one image, as user 65532")
    inside.add_argument("names", nargs=1, metavar="NAME")
    inside.add_argument("--mount", action="append", default=[], metavar="SRC:DST[:rw]", help="read-only without :rw")
    inside.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    inside.add_argument("command", nargs="+", metavar="-- COMMAND")
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


def _build(session: Session, options: argparse.Namespace) -> None:
    for name in session.build(keep=options.keep).values():
        print(name)


def _export(session: Session, options: argparse.Namespace) -> None:
    session.export(options.output)
    print(options.output)


def _import(session: Session, options: argparse.Namespace) -> None:
    session.load(shlex.split(options.ctr))


def _inside(session: Session, options: argparse.Namespace) -> int:
    mounts = [run.parse_mount(text) for text in options.mount]
    environment = dict(run.parse_setting(text) for text in options.env)
    (reference,) = session.build().values()
    return run.run(session.engine, run.Command(reference, options.command, mounts, environment))


def _push(session: Session, options: argparse.Namespace) -> None:
    pushed = {}
    for name, local in session.build().items():
        pushed[name] = values.pushed_reference(local, options.registry)
        print(f"pushing {pushed[name]}", file=sys.stderr, flush=True)
        session.engine.push(local, pushed[name])
    print(values.render(pushed), end="")


def _values(session: Session, options: argparse.Namespace) -> None:
    found = session.references()
    if options.registry:
        found = {n: values.pushed_reference(local, options.registry) for n, local in found.items()}
    elif missing := [name for name in found.values() if not session.engine.exists(name)]:
        raise ImageBuildError(f"Not built yet: {', '.join(missing)}. Run `python3 -m images.build build` first.")
    text = values.render(found)
    if options.output:
        options.output.write_text(text)
    else:
        print(text, end="")


def _list(session: Session, _options: argparse.Namespace) -> None:
    for name in session.references().values():
        print(f"{'built  ' if session.engine.exists(name) else 'missing'} {name}")


def _prune(session: Session, options: argparse.Namespace) -> None:
    for name in session.prune(keep=options.keep, everything=options.all):
        print(f"removed {name}")


_VERBS: dict[str, Callable[[Session, argparse.Namespace], int | None]] = {
    "build": _build,
    "export": _export,
    "import": _import,
    "import-k3s": _import,
    "push": _push,
    "run": _inside,
    "values": _values,
    "list": _list,
    "prune": _prune,
}


def _run(options: argparse.Namespace) -> int:
    if options.verb == "lock":
        lock_all(ROOT, upgrade=options.upgrade)
        return 0
    session = Session.start(
        getattr(options, "names", ()),
        Wishes(options.base, options.torch, options.gpu, options.find_links, options.versitygw),
        options.engine,
        provide=options.verb in _BUILDING,
    )
    return _VERBS[options.verb](session, options) or 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    try:
        return _run(_parser().parse_args(arguments))
    except ImageBuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
