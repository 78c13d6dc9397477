"""What import contracts can't say (pyproject.toml, `make check`): sizes, weight, what travels."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from launcher.controller.agents.bundle import PACKAGES, SOURCES

ROOT = Path(__file__).parents[2]

HEAVY = {"torch", "numpy", "yaml", "paramiko", "rich", "ray", "psutil", "cloudpickle", "pynvml"}

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("launcher", "engine")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imported(module: str, *, inside_functions: bool = True) -> set[str]:
    """The modules that a module imports, ours and others', but not for type checkers only."""

    def visit(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not inside_functions:
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{module}: imports are absolute"
                names = [f"{child.module}.{alias.name}" for alias in child.names]
                yield from (n if n in MODULES else str(child.module) for n in names)
            yield from visit(child)

    return set(visit(ast.parse(MODULES[module].read_text(encoding="utf-8"))))


def top(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def in_a_fresh_process(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout.split()


def test_no_folder_is_crowded() -> None:
    """At most 10 entries a level (12 at the engine's top, for public paths), and 3 levels."""
    entries: dict[str, set[str]] = {}
    for module in MODULES:
        parts = module.split(".")
        for depth in range(1, len(parts)):
            entries.setdefault(".".join(parts[:depth]), set()).add(parts[depth])
    crowded = {
        package: sorted(names - {"__main__"})
        for package, names in entries.items()
        if len(names - {"__main__"}) > (12 if package == "engine" else 10)
    }
    deep = [package for package in entries if package.count(".") > 2]

    assert crowded == {}
    assert deep == []


def test_every_package_says_what_it_holds() -> None:
    """A newcomer reads a package's docstring first."""
    packages = [path for path in MODULES.values() if path.name == "__init__.py"]

    assert [p for p in packages if not ast.get_docstring(ast.parse(p.read_text()))] == []


def test_no_file_is_long() -> None:
    """What one reads at a time fits into 400 lines."""
    folders = ("launcher", "engine", "tests", "benchmarks", "examples")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    long = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in files}

    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def test_no_modules_import_each_other() -> None:
    """Within a folder as well: no cycle of module-level imports, between any two files."""
    graph = {}
    for module in MODULES:
        found = imported(module, inside_functions=False) & set(MODULES)
        graph[module] = found - {module}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", ["launcher", "launcher.cli.command", "launcher.report"])
def test_the_doors_are_light(module: str) -> None:
    """`plaunch --help`, and a rank that reports, wait for none of the heavy libraries."""
    loaded = in_a_fresh_process(f"import sys, {module}; print(*sys.modules)")

    assert HEAVY & set(loaded) == set()


@pytest.mark.parametrize("module", SOURCES)
def test_what_travels_to_a_node_needs_only_the_standard_library(module: str) -> None:
    """The agent's files import each other and the standard library; the rest is asked for late."""
    at_once = imported(module, inside_functions=False)
    foreign = {name for name in at_once if top(name) not in sys.stdlib_module_names}
    ours = {name for name in imported(module) if top(name) in ("launcher", "engine")}

    assert {name for name in foreign if top(name) != "launcher"} == set()
    assert ours <= {*SOURCES, *PACKAGES}


def test_all_of_the_agent_travels() -> None:
    """A file of the agent that is forgotten would be missing on the nodes only."""
    assert {m for m in MODULES if m.startswith("launcher.agent.")} <= {*SOURCES, *PACKAGES}


@pytest.mark.parametrize("base", [name for name in MODULES if name.endswith(".base")])
def test_a_familys_base_knows_none_of_the_family(base: str) -> None:
    """A member is added without touching the base."""
    family = base.removesuffix("base")

    assert [name for name in imported(base) if name.startswith(family)] == []


def test_both_packages_say_that_they_are_typed() -> None:
    """py.typed lies in each, and in what is installed."""
    assert all((ROOT / package / "py.typed").exists() for package in ("launcher", "engine"))
