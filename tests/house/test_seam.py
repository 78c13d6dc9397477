"""The seam between launcher and engine: names of environment variables, as torchrun sets them.

The names are written twice on purpose, once in each package, and compared here.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.controller.rendezvous import (
    NODE_NAMES,
    OUR_NAMES,
    TORCHRUN_NAMES,
    Rendezvous,
    default_env,
    rank_env,
)
from launcher.core.job import Node, Placement

ROOT = Path(__file__).parents[2]
TORCHRUN = Path(sys.executable).parent / "torchrun"
PROBE = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"
# Values that differ from run to run.
CHANGING = {"MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_ERROR_FILE"}
# What the shell and Python themselves may add.
NOT_OF_TORCHRUN = {"_", "LC_CTYPE"}


@pytest.fixture(scope="module")
def from_torchrun(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the installed torchrun adds to the environment of its one rank."""
    if not TORCHRUN.exists():
        pytest.skip("torchrun is not installed beside this interpreter")
    folder = tmp_path_factory.mktemp("torchrun")
    (folder / "probe.py").write_text(PROBE)
    # What of this is set here already, torchrun could not be seen to set.
    outer = {
        name: value
        for name, value in os.environ.items()
        if name not in (*TORCHRUN_NAMES, "OMP_NUM_THREADS")
        and not name.startswith(("TORCHELASTIC", "PLAUNCH"))
    }
    subprocess.run(
        [TORCHRUN, "--nproc-per-node", "1", "probe.py", "seen.json"],
        cwd=folder,
        env=outer,
        check=True,
        timeout=120,
    )
    seen = json.loads((folder / "seen.json").read_text())
    return {
        name: value
        for name, value in seen.items()
        if outer.get(name) != value and name not in NOT_OF_TORCHRUN
    }


@pytest.fixture
def from_plaunch() -> dict[str, str]:
    """What a rank of the same job gets here; what the node's agent adds has no value yet."""
    place = Placement(Node("n", "127.0.0.1"), node_rank=0, first_rank=0, num_ranks=1)
    meeting = Rendezvous(
        address="127.0.0.1",
        port=1,
        attempt=1,
        world_size=1,
        num_nodes=1,
        job_id="job",
        run_dir="/run",
        max_restarts=0,
    )
    env = dict.fromkeys(NODE_NAMES, "")
    return env | default_env(place, 2, None) | rank_env(meeting, place, 0)


def test_the_names_are_torchruns(from_torchrun: dict[str, str]) -> None:
    """The list in rendezvous.py is what the installed torchrun sets: no more, no less."""
    assert sorted(from_torchrun) == sorted(TORCHRUN_NAMES)


def test_a_rank_gets_all_of_them(from_plaunch: dict[str, str]) -> None:
    """Each of torchrun's names and of ours is really set."""
    assert {*TORCHRUN_NAMES, *OUR_NAMES} <= set(from_plaunch)


def test_the_values_are_torchruns(
    from_torchrun: dict[str, str], from_plaunch: dict[str, str]
) -> None:
    """For the same job of one rank, what doesn't change from run to run is equal.

    But the store: one rank hosts its own, so that groups that its children make meet, too.
    """
    same = set(TORCHRUN_NAMES) - CHANGING - {"TORCHELASTIC_USE_AGENT_STORE"}
    assert from_plaunch["TORCHELASTIC_USE_AGENT_STORE"] == "False"

    assert {n: from_plaunch[n] for n in same} == {n: from_torchrun[n] for n in same}


def test_the_engine_reads_nothing_else_of_the_seam() -> None:
    """Every such name in the engine's code is one that the launcher, and torchrun, set."""
    # A cluster environment of 1.x that is asked directly, and a word of data that divides itself.
    of_others = {"NODE_RANK", "OMPI_COMM_WORLD_RANK"}
    known = {*TORCHRUN_NAMES, *OUR_NAMES, *of_others}
    read = {
        text
        for path in (ROOT / "engine").rglob("*.py")
        for text in _texts(path)
        if _is_of_the_seam(text)
    }

    assert read <= known
    assert {"RANK", "LOCAL_RANK", "WORLD_SIZE", "PLAUNCH_SOCKET", "PLAUNCH_RUN_DIR"} <= read


def _texts(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def _is_of_the_seam(text: str) -> bool:
    words = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return (
        text.replace("_", "").isalnum()
        and text.isupper()
        and (text.startswith(("PLAUNCH_", "TORCHELASTIC_")) or text.endswith(words))
    )
