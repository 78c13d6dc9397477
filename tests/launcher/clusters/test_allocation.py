"""SLURM's variables, read without SLURM."""

import pytest

from launcher.clusters.slurm.allocation import (
    Allocation,
    expand_counts,
    gpus_of_tasks,
    read_allocation,
)
from launcher.core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("2(x3),1", (2, 2, 2, 1)),
        ("16", (16,)),
        ("72(x2),36,2(x2)", (72, 72, 36, 2, 2)),
        ("", ()),
        ("many", ()),
        ("2(x3),?", ()),
    ],
)
def test_numbers_by_node(text: str, counts: tuple[int, ...]) -> None:
    """SLURM folds equal numbers; what can't be read is nothing, never half of it."""
    assert expand_counts(text) == counts


def test_an_allocation_is_read_from_its_variables() -> None:
    """Nodes in SLURM's order, with the CPUs of the job on each."""
    environ = {
        "SLURM_JOB_ID": "12",
        "SLURM_JOB_NODELIST": "gpu[01-03,7],login-a[1-2]",
        "SLURM_JOB_CPUS_PER_NODE": "2(x3),1(x3)",
    }
    nodes = ("gpu01", "gpu02", "gpu03", "gpu7", "login-a1", "login-a2")

    assert read_allocation(environ) == Allocation("12", nodes, (2, 2, 2, 1, 1, 1))


def test_tasks_count_if_the_job_asked_for_them() -> None:
    """SLURM names one task a node also where nobody did."""
    environ = {"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "a[1-4]"}
    environ["SLURM_TASKS_PER_NODE"] = "2(x3),1"
    asked = read_allocation({**environ, "SLURM_NTASKS": "7"})

    assert [asked.tasks_of(name) for name in asked.nodes] == [2, 2, 2, 1]
    assert read_allocation(environ).tasks_of("a1") is None


def test_numbers_that_do_not_fit_the_nodes_are_not_used() -> None:
    """A node's CPUs are rather unknown than another's."""
    environ = {"SLURM_JOB_ID": "1", "SLURM_NODELIST": "a,b", "SLURM_JOB_CPUS_PER_NODE": "4(x3)"}

    assert read_allocation(environ).cpus_of("a") is None


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"SLURM_JOB_NODELIST": "gpu[1-"}, "SLURM_JOB_NODELIST can't be read"),
        ({}, "SLURM_JOB_NODELIST is not set"),
        ({"SLURM_JOB_NODELIST": "a", "SLURM_STEP_NUM_TASKS": "8"}, "srun started plaunch 8 times"),
    ],
)
def test_what_is_no_allocation_is_said(environ: dict[str, str], problem: str) -> None:
    """Also the commonest mistake: `srun plaunch`, which would start everything many times."""
    with pytest.raises(ConfigError, match=problem):
        read_allocation({"SLURM_JOB_ID": "1", **environ})


@pytest.mark.parametrize(
    ("environ", "gpus"),
    [
        ({"SLURM_GPUS_ON_NODE": "8"}, None),
        ({"SLURM_GPUS_PER_TASK": "1", "SLURM_GPUS_ON_NODE": "4"}, 4),
        ({"SLURM_GPUS_PER_TASK": "a100:2", "SLURM_TASKS_PER_NODE": "4(x2),3"}, 6),
        ({"SLURM_GPUS_PER_TASK": "2"}, None),
    ],
)
def test_gpus_asked_for_by_task_are_asked_for_by_node(
    environ: dict[str, str], gpus: int | None
) -> None:
    """One agent a node is one task, and would get one task's GPUs only."""
    assert gpus_of_tasks(environ) == gpus
