"""What the README and the docs say is true: every command in them runs, every link leads there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BIN = Path(sys.executable).parent
DEADLINE_S = 120
DEMO = "--nodes 2 --procs 2 examples/digits.py"


def blocks(language: str, page: str = README) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.M | re.S)


PROGRAMS = [*blocks("python"), *blocks("python", (ROOT / "docs" / "launcher.md").read_text())]


def commands() -> list[str]:
    """Every plaunch and make command of the README, without its comment."""
    lines = [
        line.partition("#")[0].removeprefix("$ ").strip()
        for block in blocks("")
        for line in block.splitlines()
    ]
    lines = [line for line in lines if not line.startswith("plaunch: ")]
    return [line for line in dict.fromkeys(lines) if line.startswith(("plaunch ", "make "))]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder in which the README's commands find what they name."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "train.py").write_text(
        "import torch.distributed as dist\n"
        "dist.init_process_group('gloo')\n"
        "print('world', dist.get_world_size())\n"
        "dist.barrier()\n"  # gloo takes a rank that leaves before all have met for a crash
        "dist.destroy_process_group()\n"
    )
    return tmp_path


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a person would type it."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def local_commands() -> list[str]:
    """Those that need no hosts and no build. Those on hosts run in tests/clusters."""
    elsewhere = ("--hosts", "--cluster slurm", "--cluster ray", DEMO)
    here = [c for c in commands() if c.startswith("plaunch")]
    return [c for c in here if "--dry-run" in c or not any(word in c for word in elsewhere)]


def test_the_readme_has_commands() -> None:
    """The README's blocks are read as blocks of commands."""
    assert {"make demo", "make test", "plaunch nodes"} <= set(commands())


@pytest.mark.parametrize("command", local_commands())
def test_a_command_of_the_readme_runs(command: str, project: Path) -> None:
    """A command of the README ends with success where it can run on one machine."""
    done = run(command, project)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_of_the_pages_runs(number: int, project: Path) -> None:
    """A Python block of the README or the launcher's page is a whole program that succeeds."""
    (project / "block.py").write_text(PROGRAMS[number])

    done = run("python block.py", project)

    assert done.returncode == 0, done.stderr


def test_every_command_of_the_makefile_that_the_readme_names_exists() -> None:
    """`make demo` and its like in the README are targets of the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"make ([a-z-]+)", README))

    assert named == {name for name in named if re.search(rf"^{name}:", makefile, flags=re.M)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file or folder that is there."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_option_is_documented_in_help() -> None:
    """`plaunch --help` has words for every option, and the launcher's page names the main ones."""
    from launcher.cli.options import run_parser

    undocumented = [
        action.option_strings
        for action in run_parser()._actions
        if action.option_strings and not action.help
    ]

    assert undocumented == []


def arguments_table() -> str:
    """The Trainer's arguments as a table, from the table that the Trainer itself reads."""
    from engine.compat.arguments import OLD
    from engine.trainer.options import SHOWN

    rows = ["| argument | default | meaning | since |", "|---|---|---|---|"]
    for row in SHOWN:
        rows.append(f"| `{row.name}` | `{row.default!r}` | {row.meaning} | {row.since} |")
    rows += ["", "Spellings of 1.x:", "", "| argument | is now | since |", "|---|---|---|"]
    rows += [f"| `{row.name}` | {row.meaning} | {row.since} |" for row in OLD]
    return "\n".join(rows)


def test_the_figures_in_the_readme_are_those_that_were_measured() -> None:
    """The README quotes the table that the last `make bench` wrote, with the misses."""
    results = (ROOT / "benchmarks/RESULTS.md").read_text()
    measured = "\n".join(line for line in results.splitlines() if line.startswith("|"))
    quoted = README.partition("<!-- bench -->\n")[2].partition("<!-- /bench -->")[0]

    assert quoted.strip() == measured


def test_the_arguments_in_the_docs_are_those_of_the_trainer() -> None:
    """The table in docs/engine.md is what the table of arguments says; write it anew if not."""
    page = ROOT / "docs/engine.md"
    before, _, rest = page.read_text().partition("<!-- arguments -->\n")
    shown, _, after = rest.partition("<!-- /arguments -->")
    if os.environ.get("PLAUNCH_WRITE_DOCS"):
        text = f"{before}<!-- arguments -->\n{arguments_table()}\n<!-- /arguments -->{after}"
        page.write_text(text)
        return

    assert shown.strip() == arguments_table()


def test_the_demo_trains_and_says_so(project: Path) -> None:
    """The demo's command reaches a test accuracy of 0.95 over 4 ranks and writes its result."""
    assert f"plaunch {DEMO}" in (ROOT / "Makefile").read_text().replace("$(BIN)/", "")

    done = run(f"plaunch --result result.json {DEMO}", project)

    assert done.returncode == 0, done.stderr
    result = json.loads((project / "result.json").read_text())
    assert (result["state"], result["world_size"], len(result["nodes"])) == ("succeeded", 4, 2)
    assert result["ranks"][0]["value"]["test_acc"] >= 0.95
    assert Path(result["ranks"][0]["value"]["engine"]["best_model_path"]).exists()
