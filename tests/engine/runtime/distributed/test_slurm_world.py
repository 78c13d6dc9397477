"""Tasks that srun started: from SLURM's variables to torchrun's."""

from __future__ import annotations

import pytest

from engine.runtime.distributed.slurm_env import (
    FIRST_PORT,
    first_host,
    port_of,
    tasks_per_node,
    torchrun_variables,
)
from engine.runtime.distributed.world import World, read_world
from tests.engine.strategies.test_strategies import TASK


def test_a_task_of_several_has_its_place():
    """Rank, node and sizes from the step, the first node as address, a port of the step's own."""
    assert read_world(TASK) == World(3, 1, 4, 2, 1, launched=True)
    found = torchrun_variables(TASK)
    assert found["MASTER_ADDR"] == "gpu03"
    assert found["MASTER_PORT"] == str(port_of(TASK))
    assert port_of(TASK) != port_of({**TASK, "SLURM_STEP_ID": "1"})
    assert FIRST_PORT <= port_of({**TASK, "SLURM_JOB_ID": "4294967200"}) < 32768
    mine = torchrun_variables({**TASK, "MASTER_ADDR": "ib0-gpu03", "MASTER_PORT": "29400"})
    assert (mine["MASTER_ADDR"], mine["MASTER_PORT"]) == ("ib0-gpu03", "29400")


@pytest.mark.parametrize(
    "change",
    [
        {"SLURM_STEP_ID": None},  # a batch script, or the shell of salloc
        {"SLURM_STEP_ID": "4294967291"},  # the batch script of newer ones
        {"SLURM_STEP_ID": "4294967290"},  # an interactive step
        {"SLURM_STEP_NUM_TASKS": "1"},
        {"SLURM_STEP_NUM_TASKS": None},
        {"SLURM_PROCID": "x"},
        {"SLURM_PTY_PORT": "38000"},  # the shell of `srun --pty bash`
    ],
)
def test_what_srun_did_not_start_is_alone(change):
    """Though it has a rank and a number of tasks in its environment."""
    env = {**TASK, **change}
    env = {name: value for name, value in env.items() if value is not None}
    assert torchrun_variables(env) == {}
    assert read_world(env) == World()


def test_a_step_within_a_shell_of_srun_counts():
    """And torchrun's own variables count more than SLURM's."""
    assert read_world({**TASK, "SLURM_PTY_PORT": "38000", "SLURM_STEP_ID": "2"}).world_size == 4
    torchrun = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    assert read_world({**TASK, **torchrun}).world_size == 2
    assert torchrun_variables({**TASK, **torchrun}) == {}


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu[01-03,7],login2", "gpu01"),
        ("host1", "host1"),
        ("a,b", "a"),
        ("rack1-node[7,9]", "rack1-node7"),
        ("n[1-2]-ib,n3", "n1-ib"),
        ("", ""),
    ],
)
def test_the_first_of_a_list(nodes, first):
    """As SLURM writes lists of nodes."""
    assert first_host(nodes) == first


def test_tasks_on_each_node():
    """Even or not."""
    assert tasks_per_node("4(x2),1") == [4, 4, 1]
    assert tasks_per_node("3") == [3]
    assert tasks_per_node("what") == []
