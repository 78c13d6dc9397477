"""What the packages export is what they say they export."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXPORTING = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("launcher", "engine")
    for path in (ROOT / package).rglob("*.py")
    if "\n__all__" in path.read_text(encoding="utf-8")
)


def test_both_packages_export_names() -> None:
    """The public names are written down."""
    assert {"launcher", "engine"} <= set(EXPORTING)


@pytest.mark.parametrize("name", EXPORTING)
def test_all_is_sorted_and_has_nothing_twice(name: str) -> None:
    """A reader finds a name where the alphabet puts it."""
    exported = importlib.import_module(name).__all__

    assert list(exported) == sorted(set(exported))


@pytest.mark.parametrize("name", EXPORTING)
def test_every_exported_name_is_there(name: str) -> None:
    """Also those that are loaded when they are first used."""
    module = importlib.import_module(name)

    assert [word for word in module.__all__ if not hasattr(module, word)] == []


@pytest.mark.parametrize("name", [n for n in EXPORTING if n in ("launcher", "engine")])
def test_a_package_exports_all_it_offers(name: str) -> None:
    """No public name comes in by the door without being on the list, and the list isn't longer."""
    module = importlib.import_module(name)
    offered = _imported_by(Path(str(module.__file__)))

    assert sorted(offered) == list(module.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Lazy doors answer like any module."""
    for name in ("launcher", "engine"):
        with pytest.raises(AttributeError, match="nothing_of_that_name"):
            _ = importlib.import_module(name).nothing_of_that_name


def test_star_imports_bring_the_exported_names() -> None:
    """`from launcher import *` gives what __all__ says."""
    for name in ("launcher", "engine"):
        scope: dict[str, object] = {}
        exec(f"from {name} import *", scope)

        assert sorted(set(scope) - {"__builtins__"}) == list(importlib.import_module(name).__all__)


def _imported_by(path: Path) -> set[str]:
    """The public names that an __init__ imports from its package, also for type checkers."""
    package = path.parent.name
    return {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(package + ".")
        for alias in node.names
        if not (alias.asname or alias.name).startswith("_")
    }
