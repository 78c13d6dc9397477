"""Which test shows which row of the Lightning API that engine owes (tests/docs/rows.tsv).

A test says so itself: its docstring begins with the rows that it would fail without, such as
``S016, S036: once for each optimizer`` or ``S047-S066: ...``.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
_ROW = r"[SC]\d+(?:-[SC]\d+)?"
_NAMED = re.compile(rf"({_ROW}(?:, {_ROW})*):\s")


@dataclass(frozen=True)
class Shown:
    """A test that shows a row, and whether some machines can't run it."""

    test: str
    can_be_skipped: bool


def rows() -> dict[str, str]:
    """What each row says."""
    lines = Path(__file__).with_name("rows.tsv").read_text().splitlines()
    return {number: text for number, _, text in (line.partition("\t") for line in lines)}


@functools.cache
def shown() -> dict[str, list[Shown]]:
    """The tests of each row. Raises ValueError for a row that there is not."""
    found: dict[str, list[Shown]] = {row: [] for row in rows()}
    for path in sorted(TESTS.rglob("test_*.py")):
        module = ast.parse(path.read_text())
        file = path.relative_to(TESTS.parent).as_posix()
        whole = "pytestmark" in ast.dump(module) and "skipif" in _marks(module.body)
        for name, test in _tests(module):
            for row in _named(ast.get_docstring(test) or ""):
                if row not in found:
                    raise ValueError(f"{file}::{name} names {row}, which is no row")
                skips = whole or "skipif" in _marks(test.decorator_list) or _imports_or_skips(test)
                found[row].append(Shown(f"{file}::{name}", skips))
    return found


def table() -> str:
    """The page of the docs."""
    tests = shown()
    lines = [
        "# What of Lightning works, and which test shows it",
        "",
        "The API of PyTorch Lightning 1.0 to 1.5 that `engine` owes its users, row by row (S),",
        "and what was decided where those versions contradict each other (C). It is made from the",
        "tests: each names the rows that it would fail without. `holds` is a row that such a test",
        "shows wherever the tests run; `needs more` one that is shown only where there is a GPU or",
        "some package.",
        "",
        "| row | what | status | shown by |",
        "|---|---|---|---|",
    ]
    for row, text in rows().items():
        by = tests[row]
        status = "gap" if not by else "needs more" if all(t.can_be_skipped for t in by) else "holds"
        names = "<br>".join(f"`{one.test.removeprefix('tests/')}`" for one in by)
        lines.append(f"| {row} | {text.replace('|', chr(92) + '|')} | {status} | {names} |")
    return "\n".join(lines) + "\n"


def _tests(module: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in module.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        for one in inside:
            if isinstance(one, ast.FunctionDef) and one.name.startswith("test_"):
                name = one.name if one is node else f"{getattr(node, 'name', '')}::{one.name}"
                yield name, one


def _named(docstring: str) -> Iterator[str]:
    """The rows at the beginning of a docstring; ``S047-S049`` means all three."""
    start = _NAMED.match(" ".join(docstring.split()))
    for word in start[1].split(", ") if start else ():
        first, _, last = word.partition("-")
        numbers = range(int(first[1:]), int((last or first)[1:]) + 1)
        width = 3 if first[0] == "S" else 0
        yield from (f"{first[0]}{number:0{width}d}" for number in numbers)


def _marks(nodes: list[ast.stmt] | list[ast.expr]) -> str:
    return " ".join(ast.dump(node) for node in nodes if not isinstance(node, ast.FunctionDef))


def _imports_or_skips(test: ast.FunctionDef) -> bool:
    calls = [ast.unparse(node.func) for node in ast.walk(test) if isinstance(node, ast.Call)]
    return any(call.endswith(("importorskip", "pytest.skip")) for call in calls)
