"""Takes superseded images out of the store, so that it does not grow with every change."""

from collections.abc import Iterable, Sequence

from images.build.engine import Engine, StoredImage


def superseded(stored: Sequence[StoredImage], current: Iterable[str], *, keep: int) -> list[StoredImage]:
    """Images to remove: all but the current ones and the `keep` newest others of each name.

    `stored` is newest first. Children come before parents in the result, since a parent goes only
    when nothing stands on it.
    """
    wanted = set(current)
    others: dict[str, int] = {}
    found: list[StoredImage] = []
    for image in stored:
        if image.reference in wanted:
            continue
        name = image.reference.rpartition(":")[0]
        others[name] = others.get(name, 0) + 1
        if others[name] > keep:
            found.append(image)
    return found


def prune(engine: Engine, current: Iterable[str], *, keep: int) -> list[str]:
    """Remove superseded images and return their names."""
    names = [image.reference for image in superseded(engine.stored(), current, keep=keep)]
    engine.remove(names)
    return names
