"""Torch's compiler is imported once a node where the ranks will want it, and nowhere else."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from launcher.agent.forkserver.needs_compiler import NEVER, UNLESS_ENGINE, wants_compiler
from tests.launcher.support.runs import Launcher


def wanted(folder: Path, *args: str, compat: str | None = None) -> str:
    return wants_compiler("script", "main.py", args, str(folder), b"", compat)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("import torch, torch.distributed as dist\ndist.init_process_group()", NEVER),
        ("from torch import optim", NEVER),
        ("from engine import Trainer\noptimizer = 1", UNLESS_ENGINE),
    ],
)
def test_a_script_says_what_it_wants(tmp_path: Path, text: str, when: str) -> None:
    """A program of the engine brings the compiler if the engine can't do without, others never."""
    (tmp_path / "main.py").write_text(text)

    assert wanted(tmp_path) == when


def test_what_a_script_imports_of_its_own_is_read_too(tmp_path: Path) -> None:
    """Modules and packages beside the script, relative imports in them, and a cycle."""
    (tmp_path / "main.py").write_text("import os\nfrom parts.loop import go\n")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("from . import loop\n")
    (tmp_path / "parts" / "loop.py").write_text("import main\nfrom .inner import step\n")
    inner = tmp_path / "parts" / "inner.py"
    inner.write_text("pass\n")
    (tmp_path / "unused.py").write_text("import engine\n")
    before = wanted(tmp_path)
    inner.write_text("import engine\n")

    assert (before, wanted(tmp_path)) == (NEVER, UNLESS_ENGINE)


def test_arguments_functions_modules_and_old_programs_are_told_apart(tmp_path: Path) -> None:
    """Each way to say what runs: words of the command line, a pickled function, -m, --compat."""
    (tmp_path / "main.py").write_text("import engine\n")
    pickled = pickle.dumps(["torch.optim.sgd", "SGD"])
    of_engine = pickle.dumps(["engine", "Trainer"])

    assert wanted(tmp_path, compat="pytorch_lightning") == UNLESS_ENGINE
    assert wants_compiler("function", "f", [], str(tmp_path), pickled, None) == NEVER
    assert wants_compiler("function", "f", [], str(tmp_path), of_engine, None) == UNLESS_ENGINE
    assert wants_compiler("function", "f", [], str(tmp_path), pickle.dumps(1), None) == NEVER
    assert wants_compiler("module", "main", [], str(tmp_path), b"", None) == UNLESS_ENGINE
    assert wants_compiler("module", "installed.one", [], str(tmp_path), b"", None) == NEVER


# A torch that the engine can't train on without the compiler, as the fork server asks for it.
NEEDS_IT = """
import sys, types
name = "engine.runtime.torch_internals.late_dynamo"
sys.modules[name] = types.SimpleNamespace(suffices=lambda: False)
"""
SEES = """
import os, sys  # in the place of: import engine
seen = ["torch._dynamo" in sys.modules, len(os.listdir("/proc/self/task"))]
import torch
layer = torch.nn.Linear(2, 2)
optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
layer(torch.ones(1, 2)).sum().backward()
optimizer.step()
import random, sympy.core.random
print("seen", *seen, random.random(), sympy.core.random.rng.random())
"""


def test_ranks_find_the_compiler_imported(plaunch: Launcher) -> None:
    """Where the engine needs it: one thread each, and random numbers of each rank's own."""
    plaunch.write("site/sitecustomize.py", NEEDS_IT)
    plaunch.write("main.py", SEES)
    done = plaunch("--procs", "2", "--env", "PYTHONPATH=site", "main.py").ok()
    rows = [row.split("seen ")[1].split() for row in done.out.splitlines() if "seen " in row]

    assert "cold" not in done.err
    assert [row[:2] for row in rows] == [["True", "1"]] * 2
    assert len({number for row in rows for number in row[2:]}) == 4


STARTS_A_THREAD = """
import sys, threading

class Late:
    def find_spec(self, name, path, target=None):
        if name == "torch._dynamo":
            threading.Thread(target=threading.Event().wait, daemon=True).start()

sys.meta_path.insert(0, Late())
"""


@pytest.mark.parametrize(
    ("file", "source"),
    [("site/sitecustomize.py", NEEDS_IT + STARTS_A_THREAD), ("pstats.py", "OWN = 1")],
)
def test_a_compiler_that_makes_forks_unsafe_is_left_to_the_ranks(
    plaunch: Launcher, file: str, source: str
) -> None:
    """If its import starts a thread or takes a name of the program's own: warm, without it."""
    plaunch.write("site/sitecustomize.py", NEEDS_IT)
    plaunch.write(file, source)
    plaunch.write("main.py", SEES)
    done = plaunch("--procs", "2", "--env", "PYTHONPATH=site", "main.py").ok()

    assert done.out.count("seen False 1 ") == 2
    assert "cold" not in done.err
