"""Private members of the libraries are touched in one module, which an upgrade of them has to read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import kubetune_trainer

ROOM = Path(kubetune_trainer.__file__).parent
MODULES = sorted(path for path in ROOM.rglob("*.py") if path.name != "internals.py")


def foreign(source: str) -> list[str]:
    """Accesses to a private member that the source itself does not define, with their lines."""
    tree = ast.parse(source)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    own |= {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }
    own |= {
        node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and node.attr not in own
        and ast.unparse(node) != "os._exit"
    ]


@pytest.mark.parametrize("path", MODULES, ids=[path.relative_to(ROOM).as_posix() for path in MODULES])
def test_no_module_but_one_touches_what_is_private(path: Path) -> None:
    assert foreign(path.read_text(encoding="utf-8")) == []


def test_what_is_private_is_seen() -> None:
    """The module itself has what the others must not have."""
    assert foreign("trainer._tr_loss.item()") == ["1: trainer._tr_loss"]
    assert foreign("class A:\n    def _own(self):\n        self._own(self._x)") == ["3: self._x"]
    assert len(foreign((ROOM / "internals.py").read_text(encoding="utf-8"))) > 8
