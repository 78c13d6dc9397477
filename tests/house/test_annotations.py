"""How often annotations of the engine say `Any`: less and less often."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[2] / "engine"

# To be lowered with each name that takes the place of `Any`, and never to be raised.
MOST = {"callbacks": 103, "loggers": 92, "profilers": 22, "strategies": 61, "runtime": 356}
MOST_OF_ALL = 1959


def annotations(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            of = node.args
            every = [*of.posonlyargs, *of.args, *of.kwonlyargs, of.vararg, of.kwarg]
            yield from (one.annotation for one in every if one and one.annotation)
            yield from (node.returns,) if node.returns else ()
        elif isinstance(node, ast.AnnAssign):
            yield node.annotation


def any_in(folder: Path) -> int:
    """How many times annotations below a folder have `Any` in them."""
    return sum(
        isinstance(part, ast.Name) and part.id == "Any"
        for path in folder.rglob("*.py")
        for annotation in annotations(ast.parse(path.read_text(encoding="utf-8")))
        for part in ast.walk(annotation)
    )


@pytest.mark.parametrize("package", MOST)
def test_a_package_says_any_no_more_often_than_before(package: str) -> None:
    assert any_in(ENGINE / package) <= MOST[package]


def test_the_engine_says_any_no_more_often_than_before() -> None:
    assert any_in(ENGINE) <= MOST_OF_ALL
